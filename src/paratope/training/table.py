"""`train_table`: a user's table and a recipe in, a run folder with a trained network out."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from paratope.core.errors import EncoderError, InputError, TrainingError
from paratope.data.measurements import Measurement
from paratope.data.splits import split_measurements
from paratope.data.tables import InputTable, parse_columns, read_frame, read_table, write_table
from paratope.encoders import Encoder, load_encoder
from paratope.encoders.language_models import resolve_device
from paratope.models.batches import Examples
from paratope.models.fine_tuning import open_store
from paratope.models.model import Scored
from paratope.models.network_model import fit_pair
from paratope.models.recipes import Recipe, in_folder
from paratope.training.checkpoints import callers_random_state_kept
from paratope.training.learner import score
from paratope.training.loggers import check_loggers, open_loggers
from paratope.training.loop import FitResult, RunOptions, fit
from paratope.training.run_folder import (
    HistoryFile,
    input_files,
    molecule_columns,
    open_run_folder,
    other_columns,
    prediction_table,
    split_table,
    write_predictions,
    write_run,
)

PARTS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, slots=True)
class UsableRows:
    """Rows of a table that can be trained on."""

    ids: tuple[str, ...]
    # measurements, cut: As read, and as cut to what the encoders see
    measurements: tuple[Measurement, ...]
    cut: tuple[Measurement, ...]
    left_out: dict[str, int]  # Rows that could not be used, by why
    notes: dict[str, int]  # What was changed in rows, and in how many
    columns: pl.DataFrame  # The table's columns beside id, molecules and assay


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingRows:
    """What a table holds for a recipe: usable rows in parts, and the encoders that read them."""

    encoders: tuple[Encoder, Encoder]  # Of antibodies and of antigens
    usable: UsableRows
    # (n,) ``"train"``, ``"validation"`` or ``"test"``; empty for rows that a split file leaves out
    parts: np.ndarray
    split: str  # How the parts were found
    table_notes: tuple[str, ...]  # What is to be known about the table as a whole

    @classmethod
    def read(cls, recipe: Recipe, device: str) -> "TrainingRows":
        """Read the table that the recipe's section ``data`` names.

        Raises `InputError` or `TrainingError` if it cannot be read or split, or no row be used.
        """
        data = recipe.data
        columns = parse_columns(data.columns) if data.columns else None
        table = read_table(data.table, columns=columns, require="measured")
        names = recipe.encoders
        encoders = load_encoder(names.antibody, device), load_encoder(names.antigen, device)
        usable = usable_rows(table, *encoders, names.max_residues)
        parts, split = parts_of(usable.measurements, usable.ids, data.split, data.split_seed)
        return cls(encoders, usable, parts, split, tuple(table.notes))


def usable_rows(
    table: InputTable, antibody_encoder: Encoder, antigen_encoder: Encoder, max_residues: int
) -> UsableRows:
    """Rows with a pKd and molecules the encoders take, cut to what these see.

    Raises `TrainingError` if there is none, with the first row's error.
    """
    left_out: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    errors: list[str] = []
    ids, kept, cut, positions = [], [], [], []
    for position, row in enumerate(table.rows):
        measurement = row.measurement
        if row.error is not None or measurement is None:
            left_out["rows in error"] += 1
            errors.append(row.error or f"row {row.id!r}: no measured value")
            continue
        if measurement.pkd is None:
            left_out["rows without a pKd"] += 1
            errors.append(f"row {row.id!r}: no pKd")
            continue
        try:
            pair, note = fit_pair(measurement.pair, antibody_encoder, antigen_encoder, max_residues)
        except EncoderError as error:
            left_out["rows refused by an encoder"] += 1
            errors.append(f"row {row.id!r}: {error}")
            continue
        if note:
            notes["rows cut to what the encoders see"] += 1
        ids.append(row.id)
        positions.append(position)
        kept.append(measurement)
        cut.append(dataclasses.replace(measurement, pair=pair))
    if not kept:
        first = errors[0] if errors else "the table has no rows"
        raise TrainingError(f"{table.source}: no row can be trained on; first error: {first}")
    columns = other_columns(table)[positions]
    return UsableRows(tuple(ids), tuple(kept), tuple(cut), dict(left_out), dict(notes), columns)


def parts_of(
    measurements: Sequence[Measurement], ids: Sequence[str], split: str, seed: int
) -> tuple[np.ndarray, str]:
    """Part of each measurement, (n,), empty for rows a split file leaves out; and in words how.

    `split` is a kind of split, the path of a table with a column ``split`` (which `ids` are for),
    or empty for the strictest kind the data allow: by antigen cluster, by antibody, random. Raises
    `TrainingError` if no row is left to train on or the file does not name the parts of these rows,
    `InputError` if the kind is unknown or cannot be made of these rows.
    """
    if split and Path(split).is_file():
        parts, how = _parts_in_file(Path(split), ids), f"file {Path(split).name}"
    else:
        antigens = {measurement.pair.antigen.chains for measurement in measurements}
        # with fewer antigens than parts, a split by antigen cannot fill them
        kinds = ("antigen", "antibody", "random")[len(antigens) < len(PARTS) :]
        kinds = (split,) if split else kinds
        for how in kinds:
            try:
                parts = split_measurements(measurements, how, seed=seed).assignment.astype(str)
                break
            except InputError:  # too few groups of this kind: the next kind is less strict
                if how == kinds[-1]:
                    raise
    if "train" not in parts:
        raise TrainingError(f"split by {how}: no row is in the part 'train'")
    return parts, how


def _parts_in_file(path: Path, ids: Sequence[str]) -> np.ndarray:
    table = read_frame(path)
    frame = table.frame
    if "split" not in frame.columns:
        raise TrainingError(
            f"{path}: no column split; a split file has a column split and the rows' id (or the "
            f"table's own rows in order), found {', '.join(frame.columns)}"
        )
    numbers = [str(number) for number in range(1, len(frame) + 1)]
    row_ids = frame[table.columns["id"]].to_list() if "id" in table.columns else numbers
    part: dict[str, str] = {}
    for row_id, value in zip(row_ids, frame["split"].to_list(), strict=True):
        name = str(value or "")
        if name not in ("", *PARTS):
            raise TrainingError(
                f"{path}: column split holds {name!r}; expected {', '.join(PARTS)}, or nothing "
                "for rows to be left out"
            )
        if part.setdefault(str(row_id), name) != name:
            raise TrainingError(
                f"{path}: id {row_id!r} is in two parts, {part[str(row_id)]} and {name}"
            )
    if not set(ids) & set(part):
        raise TrainingError(f"{path}: none of its ids is in the table; it is of another table")
    return np.array([part.get(row_id, "") for row_id in ids], dtype=str)


@dataclasses.dataclass(frozen=True, slots=True)
class TrainedTable:
    """A network trained on a table, and what it was trained on."""

    result: FitResult
    rows: TrainingRows  # Which rows were used, in which parts, and what was left out
    scores: dict[str, Scored]  # What the network says of each part's rows, in their order

    @property
    def recipe(self) -> Recipe:
        """The recipe with table and split, whose relative paths are from the run folder."""
        return self.result.recipe

    @property
    def encoder_names(self) -> dict[str, str]:
        """The encoder of each side, with its revision."""
        antibody, antigen = self.rows.encoders
        return {"antibody": antibody.name, "antigen": antigen.name}

    @property
    def part_sizes(self) -> dict[str, int]:
        """Rows of each part."""
        return {name: int((self.rows.parts == name).sum()) for name in PARTS}

    def part(self, name: str) -> tuple[list[str], list[Measurement]]:
        """Identifiers and measurements of one part, cut to what the encoders see."""
        chosen = np.flatnonzero(self.rows.parts == name)
        usable = self.rows.usable
        return [usable.ids[row] for row in chosen], [usable.cut[row] for row in chosen]

    def test_predictions(self) -> pl.DataFrame:
        """What the network says of the test rows, beside their molecules and other columns."""
        chosen, usable = np.flatnonzero(self.rows.parts == "test"), self.rows.usable
        molecules = molecule_columns([usable.measurements[row] for row in chosen])
        columns = molecules.hstack(usable.columns[chosen])
        return prediction_table(*self.part("test"), self.scores["test"], columns)


@callers_random_state_kept()
def train_table(
    source: str | Path, recipe: Recipe, folder: str | Path, options: RunOptions | None = None
) -> TrainedTable:
    """Train on a table of measurements and write the run folder.

    Rows that cannot be used (in error, without a pKd, refused by an encoder) are counted and left
    out. The global random number generators are left as they were.

    `source` is a table with heavy, light, antigen and a measured value (`read_table`). The recipe's
    ``data.split`` says how the rows are split, ``data.columns`` which columns to read (such as
    ``"heavy=VH"``), ``encoders`` which encoders read them. `folder` is made if it does not exist.
    Raises `InputError` if the table cannot be read or split, `TrainingError` if no row can be used,
    or the folder holds another run and is not to be resumed.
    """
    options, run = options or RunOptions(), Path(folder)
    data = recipe.data.model_copy(update={"table": str(source)})
    recipe = recipe.model_copy(update={"data": data})
    resolve_device(options.device)  # a wrong one is said before the table is read
    names = check_loggers(options.loggers)
    inputs = input_files(recipe)
    rows = TrainingRows.read(recipe, options.device)
    recipe = in_folder(recipe, run)  # the run's files say the same, wherever it was started from
    examples = {}
    for name in PARTS:
        chosen = [rows.usable.cut[row] for row in np.flatnonzero(rows.parts == name)]
        examples[name] = Examples.from_measurements(chosen)
    # not before the table proved usable
    with open_run_folder(run, recipe, options.resume, options.say) as log:
        history = HistoryFile(run, recipe.name)
        with (
            open_store(rows.encoders[0], "antibody", recipe.lora) as antibodies,
            open_store(rows.encoders[1], "antigen", recipe.lora) as antigens,
            open_loggers(names, run, recipe, log.note, history) as loggers,
        ):
            log.write_history = loggers.log
            for part in examples.values():
                antibodies.fill(part.antibodies, options.progress)
                antigens.fill(part.antigens, options.progress)
            stores = antibodies, antigens
            parts = examples["train"], examples["validation"]
            result = fit(*parts, recipe, stores, options, folder=run / "checkpoints", log=log)
            log.event("scores")
            network = result.network()
            scores = {name: score(network, part, stores) for name, part in examples.items()}
        trained = TrainedTable(result, rows, scores)
        log.event("results")
        about = {
            "rows": trained.part_sizes,
            "left_out": rows.usable.left_out,
            "notes": rows.usable.notes,
            "split": rows.split,
            "encoders": trained.encoder_names,
            "inputs": inputs,
        }
        write_run(run, result, {name: trained.part(name) for name in PARTS}, scores, about)
        usable = rows.usable
        split = split_table(usable.ids, usable.measurements, rows.parts.tolist())
        write_table(split, run / "split.csv")
        write_predictions(run, trained.test_predictions())
    return trained
