"""Tables of pairs and measurements: CSV, TSV, Parquet, XLSX, FASTA and frames, read and written.

`read_table` and `iter_tables` give rows of pairs (and measurements) with the user's own columns
kept; `table_from_frame` does the same for a polars or pandas frame; `write_table` writes
atomically. One bad row never stops a table: it carries its `error`. What makes the whole table
unreadable raises `paratope.core.errors.InputError`.
"""

from paratope.data.tables.aliases import ALIASES, match_columns, parse_columns
from paratope.data.tables.fasta import FastaRecord, read_antigens, read_fasta
from paratope.data.tables.frames import as_frame
from paratope.data.tables.output import TableWriter, write_table
from paratope.data.tables.reading import (
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
    "as_frame",
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
