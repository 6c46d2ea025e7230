"""Restored pictures become metrics, beside the published ones, and differences between two candidates."""
