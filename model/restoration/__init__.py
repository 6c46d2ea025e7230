"""Pictures of any size restored: tiles, colour, files."""
