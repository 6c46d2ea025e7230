"""The command line, `persona`: a file per group of commands, and what they print."""
