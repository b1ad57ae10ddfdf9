"""``paratope train``: a table of measurements and a recipe in, a run folder out."""

import json
import math
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from paratope.cli.group import command_app, command_line, finish, say
from paratope.core.interruption import Interrupted, Interruption
from paratope.core.progress import console_progress

if TYPE_CHECKING:
    from paratope.models.recipes import Recipe
    from paratope.training import RunOptions
    from paratope.training.search import Trial

app = command_app()

Table = Annotated[
    str | None, Argument(help="Table with heavy, light, antigen and a measured pKd or Kd.")
]
RecipeName = Annotated[
    str, Option(help="Name of a recipe, or a TOML file such as a run's run.toml.")
]
RunFolder = Annotated[Path, Option("-o", "--output", help="Run folder.")]
Changes = Annotated[
    list[str] | None, Option("--set", metavar="KEY=VALUE", help="Change a key; may be repeated.")
]
EncoderPair = Annotated[str | None, Option(metavar="AB,AG", help="Antibody and antigen encoder.")]
Split = Annotated[
    str | None,
    Option(
        help="Kind of split (random, antibody, antigen, ...) or a file with a column split. "
        "By default by antigen cluster; by antibody where there is one antigen."
    ),
]
Columns = Annotated[
    str | None, Option(help="Names of your columns, such as heavy=VH,pkd=affinity.")
]
Resume = Annotated[bool, Option("--resume", help="Resume the run in the folder, if there is one.")]
Device = Annotated[str, Option(help="auto, cpu or cuda.")]
Loggers = Annotated[
    list[str] | None,
    Option(
        "--logger",
        metavar="NAME",
        help="tensorboard, wandb or mlflow: also log the history there, in the run folder. "
        "May be repeated.",
    ),
]
Trials = Annotated[
    int | None,
    Option(
        "--search",
        min=1,
        metavar="N",
        help="First try N recipes around this one by grouped validation within the training rows, "
        "then train the best. Keys given by --set stay.",
    ),
]
ListRecipes = Annotated[bool, Option("--list", help="List the recipes and exit.")]
Show = Annotated[bool, Option("--show", help="Print the recipe with every key and exit.")]


@app.command(
    epilog="Example: paratope train measurements.csv --recipe default --encoders antiberty,residue "
    "--set training.max_epochs=20 -o run/"
)
def train(
    table: Table = None,
    recipe: RecipeName = "default",
    output: RunFolder = Path("run"),
    changes: Changes = None,
    encoders: EncoderPair = None,
    split: Split = None,
    columns: Columns = None,
    resume: Resume = False,
    device: Device = "auto",
    loggers: Loggers = None,
    trials: Trials = None,
    list_recipes: ListRecipes = False,
    show: Show = False,
) -> None:
    """Train a model on a table of measurements."""
    from paratope.models.recipes import RECIPES, load_recipe, recipe_toml
    from paratope.training import RunOptions
    from paratope.training.loggers import check_loggers

    if list_recipes:
        for name in RECIPES:
            typer.echo(f"{name:9}{load_recipe(name).summary}")
        finish("paratope train measurements.csv --recipe default -o run")
        return
    options = _settings(encoders, split, columns)
    if (
        resume
        and not trials
        and table is None
        and recipe == "default"
        and (output / "run.toml").is_file()
    ):
        recipe = str(output / "run.toml")
    chosen = load_recipe(recipe, [*(changes or ()), *options])
    if show:
        typer.echo(recipe_toml(chosen), nl=False)
        finish(command_line("train", "measurements.csv", "--recipe", recipe, "-o", "run"))
        return
    source = table or chosen.data.table
    if not source:
        raise typer.BadParameter("missing; give a table of measurements", param_hint="TABLE")
    names = check_loggers(loggers or ())  # a wrong one is said before a search begins
    with Interruption() as interruption, console_progress() as progress:
        run = RunOptions(
            device=device,
            resume=resume,
            progress=progress,
            on_epoch=_epochs(),
            say=say,
            loggers=names,
            interruption=interruption,
        )
        try:
            if trials:
                pins = [change.partition("=")[0].strip() for change in (*(changes or ()), *options)]
                chosen = _search(source, chosen, output, trials, pins, run)
            left_out = _train(source, chosen, output, run)
        except Interrupted as interrupted:
            command = shlex.join(["paratope", "train", "-o", str(output), "--resume"])
            advice = f"Go on with: {command}"
            if not (output / "run.toml").is_file():
                begun = (output / "search").is_dir()
                again = "Go on with the same command and --resume."
                advice = again if begun else "Nothing was written yet."
            say(f"Stopped: {interrupted}. {advice}")
            raise typer.Exit(interrupted.exit_code) from None
    judge = command_line("evaluate", output, "-o", "report")
    predict = command_line("predict", "new.csv", "--model", output, "-o", "predictions.csv")
    finish(f"{judge} ; for new pairs: {predict}", output)
    if left_out:
        raise typer.Exit(3)


