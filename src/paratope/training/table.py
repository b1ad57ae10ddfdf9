"""`train_table`: a user's table and a recipe in, a run folder with a trained network out."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from paratope.core.errors import EncoderError, TrainingError
from paratope.core.interruption import Interruption
from paratope.data.measurements import Measurement
from paratope.data.tables import InputTable, parse_columns, read_table
from paratope.encoders import Encoder, load_encoder
from paratope.encoders.transformer import resolve_device
from paratope.models.batches import Examples, fit_molecule
from paratope.models.fine_tuning import open_store
from paratope.models.recipes import Recipe
from paratope.molecules.sequences import Antibody, Antigen, Pair
from paratope.training.fitting import fit
from paratope.training.history import HistoryFile
from paratope.training.loggers import check_loggers, open_loggers
from paratope.training.parts import PARTS, parts_of
from paratope.training.results import FitResult, Record, Scores, score
from paratope.training.run_folder import input_files, open_run_folder, write_run


@dataclasses.dataclass(frozen=True, slots=True)
class TrainedTable:
    """A network trained on a table, and what it was trained on.

    Attributes
    ----------
    result : FitResult
    recipe : Recipe
        With table and split filled in.
    antibody_encoder, antigen_encoder : str
        Names with revisions.
    ids : tuple of str
        Identifiers of the rows used.
    measurements : tuple of Measurement
        Of the rows used, cut to what the encoders see.
    parts : ndarray of str
        ``"train"``, ``"validation"`` or ``"test"`` for each of them; empty for unused rows.
    scores : dict of str to Scores
        What the network says of each part's rows, in their order.
    left_out : dict of str to int
        Rows that could not be used, by why.
    notes : dict of str to int
        What was changed in rows, and in how many.
    split : str
        How the parts were found.
    table_notes : tuple of str
        What is to be known about the table as a whole.
    """

    result: FitResult
    recipe: Recipe
    antibody_encoder: str
    antigen_encoder: str
    ids: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    parts: np.ndarray
    scores: dict[str, Scores]
    left_out: dict[str, int]
    notes: dict[str, int]
    split: str
    table_notes: tuple[str, ...] = ()

    @property
    def part_sizes(self) -> dict[str, int]:
        """Rows of each part."""
        return {name: int((self.parts == name).sum()) for name in PARTS}

    def part(self, name: str) -> tuple[list[str], list[Measurement]]:
        """Identifiers and measurements of one part."""
        rows = np.flatnonzero(self.parts == name)
        return [self.ids[row] for row in rows], [self.measurements[row] for row in rows]


def train_table(
    source: str | Path,
    recipe: Recipe,
    folder: str | Path,
    *,
    device: str = "auto",
    resume: bool = False,
    progress: bool | None = None,
    on_epoch: Callable[[Record], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    loggers: Sequence[str] = (),
    interruption: Interruption | None = None,
) -> TrainedTable:
    """Train on a table of measurements and write the run folder.

    Rows that cannot be used (in error, without a pKd, refused by an encoder) are counted and left
    out.

    Parameters
    ----------
    source : path
        Table with heavy, light, antigen and a measured value; see `read_table`.
    recipe : Recipe
        ``data.split`` says how the rows are split, ``data.columns`` which columns to read (such as
        ``"heavy=VH"``), ``encoders`` which encoders read them.
    folder : path
        Run folder; made if it does not exist.
    device : str
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    resume : bool
        Go on from the folder's checkpoint, if there is one.
    progress : bool, optional
        Show bars on stderr; by default if that is a terminal.
    on_epoch : callable, optional
        Called with every epoch's record.
    on_note : callable, optional
        Told in words where a resumed run goes on, and what was wrong with a checkpoint.
    loggers : sequence of str
        Where epochs are written beside the run folder's CSV; see `LOGGERS`.
    interruption : Interruption, optional
        Heeded while training; `Interrupted` is raised once the last step is saved.

    Returns
    -------
    TrainedTable

    Raises
    ------
    InputError
        If the table cannot be read or split.
    TrainingError
        If no row can be used, or the folder holds another run and `resume` is not asked for.
    """
    data = recipe.data.model_copy(update={"table": str(source)})
    recipe = recipe.model_copy(update={"data": data})
    resolve_device(device)  # a wrong one is said before the table is read
    loggers = check_loggers(loggers)
    material = _material(recipe, device)
    run, examples = Path(folder), material.examples
    # not before the table proved usable
    with open_run_folder(run, recipe, resume, on_note) as log:
        antibody_encoder, antigen_encoder = material.encoders
        history = HistoryFile(run, recipe.name)
        shown = progress is not False  # a store shows no bar off a terminal
        with (
            open_store(antibody_encoder, "antibody", recipe.lora) as antibodies,
            open_store(antigen_encoder, "antigen", recipe.lora) as antigens,
            open_loggers(loggers, run, recipe, log.note, history) as written,
        ):
            for part in examples.values():
                antibodies.fill(part.antibodies, progress=shown)
                antigens.fill(part.antigens, progress=shown)
            result = fit(
                *(examples["train"], examples["validation"], recipe, antibodies, antigens),
                folder=run / "checkpoints",
                resume=resume,
                device=device,
                progress=progress,
                on_epoch=on_epoch,
                loggers=written,
                log=log,
                interruption=interruption,
            )
            log.event("scores")
            network = result.network()
            scores = {
                name: score(network, part, antibodies, antigens) for name, part in examples.items()
            }
        trained = material.trained(result, scores)
        log.event("results")
        about = {**_about(trained), "inputs": material.inputs}
        write_run(run, result, {name: trained.part(name) for name in PARTS}, scores, about)
    return trained


@dataclasses.dataclass(frozen=True, slots=True)
class _Material:
    """What a table holds for a recipe: rows in parts, read by the recipe's encoders."""

    encoders: tuple[Encoder, Encoder]
    rows: "UsableRows"
    parts: np.ndarray
    split: str
    examples: dict[str, Examples]
    table_notes: tuple[str, ...]
    inputs: dict[str, str]

    def trained(self, result: FitResult, scores: dict[str, Scores]) -> TrainedTable:
        antibody_encoder, antigen_encoder = self.encoders
        return TrainedTable(
            result=result,
            recipe=result.recipe,
            antibody_encoder=antibody_encoder.name,
            antigen_encoder=antigen_encoder.name,
            ids=self.rows.ids,
            measurements=self.rows.cut,
            parts=self.parts,
            scores=scores,
            left_out=self.rows.left_out,
            notes=self.rows.notes,
            split=self.split,
            table_notes=self.table_notes,
        )


