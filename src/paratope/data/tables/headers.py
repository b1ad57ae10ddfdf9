"""Headers: which line of a file, or of a sheet, names the columns, and what separates fields."""

import csv
import re
from collections.abc import Collection, Sequence

from paratope.data.tables.columns import match_columns

# Lines in which a header is looked for: titles, comments and metadata may stand above it.
HEAD_LINES = 30
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# From this many known names on, a line is a header wherever it stands.
_ENOUGH = 2
_MAX_HEADER = 100_000  # characters of a line that are looked at; csv's own limit is above that
_RESIDUES = re.compile(r"[A-Za-z*|:-]{40,}")
_COMMENT = re.compile(r"\s*(#|//|%|\{)")


def known_names(fields: Sequence[str], chosen: Collection[str] = ()) -> int:
    """How far a line reads like a header: `chosen` names first, then columns that are known.

    Names that repeat speak against it (headers of groups), residues rule it out.

    >>> known_names(["id", "VH", "antigen"]), known_names(["Receptor", "Receptor", "Assay"])
    (3, 0)
    """
    names = [field.strip() for field in fields if field.strip()]
    if any(_RESIDUES.fullmatch(name) for name in names):
        return -1000
    repeated = len(names) - len(set(names))
    return 100 * len(set(chosen) & set(names)) + len(match_columns(names)) - repeated


def is_header(fields: Sequence[str], chosen: Collection[str] = ()) -> bool:
    """Whether a line's names are known, not only its place."""
    return known_names(fields, chosen) >= _ENOUGH


def header_index(rows: Sequence[Sequence[str]], chosen: Collection[str] = ()) -> int:
    """Index of the row that names the columns: known names, or the first that is no comment.

    >>> header_index([["Plate 7"], [], ["id", "VH", "antigen"], ["a", "EVQL", "MKV"]])
    2
    """
    scores = [known_names(row, chosen) for row in rows]
    best = max(scores, default=0)
    if best >= _ENOUGH:
        return scores.index(best)
    filled = [sum(bool(field.strip()) for field in row) for row in rows]
    fewest = min(2, max(filled, default=0))
    usable = [
        index
        for index, row in enumerate(rows)
        if filled[index] >= fewest and not _COMMENT.match(row[0])
    ]
    without_repeats = [index for index in usable if scores[index] >= 0]
    return next(iter(without_repeats or usable), 0)


def find_header(
    lines: Sequence[str], usual: str, chosen: Collection[str] = (), delimiters: str = ""
) -> tuple[int, str]:
    r"""Index of the header among the first lines of a text file, and the delimiter of its fields.

    `delimiters` are those that may be, all by default; `usual` is taken where nothing tells.

    >>> find_header(["# exported\n", "id;VH;antigen\n", "a;EVQL;MKV\n"], ",")
    (1, ';')
    """

    def split(line: str, mark: str) -> list[str]:
        return next(csv.reader([line[:_MAX_HEADER]], delimiter=mark), [])

    def likeliest(line: str) -> str:
        def merit(mark: str) -> tuple[int, int, bool]:
            fields = split(line, mark)
            return max(known_names(fields, chosen), 0), len(fields), mark == usual

        return max(delimiters or DELIMITERS, key=merit)

    marks = [likeliest(line) for line in lines]
    index = header_index([split(*pair) for pair in zip(lines, marks, strict=True)], chosen)
    return index, marks[index]
