"""``paratope predict``: a table, or one pair, to pKd with intervals."""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from paratope.cli.group import (
    Columns,
    Device,
    Sheet,
    command_app,
    command_line,
    finish,
    in_sheet,
    open_console,
    say,
)
from paratope.core.errors import InputError
from paratope.core.printing import printable
from paratope.core.units import kd_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from paratope.models.prediction import Prediction

app = command_app()
# Id of the antibody that --mutations are made of.
PARENT_ID = "parent"
# In place of a parent's id where no row has it: the rows' consensus
CONSENSUS_ID = "consensus"
_GAP, _SHORTEST_ID = 2, 12  # between columns of a terminal's table; of its ids
_SPARED = ("P(strong)", "P(stronger)", "Kd")  # Left out of a narrow terminal, in this order


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
        str | None,
        Option(
            help="Id of the row to compare with, or consensus, that of all rows; adds ΔpKd columns."
        ),
    ] = None,
    columns: Columns = None,
    coverage: Annotated[float, Option(help="Nominal coverage of the intervals.")] = 0.9,
    strong_threshold: Annotated[
        float, Option(help="pKd from which a binder counts as strong.")
    ] = 9.0,
    device: Device = "auto",
    sheet: Sheet = None,
) -> None:
    """Predict pKd with an interval for every row of a table, or for one pair."""
    from paratope.models.predictor import Predictor

    reading = reading_options(columns, antigen if heavy is None else None)
    subject = in_sheet(table, sheet), heavy, light, antigen, mutations or []
    source = given_source(*subject, reading.get("context"))
    check_output(output, table)
    named = parent_id(parent, mutations)
    predictor = Predictor.load(model, device)
    options = {"coverage": coverage, "strong_threshold_pkd": strong_threshold}
    counts = _run(predictor, source, reading, named, options, output)
    total, failed = sum(counts.values()), counts["in error"]
    domains = ", ".join(f"{counts[name]} {name}" for name in ("in", "near", "out"))
    line = f"{total - failed} of {total} rows predicted (domain: {domains})"
    say(line + f"; {failed} in error, see the column error" * bool(failed))
    if output is None and sys.stdout.isatty():
        finish("the table, with all columns, goes to a file with -o predictions.csv")
    else:
        then = f"measure some, then: {command_line('adapt', 'measured.csv', '-o', 'my-campaign')}"
        if predictor.bundle.campaign:
            then = command_line("suggest", model, "-o", "next.csv")
        if failed == total:
            then = "mend the rows: the column error says what is wrong with each"
        finish(then, *[output] * (output not in (None, "-")))
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
    from paratope.data.tables import TableWriter, as_frame
    from paratope.models.prediction import prediction_frame

    counts: Counter[str] = Counter()
    on_screen = output is None and sys.stdout.isatty()
    names = predictor.output_columns(parent is not None)
    with contextlib.ExitStack() as stack:
        opened = open_tables(predictor, source, reading, parent)
        tables, parent_pair = stack.enter_context(opened)
        writer = None
        for table in tables:
            predictions = predictor.predict_rows(table.rows, parent=parent_pair, **options)
            counts.update("in error" if row.error else row.domain for row in predictions)
            if on_screen:
                show(predictions)
                continue
            frame = as_frame(prediction_frame(table, predictions, names))
            if writer is None:
                keep = set(frame.columns) - set(names)
                writer = stack.enter_context(TableWriter(output or "-", keep))
            writer.write(frame)
    return counts


