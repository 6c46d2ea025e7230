"""Photos without boxes get boxes from a person detector."""
