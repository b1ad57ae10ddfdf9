"""``paratope adapt``: a plate's measurements to a model of the campaign."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from paratope.cli.group import (
    MAX_SEED,
    Columns,
    Device,
    Sheet,
    command_app,
    command_line,
    finish,
    in_sheet,
    say,
    table_console,
)

if TYPE_CHECKING:
    from paratope.campaigns.adaptation import ValidationReport

app = command_app()


@app.command(
    epilog="Example: paratope adapt measurements.csv -o my-campaign\n\n"
    "Example: paratope adapt elisa.csv --columns score=OD450 --antigen her2.fasta -o my-campaign"
    "\n\nExample: paratope adapt plate-1.csv plate-2.csv -o round-2"
    "\n\nThen: paratope predict pool.csv --model my-campaign -o predictions.csv"
)
def adapt(
    tables: Annotated[
        list[str],
        Argument(
            metavar="TABLE...",
            help="Table with heavy, light and a value (Kd, pKd, ΔG, ΔΔG, score), or several "
            "plates; - is stdin.",
        ),
    ],
    output: Annotated[Path, Option("--output", "-o", help="Model folder to write.")],
    antigen: Annotated[
        str | None, Option(help="Antigen of all rows, or its FASTA file; optional.")
    ] = None,
    prior: Annotated[
        str,
        Option(
            help="What is expected before measurements: auto (what substitutions did in other "
            "antibodies), none, or a general model: default, or a folder."
        ),
    ] = "auto",
    report: Annotated[
        bool, Option("--report/--no-report", help="Validate the model on held-out variants.")
    ] = True,
    columns: Columns = None,
    assay: Annotated[
        str | None,
        Option(help="Assay on whose scale to predict; default: the one with the most rows."),
    ] = None,
    seed: Annotated[
        int, Option(min=0, max=MAX_SEED, help="Seed of the report's random folds.")
    ] = 0,
    device: Device = "auto",
    overwrite: Annotated[
        bool, Option("--overwrite", help="Replace the model that is in the folder.")
    ] = False,
    sheet: Sheet = None,
) -> None:
    """Fit a model to a campaign's measurements, and validate it on held-out variants."""
    from paratope.campaigns.adaptation import adapt as learn
    from paratope.cli.predict import antigen_source
    from paratope.core.errors import InputError
    from paratope.core.progress import console_progress
    from paratope.data.tables import parse_columns

    if len(tables) > 1 and sheet is not None:
        raise InputError("--sheet is of one XLSX file; give several plates as files of their own")
    with console_progress() as progress:
        adapted = learn(
            tables if len(tables) > 1 else in_sheet(tables[0], sheet),
            output,
            prior=prior,
            report=report,
            columns=parse_columns(columns) if columns else None,
            antigens=None if antigen is None else antigen_source(antigen),
            assay=assay,
            seed=seed,
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    say(*(f"Note: {note}" for note in adapted.campaign.notes))
    if adapted.report is not None:
        _show(adapted.report)
    variants = len({pair.antibody.chains for pair in adapted.campaign.pairs})
    say(f"learned from {len(adapted.campaign)} values of {variants} antibodies")
    then = command_line("suggest", output, "-o", "next.csv")
    finish(f"read {output / 'card.md'}, then: {then}", output)
    if adapted.campaign.left_out:
        raise typer.Exit(3)


def _show(report: "ValidationReport") -> None:
    """Print what to expect of a campaign's model."""
    from rich.markup import escape
    from rich.table import Table

    from paratope.campaigns.adaptation import baselines_table, model_table, sentences

    console = table_console(200)
    console.print("[bold]What to expect[/], from variants held out of training:")
    narrow = console.width < 145  # no room for a column of each coverage: titles wrap, cells do not
    for header, rows in (model_table(report), baselines_table(report)):
        if not rows or len(header) == 1:
            continue
        if narrow and header[-1].endswith("intervals cover"):
            header = [*header[:4], "50/80/90% intervals cover"]
            rows = [[*row[:4], "/".join(row[4:])] for row in rows]
        table = Table(box=None, padding=(0, 1 if console.width < 100 else 2, 0, 0))
        for name, *cells in zip(header, *rows, strict=True):
            width = max(map(len, [*cells, *name.split()])) if narrow else None
            table.add_column(escape(name), width=width)
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        console.print(table)
        console.print()
    for text in sentences(report):
        console.print(escape(text), soft_wrap=True)
    for text in report.warnings:
        console.print(f"[bold yellow]Warning:[/] {escape(text)}", soft_wrap=True)
