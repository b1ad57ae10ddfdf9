"""``paratope compare``: predictors side by side on the same rows."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from paratope.cli.group import MAX_SEED, command_app, finish, open_console, print_table

app = command_app()


@app.command(
    epilog="Example: paratope compare run-a run-b   or: paratope compare table.csv --pred model_a "
    "--pred model_b --group antigen_cluster"
)
def compare(
    sources: Annotated[
        list[str],
        Argument(help="Tables of predictions, run folders or report folders.", metavar="A B"),
    ],
    output: Annotated[
        Path | None, Option("--output", "-o", help="JSON file for all the numbers.")
    ] = None,
    true: Annotated[str | None, Option(help="Column of the measured values.")] = None,
    pred: Annotated[list[str] | None, Option(help="Prediction column; repeat for several.")] = None,
    group: Annotated[
        str | None, Option(help="Column of the groups to resample and permute.")
    ] = None,
    seed: Annotated[int, Option(min=0, max=MAX_SEED, help="Seed of the draws.")] = 0,
) -> None:
    """Put runs or prediction tables side by side, with a paired test that respects groups."""
    from rich.markup import escape

    from paratope.core.files import write_json
    from paratope.evaluation.breakdowns import Estimate
    from paratope.evaluation.comparison import COMPARED
    from paratope.evaluation.comparison import compare as put_side_by_side
    from paratope.evaluation.page import interval_text, number

    comparison = put_side_by_side(sources, true=true, preds=pred or (), group=group, seed=seed)
    console = open_console(soft_wrap=True)
    grouping = f"{comparison.groups:,} groups ({escape(comparison.grouping)})"
    console.print(f"{comparison.rows:,} rows that all have; {grouping}")
    for name, dropped in zip(comparison.names, comparison.dropped, strict=True):
        if dropped:
            console.print(f"{escape(name)}: {dropped:,} rows left out, which another one lacks")
    rows = []
    for name, metrics in zip(comparison.names, comparison.metrics, strict=True):
        estimates = [metrics[key] for key in COMPARED]
        ends = (interval_text(estimate) or "no interval" for estimate in estimates)
        values = (number(estimate.value) for estimate in estimates)
        rows.append((name, *(f"{value} ({end})" for value, end in zip(values, ends, strict=True))))
    print_table(console, ("predictor", *COMPARED), rows, pad_edge=False)
    console.print(f"\n[bold]Difference to {escape(comparison.names[0])}[/]")
    rows = []
    for gap in comparison.differences:
        ends = interval_text(Estimate(gap.value, gap.interval))
        rows.append((gap.name, gap.metric, number(gap.value), ends, number(gap.p_value)))
    print_table(console, ("predictor", "metric", "difference", "95 % interval", "p"), rows)
    if output is not None:
        write_json(output, comparison.to_dict())
        finish("open it, or judge one alone: paratope evaluate A -o report/", output)
    else:
        finish("all numbers go to a file with -o numbers.json")
