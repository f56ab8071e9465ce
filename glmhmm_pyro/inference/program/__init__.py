"""A model with its data as one density: what every method reads."""
