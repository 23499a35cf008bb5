"""What keeps the house in order: floors, packaging, the README's commands."""
