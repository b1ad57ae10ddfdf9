"""The training rows of a table, divided again: what a search trains on and validates by."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paratope.core.errors import InputError, TrainingError
from paratope.data.measurements import Measurement
from paratope.data.splits import split_measurements
from paratope.data.tables import parse_columns, read_table
from paratope.encoders import Encoder, load_encoder
from paratope.models.batches import Examples
from paratope.models.recipes import Recipe
from paratope.training.parts import parts_of
from paratope.training.table import usable_rows

# Strictest first; a table that does not allow one is divided by the next.
_GROUPED = ("antigen", "antibody")
_KINDS = (*_GROUPED, "random")
_CAUTION = " (too few antigens and antibodies to keep groups apart: the objective is too good)"


@dataclasses.dataclass(frozen=True, slots=True)
class InnerFolds:
    """Training rows in folds.

    Attributes
    ----------
    encoders : tuple of Encoder
        Of antibodies and of antigens.
    rows : tuple of Measurement
        As cut to what the encoders see.
    fold : ndarray of int, (rows,)
    split : str
        How they were divided.
    """

    encoders: tuple[Encoder, Encoder]
    rows: tuple[Measurement, ...]
    fold: np.ndarray
    split: str

    @classmethod
    def of_table(cls, source: str | Path, recipe: Recipe, folds: int, device: str) -> "InnerFolds":
        """Read a table as `train_table` does, and divide its training rows, in 2 folds at least.

        Raises
        ------
        InputError, TrainingError
            If no row can be trained on, or the training rows cannot be divided.
        """
        data = recipe.data
        columns = parse_columns(data.columns) if data.columns else None
        table = read_table(source, columns=columns, require="measured")
        encoders = (
            load_encoder(recipe.encoders.antibody, device),
            load_encoder(recipe.encoders.antigen, device),
        )
        usable = usable_rows(table, *encoders, recipe.encoders.max_residues)
        seed = recipe.training.seed
        parts, _ = parts_of(usable.measurements, usable.ids, data.split, seed)
        chosen = np.flatnonzero(parts == "train")
        whole = [usable.measurements[row] for row in chosen]
        fold, split = _divided(whole, data.split, folds, seed)
        return cls(encoders, tuple(usable.cut[row] for row in chosen), fold, split)

    def examples(self) -> list[tuple[Examples, Examples]]:
        """For every fold: the rows to train on, the rows to validate by."""
        return [(self._part(self.fold != one), self._part(self.fold == one)) for one in self.names]

    @property
    def names(self) -> list[int]:
        """Numbers of the folds."""
        return sorted(set(self.fold.tolist()))

    def fingerprint(self) -> str:
        """Of all rows and their folds, in order."""
        return Examples.from_measurements(self.rows, self.fold.tolist()).fingerprint()

    def _part(self, chosen: np.ndarray) -> Examples:
        return Examples.from_measurements([self.rows[row] for row in np.flatnonzero(chosen)])


def _divided(
    rows: Sequence[Measurement], outer: str, folds: int, seed: int
) -> tuple[np.ndarray, str]:
    """Fold of each row and how it was found; grouped as the run's own split is, if that is."""
    kinds = dict.fromkeys((outer, *_KINDS) if outer in _GROUPED else _KINDS)
    failure: InputError | None = None
    for kind in kinds:
        for count in range(folds, 1, -1):
            try:
                split = split_measurements(rows, kind, folds=count, seed=seed)
                return split.assignment.astype(int), f"{kind}{_CAUTION * (kind == 'random')}"
            except InputError as error:
                failure = error  # too few groups of this kind: fewer folds, or a less strict kind
    raise TrainingError(
        f"the {len(rows)} training rows cannot be divided to search by: {failure}; give more rows"
    )
