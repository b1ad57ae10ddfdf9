"""``paratope screen``: the best of a library of any size, in a folder that is never lost."""

import contextlib
import sys
from typing import Annotated, Any

import typer
from typer import Argument, Option

from paratope.cli.group import Columns, Device, command_app, command_line, finish, say
from paratope.cli.predict import antigen_source

app = command_app()


@app.command(
    epilog="Example: paratope screen library.fasta --model my-campaign --top 1000 -o hits/\n\n"
    "Example: paratope screen parts/ --antigen panel.fasta --top 200 -o hits/\n\n"
    "Example: paratope screen s3://lab/parts --model my-campaign --engine ray=auto -o s3://lab/hits"
)
def screen(
    library: Annotated[
        list[str],
        Argument(help="FASTA, CSV or Parquet files, .gz or .zst or not, or folders; or URLs."),
    ],
    output: Annotated[
        str, Option("--output", "-o", help="Folder or URL; interrupted, it is gone on with.")
    ],
    model: Annotated[str, Option(help="Model folder, or bundled name.")] = "default",
    antigen: Annotated[
        str | None, Option(help="Antigen, or a FASTA file of several; default: the campaign's.")
    ] = None,
    top: Annotated[int, Option(min=1, help="Hits against each antigen.")] = 1000,
    recall: Annotated[
        float, Option(help="Share of the full model's own top that is to be among the hits.")
    ] = 0.95,
    exhaustive: Annotated[
        bool, Option("--exhaustive", help="Score all by the full model, however long it takes.")
    ] = False,
    int8: Annotated[
        bool, Option("--int8", help="Encode in int8, faster, if the full scores stay near enough.")
    ] = False,
    columns: Columns = None,
    coverage: Annotated[float, Option(help="Nominal coverage of the intervals.")] = 0.9,
    device: Device = "auto",
    engine: Annotated[
        str,
        Option(help="local; ray: a worker for each processor; ray=N; ray=ADDRESS: a cluster's."),
    ] = "local",
) -> None:
    """Score a library of up to millions and keep the best; killed, it goes on where it was."""
    from paratope.core.progress import console_progress
    from paratope.data.tables import parse_columns, read_antigens
    from paratope.screening import screen as run

    given: Any = None if antigen is None else antigen_source(antigen)
    if isinstance(given, str):
        given = read_antigens(given)
    # Ray tells of workers that died on stdout
    with contextlib.redirect_stdout(sys.stderr), console_progress() as progress:
        screened = run(
            library,
            output,
            model=model,
            antigens=given,
            top=top,
            recall=recall,
            exhaustive=exhaustive,
            int8=int8,
            columns=parse_columns(columns) if columns else None,
            coverage=coverage,
            device=device,
            engine=engine,
            progress=progress,
        )
    say(*(f"Note: {note}" for note in screened.notes))
    say(*summary_lines(screened.summary))
    then = command_line("adapt", "measured.csv", "-o", "my-campaign")
    finish(f"make and measure some, then: {then}", output)
    if screened.summary["rejected"]:
        raise typer.Exit(3)


def summary_lines(summary: Any) -> list[str]:
    """What a screen has to say of itself."""
    from paratope.screening.report import recall_sentence

    rows, rejected = summary["rows"], summary["rejected"]
    lines = [f"{rows:,} antibodies in {summary['seconds']:,.0f} s; {summary['hits']:,} hits"]
    if rejected:
        lines.append(f"{rejected:,} rows rejected: see rejected.csv")
    for name, recall in summary["recall"].items():
        lines.append(f"{name}: {recall_sentence(recall)}")
    return lines
