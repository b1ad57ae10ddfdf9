"""``paratope models``: what there is, what a model is made of, several as one."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from paratope.cli.group import command_app, command_line, finish, open_console
from paratope.core.printing import printable

app = command_app("List and show models; combine several into an ensemble.")


@app.command("list", epilog="Example: paratope models list")
def list_models() -> None:
    """List the models that come with the package."""
    from rich.table import Table

    from paratope.models.bundle import BUNDLED_MODELS, bundled_folder, read_bundle

    table = Table()
    for name in ("model", "encoders", "networks", "size", "folder"):
        table.add_column(name, overflow="fold")
    for name in BUNDLED_MODELS:
        folder = bundled_folder(name)
        config = read_bundle(folder).config
        encoders = f"{config['encoders']['antibody']}, {config['encoders']['antigen']}"
        size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
        table.add_row(name, encoders, str(config["members"]), f"{size:.1f} MB", str(folder))
    open_console().print(table)
    finish("paratope models show default")


@app.command("show", epilog="Example: paratope models show default")
def show(
    model: Annotated[str, Argument(help="Model folder, or bundled name.")] = "default",
) -> None:
    """Show a model's card."""
    from rich.markdown import Markdown

    from paratope.models.bundle import find_model, read_bundle

    card = printable(read_bundle(find_model(model)).card)
    console = open_console()
    shown = Markdown(card, hyperlinks=False) if console.is_terminal else card
    console.print(shown, soft_wrap=True, markup=False)
    finish(command_line("predict", "pairs.csv", "--model", model, "-o", "predictions.csv"))


@app.command("ensemble", epilog="Example: paratope models ensemble run-1 run-2 run-3 -o joined")
def ensemble(
    runs: Annotated[list[str], Argument(help="Run folders or model folders.")],
    output: Annotated[Path, Option("--output", "-o", help="Model folder to write.")],
) -> None:
    """Join trained models of one shape into one that averages them."""
    from paratope.models.bundle import write_bundle
    from paratope.models.ensembling import ensemble_models

    folder = write_bundle(ensemble_models(runs), output)
    typer.echo(f"{folder}: joined {len(runs)} models")
    then = command_line("predict", "pairs.csv", "--model", folder, "-o", "predictions.csv")
    finish(then, folder)
