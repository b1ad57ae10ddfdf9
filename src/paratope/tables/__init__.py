"""Tables of pairs and measurements: CSV, TSV, Parquet, XLSX, FASTA and frames, read and written.

`read_table` and `iter_tables` give rows of pairs (and measurements) with the user's own columns
kept; `table_from_frame` does the same for a polars or pandas frame; `write_table` writes
atomically. One bad row never stops a table: it carries its `error`. What makes the whole table
unreadable raises `paratope.errors.InputError`.
"""

from paratope.tables.aliases import ALIASES, match_columns, parse_columns
from paratope.tables.fasta import FastaRecord, read_antigens, read_fasta
from paratope.tables.output import TableWriter, atomic_file, write_table
from paratope.tables.reading import (
    InputTable,
    TableRow,
    iter_tables,
    read_frame,
    read_table,
    table_from_frame,
)

__all__ = [
    "ALIASES",
    "FastaRecord",
    "InputTable",
    "TableRow",
    "TableWriter",
    "atomic_file",
    "iter_tables",
    "match_columns",
    "parse_columns",
    "read_antigens",
    "read_fasta",
    "read_frame",
    "read_table",
    "table_from_frame",
    "write_table",
]
