"""``paratope predict``: a table, or one pair, to pKd with intervals."""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from paratope.cli.group import command_app
from paratope.core.errors import InputError

app = command_app()
# Id of the antibody that --mutations are made of.
PARENT_ID = "parent"


@app.command(
    epilog="Example: paratope predict pairs.csv -o predictions.csv\n\n"
    "Example: paratope predict --heavy EVQL… --light DIQM… --antigen TQVC…"
)
def predict(
    table: Annotated[
        str | None,
        Argument(help="CSV, TSV, Parquet, XLSX or antibody FASTA; - reads CSV from stdin."),
    ] = None,
    output: Annotated[
        str | None, Option("--output", "-o", help="File (.csv .tsv .parquet .xlsx); - is stdout.")
    ] = None,
    heavy: Annotated[
        str | None, Option(help="One heavy chain, VHH or scFv, instead of a table.")
    ] = None,
    light: Annotated[str | None, Option(help="Its light chain.")] = None,
    mutations: Annotated[
        list[str] | None,
        Option(help="Variant of the one antibody, as H:S31A,L:T93Y; may be repeated."),
    ] = None,
    antigen: Annotated[
        str | None,
        Option(help="Its antigen; with a table, a FASTA file of antigens to pair all with."),
    ] = None,
    model: Annotated[str, Option(help="Model folder, or bundled name.")] = "default",
    parent: Annotated[
        str | None, Option(help="Id of the row to compare with; adds ΔpKd columns.")
    ] = None,
    columns: Annotated[
        str | None, Option(help="Names of your columns, as heavy=VH,antigen=target.")
    ] = None,
    coverage: Annotated[float, Option(help="Nominal coverage of the intervals.")] = 0.9,
    strong_threshold: Annotated[
        float, Option(help="pKd from which a binder counts as strong.")
    ] = 9.0,
    device: Annotated[str, Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Predict pKd with an interval for every row of a table, or for one pair."""
    from paratope.data.tables import parse_columns
    from paratope.models.predictor import Predictor

    source = _source(table, heavy, light, antigen, mutations or [])
    check_output(output)
    reading: dict[str, Any] = {"columns": parse_columns(columns) if columns else None}
    if heavy is None and antigen is not None:
        reading["antigens"] = antigen_source(antigen)
    if mutations and parent is None:
        parent = PARENT_ID
    predictor = Predictor.load(model, device)
    if predictor.default_antigen is not None:
        reading["default_antigen"] = predictor.default_antigen
    options = {"coverage": coverage, "strong_threshold_pkd": strong_threshold}
    counts = _run(predictor, source, reading, parent, options, output)
    total, failed = sum(counts.values()), counts["in error"]
    domains = ", ".join(f"{counts[name]} {name}" for name in ("in", "near", "out"))
    line = f"{total - failed} of {total} rows predicted (domain: {domains})"
    print(line + f"; {failed} in error, see the column error" * bool(failed), file=sys.stderr)
    if failed:
        raise typer.Exit(3)


def _run(
    predictor: Any,
    source: Any,
    reading: dict[str, Any],
    parent: str | None,
    options: dict[str, Any],
    output: str | None,
) -> Counter[str]:
    from paratope.data.tables import TableWriter, iter_tables, read_table
    from paratope.models.prediction import output_columns, prediction_frame

    whole = None
    if not isinstance(source, str):
        whole = _one_antibody(source)
    elif parent is not None:
        whole = read_table(source, parent=parent, **reading)
    if whole is not None and parent is not None:
        options["parent"] = predictor.parent(whole, parent)
    tables = _blocks(iter_tables(source, **reading) if whole is None else iter([whole]))
    counts: Counter[str] = Counter()
    on_screen = output is None and sys.stdout.isatty()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(tables))  # the file is let go if a block fails
        writer = None
        for table in tables:
            predictions = predictor.predict_rows(table.rows, **options)
            counts.update("in error" if one.error else one.domain for one in predictions)
            if on_screen:
                _show(predictions)
                continue
            frame = prediction_frame(table, predictions, parent is not None, predictor.label)
            if writer is None:
                own = set(frame.columns) - set(output_columns(parent is not None, predictor.label))
                writer = stack.enter_context(TableWriter(output or "-", keep=own))
            writer.write(frame)
    return counts


def _blocks(tables: Iterator[Any]) -> Generator[Any, None, None]:
    """The same tables; the notes of each are said, once."""
    said: set[str] = set()
    for table in tables:
        for note in table.notes:
            if note not in said:
                print(f"Note: {note}", file=sys.stderr)
        said.update(table.notes)
        yield table


def _source(
    table: str | None,
    heavy: str | None,
    light: str | None,
    antigen: str | None,
    mutations: list[str],
) -> Any:
    if table is not None and mutations:
        raise InputError(
            "--mutations are of the antibody given by --heavy and --light; in a table, give them "
            "in a column 'mutations'"
        )
    if table is not None and (heavy is not None or light is not None):
        raise InputError("give either a table, or --heavy, --light and --antigen; not both")
    if table is not None:
        return table
    if heavy is None:
        raise InputError("nothing to predict: give a table, or --heavy (--light) and --antigen")
    if antigen is None:
        raise InputError("--heavy needs --antigen: the antigen's residues, or a FASTA file of it")
    one = {"heavy": heavy, "light": light or "", "antigen": antigen}
    if not mutations:
        return [{"id": "1", **one}]
    rows = [{"id": PARENT_ID, **one, "parent": "", "mutations": ""}]
    nothing = dict.fromkeys(one, "")
    return rows + [
        {"id": text, **nothing, "parent": PARENT_ID, "mutations": text} for text in mutations
    ]


def _one_antibody(rows: list[dict[str, str]]) -> Any:
    """The pair given on the command line, and variants of it."""
    import polars as pl

    from paratope.data.tables import read_antigens, table_from_frame

    frame = pl.DataFrame(rows)
    antigen = rows[0]["antigen"]
    if not os.path.isfile(antigen):  # no error for residues too many to be a file's name
        return table_from_frame(frame, source="command line")
    antigens = read_antigens(antigen)
    if len(rows) > 1 and len(antigens) > 1:
        raise InputError(
            f"{antigen}: {len(antigens)} antigens; --mutations are compared on one. "
            "paratope scan --combine compares variants on several"
        )
    return table_from_frame(frame.drop("antigen"), source="command line", antigens=antigens)


def antigen_source(antigen: str) -> Any:
    """A FASTA file that exists, or the residues themselves; raises `InputError` for neither."""
    from paratope.molecules.sequences import clean_antigen

    if os.path.isfile(antigen):
        return antigen
    try:
        return [clean_antigen(antigen, "antigen")[0]]
    except InputError as error:
        raise InputError(
            f"--antigen {antigen!r} is neither a FASTA file that exists nor an antigen: {error}"
        ) from error


def check_output(output: str | None) -> None:
    """Fail before the work, not after it."""
    if output in (None, "-"):
        return
    from paratope.data.tables import TableWriter

    if Path(output).is_dir():
        raise InputError(f"cannot write {output}: this is a folder; expected a file name")
    TableWriter(output)  # refuses unknown suffixes
    folder = Path(output).absolute().parent
    if not folder.is_dir():
        raise InputError(
            f"cannot write {output}: its folder {folder} does not exist; make it first"
        )


def _show(predictions: list[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    scores = any(one.score is not None for one in predictions)
    values = ("score", "interval") if scores else ("pKd", "interval", "Kd (nM)", "P(strong)")
    title = f"{predictions[0].coverage:.0%} intervals" + ("" if scores else "; Kd in nM")
    table = Table(title=title, title_justify="left")
    for name in ("id", *values, "domain", "note"):
        table.add_column(name, overflow="fold")
    for one in predictions:
        if one.error:
            nothing = [""] * (len(values) + 1)
            table.add_row(one.id, *nothing, f"[red]{one.error}[/red]")
        elif scores:
            interval = f"{one.score_low:.3g} to {one.score_high:.3g}"
            table.add_row(one.id, f"{one.score:.3g}", interval, one.domain, one.note)
        else:
            interval = f"{one.pkd_low:.2f} to {one.pkd_high:.2f}"
            numbers = (f"{one.pkd:.2f}", interval, f"{one.kd_nM:.3g}", f"{one.p_strong:.2f}")
            table.add_row(one.id, *numbers, one.domain, one.note)
    Console().print(table)
