"""Cross-attention networks trained on a campaign itself.

The rows are dealt out in halves by variant; a network learns one half and predicts the other. So
every row has a prediction that is news to the network behind it, and a Gaussian process can learn
from all rows how much such a prediction is worth (stacking, Wolpert 1992). New variants are
predicted by the mean of the networks. A general model's networks go on from their weights; without
one they are those of the default recipe.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from paratope.campaigns.adaptation.folds import variant_groups
from paratope.campaigns.campaign import Campaign
from paratope.campaigns.label_scale import HalfRankNormalTransform
from paratope.core.censoring import Censoring
from paratope.data.measurements import Measurement
from paratope.encoders import load_encoder
from paratope.models.applicability_domain import ApplicabilityDomain
from paratope.models.batches import Embeddings, Examples
from paratope.models.bundle import make_bundle
from paratope.models.calibration import Calibration, CalibrationRows
from paratope.models.ensembling import environment
from paratope.models.fine_tuning import open_store
from paratope.models.network_model import NetworkModel, fit_pair
from paratope.models.predictor import Predictor
from paratope.models.recipes import Recipe, load_recipe
from paratope.molecules.sequences import Pair
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

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class TunedNetworks:
    """Networks of a campaign as one general model.

    Attributes
    ----------
    predictor : Predictor
        Of all networks together.
    out_of_fold : mapping of (chains, chains) to float
        pKd of each row's molecules by the network that did not see them.
    epochs : int
        Of each network, at most.
    rows : int
        That each network learned from, about.
    seconds : float
    """

    predictor: Predictor
    out_of_fold: Mapping[tuple[tuple[str, ...], tuple[str, ...]], float]
    epochs: int
    rows: int
    seconds: float

    def predict_pkd(self, pairs: Sequence[Pair]) -> np.ndarray:
        """pKd, (n,): of the campaign's own rows by the network that did not see them."""
        keys = [(pair.antibody.chains, pair.antigen.chains) for pair in pairs]
        new = {key: pair for key, pair in zip(keys, pairs, strict=True)
               if key not in self.out_of_fold}  # fmt: skip
        found = dict(zip(new, self.predictor.predict_pkd(list(new.values())).tolist(), strict=True))
        return np.array([self.out_of_fold.get(key, found.get(key, 0.0)) for key in keys])


def tune_networks(
    campaign: Campaign,
    general: Predictor | None = None,
    *,
    budget_seconds: float = BUDGET_SECONDS,
    seed: int = 0,
    device: str = "auto",
    cache: Any = None,
    progress: Progress = lambda done, total: None,
) -> TunedNetworks:
    """Train networks on a campaign.

    Parameters
    ----------
    campaign : Campaign
    general : Predictor, optional
        General model that they go on from.
    budget_seconds : float
        For all of them, about; an epoch is timed on a few rows first.
    seed : int
        Of the halves and of the networks.
    device : str
    cache : path, optional
        Folder of the embedding stores.
    progress : callable
        Called with the epochs done and those to come, of all networks.

    Raises
    ------
    TrainingError
        If numbers are no longer finite.
    EncoderError
        If an encoder refuses a molecule or is not here.
    """
    began = time.perf_counter()
    recipe, start = _beginning(general, seed)
    encoders = [load_encoder(name, device) for name in recipe.encoders.by_side.values()]
    rows = _network_rows(campaign, encoders, recipe)
    groups = variant_groups(campaign.pairs)
    half = np.random.default_rng(seed).permutation(int(groups.max()) + 1)[groups] % NETWORKS
    networks, known, judged = [], {}, []
    with (
        open_store(encoders[0], "antibody", recipe.lora, cache) as antibodies,
        open_store(encoders[1], "antigen", recipe.lora, cache) as antigens,
    ):
        everything = Examples.from_measurements(rows)
        antibodies.fill(everything.antibodies, progress=True)
        antigens.fill(everything.antigens, progress=True)
        trainer = _Trainer(recipe, start, (antibodies, antigens), device, seed)
        size = int(np.bincount(half).max())
        epochs, size = trainer.affordable(rows, size, budget_seconds / NETWORKS)
        for number in range(NETWORKS):
            own = np.flatnonzero(half != number)
            other = np.flatnonzero(half == number)
            network = trainer.train(
                [rows[row] for row in own[:size]],
                groups[own[:size]],
                epochs,
                lambda done, before=number * epochs: progress(before + done, NETWORKS * epochs),
            )
            scores = trainer.score(network, [rows[row] for row in other])
            for row, mean in zip(other.tolist(), scores.mean.tolist(), strict=True):
                pair = campaign.pairs[row]
                known[pair.antibody.chains, pair.antigen.chains] = mean
            few = np.arange(min(_CALIBRATION_ROWS, len(other)))
            judged.append(([rows[row] for row in other[few]], _some(scores, few)))
            networks.append(network)
    predictor = _joined(networks, recipe, encoders, rows, judged, device, cache)
    return TunedNetworks(predictor, known, epochs, size, time.perf_counter() - began)


