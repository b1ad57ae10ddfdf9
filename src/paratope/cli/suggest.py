"""``paratope suggest``: the antibodies to make next in a campaign."""

import sys
from typing import Annotated, Any

import typer

from paratope.cli.group import command_app

app = command_app()

SHOWN = 12

Output = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", help="Table (.csv .tsv .parquet .xlsx), a FASTA beside it; - is stdout."
    ),
]
Candidates = Annotated[
    str,
    typer.Option(
        help="Your pool (table or FASTA); or what to generate: single, neighbour, double, "
        "combinatorial, recombination, all; double:3000 for at most 3000."
    ),
]
Regions = Annotated[
    str | None,
    typer.Option(help="Where to mutate: CDR, H3, IMGT H:105-117, places H:S31. Default: CDR."),
]
MaxMutations = Annotated[
    int | None, typer.Option(min=1, help="Of the parent; default: as many as were measured.")
]
Parent = Annotated[
    str | None, typer.Option(help="Parent or measured antibody to mutate, by its id.")
]
Acquisition = Annotated[
    str, typer.Option(help="nei (noisy expected improvement), ucb or thompson.")
]
Explore = Annotated[
    float, typer.Option(help="0: highest expected values; 1: where least is known.")
]
Allow = Annotated[
    str, typer.Option(help="Liabilities, or residues such as C, not to leave out; or all.")
]
Forbid = Annotated[
    str, typer.Option(help="Further ones to leave out; parental: those of the parent, too.")
]
MinDistance = Annotated[
    int, typer.Option(min=1, help="Residues in which any two of the batch differ at least.")
]


@app.command(
    epilog="Example: paratope suggest my-campaign --batch 96 -o next.csv\n\n"
    "Example: paratope suggest my-campaign --candidates library.fasta --explore 0.5 -o next.csv\n\n"
    "Example: paratope suggest my-campaign --candidates single,double:3000 --regions H3,L3 "
    "--allow tryptophan-oxidation --forbid K,weak-deamidation -o next.csv"
)
def suggest(
    model: Annotated[str, typer.Argument(help="Campaign's folder, made by paratope adapt.")],
    output: Output = None,
    batch: Annotated[int, typer.Option("--batch", "-b", min=1, help="How many.")] = 96,
    candidates: Candidates = "all",
    regions: Regions = None,
    max_mutations: MaxMutations = None,
    parent: Parent = None,
    acquisition: Acquisition = "ucb",
    explore: Explore = 0.25,
    allow: Allow = "",
    forbid: Forbid = "",
    min_distance: MinDistance = 1,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same batch.")] = 0,
) -> None:
    """Choose the next plate: from your candidates or generated ones, diverse, each explained."""
    from paratope.campaigns.suggestion import suggest as choose
    from paratope.campaigns.suggestion import write_next_round
    from paratope.cli.predict import check_output
    from paratope.models.predictor import Predictor

    check_output(output)
    found = choose(
        Predictor.load(model),
        batch,
        candidates=candidates,
        regions=regions,
        max_mutations=max_mutations,
        parent=parent,
        acquisition=acquisition,
        explore=explore,
        allow=allow,
        forbid=forbid,
        min_distance=min_distance,
        seed=seed,
    )
    written = write_next_round(found, output) if output is not None else []
    _say(found)
    if output is None:
        _show(found)
    for path in written:
        print(f"written: {path}", file=sys.stderr)
    if found.refused:
        raise typer.Exit(3)


def _say(found: Any) -> None:
    """What was left out and why, and what to expect of the batch."""
    for note in found.notes:
        print(f"Note: {note}", file=sys.stderr)
    print(f"Filters: {found.filters}", file=sys.stderr)
    print(f"{str(found.left_out).capitalize()}", file=sys.stderr)
    if found.refused:
        print(f"{len(found.refused):,} rows of the pool refused:", file=sys.stderr)
        for one in found.refused[:SHOWN]:
            print(f"  {one.id}: {one.reason}", file=sys.stderr)
        if len(found.refused) > SHOWN:
            print(f"  and {len(found.refused) - SHOWN:,} more", file=sys.stderr)
    beating = sum(one.p_beats_best for one in found.suggestions)
    name, value = found.best
    print(
        f"{len(found.suggestions)} chosen of {found.candidates:,} candidates; about {beating:.1f} "
        f"of them expected above the best measured ({name}, {value:.3g})",
        file=sys.stderr,
    )


def _show(found: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    label = "pKd" if found.label == "pkd" else "score"
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("rank", "mutations", label, "interval", "P(best)", "why"):
        table.add_column(name, overflow="fold")
    from paratope.molecules.mutations import format_mutations

    for one in found.suggestions:
        low, value, high = (
            getattr(one.prediction, f"{found.label}{end}") for end in ("_low", "", "_high")
        )
        table.add_row(
            str(one.rank),
            format_mutations(one.candidate.mutations),
            f"{value:.2f}",
            f"{low:.2f} to {high:.2f}",
            f"{one.p_beats_best:.2f}",
            one.reason,
        )
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)
