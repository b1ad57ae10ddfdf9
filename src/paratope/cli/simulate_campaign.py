"""``paratope simulate-campaign``: a measured landscape replayed, round by round."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from paratope.cli.group import (
    MAX_SEED,
    Sheet,
    command_app,
    finish,
    in_sheet,
    print_table,
    say,
    table_console,
)

if TYPE_CHECKING:
    from paratope.campaigns.campaign_simulation import Comparison, Landscape, Replay

app = command_app()


@app.command(
    epilog="Example: paratope simulate-campaign landscape.csv --batch 24 --rounds 5 -o replay/\n\n"
    "Example: paratope simulate-campaign plate.csv --compare model,one_hot_gp,random --repeats 3 "
    "--acquisition nei --explore 0.5 -o replay/"
)
def simulate_campaign(
    table: Annotated[
        str, Argument(help="Measurements of variants (pKd, Kd or score); - reads stdin.")
    ],
    output: Annotated[
        Path | None,
        Option("--output", "-o", help="Folder for rounds.csv, summary.json and rounds.png."),
    ] = None,
    batch: Annotated[int, Option("--batch", "-b", min=1, help="Variants a round.")] = 24,
    rounds: Annotated[int, Option(min=1, help="Rounds after the first plate.")] = 5,
    repeats: Annotated[
        int, Option(min=1, help="Number of repeats, each from another first plate.")
    ] = 5,
    start: Annotated[int, Option(min=0, help="Size of the random first plate; 0: as --batch.")] = 0,
    compare: Annotated[
        str, Option(help="all, or some of model, greedy, one_hot_gp, one_hot_ridge, random.")
    ] = "all",
    acquisition: Annotated[
        str, Option(help="Acquisition of `model`: nei, ucb or thompson.")
    ] = "ucb",
    explore: Annotated[float, Option(help="Exploration of `model`: 0 to 1.")] = 0.25,
    prior: Annotated[
        str,
        Option(
            help="As of `adapt`: auto, none, or a general model that was not trained on this "
            "landscape."
        ),
    ] = "auto",
    top: Annotated[
        int, Option(min=0, help="Number of best variants to find; 0: 1 % of them, at least 10.")
    ] = 0,
    seed: Annotated[int, Option(min=0, max=MAX_SEED, help="Same seed, same replay.")] = 0,
    sheet: Sheet = None,
) -> None:
    """Replay a landscape: how many rounds the model saves against random, greedy and one-hot."""
    from paratope.campaigns.adaptation.adapting import open_prior
    from paratope.campaigns.adaptation.validation import campaign_fitter
    from paratope.campaigns.campaign_simulation import (
        ReplayOptions,
        landscape_of,
        parse_strategies,
        replay,
        write_replay,
    )
    from paratope.campaigns.campaign_simulation import compare as compare_strategies
    from paratope.campaigns.suggestion.acquisition import BatchOptions
    from paratope.core.progress import console_progress
    from paratope.encoders.likelihood import AntibodyLanguage

    BatchOptions(batch, acquisition, explore)  # refuses what is out of range before the work
    options = ReplayOptions(batch, rounds, repeats, start, top, seed)
    landscape = landscape_of(in_sheet(table, sheet))
    options.settled(landscape)
    say(*(f"Note: {note}" for note in (*landscape.campaign.notes, *landscape.notes)))
    fit = campaign_fitter(AntibodyLanguage(), open_prior(prior))
    strategies = parse_strategies(compare, fit, acquisition, explore)
    with console_progress() as progress:
        replayed = replay(landscape, strategies, options, progress)
    comparison = compare_strategies(replayed)
    written = [] if output is None else write_replay(landscape, replayed, comparison, output)
    _show(landscape, replayed, comparison)
    if output is None:
        finish("the rounds and their figure go to a folder with -o replay/")
    else:
        finish(f"open {next(path for path in written if path.suffix == '.png')}", output)


def _show(landscape: "Landscape", replayed: "Replay", comparison: "Comparison") -> None:
    label, options = landscape.label, replayed.options
    console = table_console()
    console.print(
        f"{len(landscape):,} variants, best {label} {landscape.values.max():.2f}; first plate "
        f"{options.start}, then {options.rounds} rounds of {options.batch}; {options.repeats} "
        "repeats, means"
    )
    titles = {"best": f"best {label} found", "recall": f"top {options.top} found, %"}
    for metric, title in titles.items():
        scale = 100.0 if metric == "recall" else 1.0
        rows = [
            (name, *(f"{scale * each.mean:.2f}" for each in comparison.rounds[name][metric]))
            for name in replayed.strategies
        ]
        columns = (title, *(f"round {index}" for index in range(options.rounds + 1)))
        print_table(console, columns, rows)
    for saved in comparison.saved:
        what = f"best {label}" if saved.metric == "best" else f"share of the top {options.top}"
        mean, low, high = saved.rounds
        reach = f" ({low:.1f} to {high:.1f})" if low == low else ""
        word = "saves" if mean >= 0 else "loses"
        console.print(
            f"{replayed.strategies[0]} {word} {abs(mean):.1f} rounds{reach} against {saved.rival} "
            f"for the same {what}: {abs(saved.variants):.0f} measurements"
        )