def _beginning(general: Predictor | None, seed: int) -> tuple[Recipe, list[dict[str, Any]]]:
    """Recipe, and weights to go on from: of each network of a general model."""
    if general is None:
        return load_recipe("default", [f"training.seed={seed}"]), []
    recipe = Recipe.model_validate(general.bundle.config["recipe"])
    encoders = general.bundle.config["encoders"]
    names = {name: encoders[name].partition("@")[0] for name in ("antibody", "antigen")}
    training = {"learning_rate": _GENTLE * recipe.training.learning_rate, "seed": seed}
    recipe = recipe.model_copy(
        update={
            "encoders": recipe.encoders.model_copy(update=names),
            "training": recipe.training.model_copy(update=training),
        }
    )
    return recipe, [one.state_dict() for one in general.model.networks]


def _network_rows(campaign: Campaign, encoders: Sequence[Any], recipe: Recipe) -> list[Measurement]:
    """Rows as a network reads them: cut, with a pKd, or what stands for one."""
    values = campaign.values
    if campaign.label == "score":
        values = campaign.on_common_scale().values
        latent = HalfRankNormalTransform.of(values).to_latent(values)
        values = np.clip(_MIDDLE_PKD + latent, _LOWEST_PKD, _HIGHEST_PKD)
    return [
        Measurement(
            fit_pair(pair, encoders[0], encoders[1], recipe.encoders.max_residues)[0],
            pkd=float(value),
            censoring=Censoring(int(code)),
            assay=campaign.assays[assay],
        )
        for pair, value, code, assay in zip(
            campaign.pairs, values, campaign.censoring, campaign.assay, strict=True
        )
    ]


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
        kinds = np.random.default_rng(self._seed).permutation(np.unique(groups))
        watched = np.isin(groups, kinds[: math.ceil(_WATCHED * len(kinds))])
        train, few = (
            [rows[row] for row in np.flatnonzero(chosen).tolist()] for chosen in (~watched, watched)
        )
        network = self._fit(train, few, epochs, after_epoch).network()
        self._trained += 1
        return network

    def score(self, network: Any, rows: Sequence[Measurement]) -> Any:
        """What a network says of rows."""
        from paratope.training import score

        return score(network, Examples.from_measurements(rows), self._stores)

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


def _some(scores: Any, rows: np.ndarray) -> Any:
    return scores.rows(rows)


def _joined(
    networks: Sequence[Any],
    recipe: Recipe,
    encoders: Sequence[Any],
    rows: Sequence[Measurement],
    judged: Sequence[tuple[list[Measurement], Any]],
    device: str,
    cache: Any,
) -> Predictor:
    """The networks as one model, calibrated on rows that each did not see."""
    familiarity = ApplicabilityDomain.of_pairs(row.pair for row in rows)
    parts = [held_out(measurements, scores, familiarity) for measurements, scores in judged]
    named: dict[str, Any] = {
        "antibody": encoders[0].name,
        "antigen": encoders[1].name,
        "max_residues": recipe.encoders.max_residues,
    }
    if recipe.lora.rank:
        named["lora"] = recipe.lora.model_dump(mode="json")
    bundle = make_bundle(
        networks,
        named,
        recipe.model_dump(mode="json"),
        Calibration(CalibrationRows.joined(parts)),
        familiarity,
        metrics={},
        environment=environment(),
        card="",
    )
    return Predictor(NetworkModel.open(bundle, device, cache), bundle)
