"""One predicted row, and a table of them beside the user's own columns."""

import dataclasses
from collections.abc import Sequence

import polars as pl

from paratope.tables import InputTable

OUTPUT_COLUMNS = (
    "pkd",
    "pkd_low",
    "pkd_high",
    "kd_nM",
    "p_strong",
    "domain",
    "antigen_identity",
    "antibody_identity",
    "note",
    "error",
)
PARENT_COLUMNS = ("delta_pkd", "delta_pkd_low", "delta_pkd_high", "p_stronger")


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """What is predicted for one row; numbers are None where `error` is set.

    Attributes
    ----------
    id : str
    pkd, pkd_low, pkd_high : float or None
        Calibrated pKd and its interval.
    coverage : float
        Share of rows like the held-out ones that the interval is to cover.
    kd_nM : float or None
    p_strong : float or None
        Probability that the pKd is at least the threshold.
    domain : str
        ``in``, ``near`` or ``out``; empty where `error` is set.
    antigen_identity, antibody_identity : float or None
        To the closest molecules the model was trained on, 0 to 1.
    note, error : str
    delta_pkd, delta_pkd_low, delta_pkd_high, p_stronger : float or None
        Against the parent, if one was named.
    """

    id: str
    coverage: float
    pkd: float | None = None
    pkd_low: float | None = None
    pkd_high: float | None = None
    kd_nM: float | None = None
    p_strong: float | None = None
    domain: str = ""
    antigen_identity: float | None = None
    antibody_identity: float | None = None
    note: str = ""
    error: str = ""
    delta_pkd: float | None = None
    delta_pkd_low: float | None = None
    delta_pkd_high: float | None = None
    p_stronger: float | None = None


def prediction_frame(
    table: InputTable, predictions: Sequence[Prediction], with_parent: bool = False
) -> pl.DataFrame:
    """Predictions beside the user's own columns, row by row.

    A column of the user's that has the name of an output column comes back as ``NAME_measured``
    (``pkd``, ``kd_nM``) or ``NAME_input``.
    """
    names = OUTPUT_COLUMNS + (PARENT_COLUMNS if with_parent else ())
    text = {"domain", "note", "error"}
    data = [
        pl.Series(
            name,
            [None if (value := getattr(one, name)) == "" else value for one in predictions],
            pl.String if name in text else pl.Float64,
        )
        for name in names
    ]
    taken = set(names) | set(table.frame.columns)
    renamed = {}
    for name in table.frame.columns:
        if name not in names:
            continue
        new = f"{name}_{'measured' if name in ('pkd', 'kd_nM') else 'input'}"
        while new in taken:
            new += "_"
        taken.add(new)
        renamed[name] = new
    return pl.DataFrame(data).hstack(table.frame.rename(renamed))
