"""``paratope scan``: every mutant of an antibody, as a table and heat maps."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from paratope.cli.group import command_app, finish, open_console, print_table, say
from paratope.cli.predict import antigen_source
from paratope.core.errors import InputError

app = command_app()


@app.command(
    epilog="Example: paratope scan --heavy EVQL… --light DIQM… --antigen TQVC… -o scan/\n\n"
    "Example: paratope scan --table parents.csv --id wt --model my-campaign --regions CDR -o s/\n"
    "\nExample: paratope scan --heavy EVQL… --antigen panel.fasta --variants H:S31A,H:Y105W -o s/"
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
    variants: Annotated[
        str,
        Option(help="single (every residue to all others), alanine, or mutations to combine."),
    ] = "single",
    max_mutations: Annotated[int, Option(min=1, help="Most mutations in one combination.")] = 3,
    thorough: Annotated[
        bool, Option("--thorough", help="AntiBERTy reads every variant: humanness; takes minutes.")
    ] = False,
    coverage: Annotated[float, Option(help="Nominal coverage of the intervals.")] = 0.9,
) -> None:
    """Predict every mutant of an antibody against its parent: table, heat maps, liabilities."""
    import re

    from paratope.campaigns.scanning import scan as run
    from paratope.campaigns.scanning import write_scan
    from paratope.core.progress import console_progress
    from paratope.molecules.mutations import parse_mutation, parse_regions

    combine = variants if variants not in ("single", "alanine") else None
    if combine is not None and regions is not None:
        raise InputError("combinations are of the mutations given: no --regions")
    if output.exists() and not output.is_dir():
        raise InputError(f"cannot write {output}: this is a file; expected a folder")
    predictor, antibody, antigens = _subject(model, table, row_id, heavy, light, antigen)
    # unlike those of one variant, several may be at one position
    parts = [part for part in re.split("[,+;]", combine or "") if part.strip()]
    if combine is not None and not parts:
        raise InputError(
            f"--variants {variants!r}: expected single, alanine, or mutations as H:S31A,L:T93Y"
        )
    with console_progress() as progress:
        scanned = run(
            predictor,
            antibody,
            antigens,
            alanine=variants == "alanine",
            combine=[parse_mutation(part, antibody) for part in parts],
            max_mutations=max_mutations,
            regions=None if regions is None else parse_regions(regions),
            thorough=thorough,
            coverage=coverage,
            progress=progress,
        )
    written = write_scan(scanned, output)
    _show(scanned)
    say(*(f"Note: {note}" for note in scanned.notes))
    finish(f"open {written[-1]}", output)
    if scanned.variants["error"].null_count() < scanned.variants.height:
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
    import polars as pl

    from paratope.data.tables import id_among, read_antigens, read_table, table_from_frame
    from paratope.models.predictor import Predictor

    def read(default: Any) -> Any:
        """The row that holds the antibody, with its antigen."""
        # one antigen at a time: ids stay as they are in the table
        reading = {"antigens": None if given is None else given[:1], "default_antigen": default}
        if table is not None:
            whole = read_table(table, **reading)
            if row_id is None and len(whole.rows) > 1:
                raise InputError(f"{whole.source} has {len(whole.rows)} rows; choose one by --id")
            rows = {row.id: row for row in reversed(whole.rows)}  # the first of an id
            row = next(iter(whole.rows), None)
            if row_id is not None:
                row = rows.get(id_among(row_id, rows))
            if row is None:
                known = ", ".join(row.id for row in whole.rows[:5])
                raise InputError(f"{whole.source}: no row has the id {row_id!r}; ids begin {known}")
        elif given is None and default is None:
            raise InputError(
                "--heavy needs --antigen: the antigen's residues, or a FASTA file of it"
            )
        else:
            frame = pl.DataFrame([{"id": "the antibody", "heavy": heavy, "light": light or ""}])
            row = table_from_frame(frame, source="command line", **reading).rows[0]
        if row.pair is None:
            raise InputError(row.error or "the row holds no pair")
        return row

    given: Any = None if antigen is None else antigen_source(antigen, "the antigen")
    if isinstance(given, str):
        given = read_antigens(given)
    predictor: Any = model
    try:
        row = read(None)
    except InputError:
        if given is not None:
            raise
        predictor = Predictor.load(model)  # a campaign's model has an antigen of its own
        if predictor.default_antigen is None:
            raise
        row = read(predictor.default_antigen)
    say(*(f"Note: {note}" for note in row.notes))
    return predictor, row.pair.antibody, given or (row.pair.antigen,)


def _show(scanned: Any) -> None:
    from paratope.campaigns.scanning.columns import value_columns

    delta, low, high = value_columns(scanned.unit)[3:6]
    title = "ΔpKd" if scanned.unit == "pkd" else "Δscore"
    best = scanned.variants.drop_nulls(delta).sort(delta, descending=True).head(10)
    rows = [
        (
            row["mutations"],
            row["mutations_imgt"],
            row["region"] or "",
            f"{row[delta]:+.2f}",
            f"{row[low]:+.2f} to {row[high]:+.2f}",
            f"{row['p_stronger']:.2f}",
            row["liabilities_gained"] or "",
        )
        for row in best.iter_rows(named=True)
    ]
    columns = ("mutations", "IMGT", "region", title, "interval", "P(stronger)", "liabilities")
    titled = {"title": "Predicted strongest", "title_justify": "left"}
    print_table(open_console(), columns, rows, column={"overflow": "fold"}, **titled)
