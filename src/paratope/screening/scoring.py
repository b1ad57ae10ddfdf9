"""What a screen asks of a model: fast scores of a block, full ones of the best, in its own unit."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from paratope.campaigns.campaign_model import CampaignModel
from paratope.campaigns.campaign_model.background import background, random_variants
from paratope.campaigns.campaign_model.fast_scoring import Chains, FastScorer
from paratope.core.errors import EncoderError
from paratope.core.units import STRONG_PKD
from paratope.encoders.antiberty import AntibertyEncoder
from paratope.models.bundle import GENERAL
from paratope.models.predictor import Predictor
from paratope.molecules.sequences import Antibody, Antigen, Pair

# Pairs that a model without a fast form is asked about at once.
PAIRS_AT_ONCE = 20_000
# Int8 may encode if, for so many random variants of the parents, full scores rank as those of
# float32 do and, where they are pKd, lie as near at the 99th percentile.
CHECKED, LEAST_SPEARMAN, MOST_DIFFERENCE = 200, 0.998, 0.05


class FastScores(NamedTuple):
    """Of n antibodies against m antigens, in the model's unit."""

    value: np.ndarray  # (n, m)
    domain: np.ndarray  # (n, m) as in `paratope.models.prediction.Prediction`


class FullScores(NamedTuple):
    """Of n antibodies against m antigens, in the model's unit; (n, m) each."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_strong: np.ndarray  # NaN where the unit is no pKd
    domain: np.ndarray
    note: np.ndarray
    error: np.ndarray  # Why a pair has no numbers; mostly empty


class ScreenModel(Protocol):
    """A model as a screen uses it. Antibodies are chains as `prepare_antibody` gives them."""

    antigens: tuple[Antigen, ...]
    label: str
    coverage: float
    light: str | None  # Light chain of the rows that have none, if one is the campaign's
    has_fast: bool  # Whether `fast` scores without encoding a variant
    encodes: bool  # Whether `full` encodes antibodies, which costs most of a screen

    def readable(self, antibodies: Sequence[Chains]) -> np.ndarray:
        """Rows, increasing, that need not be cleaned or numbered before they are scored."""
        ...

    def fast(self, antibodies: Sequence[Chains]) -> FastScores:
        """Scores that cost microseconds."""
        ...

    def background(self) -> np.ndarray | None:
        """Fast scores of random antibodies, (b, m), ascending; None where none are at hand."""
        ...

    def full(self, antibodies: Sequence[Chains]) -> FullScores:
        """The model's own predictions; the same antibodies together give the same numbers."""
        ...

    def use_int8(self) -> str:
        """Encode in int8 from now on if its full scores allow; says what was decided, and why."""
        ...


def screen_model(predictor: Predictor, antigens: Sequence[Antigen], coverage: float) -> ScreenModel:
    """A predictor as screens ask it."""
    if predictor.bundle.campaign:
        return CampaignScreen(predictor.campaign, antigens, coverage)
    return GeneralScreen(predictor, antigens, coverage)


class CampaignScreen:
    """A campaign's model: its fast form for all, its full form for the best."""

    has_fast = encodes = True

    def __init__(self, model: CampaignModel, antigens: Sequence[Antigen], coverage: float) -> None:
        self.model, self.antigens, self.coverage = model, tuple(antigens), coverage
        self.label = model.label
        self._scorers = [FastScorer(model.fast, antigen) for antigen in self.antigens]
        self._encoder: Any = getattr(model.language, "encoder", None)
        lights = {pair.antibody.light for pair in (*model.parents, *model.campaign.pairs)}
        # what rows without a light chain are read with: that of all measured variants
        self.light = lights.pop() if len(lights) == 1 else None

    def readable(self, antibodies: Sequence[Chains]) -> np.ndarray:
        """Those of a parent's length that differ from it in few residues."""
        _, others = self._scorers[0].by_length(antibodies)
        return np.setdiff1d(np.arange(len(antibodies)), others)

    def fast(self, antibodies: Sequence[Chains]) -> FastScores:
        """Posterior means, as sums over changes where they are."""
        scored = [scorer.score(antibodies) for scorer in self._scorers]
        values = [self.model.to_label(each.mean) for each in scored]
        return FastScores(np.stack(values, 1), np.stack([each.domain for each in scored], 1))

    def background(self) -> np.ndarray:
        """Of random variants of the parents: what chance gives."""
        latent = [background(self.model, antigen) for antigen in self.antigens]
        return self.model.to_label(np.stack(latent, 1))

    def full(self, antibodies: Sequence[Chains]) -> FullScores:
        """Predictions of the full form; each chain is encoded once."""
        model = self.model
        if model.language is None:
            return self._predicted(model, antibodies)
        kept, model.language = model.language, _Unstored(model.language, self._encoder)
        try:
            return self._predicted(model, antibodies)
        finally:
            model.language = kept

    def use_int8(self) -> str:
        """Decided by random variants of the parents, so always as before for the same model."""
        from scipy.stats import spearmanr  # scipy.stats takes a second to import

        exact = self._encoder
        if not isinstance(exact, AntibertyEncoder):
            return "this model's full form encodes no antibody; int8 changes nothing"
        try:
            rounded = exact.in_int8()
        except EncoderError as error:
            return f"encoded in float32: {error}"
        variants = random_variants(self.model, CHECKED)
        before = self.full(variants).value
        self._encoder = rounded
        after = self.full(variants).value
        difference = float(np.percentile(np.abs(after - before), 99))
        pairs = zip(before.T, after.T, strict=True)
        ranks: list[Any] = [spearmanr(*pair)[0] for pair in pairs]
        rank = float(min(ranks))
        far = self.label == "pkd" and difference > MOST_DIFFERENCE
        if far or not rank >= LEAST_SPEARMAN:
            self._encoder = exact
        return (
            f"encoded in {'int8' if self._encoder is rounded else 'float32'}: full scores of "
            f"{CHECKED} random variants in int8 rank as in float32 by Spearman {rank:.4f} (needed: "
            f"{LEAST_SPEARMAN}), 99 % within {difference:.3f}"
            + (f" (needed: {MOST_DIFFERENCE})" if self.label == "pkd" else "")
        )

    def _predicted(self, model: CampaignModel, antibodies: Sequence[Chains]) -> FullScores:
        columns = []
        for antigen in self.antigens:
            pairs = [Pair(Antibody(*chains), antigen) for chains in antibodies]
            latent = model.predict_latent(pairs)
            low, high = model.interval(latent, self.coverage)
            strong = np.full(len(pairs), np.nan)
            if model.label == "pkd":
                strong = model.exceeds(latent, STRONG_PKD)
            value, note = model.to_label(latent.mean), np.array(latent.note, object)
            nothing = np.full(len(pairs), "", object)
            columns.append((value, low, high, strong, latent.domain, note, nothing))
        return FullScores(*(np.stack(arrays, 1) for arrays in zip(*columns, strict=True)))


