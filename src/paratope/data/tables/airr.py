"""AIRR rearrangements of single cells: a row a chain, paired here to a row a cell.

Columns as the AIRR Community's schema names them (Vander Heiden et al. 2018, Front. Immunol.
9:2206): ``cell_id``, ``locus``, and the residues in ``sequence_alignment_aa`` or ``sequence_aa``.
"""

from collections.abc import Sequence

import polars as pl

SEQUENCES = ("sequence_alignment_aa", "sequence_aa")
_LIGHT_LOCI = ("IGK", "IGL")
# How often a chain was seen: of several of a cell, the commonest is its own.
_COUNTS = ("umi_count", "duplicate_count", "consensus_count")


def is_of_cells(columns: Sequence[str]) -> bool:
    """Whether a table has a row for each chain of a cell, and no chains in columns of their own.

    >>> is_of_cells(["sequence_id", "cell_id", "locus", "sequence_alignment_aa"])
    True
    """
    return (
        {"cell_id", "locus"} <= set(columns)
        and not {"heavy", "light"} & set(columns)
        and any(name in columns for name in SEQUENCES)
    )


def pair_cells(
    frame: pl.DataFrame, lines: Sequence[int]
) -> tuple[pl.DataFrame, list[int], dict[int, str]]:
    """A row for each cell: its heavy chain's row with ``id``, ``heavy`` and ``light``.

    Also the file line of each, and notes by row. A cell without a heavy chain keeps its light one,
    whose row is then in error; rows without a cell stand alone.
    """
    sequence = next(name for name in SEQUENCES if name in frame.columns)
    counts = next((name for name in _COUNTS if name in frame.columns), None)
    seen = frame[counts].cast(pl.Float64, strict=False).fill_null(0.0) if counts else None
    cells: dict[str, dict[str, list[int]]] = {}
    chains = zip(frame["cell_id"].cast(pl.String), frame["locus"].cast(pl.String), strict=True)
    for row, (cell, locus) in enumerate(chains):
        side = "light" if (locus or "").upper().startswith(_LIGHT_LOCI) else "heavy"
        cells.setdefault(cell or f"row {row + 1}", {}).setdefault(side, []).append(row)
    kept, names, lights, notes = [], [], [], {}
    residues = frame[sequence].cast(pl.String)
    for cell, by_side in cells.items():
        best = {
            side: max(rows, key=lambda row: (seen[row] if seen is not None else 0.0, -row))
            for side, rows in by_side.items()
        }
        more = [f"{len(rows)} {side} chains" for side, rows in by_side.items() if len(rows) > 1]
        if more:
            how = f"the one with the highest {counts}" if counts else "the first"
            notes[len(kept)] = f"cell {cell!r} has {' and '.join(more)}: {how} is taken"
        light = best.get("light")
        kept.append(best.get("heavy", light))
        names.append(cell)
        lights.append(None if light is None else residues[light])
    paired = frame[kept].with_columns(
        pl.Series("id", names, pl.String),
        pl.Series("heavy", [residues[row] for row in kept], pl.String),
        pl.Series("light", lights, pl.String),
    )
    only_light = [index for index, by_side in enumerate(cells.values()) if "heavy" not in by_side]
    heavy = pl.Series([None if i in set(only_light) else t for i, t in enumerate(paired["heavy"])])
    return paired.with_columns(heavy.alias("heavy")), [lines[row] for row in kept], notes
