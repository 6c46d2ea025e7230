"""Crops get a value per no-reference metric."""
