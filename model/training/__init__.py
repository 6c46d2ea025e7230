"""Losses, regularizer, one update, the loop, checkpoints."""
