"""``paratope suggest``: the antibodies to make next in a campaign."""

import os
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from paratope.cli.group import MAX_SEED, command_app, finish, print_table, say, table_console
from paratope.core.errors import InputError

if TYPE_CHECKING:
    from paratope.campaigns.suggestion import NextRound

app = command_app()

SHOWN = 12

Output = Annotated[
    str | None,
    Option(
        "--output",
        "-o",
        help="Table to write (.csv .tsv .parquet .xlsx), with a FASTA alongside; - is stdout.",
    ),
]
Candidates = Annotated[
    str,
    Option(
        help="Your pool (table or FASTA); or what to generate: single, neighbour, double, "
        "combinatorial, recombination, all; double:3000 for at most 3000."
    ),
]
Regions = Annotated[
    str | None,
    Option(
        help="Positions to mutate: CDR, H3, IMGT H:105-117, residues H:S31; default: those varied."
    ),
]
MaxMutations = Annotated[
    int | None,
    Option(
        min=1,
        help="Most mutations relative to the parent; default: as many as measured variants have.",
    ),
]
Parent = Annotated[
    str | None,
    Option(
        help="Id of the parent or measured antibody to mutate; without a MODEL the file of a "
        "parent, for a first plate."
    ),
]
Acquisition = Annotated[str, Option(help="nei (noisy expected improvement), ucb or thompson.")]
Explore = Annotated[
    float | None,
    Option(help="0: highest predicted values (default in a pool); 1: greatest uncertainty."),
]
Allow = Annotated[str, Option(help="Liabilities, or residues such as C, to allow; or all.")]
Forbid = Annotated[
    str, Option(help="Further ones to filter out; parental: also those of the parent.")
]
MinDistance = Annotated[
    int, Option(min=1, help="Minimum number of residues by which any two of the batch differ.")
]


@app.command(
    epilog="Example: paratope suggest my-campaign --batch 96 -o next.csv\n\n"
    "Example: paratope suggest --parent examples/parent.csv --batch 96 -o plate-1.csv\n\n"
    "Example: paratope suggest my-campaign --candidates library.fasta --explore 0.5 -o next.csv\n\n"
    "Example: paratope suggest my-campaign --candidates single,double:3000 --regions H3,L3 "
    "--allow tryptophan-oxidation --forbid K,weak-deamidation -o next.csv"
)
def suggest(
    model: Annotated[
        str | None,
        Argument(
            help="Campaign model folder from `paratope adapt`; before any measurement, none.",
            show_default=False,
        ),
    ] = None,
    output: Output = None,
    batch: Annotated[int, Option("--batch", "-b", min=1, help="How many.")] = 96,
    candidates: Candidates = "all",
    regions: Regions = None,
    max_mutations: MaxMutations = None,
    parent: Parent = None,
    acquisition: Acquisition = "ucb",
    explore: Explore = None,
    allow: Allow = "",
    forbid: Forbid = "",
    min_distance: MinDistance = 1,
    seed: Annotated[int, Option(min=0, max=MAX_SEED, help="Same seed, same batch.")] = 0,
) -> None:
    """Design the next plate, or the first one, from your or generated candidates, with reasons."""
    from paratope.campaigns.suggestion import SuggestionOptions, write_next_round
    from paratope.campaigns.suggestion import suggest as choose
    from paratope.cli.predict import check_output
    from paratope.core.progress import console_progress
    from paratope.models.predictor import Predictor

    check_output(output, candidates, parent)
    asked = {
        "candidates": candidates,
        "regions": regions,
        "max_mutations": max_mutations,
        "allow": allow,
        "forbid": forbid,
        "min_distance": min_distance,
        "seed": seed,
    }
    SuggestionOptions(batch, **asked)
    if model is None:
        if acquisition != "ucb" or explore is not None:
            raise InputError("a first plate is chosen to learn from: no --acquisition or --explore")
        _first(parent, batch, output, asked)
        return
    predictor = Predictor.load(model)
    say(_intention(model, batch, candidates, explore, min_distance))
    with console_progress() as progress:
        chosen = choose(
            predictor,
            batch,
            progress=progress,
            parent=parent,
            acquisition=acquisition,
            **({} if explore is None else {"explore": explore}),
            **asked,
        )
    written = write_next_round(chosen, output) if output is not None else []
    _show(chosen, with_table=output is None)
    if not written:
        finish("the plate and a FASTA to order it by go to files with -o next.csv")
    else:
        finish(
            f"order {written[1]}, add the measured values to {written[0]}, and: paratope adapt "
            f"plate-1.csv {written[0]} -o round-2 (plate-1.csv: what {model} was learned from)",
            *written,
        )
    if chosen.refused:
        raise typer.Exit(3)


