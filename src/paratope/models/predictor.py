"""The one object users hold: load a model, predict a table, save it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from paratope.core.errors import EncoderError, InputError, ModelError
from paratope.core.units import pkd_to_kd_nM
from paratope.data.tables import InputTable, TableRow, read_table, table_from_frame
from paratope.encoders import Encoder, load_encoder
from paratope.models.batches import fit_molecule
from paratope.models.bundle import Bundle, write_bundle
from paratope.models.calibration import DEFAULT_COVERAGE, Calibration, check_options
from paratope.models.ensemble import Ensemble, RawScores, network_config_from_json
from paratope.models.familiarity import Familiarity
from paratope.models.fine_tuning import build_network, open_store
from paratope.models.losses import STRONG_PKD
from paratope.models.network import Network
from paratope.models.prediction import PARENT_COLUMNS, Prediction, prediction_frame
from paratope.models.recipes import LoraSettings
from paratope.molecules.sequences import Antibody, Antigen, Pair

_OUT_OF_DOMAIN = "out of domain: the antigen resembles none that the model was trained on"


class Predictor:
    """A trained model with its calibration and its knowledge of what it was trained on.

    Use `Predictor.load`.

    Parameters
    ----------
    bundle : Bundle
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    cache : path, optional
        Folder of the embedding stores; default as `EmbeddingStore`.
    campaign : CampaignModel, optional
        What answers instead of networks.

    Raises
    ------
    ModelError
        If the bundle's parts do not fit together.
    EncoderError
        If one of its encoders is not here.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str = "auto",
        cache: str | os.PathLike[str] | None = None,
        campaign: Any = None,
    ) -> None:
        self.bundle = bundle
        self.max_residues = 0
        self._campaign = campaign
        self.familiarity = Familiarity.from_json(bundle.familiarity)
        if campaign is None:
            self._open_networks(device, cache)

    def _open_networks(self, device: str, cache: str | os.PathLike[str] | None) -> None:
        bundle, config = self.bundle, self.bundle.config
        try:
            names = config["encoders"]["antibody"], config["encoders"]["antigen"]
            members = int(config["members"])
            self.max_residues = int(config["encoders"].get("max_residues", 0))
            lora = LoraSettings.model_validate(config["encoders"].get("lora", {}))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"config.json is not what a model bundle holds: {error!r}") from error
        self.antibody_encoder = load_encoder(names[0], device)
        self.antigen_encoder = load_encoder(names[1], device)
        self.calibration = Calibration.from_json(bundle.calibration)
        self._antibody_store = open_store(self.antibody_encoder, "antibody", lora, cache)
        self._antigen_store = open_store(self.antigen_encoder, "antigen", lora, cache)
        networks = _networks(bundle, members, device, lora)
        self.ensemble = Ensemble(networks, self._antibody_store, self._antigen_store)

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] = "default",
        device: str = "auto",
        cache: str | os.PathLike[str] | None = None,
    ) -> "Predictor":
        """A model of a folder, or else of a bundled name.

        Parameters
        ----------
        source : path or str
            A model folder (or a run folder, whose ``bundle`` is taken), or a name of
            `paratope.models.bundle.BUNDLED_MODELS`.
        device : str
        cache : path, optional

        Raises
        ------
        ModelError
            If there is no such model, or its folder is incomplete or altered.
        """
        from paratope.opening import open_predictor

        return open_predictor(source, device, cache)

    @property
    def label(self) -> str:
        """What the model answers in: ``"pkd"``, or ``"score"`` if it was adapted on scores."""
        return "pkd" if self._campaign is None else self._campaign.campaign.label

    @property
    def campaign(self) -> Any:
        """What was learned of a campaign; raises `ModelError` for a model that is of none."""
        if self._campaign is None:
            raise ModelError(
                "this model was not adapted to a campaign; make one of measurements with: "
                "paratope adapt measurements.csv -o my-campaign"
            )
        return self._campaign

    @property
    def default_antigen(self) -> Antigen | None:
        """What a row without an antigen is read with: a campaign's own; None for other models."""
        return None if self._campaign is None else self._campaign.campaign.default_antigen

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the model as a folder; raises `OutputError` if it cannot be written."""
        return write_bundle(self.bundle, folder)

    def predict(
        self,
        source: Any,
        *,
        parent: str | None = None,
        coverage: float = DEFAULT_COVERAGE,
        strong_threshold_pkd: float = STRONG_PKD,
        columns: Mapping[str, str] | None = None,
    ) -> Any:
        """Predict every row of a table.

        Parameters
        ----------
        source : path, DataFrame (polars or pandas), InputTable, or sequence of Pair
        parent : str, optional
            Id of the row that the others are compared with.
        coverage : float
            Of the intervals, 0.01 to 0.99.
        strong_threshold_pkd : float
            pKd from which a binder counts as strong, for ``p_strong``.
        columns : mapping of str to str, optional
            Canonical name to the table's column, where the name is not known.

        Returns
        -------
        DataFrame
            `paratope.models.prediction.OUTPUT_COLUMNS` (with a parent also its
            `PARENT_COLUMNS`), then the table's own columns, rows in order; pandas if a pandas frame
            came in, else polars. A row that cannot be
            predicted has its ``error`` and no numbers.

        Raises
        ------
        InputError
            If the table cannot be read, or the parent is not in it.
        """
        is_pandas = hasattr(source, "iloc")
        table = _as_table(source, columns, self.default_antigen)
        predictions = self.predict_rows(
            table.rows,
            parent=None if parent is None else self.parent(table, parent),
            coverage=coverage,
            strong_threshold_pkd=strong_threshold_pkd,
        )
        frame = prediction_frame(table, predictions, parent is not None, self.label)
        return frame.to_pandas() if is_pandas else frame

    def predict_pkd(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Calibrated pKd of pairs, (n,); raises `InputError` if one cannot be predicted."""
        if self.label != "pkd":
            raise InputError("this model was adapted on scores; it knows no pKd")
        if not pairs:
            return np.zeros(0)
        if self._campaign is not None:
            return self._campaign.predict(pairs)
        predictions = self.predict_rows(_as_table(pairs, None).rows)
        for prediction in predictions:
            if prediction.error:
                raise InputError(prediction.error)
        return np.array([prediction.pkd for prediction in predictions], dtype=float)

    def parent(self, table: InputTable, row_id: str) -> Pair:
        """The pair of the row with an id; raises `InputError` if there is none."""
        rows = [row for row in table.rows if row.id == row_id]
        if not rows:
            known = ", ".join(row.id for row in table.rows[:5])
            raise InputError(
                f"{table.source}: no row has the id {row_id!r} named as parent; ids begin {known}"
            )
        if rows[0].pair is None:
            raise InputError(f"the parent {row_id!r} cannot be predicted: {rows[0].error}")
        return rows[0].pair

    def predict_rows(
        self,
        rows: Sequence[TableRow],
        *,
        parent: Pair | None = None,
        coverage: float = DEFAULT_COVERAGE,
        strong_threshold_pkd: float = STRONG_PKD,
    ) -> list[Prediction]:
        """Predictions of rows as read, in order; `parent` is what changes are counted from."""
        check_options(coverage, strong_threshold_pkd)
        pairs: list[Pair] = []
        about: dict[int, tuple[str, ...]] = {}
        errors = {}
        for number, row in enumerate(rows):
            if row.error is not None or row.pair is None:
                errors[number] = row.error or "no pair in this row"
                continue
            try:
                pair, note = self._fit(row.pair)
            except EncoderError as error:
                errors[number] = f"row {row.id!r}: {error}"
                continue
            about[number] = (*row.notes, note or "")
            pairs.append(pair)
        options = (coverage, strong_threshold_pkd)
        answers = iter(
            self._network_answers(pairs, parent, *options)
            if self._campaign is None
            else self._campaign.prediction_columns(
                pairs, self.familiarity.judge(pairs), *options, parent
            )
        )
        predictions = []
        for number, row in enumerate(rows):
            if number in errors:
                note = "; ".join(row.notes)
                predictions.append(Prediction(row.id, coverage, note=note, error=errors[number]))
                continue
            answer = next(answers)
            notes = (*about[number], answer.pop("note"))
            note = "; ".join(text for text in notes if text)
            predictions.append(Prediction(row.id, coverage, note=note, **answer))
        return predictions

    def _network_answers(
        self, pairs: Sequence[Pair], parent: Pair | None, coverage: float, threshold_pkd: float
    ) -> list[dict[str, Any]]:
        """Fields of `Prediction` for each pair."""
        closeness = self.familiarity.judge(pairs)
        domains = [close.domain for close in closeness]
        raw = self.raw_scores(pairs)
        answer = self.calibration.apply(*raw, domains, coverage, threshold_pkd)
        change = None
        if parent is not None:
            parent_pkd = float(self.predict_pkd([parent])[0])
            change = self.calibration.difference(answer.pkd, parent_pkd, domains, coverage)
        return [
            {
                "pkd": float(answer.pkd[index]),
                "pkd_low": float(answer.low[index]),
                "pkd_high": float(answer.high[index]),
                "kd_nM": pkd_to_kd_nM(float(answer.pkd[index])),
                "p_strong": float(answer.p_strong[index]),
                "domain": close.domain,
                "antigen_identity": close.antigen_identity,
                "antibody_identity": close.antibody_identity,
                "note": _OUT_OF_DOMAIN if close.domain == "out" else "",
                **({} if change is None else _change_of(change, index)),
            }
            for index, close in enumerate(closeness)
        ]

    def raw_scores(self, pairs: Sequence[Pair]) -> RawScores:
        """Uncalibrated answers of pairs cut to variable domains and to the encoders' limits."""
        antibodies = [pair.antibody.chains for pair in pairs]
        antigens = [pair.antigen.chains for pair in pairs]
        self._antibody_store.fill(dict.fromkeys(antibodies), progress=True)
        self._antigen_store.fill(dict.fromkeys(antigens), progress=True)
        return self.ensemble.score_pairs(antibodies, antigens)

    def _fit(self, pair: Pair) -> tuple[Pair, str | None]:
        if self._campaign is not None:
            return pair, None
        return fit_pair(pair, self.antibody_encoder, self.antigen_encoder, self.max_residues)


