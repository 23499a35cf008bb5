"""Programs that are not ours, on small machines of their own: what a real NAS does, and what the server makes of it."""
