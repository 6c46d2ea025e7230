"""Where a source's photos lie, and how their bytes are had from there."""