def reading_options(
    columns: str | None, antigen: str | None, context: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """How tables are read: the user's columns, an antigen for all rows, what is known of them."""
    from paratope.data.tables import parse_columns

    reading: dict[str, Any] = {"columns": parse_columns(columns) if columns else None}
    if antigen is not None:
        reading["antigens"] = antigen_source(antigen)
    if context:
        reading["context"] = context
    return reading


def parent_id(parent: str | None, mutations: Sequence[str] | None) -> str | None:
    """Which row changes are counted from, as `open_tables` takes it; None if none was named."""
    return PARENT_ID if mutations and parent is None else parent


@contextlib.contextmanager
def open_tables(
    predictor: Any, source: Any, reading: dict[str, Any], parent: str | None
) -> Iterator[tuple[Iterator[Any], Any]]:
    """Blocks of a table, or the whole of it where a parent must be found; and the parent's pair.

    Notes on the table are said as it is read, each once.
    """
    from paratope.data.tables import iter_tables, read_table

    if predictor.default_antigen is not None:
        reading = {**reading, "default_antigen": predictor.default_antigen}
    whole = None if isinstance(source, str) else source
    if whole is None and parent is not None:
        named = {} if parent == CONSENSUS_ID else {"parent": parent}
        whole = read_table(source, **named, **reading)
    pair = None
    if whole is not None and parent == CONSENSUS_ID not in {row.id for row in whole.rows}:
        pair = predictor.family_parent(whole)
    elif whole is not None and parent is not None:
        pair = predictor.parent(whole, parent)
    blocks: Any = iter_tables(source, **reading) if whole is None else [whole]

    def noted() -> Iterator[Any]:
        said: set[str] = set()
        for table in blocks:
            say(*(f"Note: {note}" for note in dict.fromkeys(table.notes) if note not in said))
            said.update(table.notes)
            yield table

    try:
        yield noted(), pair
    finally:
        if whole is None:
            blocks.close()  # the file is let go if a block fails


def given_source(
    table: str | None,
    heavy: str | None,
    light: str | None,
    antigen: str | None,
    mutations: list[str],
    context: dict[str, str] | None = None,
) -> Any:
    """The table's name, or the pair given on the command line and its variants as a table.

    `context` is what is known of these, as `reading_options` gives it.
    """
    import polars as pl

    from paratope.data.tables import read_antigens, table_from_frame

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
    pair = {"heavy": heavy, "light": light or "", "antigen": antigen}
    rows = [{"id": "1", **pair}]
    if mutations:
        rows = [{"id": PARENT_ID, **pair, "parent": "", "mutations": ""}]
        empty = dict.fromkeys(pair, "") | {"parent": PARENT_ID}
        rows += [{"id": text, **empty, "mutations": text} for text in mutations]
    frame = pl.DataFrame(rows)
    if not os.path.isfile(antigen):  # no error for residues too many to be a file's name
        return table_from_frame(frame, source="command line", context=context or {})
    antigens = read_antigens(antigen)
    if mutations and len(antigens) > 1:
        raise InputError(
            f"{antigen}: {len(antigens)} antigens; --mutations are compared on one. "
            "paratope scan --variants compares variants on several"
        )
    options: dict[str, Any] = {"antigens": antigens, "context": context or {}}
    return table_from_frame(frame.drop("antigen"), source="command line", **options)


def antigen_source(antigen: str, name: str = "antigen") -> Any:
    """A FASTA file that exists, or the residues themselves; raises `InputError` for neither."""
    from paratope.molecules.sequences import antigen_doubt, clean_antigen

    if os.path.isfile(antigen):
        return antigen
    try:
        if doubt := antigen_doubt(antigen):
            raise InputError(f"{doubt}; expected its residues")
        return [clean_antigen(antigen, name)[0]]
    except InputError as error:
        raise InputError(
            f"--antigen {antigen!r} is neither a FASTA file that exists nor an antigen: {error}"
        ) from error


def check_output(output: str | None, *read: str | None) -> None:
    """Fail before the work, not after it; `read` are files that the output must not replace."""
    if output is None or output == "-":
        return
    from paratope.data.tables import TableWriter

    for path in read:
        if path and os.path.isfile(path) and os.path.exists(output):
            if os.path.samefile(path, output):
                raise InputError(
                    f"cannot write {output}: this is a table that is read; give another file, so "
                    "that yours stays as it is"
                )
    if Path(output).is_dir():
        raise InputError(f"cannot write {output}: this is a folder; expected a file name")
    TableWriter(output)  # refuses unknown suffixes
    folder = Path(output).absolute().parent
    if not folder.is_dir():
        raise InputError(
            f"cannot write {output}: its folder {folder} does not exist; make it first"
        )


def show(predictions: "Sequence[Prediction]") -> None:
    """Print predictions as a table that fits the terminal."""
    console = open_console()
    for part in prediction_table(predictions, console.width):
        console.print(part)


def prediction_table(rows: "Sequence[Prediction]", width: int) -> "list[RenderableType]":
    """A table of `width` columns, and a legend of the notes and errors that its rows number.

    Ids that are too long lose their middle; against a parent, the difference takes the place of
    the interval.
    """
    from rich.table import Table
    from rich.text import Text

    numbers: dict[tuple[str, str], int] = {}  # (style, sentence) -> number in the legend
    lines = [_cells(row, numbers) for row in rows]
    names = list(max(lines, key=len, default={}))  # a row in error has few
    others = {name: max(len(name), *(len(line.get(name, "")) for line in lines)) for name in names}
    for spared in (*_SPARED, ""):
        room = max(width - sum(others[name] + _GAP for name in names), _SHORTEST_ID)
        if room > _SHORTEST_ID or not spared:
            break
        names = [kept for kept in names if kept != spared]
    table = Table("id", *names, box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
    for column in table.columns:
        column.no_wrap = True
    for row, line in zip(rows, lines, strict=True):
        style = "red" if row.error else ""
        table.add_row(
            Text(shortened(printable(row.id, keep=""), room), "bold"),
            *(Text(line.get(name, ""), style) for name in names),
        )
    legend = [
        Text.assemble(f"{number}  ", (printable(text), style))
        for (style, text), number in numbers.items()
    ]
    return [table, *legend]


def _cells(row: "Prediction", numbers: dict[tuple[str, str], int]) -> dict[str, str]:
    """A row's cells by column; sentences that are new get the next number."""
    sentences = [("red", row.error)] if row.error else [("", part) for part in row.note.split("; ")]
    marks = [
        str(numbers.setdefault(sentence, len(numbers) + 1)) for sentence in sentences if sentence[1]
    ]
    end = {"domain": row.domain, "note": ",".join(marks)}
    if row.error:
        return end
    label, title, form = ("pkd", "pKd", ".2f") if row.score is None else ("score", "score", ".3g")
    value, low, high, delta, delta_low, delta_high = (
        getattr(row, f"{prefix}{label}{end}")
        for prefix in ("", "delta_")
        for end in ("", "_low", "_high")
    )
    interval = f"{row.coverage:.0%} interval" if row.coverage else "interval"
    cells = {title: f"{value:{form}}"}
    if delta is None:
        cells[interval] = f"{low:{form}} to {high:{form}}"
    if row.kd_nM is not None:
        cells["Kd"] = kd_text(row.kd_nM)
    if delta is not None:
        cells[f"Δ{title}"] = f"{delta:+{form}}"
        cells[interval] = f"{delta_low:+{form}} to {delta_high:+{form}}"
        cells["P(stronger)"] = f"{row.p_stronger:.2f}"
    elif row.p_strong is not None:
        cells["P(strong)"] = f"{row.p_strong:.2f}"
    return cells | end


def shortened(text: str, width: int) -> str:
    """A text of at most `width` characters: ids differ at their ends, so the middle goes."""
    if len(text) <= width:
        return text
    tail = (width - 1) * 2 // 5 + 1
    return f"{text[: width - 1 - tail]}…{text[-tail:]}"
