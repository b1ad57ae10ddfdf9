"""Raw answers about rows that a model was not trained on, and what was measured: its evidence."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paratope.core.errors import ModelError


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Raw answers about rows the model was not trained on, and what was measured; n rows.

    Attributes
    ----------
    mean, sd, strong_logit : np.ndarray of float, (n,)
        Raw answers: pKd, its standard deviation, logit of pKd ≥ 9.
    pkd : np.ndarray of float, (n,)
        Measured.
    censoring : np.ndarray of int, (n,)
        -1: the true pKd is at most `pkd`; 0: it is `pkd`; 1: it is at least `pkd`.
    domain, group, assay : np.ndarray of str, (n,)
        Domain with respect to what the answering model was trained on, antigen cluster, assay.
    """

    mean: np.ndarray
    sd: np.ndarray
    strong_logit: np.ndarray
    pkd: np.ndarray
    censoring: np.ndarray
    domain: np.ndarray
    group: np.ndarray
    assay: np.ndarray

    def __len__(self) -> int:
        return len(self.mean)

    def rows(self, chosen: np.ndarray) -> "HeldOut":
        """Some of the rows, by mask or index."""
        return HeldOut(*(getattr(self, f.name)[chosen] for f in dataclasses.fields(self)))

    @classmethod
    def joined(cls, parts: Sequence["HeldOut"]) -> "HeldOut":
        """All rows of several."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def to_json(self) -> dict[str, list[Any]]:
        """Columns as lists; numbers to five decimals."""
        columns: dict[str, list[Any]] = {}
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            is_real = values.dtype.kind == "f"
            columns[field.name] = (np.round(values, 5) if is_real else values).tolist()
        return columns

    @classmethod
    def from_json(cls, columns: Mapping[str, Sequence[Any]]) -> "HeldOut":
        """The inverse of `to_json`; `ModelError` if a column is missing or of another length."""
        kinds = {"censoring": np.int64, "domain": np.str_, "group": np.str_, "assay": np.str_}
        try:
            arrays = [
                np.asarray(columns[field.name], dtype=kinds.get(field.name, np.float64))
                for field in dataclasses.fields(cls)
            ]
        except (KeyError, ValueError, TypeError) as error:
            raise ModelError(
                f"calibration.json is not what a model bundle holds: {error!r}"
            ) from error
        if len({len(array) for array in arrays}) != 1:
            raise ModelError("calibration.json: columns of different lengths")
        return cls(*arrays)
