"""Annotations become shards of photos and person boxes."""