def _first(parent: str | None, batch: int, output: str | None, asked: dict[str, Any]) -> None:
    """A first plate of a parent of which nothing was measured."""
    from paratope.campaigns.suggestion import first_plate, read_parent, write_next_round
    from paratope.core.progress import console_progress

    if parent is None:
        raise InputError(
            "before any measurement, give --parent FILE: a table of one row with id, heavy, light, "
            "antigen; after it, the folder of a campaign's model, as paratope adapt writes it"
        )
    if not os.path.isfile(parent):
        raise InputError(
            f"--parent {parent}: no such file; without a campaign's model it is the file of the "
            "antibody to mutate (the id of a measured one needs the model's folder before it)"
        )
    if asked["candidates"] == "all":
        del asked["candidates"]
    if asked["max_mutations"] is None:
        del asked["max_mutations"]
    with console_progress() as progress:
        chosen = first_plate(read_parent(parent), batch, progress=progress, **asked)
    written = write_next_round(chosen, output) if output is not None else []
    counts = Counter(len(suggestion.candidate.mutations) for suggestion in chosen.suggestions)
    kinds = ", ".join(f"{n} with {k} mutation{'s' * (k > 1)}" for k, n in sorted(counts.items()))
    sites = {
        (each.chain, each.position)
        for suggestion in chosen.suggestions
        for each in suggestion.candidate.mutations
    }
    say(
        *(f"Note: {note}" for note in chosen.notes),
        f"Filters: {chosen.filters}",
        str(chosen.left_out).capitalize(),
        f"{len(chosen.suggestions)} chosen of {chosen.candidates:,} candidates, so that the plate "
        f"teaches most: {kinds}, at {len(sites)} positions. Measure {chosen.best[0]} itself with "
        "them, more than once.",
    )
    if output is None:
        _table(chosen)
    if not written:
        finish("the plate and a FASTA to order it by go to files with -o plate-1.csv")
    else:
        finish(
            f"order {written[1]}, add the measured values to {written[0]}, and: paratope adapt "
            f"{written[0]} -o my-campaign",
            *written,
        )


def _intention(
    model: str, batch: int, candidates: str, explore: float | None, min_distance: int
) -> str:
    """What is about to be done, why, and how long it takes."""
    from paratope.campaigns.suggestion import SuggestionOptions
    from paratope.campaigns.suggestion.candidates import parse_generators

    options = SuggestionOptions(batch, candidates=candidates, min_distance=min_distance)
    if options.from_pool:
        what = f"Predicting every antibody of {candidates}"
        explore = explore or 0.0
    else:
        counts = parse_generators(candidates)
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
        what = f"Making mutants of the campaign's parents (at most {kinds}), predicting each"
    chosen = f"{batch} together: high predicted values, and what the model does not know yet"
    if explore == 0.0:
        chosen = f"the {batch} of the highest predicted values"
    return (
        f"{what} by {model}, and choosing {chosen}. A language model reads at most the "
        f"{options.read_candidates:,} most promising, about a thousand chains a minute on a "
        "laptop; what it has read is kept."
    )


def _show(chosen: "NextRound", with_table: bool) -> None:
    """Print what was left out and why, what to expect of the batch, and the batch."""
    lines = [chosen.measured.parent_sentence, *(f"Note: {note}" for note in chosen.notes)]
    lines += [f"Filters: {chosen.filters}", str(chosen.left_out).capitalize()]
    if chosen.refused:
        lines.append(f"{len(chosen.refused):,} rows of the pool refused:")
        lines += [f"  {row.id}: {row.reason}" for row in chosen.refused[:SHOWN]]
        if len(chosen.refused) > SHOWN:
            lines.append(f"  and {len(chosen.refused) - SHOWN:,} more")
    beating = sum(suggestion.p_beats_best for suggestion in chosen.suggestions)
    name, value = chosen.best
    lines.append(
        f"{len(chosen.suggestions)} chosen of {chosen.candidates:,} candidates; about "
        f"{beating:.1f} of them expected above the best measured ({name}, {value:.3g})"
    )
    say(*lines)
    if with_table:
        _table(chosen)


def _table(chosen: "NextRound") -> None:
    from paratope.molecules.mutations import format_mutations

    rows = []
    for suggestion in chosen.suggestions:
        low, value, high = (
            getattr(suggestion.prediction, f"{chosen.label}{end}") for end in ("_low", "", "_high")
        )
        mutations = suggestion.candidate.mutations
        is_first = not chosen.measured.variants
        better = suggestion.p_beats_parent if is_first else suggestion.p_beats_best
        predicted = ("–", "–", f"{better:.2f}")
        if value is not None:
            predicted = (f"{value:.2f}", f"{low:.2f} to {high:.2f}", f"{better:.2f}")
        rows.append((suggestion.rank, format_mutations(mutations), *predicted, suggestion.reason))
    label = "pKd" if chosen.label == "pkd" else "score"
    beats = "P(best)" if chosen.measured.variants else "P(better)"
    columns = ("rank", "mutations", label, "interval", beats, "why")
    looks = {"column": {"overflow": "fold"}, "padding": (0, 2, 0, 0)}
    print_table(table_console(), columns, rows, **looks)