class _Unstored:
    """A language model that keeps each chain's embedding in memory, for one block, not on disk.

    Blocks are encoded whole, so that a block gives the same numbers whenever it is repeated.
    """

    def __init__(self, language: Any, encoder: Any) -> None:
        self._language, self._rows = language, {}
        self.encoder = encoder
        self.log_probabilities = language.log_probabilities

    def embeddings(self, chains: Sequence[str]) -> Iterator[np.ndarray]:
        missing = [chain for chain in dict.fromkeys(chains) if chain not in self._rows]
        encoded = self.encoder.encode([(chain,) for chain in missing])
        self._rows.update(zip(missing, encoded, strict=True))
        for chain in chains:
            yield self._rows[chain]


class GeneralScreen:
    """A general model or networks: antibodies and antigens are read once, then all pairs."""

    has_fast = False

    def __init__(self, predictor: Predictor, antigens: Sequence[Antigen], coverage: float) -> None:
        self.predictor, self.antigens, self.coverage = predictor, tuple(antigens), coverage
        self.label = predictor.label
        self.light: str | None = None
        self.encodes = predictor.bundle.config.get("kind") != GENERAL

    def readable(self, antibodies: Sequence[Chains]) -> np.ndarray:
        """None: every chain is numbered."""
        return np.zeros(0, int)

    def fast(self, antibodies: Sequence[Chains]) -> FastScores:
        """What it has: its predictions."""
        full = self.full(antibodies)
        return FastScores(full.value, full.domain)

    def background(self) -> None:
        """None: no antibodies are random for every antigen."""

    def full(self, antibodies: Sequence[Chains]) -> FullScores:
        """Predictions, in blocks of `PAIRS_AT_ONCE`."""
        step = max(1, PAIRS_AT_ONCE // len(self.antigens))
        blocks = [
            self._block(antibodies[start : start + step])
            for start in range(0, len(antibodies), step)
        ]
        return FullScores(*(np.concatenate(arrays) for arrays in zip(*blocks, strict=True)))

    def use_int8(self) -> str:
        """Never: only campaigns' models are judged in int8."""
        return "encoded in float32: int8 is for a campaign's model"

    def _block(self, antibodies: Sequence[Chains]) -> FullScores:
        model, shape = self.predictor.model, (len(antibodies), len(self.antigens))
        errors, pairs, places = np.full(shape, "", object), [], []
        for row, chains in enumerate(antibodies):
            for column, antigen in enumerate(self.antigens):
                try:
                    pair, _ = model.cut_pair(Pair(Antibody(*chains), antigen))
                except EncoderError as error:
                    errors[row, column] = str(error)
                    continue
                pairs.append(pair)
                places.append((row, column))
        numbers, texts = np.full((4, *shape), np.nan), np.full((2, *shape), "", object)
        if pairs:
            answer = model.predict_pairs(pairs, coverage=self.coverage)
            where = tuple(np.array(places).T)
            for array, values in zip(numbers, answer.calibrated, strict=True):
                array[where] = values
            texts[0][where] = [distance.domain for distance in answer.distances]
            texts[1][where] = answer.notes
        value, low, high, strong = numbers
        return FullScores(value, low, high, strong, texts[0], texts[1], errors)
