"""``paratope scan``: every mutant of an antibody, as a table and heat maps."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from paratope.cli.group import command_app
from paratope.core.errors import InputError

app = command_app()


@app.command(
    epilog="Example: paratope scan --heavy EVQL… --light DIQM… --antigen TQVC… -o scan/\n\n"
    "Example: paratope scan --table parents.csv --id wt --model my-campaign --regions CDR -o s/\n"
    "\nExample: paratope scan --heavy EVQL… --antigen panel.fasta --combine H:S31A,H:Y105W -o scan/"
)
def scan(
    output: Annotated[Path, Option("--output", "-o", help="Folder for tables and figures.")],
    heavy: Annotated[str | None, Option(help="Heavy chain, VHH or scFv.")] = None,
    light: Annotated[str | None, Option(help="Its light chain.")] = None,
    antigen: Annotated[
        str | None, Option(help="Antigen, or a FASTA file: the target first, then off-targets.")
    ] = None,
    table: Annotated[
        str | None, Option(help="Table that holds the antibody, instead of --heavy.")
    ] = None,
    row_id: Annotated[str | None, Option("--id", help="Its id in the table.")] = None,
    model: Annotated[str, Option(help="Model folder, or bundled name.")] = "default",
    regions: Annotated[
        str | None, Option(help="Regions to mutate: CDR, FR, H, L, H3, LFR1, …; default: all.")
    ] = None,
    alanine: Annotated[bool, Option("--alanine", help="Alanine scan.")] = False,
    combine: Annotated[
        str | None, Option(help="Combinations of these only, such as H:S31A,L:T93Y.")
    ] = None,
    max_mutations: Annotated[int, Option(help="Most mutations in one combination.")] = 3,
    coverage: Annotated[float, Option(help="Nominal coverage of the intervals.")] = 0.9,
) -> None:
    """Predict every mutant of an antibody against its parent: table, heat maps, liabilities."""
    from paratope.campaigns.scanning import scan as run
    from paratope.campaigns.scanning import write_scan
    from paratope.core.progress import console_progress
    from paratope.molecules.mutations import parse_regions

    if combine is not None and (alanine or regions is not None):
        raise InputError("--combine takes neither --alanine nor --regions; give one of them")
    if output.exists() and not output.is_dir():
        raise InputError(f"cannot write {output}: this is a file; expected a folder")
    predictor, antibody, antigens = _subject(model, table, row_id, heavy, light, antigen)
    with console_progress() as progress:
        found = run(
            predictor,
            antibody,
            antigens,
            alanine=alanine,
            combine=() if combine is None else _chosen(combine, antibody),
            max_mutations=max_mutations,
            regions=None if regions is None else parse_regions(regions),
            coverage=coverage,
            progress=progress,
        )
    written = write_scan(found, output)
    _show(found)
    for note in found.notes:
        print(f"Note: {note}", file=sys.stderr)
    print(f"written: {', '.join(map(str, written))}", file=sys.stderr)
    if found.variants["error"].null_count() < found.variants.height:
        raise typer.Exit(3)


def _subject(
    model: str,
    table: str | None,
    row_id: str | None,
    heavy: str | None,
    light: str | None,
    antigen: str | None,
) -> tuple[Any, Any, Any]:
    """Antibody and antigens that the options name, and the model: loaded if it was asked."""
    if (table is None) == (heavy is None):
        raise InputError("give --heavy (--light) and --antigen, or --table and --id")
    if row_id is not None and table is None:
        raise InputError("--id is of a row of --table; give the table too")
    given = None if antigen is None else _antigens(antigen)
    predictor: Any = model
    try:
        row = _read(table, row_id, heavy, light, given, None)
    except InputError:
        if given is not None or (default := _default_antigen(model)) is None:
            raise
        predictor, own = default
        row = _read(table, row_id, heavy, light, None, own)
    for note in row.notes:
        print(f"Note: {note}", file=sys.stderr)
    return predictor, row.pair.antibody, given or (row.pair.antigen,)


def _read(
    table: str | None,
    row_id: str | None,
    heavy: str | None,
    light: str | None,
    given: Any,
    default: Any,
) -> Any:
    """The row that holds the antibody, with its antigen."""
    import polars as pl

    from paratope.data.tables import read_table, table_from_frame

    # one antigen at a time: ids stay as they are in the table
    reading = {"antigens": None if given is None else given[:1], "default_antigen": default}
    if table is not None:
        row = _row(read_table(table, **reading), row_id)
    elif given is None and default is None:
        raise InputError("--heavy needs --antigen: the antigen's residues, or a FASTA file of it")
    else:
        frame = pl.DataFrame([{"id": "the antibody", "heavy": heavy, "light": light or ""}])
        row = table_from_frame(frame, source="command line", **reading).rows[0]
    if row.pair is None:
        raise InputError(row.error or "the row holds no pair")
    return row


def _default_antigen(model: str) -> tuple[Any, Any] | None:
    """A campaign's model and its own antigen; None for a model without one."""
    from paratope.models.predictor import Predictor

    predictor = Predictor.load(model)
    antigen = predictor.default_antigen
    return None if antigen is None else (predictor, antigen)


def _antigens(text: str) -> tuple[Any, ...]:
    from paratope.data.tables import read_antigens
    from paratope.molecules.sequences import clean_antigen

    if os.path.isfile(text):  # no error for residues too many to be a file's name
        return read_antigens(text)
    try:
        return (clean_antigen(text, "the antigen")[0],)
    except InputError as error:
        raise InputError(
            f"--antigen {text[:40]!r} is neither a FASTA file that exists nor an antigen: {error}"
        ) from error


def _row(table: Any, row_id: str | None) -> Any:
    if row_id is None:
        if len(table.rows) == 1:
            return table.rows[0]
        raise InputError(f"{table.source} has {len(table.rows)} rows; choose one by --id")
    for row in table.rows:
        if row.id == row_id:
            return row
    known = ", ".join(row.id for row in table.rows[:5])
    raise InputError(f"{table.source}: no row has the id {row_id!r}; ids begin {known}")


def _chosen(text: str, antibody: Any) -> list[Any]:
    """Mutations to combine; unlike those of one variant, several may be of one place."""
    import re

    from paratope.molecules.mutations import parse_mutation

    return [parse_mutation(part, antibody) for part in re.split("[,+;]", text) if part.strip()]


def _show(found: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    from paratope.campaigns.scanning.columns import value_columns

    delta, low, high = value_columns(found.unit)[3:6]
    title = "ΔpKd" if found.unit == "pkd" else "Δscore"
    best = found.variants.drop_nulls(delta).sort(delta, descending=True).head(10)
    table = Table(title="Predicted strongest", title_justify="left", box=None)
    for name in ("mutations", "IMGT", "region", title, "interval", "P(stronger)", "liabilities"):
        table.add_column(name, overflow="fold")
    for row in best.iter_rows(named=True):
        table.add_row(
            row["mutations"],
            row["mutations_imgt"],
            row["region"] or "",
            f"{row[delta]:+.2f}",
            f"{row[low]:+.2f} to {row[high]:+.2f}",
            f"{row['p_stronger']:.2f}",
            row["liabilities_gained"] or "",
        )
    Console().print(table)
