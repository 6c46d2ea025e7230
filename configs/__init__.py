"""Ready configurations, installed with the package so that `persona demo` finds its own."""
