"""Networks trained on a campaign of many rows, and whether they are worth their time.

Cross-attention networks are trained on the campaign itself. The rows are dealt out in halves by
variant; a network learns one half and predicts the other. So every row has a prediction by a
network that did not see it, and a Gaussian process can learn from all rows how much such a
prediction is worth (stacking, Wolpert 1992). New variants are predicted by the mean of the
networks. A general model's networks go on from their weights; without one they are those of the
default recipe.

Two models are compared on held-out variants, a sparse Gaussian process with and without these
networks, and the one that ranks better is kept.
"""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from paratope.campaigns.adaptation.validation import (
    AskedOnce,
    AssayPredictor,
    assay_spearman,
    shuffled_variants,
    variant_groups,
)
from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model import INDUCING_ROWS, CampaignModel, SparseCampaignModel
from paratope.campaigns.campaign_model.training import HalfRankNormalTransform
from paratope.core.errors import ModelError
from paratope.core.files import plain
from paratope.core.progress import Progress, silent
from paratope.core.validation import validated
from paratope.data.measurements import Measurement
from paratope.encoders import load_encoder
from paratope.encoders.likelihood import LanguageModel
from paratope.evaluation.metrics import METRICS, EvaluationRows
from paratope.models.applicability_domain import ApplicabilityDomain
from paratope.models.batches import Embeddings, Examples
from paratope.models.bundle import make_bundle
from paratope.models.calibration import Calibration, CalibrationRows
from paratope.models.ensembling import environment
from paratope.models.fine_tuning import open_store
from paratope.models.network_model import NetworkModel, fit_pair
from paratope.models.predictor import Predictor
from paratope.models.recipes import Recipe, load_recipe
from paratope.molecules.sequences import Pair, Residues
from paratope.training.runs import held_out

# Seconds that training all networks may take, about; epochs, then rows, are cut to fit in.
BUDGET_SECONDS = 600.0
NETWORKS = 2
# Of a general model's learning rate, so that what it knows is not lost at once.
_GENTLE = 0.3
_FEWEST_EPOCHS, _MOST_EPOCHS = 3, 30
# Of a network's rows, to see when it stops learning.
_WATCHED = 0.1
_PROBE_ROWS = 256
_CALIBRATION_ROWS = 500
# pKd that a score's middle becomes; a standard deviation becomes one unit. Networks know pKd only.
_MIDDLE_PKD, _LOWEST_PKD, _HIGHEST_PKD = 8.5, 4.5, 12.5
SPARSE = "sparse Gaussian process"
NETWORK = "with networks"
# Held out to compare: this share of the variants, and no more rows than this.
_SHARE = 0.1
_MOST = 2000
# Networks have to be asked about every variant ever after: they must rank better by this much.
_WORTH = 0.005


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkOptions:
    """How networks are trained on a campaign."""

    # For all of them, about; an epoch is timed on a few rows first
    budget_seconds: float = BUDGET_SECONDS
    seed: int = 0  # Of what is held out, the halves and the networks
    device: str = "auto"
    cache: str | os.PathLike[str] | None = None  # Folder of the embedding stores


@dataclasses.dataclass(frozen=True)
class TunedNetworks:
    """Networks of a campaign as one general model."""

    predictor: Predictor  # Of all networks together
    # pKd of each row's molecules by the network that did not see them
    out_of_fold: Mapping[Residues, float]
    epochs: int  # Of each network, at most
    rows: int  # That each network learned from, about
    seconds: float

    def predict_pkd(self, pairs: Sequence[Pair], parents: Sequence[Pair] = ()) -> np.ndarray:
        """pKd, (n,): of the campaign's own rows by the network that did not see them."""
        return AskedOnce(self.predictor, self.out_of_fold).predict_pkd(pairs, parents)


