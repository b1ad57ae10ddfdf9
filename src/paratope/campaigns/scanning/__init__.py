"""Mutational scans: what every variant of an antibody would do, and what else is known of it."""

from paratope.campaigns.scanning.mutational_scan import KINDS, Scan, ScanOptions, scan
from paratope.campaigns.scanning.variants import alanine_mutants, combinations, single_mutants
from paratope.campaigns.scanning.writing import summary, write_scan

__all__ = [
    "KINDS",
    "Scan",
    "ScanOptions",
    "alanine_mutants",
    "combinations",
    "scan",
    "single_mutants",
    "summary",
    "write_scan",
]
