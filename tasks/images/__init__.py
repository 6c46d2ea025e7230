"""A photo file: its header, its pixels, its hash; which files failed, and why something is rejected."""