def tune_networks(
    campaign: Campaign,
    general: Predictor | None = None,
    options: NetworkOptions = NetworkOptions(),
    progress: Progress = silent,
) -> TunedNetworks:
    """Train networks on a campaign, from the weights of a general model if there is one.

    `progress` counts the epochs of all networks. Raises `TrainingError` if numbers are no longer
    finite, `EncoderError` if an encoder refuses a molecule or is not here.
    """
    from paratope.training import score

    began = time.perf_counter()
    device, cache, seed = options.device, options.cache, options.seed
    recipe, start = _recipe_and_weights(general, seed)
    encoders = [load_encoder(name, device) for name in recipe.encoders.by_side.values()]
    rows = _network_rows(campaign, encoders, recipe)
    groups = variant_groups(campaign.pairs)
    half = np.random.default_rng(seed).permutation(int(groups.max()) + 1)[groups] % NETWORKS
    domain = ApplicabilityDomain.of_pairs(row.pair for row in rows)
    networks, known, unseen_rows = [], {}, []  # of each network, rows that it did not see
    with (
        open_store(encoders[0], "antibody", recipe.lora, cache) as antibodies,
        open_store(encoders[1], "antigen", recipe.lora, cache) as antigens,
    ):
        everything = Examples.from_measurements(rows)
        antibodies.fill(everything.antibodies, progress)
        antigens.fill(everything.antigens, progress)
        trainer = _Trainer(recipe, start, (antibodies, antigens), device, seed)
        size = int(np.bincount(half).max())
        epochs, size = trainer.affordable(rows, size, options.budget_seconds / NETWORKS)
        for index in range(NETWORKS):
            learned = np.flatnonzero(half != index)[:size]
            other = np.flatnonzero(half == index)
            network = trainer.train(
                [rows[row] for row in learned],
                groups[learned],
                epochs,
                lambda done, before=index * epochs: progress(
                    "training networks", before + done, NETWORKS * epochs
                ),
            )
            unseen = Examples.from_measurements([rows[row] for row in other])
            scores = score(network, unseen, (antibodies, antigens))
            for row, mean in zip(other.tolist(), scores.mean.tolist(), strict=True):
                known[campaign.pairs[row].residues] = mean
            few = np.arange(min(_CALIBRATION_ROWS, len(other)))
            measurements = [rows[row] for row in other[few]]
            unseen_rows.append(held_out(measurements, scores.rows(few), domain))
            networks.append(network)
    bundle = make_bundle(
        networks,
        {
            "antibody": encoders[0].name,
            "antigen": encoders[1].name,
            "max_residues": recipe.encoders.max_residues,
            **({"lora": recipe.lora.model_dump(mode="json")} if recipe.lora.rank else {}),
        },
        recipe.model_dump(mode="json"),
        Calibration(CalibrationRows.joined(unseen_rows)),
        domain,
        metrics={},
        environment=environment(),
        card="",
    )
    predictor = Predictor(NetworkModel.open(bundle, device, cache), bundle)
    return TunedNetworks(predictor, known, epochs, size, time.perf_counter() - began)


def _recipe_and_weights(
    general: Predictor | None, seed: int
) -> tuple[Recipe, list[dict[str, Any]]]:
    """The recipe, and the weights of each network of a general model."""
    if general is None or not isinstance(general.model, NetworkModel):
        return load_recipe("default", [f"training.seed={seed}"]), []
    recipe = validated(Recipe, general.bundle.config["recipe"], "config.json: recipe", ModelError)
    encoders = general.bundle.config["encoders"]
    names = {name: encoders[name].partition("@")[0] for name in ("antibody", "antigen")}
    training = {"learning_rate": _GENTLE * recipe.training.learning_rate, "seed": seed}
    update = {
        "encoders": recipe.encoders.model_copy(update=names),
        "training": recipe.training.model_copy(update=training),
    }
    recipe = recipe.model_copy(update=update)
    return recipe, [network.state_dict() for network in general.model.networks]


def _network_rows(campaign: Campaign, encoders: Sequence[Any], recipe: Recipe) -> list[Measurement]:
    """Rows as a network reads them: cut, with a pKd, or a score moved to the scale of one."""
    values = campaign.values
    if campaign.label == "score":
        values = campaign.on_common_scale().values
        latent = HalfRankNormalTransform.of(values).to_latent(values)
        values = np.clip(_MIDDLE_PKD + latent, _LOWEST_PKD, _HIGHEST_PKD)
    longest = recipe.encoders.max_residues
    pairs = tuple(fit_pair(pair, encoders[0], encoders[1], longest)[0] for pair in campaign.pairs)
    return dataclasses.replace(campaign, pairs=pairs, values=values, label="pkd").measurements()


class _Trainer:
    """Trains networks of one recipe from embeddings that are there."""

    def __init__(
        self,
        recipe: Recipe,
        start: Sequence[dict[str, Any]],
        stores: tuple[Embeddings, Embeddings],
        device: str,
        seed: int,
    ) -> None:
        self._recipe, self._start, self._stores = recipe, list(start), stores
        self._device, self._seed, self._trained = device, seed, 0

    def affordable(self, rows: Sequence[Measurement], size: int, seconds: float) -> tuple[int, int]:
        """Epochs, and rows of an epoch, that take so many seconds."""
        began = time.perf_counter()
        probe = list(rows[:_PROBE_ROWS])
        self._fit(probe, None, 1, lambda done: None)
        each = (time.perf_counter() - began) / len(probe)
        size = min(size, max(int(seconds / (_FEWEST_EPOCHS * each)), _PROBE_ROWS))
        epochs = max(int(seconds / (each * size)), _FEWEST_EPOCHS)
        return min(epochs, _MOST_EPOCHS), size

    def train(
        self,
        rows: Sequence[Measurement],
        groups: np.ndarray,
        epochs: int,
        after_epoch: Callable[[int], None],
    ) -> Any:
        """A network of rows; some variants only tell when it stops learning."""
        rank = shuffled_variants(groups, np.random.default_rng(self._seed))
        watched = rank < math.ceil(_WATCHED * (rank.max() + 1))
        train, few = (
            [rows[row] for row in np.flatnonzero(chosen).tolist()] for chosen in (~watched, watched)
        )
        network = self._fit(train, few, epochs, after_epoch).network()
        self._trained += 1
        return network

    def _fit(
        self,
        train: Sequence[Measurement],
        watched: Sequence[Measurement] | None,
        epochs: int,
        after_epoch: Callable[[int], None],
    ) -> Any:
        from paratope.training import RunOptions, fit

        training = self._recipe.training.model_copy(update={"max_epochs": epochs})
        return fit(
            Examples.from_measurements(train),
            Examples.from_measurements(watched) if watched else None,
            self._recipe.model_copy(update={"training": training}),
            self._stores,
            RunOptions(device=self._device, on_epoch=lambda record: after_epoch(record["epoch"])),
            start=self._start[self._trained % len(self._start)] if self._start else None,
        )


