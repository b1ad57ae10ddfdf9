"""Tables of pairs and measurements: CSV, TSV, Parquet, XLSX, FASTA and frames, read and written.

One bad row never stops a table: it carries its `error`. What makes the whole table unreadable
raises `paratope.core.errors.InputError`.

On the way in, a file is opened (`sources`), split into blocks of rows (`formats`), its columns are
recognised (`columns`), and its cells are read: sequences and mutations (`molecules`), measured
values (`values`), both together (`rows`).
"""

from paratope.data.tables.columns import ALIASES, id_among, match_columns, parse_columns
from paratope.data.tables.formats import FastaRecord, as_frame, read_antigens, read_fasta
from paratope.data.tables.reading import (
    InputTable,
    iter_tables,
    read_frame,
    read_table,
    table_from_frame,
)
from paratope.data.tables.rows import ReadOptions, TableRow
from paratope.data.tables.sources import SheetPath
from paratope.data.tables.writing import TableWriter, frame_from_measurements, write_table

__all__ = [
    "ALIASES",
    "FastaRecord",
    "InputTable",
    "ReadOptions",
    "SheetPath",
    "TableRow",
    "TableWriter",
    "as_frame",
    "frame_from_measurements",
    "id_among",
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
