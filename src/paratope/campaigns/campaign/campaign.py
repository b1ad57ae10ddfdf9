"""What a campaign is: variants, their measured values, the assays they were measured in."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from paratope.core.censoring import Censoring
from paratope.data.measurements import Measurement
from paratope.molecules.sequences import UNKNOWN_ANTIGEN, Antigen, Pair

Label = Literal["pkd", "score"]
# Arrays with a value for each row.
COLUMNS = ("values", "censoring", "assay", "replicates", "noise_sd")


@dataclasses.dataclass(frozen=True, eq=False)
class Campaign:
    """Measurements of variants; n rows, one for each distinct pair in each assay."""

    # (n,) antibodies as variable domains; their names are the ids of the first rows that gave them.
    # Where no antigen was given it is `UNKNOWN_ANTIGEN`.
    pairs: tuple[Pair, ...]
    values: np.ndarray  # (n,) pKd or score, higher = stronger; the bound where the row is censored
    label: Label  # {"pkd", "score"} What the values are. Scores have the user's own unit.
    censoring: np.ndarray  # (n,) values of `Censoring`
    assay: np.ndarray  # (n,) index into `assays`
    # The one with the most rows first: predictions are on its scale unless another is asked for
    assays: tuple[str, ...]
    replicates: np.ndarray  # (n,) measurements merged into each row
    # (n,) standard deviation of each merged value as its replicates tell; NaN where there are none
    noise_sd: np.ndarray
    # What the variants were made from; empty if the antibodies are unrelated
    parents: tuple[Pair, ...] = ()
    notes: tuple[str, ...] = ()  # What a reader of the numbers should know, in words
    left_out: tuple[str, ...] = ()  # Errors of the rows that could not be used
    # Whether scores of all assays are on the first one's scale; see `on_common_scale`
    common_scale: bool = False

    def __post_init__(self) -> None:
        assert {len(getattr(self, name)) for name in COLUMNS} == {len(self.pairs)}
        assert np.isfinite(self.values).all()

    def __len__(self) -> int:
        return len(self.pairs)

    def rows(self, chosen: np.ndarray | Sequence[int]) -> "Campaign":
        """The campaign of some rows, by mask or index; parents, assays and notes stay."""
        index = np.arange(len(self))[np.asarray(chosen)]
        arrays: dict[str, Any] = {name: getattr(self, name)[index] for name in COLUMNS}
        return dataclasses.replace(self, pairs=tuple(self.pairs[i] for i in index), **arrays)

    def on_common_scale(self) -> "Campaign":
        """Scores of every assay on the scale of the first: what a model learns and is judged on.

        ``y' = (y - m_a) s_0 / s_a + m_0``, m and s the mean and standard deviation of an assay's
        exact values; bounds move along. An assay with fewer than two exact values, or equal ones,
        is left alone, and so is a pKd, which differs between assays by an offset at most. Parts of
        a campaign on the common scale stay as they are.
        """
        if self.common_scale or self.label == "pkd" or len(self.assays) == 1:
            return self
        values = self.values.astype(float)
        exact = self.censoring == Censoring.EXACT
        main = values[exact & (self.assay == 0)]
        if len(main) >= 2 and main.std() > 0:
            for assay in range(1, len(self.assays)):
                rows = self.assay == assay
                measured = values[exact & rows]
                if len(measured) >= 2 and measured.std() > 0:
                    scaled = (values[rows] - measured.mean()) / measured.std()
                    values[rows] = scaled * main.std() + main.mean()
        return dataclasses.replace(self, values=values, common_scale=True)

    def measurements(self) -> list[Measurement]:
        """Each row as a measurement."""
        return [
            Measurement(
                pair,
                pkd=float(value) if self.label == "pkd" else None,
                score=float(value) if self.label == "score" else None,
                censoring=Censoring(int(code)),
                assay=self.assays[assay],
            )
            for pair, value, code, assay in zip(
                self.pairs, self.values, self.censoring, self.assay, strict=True
            )
        ]

    @property
    def assay_names(self) -> np.ndarray:
        """Name of each row's assay, (n,)."""
        return np.array(self.assays, dtype=object)[self.assay]

    @property
    def antigens(self) -> tuple[Antigen, ...]:
        """The distinct antigens, in order of first appearance; none where none was named."""
        distinct: dict[tuple[str, ...], Antigen] = {}
        for pair in self.pairs:
            if pair.antigen.chains != UNKNOWN_ANTIGEN.chains:
                distinct.setdefault(pair.antigen.chains, pair.antigen)
        return tuple(distinct.values())

    @property
    def default_antigen(self) -> Antigen | None:
        """What a row without an antigen is read with; None if there are several to choose from."""
        antigens = self.antigens
        if len(antigens) > 1:
            return None
        return antigens[0] if antigens else UNKNOWN_ANTIGEN