@dataclasses.dataclass(frozen=True)
class ModelCandidate:
    """How one of the two did on the held-out rows."""

    name: str
    spearman: float
    rmse: float
    seconds: float  # Of learning


@dataclasses.dataclass(frozen=True)
class ModelChoice:
    """Which candidate was kept, and why."""

    kept: str  # Its name
    candidates: tuple[ModelCandidate, ...]
    train_rows: int
    judged_rows: int
    networks: dict[str, Any]  # Epochs, rows and seconds of the networks

    @property
    def sentence(self) -> str:
        """All of it in words."""
        compared = "; ".join(
            f"{candidate.name}: ρ {candidate.spearman:.3f}, RMSE {candidate.rmse:.3g} "
            f"({candidate.seconds:.0f} s)"
            for candidate in self.candidates
        )
        return (
            f"more rows than an exact Gaussian process takes: two models learned from "
            f"{self.train_rows} rows and were judged on {self.judged_rows} (variants drawn at "
            f"random, all rows of one antibody together) - {compared}; kept: {self.kept}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN as None."""
        return plain(dataclasses.asdict(self))


def choose_model(
    campaign: Campaign,
    language: LanguageModel | None = None,
    general: Predictor | None = None,
    *,
    inducing: int = INDUCING_ROWS,
    options: NetworkOptions = NetworkOptions(),
    progress: Progress = silent,
) -> tuple[CampaignModel, ModelChoice]:
    """The better of two models, learned from all rows.

    Both learn from the same rows and are judged on the others; all rows of an antibody are on one
    side. If networks are kept, they stay as they were judged; the Gaussian process that weighs
    what they say learns from all rows. The general model is one term of the first candidate, and
    where the networks begin in the other. Raises `InputError` if there is nothing to learn from,
    `TrainingError` if a fit fails.
    """
    rank = shuffled_variants(variant_groups(campaign.pairs), np.random.default_rng(options.seed))
    most = min(_MOST, _SHARE * len(campaign))
    count = max(int(np.sum(np.cumsum(np.bincount(rank)) <= most)), 1)
    # judged on the labels that the models learn
    scaled = campaign.on_common_scale()
    part, rest = scaled.rows(rank >= count), scaled.rows(rank < count)

    def fit(rows: Campaign, prior: Any) -> CampaignModel:
        return SparseCampaignModel.fit(
            rows, language=language, prior=prior, inducing=inducing, progress=progress
        )

    began = time.perf_counter()
    sparse = _candidate(SPARSE, fit(part, general), rest, began)
    began = time.perf_counter()
    networks = tune_networks(part, general, options, progress)
    tuned = _candidate(NETWORK, fit(part, networks), rest, began)
    kept = better(sparse, tuned)
    seconds = round(networks.seconds, 1)
    about = {"epochs": networks.epochs, "rows": networks.rows, "seconds": seconds}
    choice = ModelChoice(kept.name, (sparse, tuned), len(part), len(rest), about)
    model = fit(campaign, general if kept is sparse else networks)
    if kept is tuned:
        model.prior = networks.predictor
    return model, choice


def better(first: ModelCandidate, second: ModelCandidate) -> ModelCandidate:
    """The second if it ranks notably better, else the first; NaN ranks as chance."""
    gain = np.nan_to_num(second.spearman) - np.nan_to_num(first.spearman)
    return second if gain > _WORTH else first


def _candidate(name: str, model: CampaignModel, rest: Campaign, began: float) -> ModelCandidate:
    seconds = time.perf_counter() - began
    mean = AssayPredictor(model).predict(rest.pairs, rest.assay).mean
    spearman = assay_spearman(rest.values, mean, rest.assay)
    rmse = METRICS["rmse"](EvaluationRows(rest.values, mean, rest.censoring))
    return ModelCandidate(name, spearman, rmse, round(seconds, 1))