def fit_pair(
    pair: Pair, antibody_encoder: Encoder, antigen_encoder: Encoder, max_residues: int = 0
) -> tuple[Pair, str | None]:
    """A pair cut to what the encoders see, and a note if something had to be cut.

    Raises `EncoderError` if an encoder refuses a molecule.
    """
    antibody, antigen = pair.antibody, pair.antigen
    heavy_light, note = fit_molecule(antibody_encoder, antibody.chains, "antibody", max_residues)
    chains, antigen_note = fit_molecule(antigen_encoder, antigen.chains, "antigen", max_residues)
    fitted = Pair(
        Antibody(heavy_light[0], (*heavy_light[1:], None)[0], antibody.name),
        Antigen(chains, antigen.name),
    )
    return fitted, "; ".join(text for text in (note, antigen_note) if text) or None


def _as_table(
    source: Any, columns: Mapping[str, str] | None, default_antigen: Antigen | None = None
) -> InputTable:
    if isinstance(source, InputTable):
        return source
    if isinstance(source, str | os.PathLike) or hasattr(source, "read"):
        return read_table(source, columns=columns, default_antigen=default_antigen)
    if isinstance(source, Sequence) and all(isinstance(item, Pair) for item in source):
        return table_from_frame(_pairs_frame(source))
    return table_from_frame(source, columns=columns, default_antigen=default_antigen)


