"""A training in a process of its own: what it is asked for, how it ended, whether its model is better."""
