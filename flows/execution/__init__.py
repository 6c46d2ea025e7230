"""How a run is carried out: worker processes or a Ray cluster, progress, the root's lock, the run record."""
