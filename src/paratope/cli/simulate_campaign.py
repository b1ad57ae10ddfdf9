"""``paratope simulate-campaign``: a measured landscape replayed, round by round."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from paratope.cli.group import command_app

app = command_app()


@app.command(
    epilog="Example: paratope simulate-campaign landscape.csv --batch 24 --rounds 5 -o replay/\n\n"
    "Example: paratope simulate-campaign plate.csv --compare model,one_hot_gp,random --repeats 3 "
    "--acquisition nei --explore 0.5 -o replay/"
)
def simulate_campaign(
    table: Annotated[
        str, typer.Argument(help="Measurements of variants (pKd, Kd or score); - reads stdin.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for rounds.csv, summary.json and rounds.png."),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", "-b", min=1, help="Variants a round.")] = 24,
    rounds: Annotated[int, typer.Option(min=1, help="After the first plate.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="With other first plates.")] = 5,
    start: Annotated[
        int, typer.Option(min=0, help="Variants of the first plate, at random; 0: as --batch.")
    ] = 0,
    compare: Annotated[
        str,
        typer.Option(help="all, or some of model, greedy, one_hot_gp, one_hot_ridge, random."),
    ] = "all",
    acquisition: Annotated[str, typer.Option(help="Of model: nei, ucb or thompson.")] = "ucb",
    explore: Annotated[float, typer.Option(help="Of model: 0 to 1.")] = 0.25,
    prior: Annotated[
        str, typer.Option(help="General model to start from; it must not know this landscape.")
    ] = "none",
    top: Annotated[
        int, typer.Option(min=0, help="The best so many are to be found; 0: 1 %, at least 10.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same replay.")] = 0,
) -> None:
    """Replay a landscape: how many rounds the model saves against random, greedy and one-hot."""
    from paratope.campaigns.campaign_simulation import (
        Plan,
        landscape_of,
        parse_strategies,
        replay,
        write_replay,
    )
    from paratope.campaigns.campaign_simulation import compare as compare_strategies
    from paratope.campaigns.campaign_simulation.strategies import fitting_models
    from paratope.campaigns.kernels import AntibodyLanguage
    from paratope.campaigns.suggestion.selection import Choosing
    from paratope.models.predictor import Predictor

    Choosing(batch, acquisition, explore)  # refuses what is out of range before the work
    plan = Plan(batch, rounds, repeats, start, top, seed)
    landscape = landscape_of(table)
    plan.settled(landscape)
    for note in (*landscape.campaign.notes, *landscape.notes):
        print(f"Note: {note}", file=sys.stderr)
    general = None if prior == "none" else Predictor.load(prior)
    fit = fitting_models(AntibodyLanguage(), general)
    strategies = parse_strategies(compare, fit, acquisition, explore)
    total = plan.repeats * plan.rounds * len(strategies)
    with _progress(total) as advance:
        found = replay(landscape, strategies, plan, advance)
    comparison = compare_strategies(found)
    written = [] if output is None else write_replay(landscape, found, comparison, output)
    _show(landscape, found, comparison)
    for path in written:
        print(f"written: {path}", file=sys.stderr)


def _progress(total: int) -> Any:
    """A bar on stderr where that is a terminal; gives what moves it."""
    import contextlib

    from rich.console import Console
    from rich.progress import Progress

    @contextlib.contextmanager
    def bar() -> Any:
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("rounds", total=total)
            yield lambda: progress.advance(task)

    return bar()


def _show(landscape: Any, found: Any, comparison: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    label = "pKd" if landscape.campaign.label == "pkd" else "score"
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    plan = found.plan
    console.print(
        f"{len(landscape):,} variants, best {label} {landscape.values.max():.2f}; first plate "
        f"{plan.start}, then {plan.rounds} rounds of {plan.batch}; {plan.repeats} repeats, means"
    )
    for metric, title in (("best", f"best {label} found"), ("recall", f"top {plan.top} found, %")):
        scale = 100.0 if metric == "recall" else 1.0
        table = Table(title, *(f"round {n}" for n in range(plan.rounds + 1)), box=None)
        for name in found.strategies:
            cells = [f"{scale * one.mean:.2f}" for one in comparison.rounds[name][metric]]
            table.add_row(name, *cells)
        console.print(table)
    for one in comparison.saved:
        what = f"best {label}" if one.metric == "best" else f"share of the top {plan.top}"
        mean, low, high = one.rounds
        reach = f" ({low:.1f} to {high:.1f})" if low == low else ""
        word = "saves" if mean >= 0 else "loses"
        console.print(
            f"{found.strategies[0]} {word} {abs(mean):.1f} rounds{reach} against {one.rival} for "
            f"the same {what}: {abs(one.variants):.0f} measurements"
        )
