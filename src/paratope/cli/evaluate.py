"""``paratope evaluate``: any table of measured and predicted values to a report."""

from pathlib import Path
from typing import Annotated, Any

import typer

from paratope.cli.group import command_app

app = command_app()

SHOWN = (
    "spearman",
    "pearson",
    "kendall",
    "rmse",
    "mae",
    "bias",
    "r2",
    "within_one_log_percent",
    "auroc",
    "recall_percent",
    "precision_percent",
    "coverage_90_percent",
    "width_90",
)


@app.command(
    epilog="Example: paratope evaluate predictions.csv -o report/\n\n"
    "Example: paratope evaluate t.csv --true measured_pkd --pred model_a --group antigen_cluster"
)
def evaluate(
    table: Annotated[
        str, typer.Argument(help="Table with measured and predicted values; - reads stdin.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for metrics.json and report.html."),
    ] = None,
    true: Annotated[str | None, typer.Option(help="Column of the measured values.")] = None,
    pred: Annotated[str | None, typer.Option(help="Column of the predicted values.")] = None,
    group: Annotated[
        str | None, typer.Option(help="Column whose groups the intervals resample.")
    ] = None,
    train: Annotated[
        Path | None, typer.Option(help="Measurements to fit the baselines on.")
    ] = None,
    baselines: Annotated[
        bool, typer.Option(help="Fit baselines where sequences and training rows allow it.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:
    """Judge predictions: metrics with intervals, baselines, and what is wrong, in plain words."""
    from paratope.evaluation import evaluate as judge
    from paratope.evaluation import write_report

    report = judge(
        table, true=true, pred=pred, group=group, train=train, baselines=baselines, seed=seed
    )
    show(report)
    if output is not None:
        page = write_report(report, output)
        typer.echo(f"written: {page.parent / 'metrics.json'}, {page}", err=True)
    if report.table.faulty:
        raise typer.Exit(3)


def show(report: Any) -> None:
    """Print the summary of a report."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from paratope.evaluation.page import interval_text, number
    from paratope.metrics import METRICS

    console = Console(highlight=False, soft_wrap=True)
    judged = report.table
    console.print(
        f"[bold]{escape(Path(judged.source).name)}[/]: {len(judged):,} of {judged.total:,} rows "
        "judged "
        f"({report.part}); intervals over {report.groups:,} groups ({escape(report.grouping)})"
    )
    table = Table("metric", "value", "95 % interval", "what it is", box=None, pad_edge=False)
    table.columns[1].justify = table.columns[2].justify = "right"
    for name in SHOWN:
        if name in report.metrics:
            estimate, info = report.metrics[name], METRICS[name]
            table.add_row(
                name,
                number(estimate.value, info.unit),
                interval_text(estimate, info.unit),
                info.summary,
            )
    console.print(table)
    if report.references:
        console.print("\n[bold]Simple predictors on the same rows[/]")
        table = Table(
            "predictor", "spearman", "pearson", "rmse", "made from", box=None, pad_edge=False
        )
        for column in table.columns[1:4]:
            column.justify = "right"
        for one in report.references:
            cells = (number(one.values.get(name)) for name in ("spearman", "pearson", "rmse"))
            table.add_row(escape(one.name.replace("_", " ")), *cells, escape(one.note))
        console.print(table)
    colours = {"alarm": "red", "warning": "yellow", "note": "blue"}
    if report.findings:
        console.print("\n[bold]Before believing the numbers[/]")
    for finding in report.findings:
        colour = colours[finding.severity]
        console.print(f"[{colour}]{finding.severity}[/]: {escape(finding.text)}")
