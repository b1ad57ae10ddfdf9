"""Sequences, numbering, mutations, liabilities, alignment."""