def _pairs_frame(pairs: Sequence[Pair]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": [pair.antibody.name or str(n) for n, pair in enumerate(pairs, start=1)],
            "heavy": [pair.antibody.heavy for pair in pairs],
            "light": [pair.antibody.light or "" for pair in pairs],
            "antigen": ["|".join(pair.antigen.chains) for pair in pairs],
        },
        schema=dict.fromkeys(("id", "heavy", "light", "antigen"), pl.String),
    )


def _change_of(change: Any, index: int) -> dict[str, Any]:
    values = (change.delta, change.low, change.high, change.p_stronger)
    return {name: float(array[index]) for name, array in zip(PARENT_COLUMNS, values, strict=True)}


def _networks(bundle: Bundle, members: int, device: str, lora: LoraSettings) -> list[Network]:
    from paratope.encoders.transformer import resolve_device

    config = network_config_from_json(bundle.config.get("network"))
    states: list[dict[str, Any]] = [{} for _ in range(members)]
    for name, tensor in bundle.weights.items():
        number, _, parameter = name.partition(".")
        if not number.isdigit() or int(number) >= members:
            raise ModelError(f"model.safetensors holds {name!r}, of no network of this model")
        states[int(number)][parameter] = tensor
    networks = []
    for number, state in enumerate(states):
        network = build_network(config, lora, bundle.config["encoders"], device)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise ModelError(
                f"model.safetensors does not fit config.json (network {number}): "
                f"{' '.join(str(error).split())[:300]}"
            ) from error
        networks.append(network.to(resolve_device(device)))
    return networks


def iter_predictions(
    predictor: Predictor, tables: Iterator[InputTable], **options: Any
) -> Iterator[tuple[pl.DataFrame, list[Prediction]]]:
    """Predictions of a table that comes in blocks, block by block; options of `predict_rows`."""
    for table in tables:
        predictions = predictor.predict_rows(table.rows, **options)
        with_parent = options.get("parent") is not None
        yield prediction_frame(table, predictions, with_parent, predictor.label), predictions
