"""One draw of a measured landscape, judged by our campaign model and by every baseline."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model import CampaignModel
from paratope.campaigns.kernels.terms import TERMS, WITHIN_ANTIGEN, WITHIN_PARENT
from paratope.data.datasets import load_dataset
from paratope.data.datasets.abbibench import ASSAYS as ABBIBENCH
from paratope.data.datasets.abbibench import abbibench_scores
from paratope.data.measurements import Measurement
from paratope.encoders.likelihood import AntibodyLanguage
from paratope.evaluation.baselines import BASELINES
from paratope.evaluation.metrics import METRICS
from paratope.molecules.sequences import Antibody, Pair
from public_few_shot import MIN_TEST_ROWS, MODES, REPEATS, reference_draws

__all__ = ["ASSAYS", "MODES", "REPEATS", "Landscape", "campaign_draw", "dropped_term"]

ASSAYS = tuple(ABBIBENCH)
OURS = "paratope"
NO_PARENT = "paratope_no_parent_named"
LIKELIHOOD = "antiberty_likelihood"
# Column of this table: name among the baselines. All see what differs inside a landscape.
FITTED = {
    "one_hot_ridge": "one_hot_ridge",
    "one_hot_gp": "one_hot_gp",
    "nearest_neighbour": "nearest_neighbour",
    "boosted_kmers": "boosted_kmers",
}
BASELINE_COLUMNS = (*FITTED, LIKELIHOOD)
COVERAGES = (0.5, 0.8, 0.9, 0.95)


class Remembered:
    """A language model that keeps the embeddings of a landscape in memory.

    Parameters
    ----------
    language : AntibodyLanguage
    """

    def __init__(self, language: AntibodyLanguage) -> None:
        self.language = language
        self._rows: dict[str, np.ndarray] = {}
        self._tables: dict[str, np.ndarray] = {}

    def embeddings(self, chains: Sequence[str]) -> Iterator[np.ndarray]:
        """As `AntibodyLanguage.embeddings`."""
        missing = [chain for chain in dict.fromkeys(chains) if chain not in self._rows]
        self._rows |= zip(missing, self.language.embeddings(missing), strict=True)
        for chain in chains:
            yield self._rows[chain]

    def log_probabilities(self, chain: str) -> np.ndarray:
        """As `AntibodyLanguage.log_probabilities`."""
        if chain not in self._tables:
            self._tables[chain] = self.language.log_probabilities(chain)
        return self._tables[chain]


@dataclasses.dataclass(frozen=True)
class Landscape:
    """The variants of one assay that the reference draws choose from; n of them.

    Attributes
    ----------
    assay : str
    sequences : list of str
    values : np.ndarray, (n,)
    likelihood : np.ndarray, (n,)
        AntiBERTy's own, as published with the landscape.
    pairs : tuple of Pair
    draws : module
    language : Remembered
    """

    assay: str
    sequences: list[str]
    values: np.ndarray
    likelihood: np.ndarray
    pairs: tuple[Pair, ...]
    draws: Any
    language: Remembered

    @classmethod
    def read(cls, root: Path, assay: str) -> "Landscape":
        """The landscape, capped as the reference does."""
        draws = reference_draws(root)
        sequences, values = draws.landscape(str(root / ABBIBENCH[assay].data.path))
        rows = load_dataset(f"abbibench_{assay}", root, as_published=True).measurements
        context = rows[0].pair
        pairs = tuple(
            Pair(Antibody(heavy, context.antibody.light), context.antigen) for heavy in sequences
        )
        scores = abbibench_scores(assay, root)
        known = dict(
            zip(scores["heavy"], scores["AntiBERTy|log-likelihood"].cast(float), strict=True)
        )
        likelihood = np.array([known[heavy] for heavy in sequences], float)
        language = Remembered(AntibodyLanguage())
        return cls(assay, sequences, values, likelihood, pairs, draws, language)

    def campaign(self, rows: np.ndarray, *, parent_named: bool = True) -> Campaign:
        """Measured variants as a campaign.

        The parent is that in which the reference's draws count mutations, the consensus of the
        landscape's sequences; where none is named, the consensus of the measured variants.
        """
        pairs = tuple(self.pairs[row] for row in rows)
        heavy = consensus(
            self.sequences if parent_named else [pair.antibody.heavy for pair in pairs]
        )
        parent = Pair(Antibody(heavy, pairs[0].antibody.light, "consensus"), pairs[0].antigen)
        count = len(rows)
        return Campaign(
            pairs,
            self.values[rows],
            "score",
            np.zeros(count, int),
            np.zeros(count, int),
            (self.assay,),
            np.ones(count, int),
            np.full(count, np.nan),
            (parent,),
        )


def consensus(sequences: Sequence[str]) -> str:
    """The commonest residue at every place, the first in the alphabet of equals."""
    return "".join(
        min(Counter(column).items(), key=lambda item: (-item[1], item[0]))[0]
        for column in zip(*sequences, strict=True)
    )


def spearman(measured: np.ndarray, predicted: np.ndarray) -> float:
    """Spearman; 0 if all predictions are one."""
    value = METRICS["spearman"](measured, predicted)
    return float(value) if np.isfinite(value) else 0.0


def campaign_draw(
    landscape: Landscape, mode: str, measured: int, repeat: int
) -> dict[str, Any] | None:
    """Spearman of every predictor on one draw, and coverage of our intervals."""
    train, test = landscape.draws.draw(landscape.sequences, measured, mode, repeat)
    if len(test) < MIN_TEST_ROWS:
        return None
    labels = landscape.values[test]
    model = CampaignModel.fit(landscape.campaign(train), language=landscape.language)
    pairs = [landscape.pairs[row] for row in test]
    answer = model.predict_latent(pairs)
    correlations = {OURS: spearman(labels, answer.mean)}
    unnamed = landscape.campaign(train, parent_named=False)
    alone = CampaignModel.fit(unnamed, language=landscape.language)
    correlations[NO_PARENT] = spearman(labels, alone.predict_latent(pairs).mean)
    rows = [
        Measurement(landscape.pairs[row], score=float(landscape.values[row]), assay="a")
        for row in train
    ]
    for column, name in FITTED.items():
        fitted = BASELINES[name]().fit(rows)
        correlations[column] = spearman(labels, fitted.predict_pkd(pairs))
    correlations[LIKELIHOOD] = spearman(labels, landscape.likelihood[test])
    bounds = {level: model.interval(answer, level) for level in COVERAGES}
    # equal values are inside: labels that stand on a floor are many
    coverage = {
        str(level): float(np.mean((labels >= low - 1e-9) & (labels <= high + 1e-9)))
        for level, (low, high) in bounds.items()
    }
    low, high = bounds[0.9]
    return {
        "assay": landscape.assay,
        "mode": mode,
        "measured": measured,
        "repeat": repeat,
        "trained_on": len(train),
        "ranked": len(test),
        "spearman": {name: round(value, 4) for name, value in correlations.items()},
        "coverage": {level: round(value, 4) for level, value in coverage.items()},
        "width_90": round(float(np.mean(high - low) / np.std(landscape.values)), 4),
    }


def dropped_term(
    landscape: Landscape, mode: str, measured: int, repeat: int
) -> list[dict[str, Any]]:
    """Spearman of our model with all terms, and without each of them."""
    train, test = landscape.draws.draw(landscape.sequences, measured, mode, repeat)
    if len(test) < MIN_TEST_ROWS:
        return []
    campaign = landscape.campaign(train)
    some = np.random.default_rng(repeat).permutation(test)[:400]
    pairs, labels = [landscape.pairs[row] for row in some], landscape.values[some]
    lines = []
    absent = {"general_model", "parent", *WITHIN_PARENT, *WITHIN_ANTIGEN}  # of one parent
    for left_out in ("", *(name for name in TERMS if name not in absent)):
        terms = [name for name in TERMS if name != left_out]
        model = CampaignModel.fit(campaign, language=landscape.language, terms=terms)
        lines.append(
            {
                "assay": landscape.assay,
                "mode": mode,
                "measured": measured,
                "repeat": repeat,
                "left_out": left_out,
                "spearman": round(spearman(labels, model.predict_latent(pairs).mean), 4),
            }
        )
    return lines