def _search(
    source: str,
    recipe: "Recipe",
    folder: Path,
    trials: int,
    pins: Sequence[str],
    options: "RunOptions",
) -> "Recipe":
    from paratope.training.search import search

    def say_trial(trial: "Trial") -> None:
        value = "" if trial.objective is None else f"  Spearman {trial.objective:.3f}"
        values = ", ".join(
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in trial.values.items()
        )
        say(f"trial {trial.number:3} {trial.state}{value}  {values}")

    result = search(source, recipe, folder, trials, pins, options, on_trial=say_trial)
    best = result.best
    say(f"Best: trial {best.number}, Spearman {best.objective:.3f}; training it now.")
    return result.recipe


def _train(source: str, recipe: "Recipe", folder: Path, options: "RunOptions") -> bool:
    """Train, or find the run finished; whether rows were left out."""
    from paratope.models.bundle import read_bundle
    from paratope.models.calibration import Calibration
    from paratope.training import train_table
    from paratope.training.runs import (
        calibration_warning,
        is_finished,
        lines_of_test,
        write_model_of_run,
    )

    data = recipe.data.model_copy(update={"table": source})
    if options.resume and is_finished(folder, recipe.model_copy(update={"data": data})):
        say(f"{folder} is finished: nothing is left to do.")
        return False
    trained = train_table(source, recipe, folder, options)
    rows = trained.rows
    for note in rows.table_notes:
        say(f"Note: {note}")
    sizes = ", ".join(f"{count} {name}" for name, count in trained.part_sizes.items())
    say(f"Split by {rows.split}: {sizes}.")
    for note, count in {**rows.usable.notes, **rows.usable.left_out}.items():
        say(f"{count} {note}.")
    bundle = read_bundle(write_model_of_run(trained, folder))
    if warning := calibration_warning(Calibration.from_json(bundle.calibration)):
        say(f"Warning: {warning}")
    result = trained.result
    epochs = [name for record in result.history for name in record["warned"].split(", ") if name]
    for name, count in Counter(epochs).items():
        say(f"Warned of {name} in {count} of {len(result.history)} epochs.")
    say(f"Ended: {result.stopped}. Best epoch: {result.best_epoch}.")
    say(*lines_of_test(trained))
    return bool(rows.usable.left_out)


def _settings(encoders: str | None, split: str | None, columns: str | None) -> list[str]:
    """Options that stand for keys of the recipe, as ``key=value``."""
    given = {"data.split": split, "data.columns": columns}
    if encoders is not None:
        names = [name.strip() for name in encoders.split(",")]
        if len(names) != 2 or not all(names):
            raise typer.BadParameter(
                f"got {encoders!r}; expected two encoders, such as antiberty,residue",
                param_hint="--encoders",
            )
        given |= {"encoders.antibody": names[0], "encoders.antigen": names[1]}
    # a JSON string is a TOML one
    return [
        f"{key}={json.dumps(value, ensure_ascii=False)}"
        for key, value in given.items()
        if value is not None
    ]


def _epochs() -> Callable[[dict[str, Any]], None]:
    """Says every epoch of a run in a line, and each monitor's warning the first time."""
    warned: set[str] = set()

    def say_epoch(record: dict[str, Any]) -> None:
        line = f"epoch {record['epoch']:3}  loss {record['train_loss']:.3f}"
        titles = {"loss": "validation loss", "spearman": "Spearman", "rmse": "RMSE"}
        for name, title in titles.items():
            value = record[f"validation_{name}"]
            if not math.isnan(value):
                line += f"  {title} {value:.3f}"
        say(line)
        warnings = record["warning"].splitlines()
        for name, warning in zip(record["warned"].split(", "), warnings, strict=False):
            if name not in warned:
                warned.add(name)
                say(f"Warning: {warning}.")

    return say_epoch
