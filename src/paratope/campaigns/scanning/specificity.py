"""One antibody and its variants against several antigens."""

from collections.abc import Sequence

import polars as pl

from paratope.campaigns.scanning.changes import Reference
from paratope.molecules.sequences import Antigen


def antigen_names(antigens: Sequence[Antigen]) -> tuple[str, ...]:
    """A name for each antigen, no two alike.

    >>> antigen_names([Antigen(("MK",), "HER2"), Antigen(("GS",)), Antigen(("AS",), "HER2")])
    ('HER2', 'antigen 2', 'HER2 (3)')
    """
    names: list[str] = []
    for number, antigen in enumerate(antigens, start=1):
        name = antigen.name.strip() or ("antigen" if len(antigens) == 1 else f"antigen {number}")
        names.append(name if name not in names else f"{name} ({number})")
    return tuple(names)


def specificity_table(
    places: pl.DataFrame,
    names: Sequence[str],
    references: Sequence[Reference],
    changes: Sequence[pl.DataFrame],
) -> pl.DataFrame:
    """The parent and its variants against each antigen.

    Parameters
    ----------
    places : polars.DataFrame
        ``mutations`` and ``mutations_imgt`` of each variant.
    names : sequence of str
        Of the antigens, the target first.
    references : sequence of Reference
        The parent's prediction against each.
    changes : sequence of polars.DataFrame
        Of `paratope.campaigns.scanning.changes.predict_changes`, for each antigen.

    Returns
    -------
    polars.DataFrame
        The first row is the parent (``WT``). For each antigen its prediction and change against the
        parent; ``selectivity NAME``: prediction on the target less that on NAME;
        ``selectivity_gain NAME``: what that is more than the parent's; ``selectivity_gain``: the
        smallest of them.
    """
    unit = references[0].unit
    columns: dict[str, pl.Series] = {}
    for name in ("mutations", "mutations_imgt"):
        columns[name] = pl.Series(name, ["WT", *places[name]], dtype=pl.String)
    values = [
        pl.Series([reference.value, *table[unit]], dtype=pl.Float64)
        for reference, table in zip(references, changes, strict=True)
    ]
    deltas = [pl.Series([0.0, *table[f"delta_{unit}"]], dtype=pl.Float64) for table in changes]
    for name, value, delta in zip(names, values, deltas, strict=True):
        columns[f"{unit} {name}"] = value
        columns[f"delta_{unit} {name}"] = delta
    gains = {}
    for name, value, delta in list(zip(names, values, deltas, strict=True))[1:]:
        columns[f"selectivity {name}"] = values[0] - value
        gains[f"selectivity_gain {name}"] = deltas[0] - delta
    table = pl.DataFrame({**columns, **gains})
    return table.with_columns(pl.min_horizontal(*gains).alias("selectivity_gain"))
