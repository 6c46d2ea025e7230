"""Scores become verdicts: eq. 1, limits, near-duplicates, splits; and what other limits would yield."""
