"""A snapshot as training batches: order, LQ degradation, random numbers per crop."""
