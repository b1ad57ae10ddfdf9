"""What every kind of model offers, and the carriers of what it says."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np

from paratope.core.units import STRONG_PKD
from paratope.data.measurements import PairContext
from paratope.models.applicability_domain import DomainDistance
from paratope.models.explanation import Explanation
from paratope.molecules.sequences import Antigen, Pair

Label = Literal["pkd", "score"]
DEFAULT_COVERAGE = 0.9


class Scored(NamedTuple):
    """What a model says of n pairs before calibration, float64."""

    # mean, sd: (n,) expected label and its standard deviation
    mean: np.ndarray
    sd: np.ndarray
    # (n,) logit of the probability of pKd ≥ 9; NaN where the label is no pKd
    strong_logit: np.ndarray

    def rows(self, chosen: np.ndarray) -> "Scored":
        """Some of the pairs, by mask or index."""
        return Scored(self.mean[chosen], self.sd[chosen], self.strong_logit[chosen])


class Calibrated(NamedTuple):
    """Calibrated predictions of n pairs, in the label's unit."""

    # value, low, high: (n,) predicted label and its interval
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    # (n,) probability that the pKd is at least the threshold; NaN where the label is no pKd
    p_strong: np.ndarray


class PredictedDifference(NamedTuple):
    """How n pairs differ from a parent, in the label's unit."""

    # value, low, high: (n,) expected difference and its interval
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_stronger: np.ndarray  # (n,) probability that it is above 0


class PairPredictions(NamedTuple):
    """All that a model says of n pairs."""

    calibrated: Calibrated
    distances: Sequence[DomainDistance]  # How close each pair is to what the model learned from
    notes: Sequence[str]  # What a reader should know of each row, empty if nothing
    difference: PredictedDifference | None = None  # To the parent, if one was given
    # (n,) share of random variants of a campaign's parents that score lower, in percent; NaN out of
    # the domain
    percentile: np.ndarray | None = None


def unread_context(context: PairContext) -> str:
    """Note for a model that reads no measured parent and no epitope; empty if none is given."""
    given = context.parent_pkd, context.parent_is, context.epitope
    unread = [n for n, v in zip(PairContext._fields[1:], given, strict=True) if v is not None]
    return f"{', '.join(unread)}: not read by this model" if unread else ""


class Model(Protocol):
    """A model of binding strength, whatever it was learned with."""

    @property
    def label(self) -> Label:
        """What it predicts: ``"pkd"``, or ``"score"`` in the unit of the scores it learned."""
        ...

    @property
    def default_antigen(self) -> Antigen | None:
        """What a row without an antigen is read with; None if every row must name one."""
        ...

    def cut_pair(self, pair: Pair) -> tuple[Pair, str | None]:
        """A pair cut to what the model reads, and a note if so; `EncoderError` if it cannot."""
        ...

    def predict_pairs(
        self,
        pairs: Sequence[Pair],
        *,
        parent: Pair | None = None,
        coverage: float = DEFAULT_COVERAGE,
        strong_threshold_pkd: float = STRONG_PKD,
        contexts: Sequence[PairContext] | None = None,
    ) -> PairPredictions:
        """Calibrated predictions of pairs that `cut_pair` has given, in order.

        `contexts`, one a pair, is what is known of each besides; a model that has no use for it
        says so in the row's note.
        """
        ...

    def explain(
        self,
        pairs: Sequence[Pair],
        contexts: Sequence[PairContext] | None = None,
        parent: Pair | None = None,
    ) -> Sequence[Explanation]:
        """What the predictions of `predict_pairs` are made of, in order.

        Raises `ModelError` if the model cannot say, with what to do instead.
        """
        ...

    def judge(self, pairs: Sequence[Pair]) -> Sequence[DomainDistance]:
        """How close each pair is to what the model learned from."""
        ...

    def close(self) -> None:
        """Close the embedding stores; the model cannot be used afterwards."""
        ...
