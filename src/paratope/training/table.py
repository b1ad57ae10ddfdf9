"""`train_table`: a user's table and a recipe in, a run folder with a trained network out."""

import dataclasses
from pathlib import Path

import numpy as np

from paratope.core.progress import silent
from paratope.data.measurements import Measurement
from paratope.encoders.transformer import resolve_device
from paratope.models.batches import Examples
from paratope.models.fine_tuning import open_store
from paratope.models.model import Scored
from paratope.models.recipes import Recipe
from paratope.training.fitting import fit
from paratope.training.history import HistoryFile
from paratope.training.loggers import check_loggers, open_loggers
from paratope.training.loop import FitResult, RunOptions
from paratope.training.random_state import callers_random_state_kept
from paratope.training.rows import PARTS, TrainingRows
from paratope.training.run_folder import input_files, open_run_folder, write_run
from paratope.training.validation import score


@dataclasses.dataclass(frozen=True, slots=True)
class TrainedTable:
    """A network trained on a table, and what it was trained on.

    Attributes
    ----------
    result : FitResult
    rows : TrainingRows
        Which rows were used, in which parts, and what was left out.
    scores : dict of str to Scored
        What the network says of each part's rows, in their order.
    """

    result: FitResult
    rows: TrainingRows
    scores: dict[str, Scored]

    @property
    def recipe(self) -> Recipe:
        """The recipe, with table and split filled in."""
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


@callers_random_state_kept()
def train_table(
    source: str | Path, recipe: Recipe, folder: str | Path, options: RunOptions | None = None
) -> TrainedTable:
    """Train on a table of measurements and write the run folder.

    Rows that cannot be used (in error, without a pKd, refused by an encoder) are counted and left
    out. The global random number generators are left as they were.

    Parameters
    ----------
    source : path
        Table with heavy, light, antigen and a measured value; see `read_table`.
    recipe : Recipe
        ``data.split`` says how the rows are split, ``data.columns`` which columns to read (such as
        ``"heavy=VH"``), ``encoders`` which encoders read them.
    folder : path
        Run folder; made if it does not exist.
    options : RunOptions, optional
        Device, resuming, loggers, and who is told what.

    Returns
    -------
    TrainedTable

    Raises
    ------
    InputError
        If the table cannot be read or split.
    TrainingError
        If no row can be used, or the folder holds another run and is not to be resumed.
    """
    options, run = options or RunOptions(), Path(folder)
    data = recipe.data.model_copy(update={"table": str(source)})
    recipe = recipe.model_copy(update={"data": data})
    resolve_device(options.device)  # a wrong one is said before the table is read
    names = check_loggers(options.loggers)
    inputs = input_files(recipe)
    rows = TrainingRows.read(recipe, options.device)
    examples = {
        name: Examples.from_measurements(
            [rows.usable.cut[row] for row in np.flatnonzero(rows.parts == name)]
        )
        for name in PARTS
    }
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
                antibodies.fill(part.antibodies, progress=options.progress is not silent)
                antigens.fill(part.antigens, progress=options.progress is not silent)
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
    return trained
