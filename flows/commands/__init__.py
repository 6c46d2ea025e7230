"""The commands of `persona`, a file per group; each imports what it needs only when it runs."""
