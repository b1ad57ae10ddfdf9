"""Measurements, tables, sources, audits, splits."""
