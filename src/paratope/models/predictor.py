"""The one object users hold: load a model, predict a table, save it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast, overload

import numpy as np
import polars as pl

from paratope.core.errors import EncoderError, InputError, ModelError
from paratope.core.units import STRONG_PKD
from paratope.data.measurements import PairContext
from paratope.data.tables import InputTable, TableRow, id_among, read_table, table_from_frame
from paratope.models.bundle import Bundle, write_bundle
from paratope.models.calibration import check_options
from paratope.models.explanation import ExplainedRow, explanation_frame
from paratope.models.model import DEFAULT_COVERAGE, Label, Model
from paratope.models.prediction import (
    Prediction,
    output_columns,
    prediction_frame,
    row_prediction,
)
from paratope.molecules.alignment import consensus_pair
from paratope.molecules.numbering import prepare_antibody
from paratope.molecules.sequences import Antigen, Pair

if TYPE_CHECKING:
    import pandas as pd

Source = str | os.PathLike[str] | pl.DataFrame | InputTable | Sequence[Pair]


class Predictor:
    """A trained model, and the bundle it was read from. Use `Predictor.load`."""

    def __init__(self, model: Model, bundle: Bundle) -> None:
        self.model = model
        self.bundle = bundle

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] = "default",
        device: str = "auto",
        cache: str | os.PathLike[str] | None = None,
    ) -> "Predictor":
        """A model of a folder (of a run, its ``bundle``), or a name of `BUNDLED_MODELS`.

        `device` is ``auto``, ``cpu`` or ``cuda``; `cache` the folder of the embedding stores.
        Raises `ModelError` if there is no such model, or its folder is incomplete or altered,
        `EncoderError` if one of its encoders is not here.
        """
        from paratope.opening import open_predictor

        return open_predictor(source, device, cache)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        encoders = self.bundle.config.get("encoders", {})
        named = ", ".join(name for side in ("antibody", "antigen") if (name := encoders.get(side)))
        kind = self.bundle.config.get("kind", "network")
        return f"Predictor({kind} model of {self.label}, encoders: {named or 'none'})"

    def close(self) -> None:
        """Close the embedding stores; the predictor cannot be used afterwards."""
        self.model.close()

    @property
    def label(self) -> Label:
        """What the model answers in: ``"pkd"``, or ``"score"`` if it was adapted on scores."""
        return self.model.label

    @property
    def campaign(self) -> Any:  # a CampaignModel, of a wing above this one
        """What was learned of a campaign; raises `ModelError` for a model that is of none."""
        if not self.bundle.campaign:
            raise ModelError(
                "this model was not adapted to a campaign; make one of measurements with: "
                "paratope adapt measurements.csv -o my-campaign"
            )
        return self.model

    @property
    def default_antigen(self) -> Antigen | None:
        """What a row without an antigen is read with: a campaign's own; None for other models."""
        return self.model.default_antigen

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the model as a folder; raises `OutputError` if it cannot be written."""
        return write_bundle(self.bundle, folder)

    @overload
    def predict(
        self,
        source: Source,
        *,
        parent: str | None = None,
        coverage: float = DEFAULT_COVERAGE,
        strong_threshold_pkd: float = STRONG_PKD,
        columns: Mapping[str, str] | None = None,
    ) -> pl.DataFrame: ...

    @overload
    def predict(
        self,
        source: "pd.DataFrame",
        *,
        parent: str | None = None,
        coverage: float = DEFAULT_COVERAGE,
        strong_threshold_pkd: float = STRONG_PKD,
        columns: Mapping[str, str] | None = None,
    ) -> "pd.DataFrame": ...

    def predict(
        self,
        source: "Source | pd.DataFrame",
        *,
        parent: str | None = None,
        coverage: float = DEFAULT_COVERAGE,
        strong_threshold_pkd: float = STRONG_PKD,
        columns: Mapping[str, str] | None = None,
    ) -> "pl.DataFrame | pd.DataFrame":
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
            `paratope.models.prediction.OUTPUT_COLUMNS` (of a campaign's model also its
            `CAMPAIGN_COLUMNS`, with a parent its `PARENT_COLUMNS`), then the table's own columns,
            rows in order; pandas with the same index if a pandas frame came in, else polars. A row
            that cannot be predicted has its ``error`` and no numbers.

        Raises
        ------
        InputError
            If the table cannot be read, or the parent is not in it.
        """
        table = self._table(source, columns)
        predictions = self.predict_rows(
            table.rows,
            parent=None if parent is None else self.parent(table, parent),
            coverage=coverage,
            strong_threshold_pkd=strong_threshold_pkd,
        )
        return prediction_frame(table, predictions, self.output_columns(parent is not None))

    def output_columns(self, with_parent: bool = False) -> tuple[str, ...]:
        """Names of the columns that `predict` adds to a table."""
        return output_columns(with_parent, self.label, bool(self.bundle.campaign))

    def explain(
        self,
        source: "Source | pd.DataFrame",
        *,
        parent: str | None = None,
        columns: Mapping[str, str] | None = None,
    ) -> pl.DataFrame:
        """What each prediction is made of, in long form: a line a part and a line a mutation.

        Takes what `predict` takes. Of the general model the ``pkd`` of a row's lines add up to its
        prediction; of networks they are an occlusion: each residue by what the pKd loses with an X
        in its place. Columns are those of `paratope.models.explanation.COLUMNS`. Raises
        `InputError` as `predict` does, `ModelError` for a campaign's model, which has no parts.
        """
        table = self._table(source, columns)
        named = None if parent is None else self.parent(table, parent)
        return explanation_frame(self.explain_rows(table.rows, parent=named))

    def _table(
        self, source: "Source | pd.DataFrame", columns: Mapping[str, str] | None
    ) -> InputTable:
        if isinstance(source, InputTable):
            return source
        if isinstance(source, str | os.PathLike) or hasattr(source, "read"):
            path = cast("str | os.PathLike[str]", source)
            return read_table(path, columns=columns, default_antigen=self.default_antigen)
        if isinstance(source, Sequence) and all(isinstance(item, Pair) for item in source):
            names = ("id", "heavy", "light", "antigen")
            rows = [
                (pair.antibody.name or str(number), pair.antibody.heavy, pair.antibody.light or "")
                + ("|".join(pair.antigen.chains),)
                for number, pair in enumerate(source, start=1)
            ]
            schema: dict[str, Any] = dict.fromkeys(names, pl.String)
            return table_from_frame(pl.DataFrame(rows, schema=schema, orient="row"))
        # all but a frame is refused there
        frame = cast("pl.DataFrame | pd.DataFrame", source)
        options = {"columns": columns, "default_antigen": self.default_antigen}
        return table_from_frame(frame, **options)

    def predict_pkd(self, pairs: Sequence[Pair], parents: Sequence[Pair] = ()) -> np.ndarray:
        """Calibrated pKd of pairs, (n,); raises `InputError` if one cannot be predicted.

        Each is a variant of the parent that it differs least from, if there are any.
        """
        if self.label != "pkd":
            raise InputError("this model was adapted on scores; it knows no pKd")
        if not pairs:
            return np.zeros(0)
        try:
            fitted = [
                self.model.cut_pair(Pair(prepare_antibody(pair.antibody)[0], pair.antigen))[0]
                for pair in pairs
            ]
        except EncoderError as error:
            raise InputError(str(error)) from error
        contexts = None
        if parents:
            contexts = [PairContext(nearest_parent(pair, parents)) for pair in fitted]
        return self.model.predict_pairs(fitted, contexts=contexts).calibrated.value

    def parent(self, table: InputTable, row_id: str) -> Pair:
        """The pair of the row with an id; raises `InputError` if there is none."""
        row_id = id_among(row_id, {row.id for row in table.rows})
        rows = [row for row in table.rows if row.id == row_id]
        if not rows:
            known = ", ".join(row.id for row in table.rows[:5])
            raise InputError(
                f"{table.source}: no row has the id {row_id!r} named as parent; ids begin {known}"
            )
        if rows[0].pair is None:
            raise InputError(f"the parent {row_id!r} cannot be predicted: {rows[0].error}")
        return rows[0].pair

    def family_parent(self, table: InputTable) -> Pair:
        """Consensus of a table's antibodies; raises `InputError` if no two of them can be read.

        They should be variants of one antibody against one antigen.
        """
        pairs = [row.pair for row in table.rows if row.pair is not None]
        if len({pair.antibody.chains for pair in pairs}) < 2:
            raise InputError(
                f"{table.source}: a family's consensus needs at least two antibodies; name the "
                "parent instead"
            )
        return consensus_pair(pairs)

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
        pairs, contexts, notes, errors = self._readable(rows)
        answers = self.model.predict_pairs(
            pairs,
            parent=parent,
            coverage=coverage,
            strong_threshold_pkd=strong_threshold_pkd,
            contexts=contexts,
        )
        if answers.difference is not None and parent is not None:
            itself = _residues(self.model.cut_pair(parent)[0])
            same = np.array([_residues(pair) == itself for pair in pairs], dtype=bool)
            for values, certain in zip(answers.difference, (0.0, 0.0, 0.0, 0.5), strict=True):
                values[same] = certain
        pair_index = iter(range(len(pairs)))
        return [
            Prediction(row.id, coverage, note="; ".join(row.notes), error=errors[index])
            if index in errors
            else row_prediction(
                row.id, coverage, notes[index], answers, next(pair_index), self.label
            )
            for index, row in enumerate(rows)
        ]

    def explain_rows(
        self, rows: Sequence[TableRow], *, parent: Pair | None = None
    ) -> list[ExplainedRow]:
        """Explanations of rows as read, in order; `parent` is what changes are counted from."""
        pairs, contexts, notes, errors = self._readable(rows)
        answers = iter(self.model.explain(pairs, contexts, parent))
        told = []
        for index, row in enumerate(rows):
            explanation = None if index in errors else next(answers)
            own = notes[index] if explanation is None else [*notes[index], explanation.note]
            note = "; ".join(filter(None, own))
            told.append(ExplainedRow(row.id, explanation, note, errors.get(index, "")))
        return told

    def _readable(self, rows: Sequence[TableRow]) -> "_Readable":
        pairs: list[Pair] = []
        contexts: list[PairContext] = []
        errors: dict[int, str] = {}
        notes = [list(row.notes) for row in rows]
        for index, row in enumerate(rows):
            if row.error is not None or row.pair is None:
                errors[index] = row.error or "no pair in this row"
                continue
            try:
                pair, note = self.model.cut_pair(row.pair)
            except EncoderError as error:
                errors[index] = f"row {row.id!r}: {error}"
                continue
            notes[index].append(note or "")
            pairs.append(pair)
            contexts.append(row.context)
        return _Readable(pairs, contexts, notes, errors)


class _Readable(NamedTuple):
    """What can be predicted of rows, with notes and errors by the rows' index."""

    pairs: list[Pair]
    contexts: list[PairContext]
    notes: list[list[str]]
    errors: dict[int, str]


def nearest_parent(pair: Pair, parents: Sequence[Pair]) -> Pair:
    """The parent whose chains are the fewest edits away, the first of equals."""
    from rapidfuzz.distance import Levenshtein

    text = "|".join((*pair.antibody.chains, *pair.antigen.chains))
    return min(
        parents,
        key=lambda parent: Levenshtein.distance(
            text, "|".join((*parent.antibody.chains, *parent.antigen.chains))
        ),
    )


def _residues(pair: Pair) -> tuple[tuple[str, ...], ...]:
    return pair.antibody.chains, pair.antigen.chains
