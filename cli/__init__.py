"""The front door: configuration, the composition root and one command noun per file."""
