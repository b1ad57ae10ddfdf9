"""The prior mean of a campaign: what its substitutions did to the binding of other antibodies.

``m(x) = SLOPE (s(x) - mean s) / sd s``, mean and standard deviation over the measured variants, and
``s = sum_c u(c) / sqrt(n) + GENERAL Δ``, over the variant's n substitutions of the antibody: the
score u of a substitution alone (`paratope.models.general.substitutions.similarity`), and the
general model's Δ, which weighs it by its IMGT position. Latent values have standard deviation 1, so
SLOPE is about the correlation that s has with what was measured of antibodies it never saw. Both
numbers were chosen by leaving antibody families out (docs/LOG.md).
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Self

import numpy as np

from paratope.campaigns.kernels.features import Features, SubstitutionTable
from paratope.core.errors import ModelError
from paratope.core.validation import validated, within
from paratope.models.general.general_model import GeneralModel
from paratope.models.general.substitutions import Change, SubstitutionScore, similarity
from paratope.models.predictor import Predictor
from paratope.molecules.numbering import REGIONS
from paratope.molecules.sequences import AMINO_ACIDS

SLOPE = 0.2
GENERAL = 4.0  # Each pKd of the general model's Δ, in units of u
_LETTERS = AMINO_ACIDS + "-"
_Weight = Annotated[float, within(-1e6, 1e6)]


@dataclasses.dataclass(frozen=True)
class SubstitutionPrior:
    """What a general model says of substitutions, in the frame of a campaign once fitted to it."""

    # Of the general model: weights of positions and regions, and the slopes of its Δ
    weights: Mapping[str, _Weight]
    mean_weight: _Weight
    slope: _Weight
    cost: _Weight
    # Mean and standard deviation of s over the measured variants; 0 where they do not differ
    centre: _Weight = 0.0
    scale: Annotated[float, within(0.0, 1e6)] = 0.0

    @classmethod
    def of_general_model(cls, name: str = "default") -> Self:
        """Of a general model as `Predictor.load` opens it; raises `ModelError` for another kind."""
        model = Predictor.load(name).model
        if not isinstance(model, GeneralModel):
            raise ModelError(f"{name} is no general model: it has no scores of substitutions")
        scores, slopes = model.learned.substitutions, model.learned.level.slopes
        return cls(dict(scores.weights), scores.mean_weight, float(slopes[0]), float(slopes[2]))

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Of its fields as plain values; raises `ModelError` if one is out of range."""
        return validated(cls, data, "not a campaign's prior mean", ModelError)

    def fitted(self, measured: Features) -> Self:
        """The prior in the frame of the measured variants."""
        s = self._score(*self._sums(measured))
        spread = float(s.std())
        return dataclasses.replace(self, centre=float(s.mean()), scale=spread * (spread > 1e-6))

    def mean(self, variants: Features) -> np.ndarray:
        """Prior mean of latent values, (n,)."""
        return self.of_sums(*self._sums(variants))

    def of_sums(self, sums: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Prior mean, (n,), from sums of `of_changes`, (n, 2), and numbers of substitutions."""
        if not self.scale:
            return np.zeros(len(count))
        return SLOPE * (self._score(sums, count) - self.centre) / self.scale

    def of_changes(self, table: SubstitutionTable) -> np.ndarray:
        """What each substitution adds to the sums, (u, 2): of scores, and of weights."""
        scores, rows = SubstitutionScore(self.weights, self.mean_weight), []
        columns = table.key, table.region, table.before, table.after, table.of_antigen
        for key, region, before, after, of_antigen in zip(*columns, strict=True):
            if of_antigen:
                rows.append((0.0, 0.0))
                continue
            name = REGIONS[region] if region < len(REGIONS) else ""
            old, new = _LETTERS[before], _LETTERS[after]
            weight = scores.weight(Change(key[0], str(key[1:]), name, old, new))
            u = similarity(old, new)
            rows.append((u * (1 + GENERAL * self.slope * weight), GENERAL * self.cost * weight))
        return np.array(rows).reshape(-1, 2)

    def _sums(self, variants: Features) -> tuple[np.ndarray, np.ndarray]:
        table = variants.changes
        of_antibody = (~table.of_antigen).astype(float)
        return variants.totals(self.of_changes(table)), variants.totals(of_antibody)

    @staticmethod
    def _score(sums: np.ndarray, count: np.ndarray) -> np.ndarray:
        some = np.maximum(count, 1.0)
        return sums[:, 0] / np.sqrt(some) - sums[:, 1] / some
