"""A pair in, a pKd out."""
