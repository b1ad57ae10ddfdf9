"""Kernels over antibody variants: what they change in their parents, compared in many ways."""