def _material(recipe: Recipe, device: str) -> _Material:
    data = recipe.data
    inputs = input_files(recipe)
    columns = parse_columns(data.columns) if data.columns else None
    table = read_table(data.table, columns=columns, require="measured")
    encoders = (
        load_encoder(recipe.encoders.antibody, device),
        load_encoder(recipe.encoders.antigen, device),
    )
    rows = usable_rows(table, *encoders, recipe.encoders.max_residues)
    parts, how = parts_of(rows.measurements, rows.ids, data.split, recipe.training.seed)
    examples = {
        name: Examples.from_measurements([rows.cut[row] for row in np.flatnonzero(parts == name)])
        for name in PARTS
    }
    return _Material(encoders, rows, parts, how, examples, tuple(table.notes), inputs)


@dataclasses.dataclass(frozen=True, slots=True)
class UsableRows:
    """Rows of a table that can be trained on, as read and as cut to what the encoders see."""

    ids: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    cut: tuple[Measurement, ...]
    left_out: dict[str, int]
    notes: dict[str, int]


def usable_rows(
    table: InputTable, antibody_encoder: Encoder, antigen_encoder: Encoder, max_residues: int
) -> UsableRows:
    """Rows with a pKd and molecules the encoders take, cut to what these see.

    Raises
    ------
    TrainingError
        If there is none; the message tells the first row's error.
    """
    left_out: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    errors: list[str] = []
    ids, kept, cut = [], [], []
    for row in table.rows:
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
            pair, changed = _fit_pair(
                measurement.pair, antibody_encoder, antigen_encoder, max_residues
            )
        except EncoderError as error:
            left_out["rows refused by an encoder"] += 1
            errors.append(f"row {row.id!r}: {error}")
            continue
        notes.update(changed)
        ids.append(row.id)
        kept.append(measurement)
        cut.append(dataclasses.replace(measurement, pair=pair))
    if not kept:
        first = errors[0] if errors else "the table has no rows"
        raise TrainingError(f"{table.source}: no row can be trained on; first error: {first}")
    return UsableRows(tuple(ids), tuple(kept), tuple(cut), dict(left_out), dict(notes))


def _fit_pair(
    pair: Pair, antibody_encoder: Encoder, antigen_encoder: Encoder, max_residues: int
) -> tuple[Pair, Sequence[str]]:
    antibody, first = fit_molecule(antibody_encoder, pair.antibody.chains, "antibody", max_residues)
    antigen, second = fit_molecule(antigen_encoder, pair.antigen.chains, "antigen", max_residues)
    heavy, *light = antibody
    cut = Pair(
        Antibody(heavy, light[0] if light else None, pair.antibody.name),
        Antigen(antigen, pair.antigen.name),
    )
    return cut, ["rows cut to what the encoders see"] if first or second else []


def _about(trained: TrainedTable) -> dict[str, object]:
    return {
        "rows": trained.part_sizes,
        "left_out": trained.left_out,
        "notes": trained.notes,
        "split": trained.split,
        "encoders": {
            "antibody": trained.antibody_encoder,
            "antigen": trained.antigen_encoder,
        },
    }
