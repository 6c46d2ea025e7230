"""FiftyOne: datasets, saved views, previews, and reviews that come back."""
