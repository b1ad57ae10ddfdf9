"""A plate in, a model and the next plate out."""
