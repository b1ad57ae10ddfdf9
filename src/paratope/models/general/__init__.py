"""The general model: what sequences alone tell of a pKd, as a sum that can be read."""
