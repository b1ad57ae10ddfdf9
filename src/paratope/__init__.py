"""Paratope predicts how tightly an antibody binds an antigen (pKd) from sequence alone."""

__version__ = "0.1.0"
