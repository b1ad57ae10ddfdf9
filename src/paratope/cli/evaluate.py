"""``paratope evaluate``: any table of measured and predicted values to a report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from paratope.cli.group import MAX_SEED, Sheet, command_app, finish, in_sheet, open_console

if TYPE_CHECKING:  # importing them takes seconds, and --help is to answer at once
    from paratope.evaluation import Report, TierReport

app = command_app()

SHOWN = (
    "spearman pearson kendall rmse mae bias r2 within_one_log_percent auroc recall_percent "
    "precision_percent coverage_90_percent width_90"
).split()


@app.command(
    epilog="Example: paratope evaluate predictions.csv -o report/\n\n"
    "Example: paratope evaluate t.csv --true measured --pred model_a --group antigen_cluster\n\n"
    "Example: paratope evaluate run-random run-unseen-antibody run-unseen-antigen -o tiers/"
)
def evaluate(
    tables: Annotated[
        list[str],
        Argument(
            help="Table with measured and predicted values, run folder or report folder; - reads "
            "stdin. Several, or a column 'tier': tiers side by side."
        ),
    ],
    output: Annotated[
        Path | None, Option("--output", "-o", help="Folder for metrics.json and report.html.")
    ] = None,
    true: Annotated[str | None, Option(help="Column of the measured values.")] = None,
    pred: Annotated[str | None, Option(help="Column of the predicted values.")] = None,
    group: Annotated[
        str | None, Option(help="Column of the groups that the bootstrap resamples.")
    ] = None,
    train: Annotated[
        Path | None,
        Option(
            help="Measurements to fit the baselines on; by default the train rows of the table or "
            "of the run."
        ),
    ] = None,
    baselines: Annotated[
        bool, Option(help="Fit baselines where sequences and training rows allow it.")
    ] = True,
    seed: Annotated[int, Option(min=0, max=MAX_SEED, help="Seed of the bootstrap.")] = 0,
    sheet: Sheet = None,
) -> None:
    """Evaluate predictions: metrics with intervals, baselines, and findings in plain words."""
    from paratope.evaluation import evaluate as judge
    from paratope.evaluation import evaluate_tiers, write_report, write_tiers
    from paratope.evaluation.report import has_tiers

    options: dict[str, Any] = {"true": true, "pred": pred, "group": group, "train": train}
    options |= {"baselines": baselines, "seed": seed}
    page = None
    tables = [in_sheet(table, sheet) for table in tables]
    if len(tables) > 1 or has_tiers(tables[0]):
        tiers = evaluate_tiers(tables, **options)
        if output is not None:
            page = write_tiers(tiers, output)
        show_tiers(tiers)
        faulty = any(report.table.faulty for report in tiers.reports.values())
    else:
        report = judge(tables[0], **options)
        if output is not None:  # before printing: a closed pipe must not cost the files
            page = write_report(report, output)
        show(report)
        faulty = bool(report.table.faulty)
    if page is not None:
        finish(f"open {page}", page.parent / "metrics.json", page)
    else:
        finish("figures and all numbers go to a folder with -o report/")
    if faulty:
        raise typer.Exit(3)


def show_tiers(tiers: "TierReport") -> None:
    """Print the tiers side by side."""
    import sys

    from rich.markup import escape
    from rich.table import Table

    from paratope.evaluation.page import summary_of, tier_rows
    from paratope.evaluation.references import WITHIN_ANTIGEN

    width = None if sys.stdout.isatty() else 200  # one line each where no terminal sets it
    console = open_console(soft_wrap=True, width=width)
    for metric in (WITHIN_ANTIGEN, "spearman", "rmse"):
        console.print(f"[bold]{metric}[/]: {summary_of(metric)} (95 % interval)")
        table = Table("predictor", *(escape(name) for name in tiers.reports), box=None)
        for name, cells in tier_rows(tiers, metric):
            table.add_row(escape(name), *cells)
        console.print(table)
    for name, report in tiers.reports.items():
        console.print(f"[bold]{escape(name)}[/]: {len(report.table):,} rows judged")
        for finding in report.findings:
            console.print(f"  {escape(f'{finding.severity}: {finding.message}')}")


def show(report: "Report") -> None:
    """Print the summary of a report."""
    from rich.markup import escape
    from rich.table import Table

    from paratope.evaluation.metrics import METRICS
    from paratope.evaluation.page import interval_text, number, predictor_rows
    from paratope.evaluation.references import WITHIN_ANTIGEN

    console = open_console(soft_wrap=True)
    rows = report.table
    console.print(
        f"[bold]{escape(Path(rows.source).name)}[/]: {len(rows):,} of {rows.total:,} rows "
        f"judged ({report.part}); intervals over {report.groups:,} groups "
        f"({escape(report.grouping)})"
    )
    within = report.estimate(WITHIN_ANTIGEN)
    interval = f" (95 % interval {ends})" if (ends := interval_text(within)) else ""
    console.print(
        f"[bold]Within an antigen[/]: mean Spearman {number(within.value)}{interval}"
        + (f": {escape(report.without_within_antigen)}" if report.without_within_antigen else "")
    )
    columns = {WITHIN_ANTIGEN: "within antigens", "rmse": "rmse", "spearman": "all rows"}
    table = Table("predictor", *columns.values(), "made from", box=None, pad_edge=False)
    for column in table.columns[1:4]:
        column.justify = "right"
    for name, cells, note in predictor_rows(report, list(columns)):
        table.add_row(escape(name), *cells, escape(note))
    console.print(table)
    console.print("\n[bold]Over all rows[/]")
    table = Table("metric", "value", "95 % interval", "what it is", box=None, pad_edge=False)
    table.columns[1].justify = table.columns[2].justify = "right"
    for name in SHOWN:
        if name in report.metrics:
            estimate, info = report.metrics[name], METRICS[name]
            interval = interval_text(estimate, info.unit)
            table.add_row(name, number(estimate.value, info.unit), interval, info.summary)
    console.print(table)
    colours = {"error": "red", "warning": "yellow", "info": "blue"}
    if report.findings:
        console.print("\n[bold]Before believing the numbers[/]")
    for finding in report.findings:
        colour = colours[finding.severity]
        console.print(f"[{colour}]{finding.severity}[/]: {escape(finding.message)}")
