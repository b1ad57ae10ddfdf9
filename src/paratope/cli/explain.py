"""``paratope explain``: what a predicted pKd is made of."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from paratope.cli.group import (
    Columns,
    Sheet,
    command_app,
    command_line,
    finish,
    in_sheet,
    open_console,
    print_table,
    say,
)
from paratope.cli.predict import (
    PARENT_ID,
    check_output,
    given_source,
    open_tables,
    parent_id,
    reading_options,
)
from paratope.core.errors import InputError
from paratope.core.printing import printable

if TYPE_CHECKING:
    from paratope.models.explanation import ExplainedRow

app = command_app()
_DECIMALS = 6  # so that the lines of a table still add up to a prediction


@app.command(
    epilog="Example: paratope explain --heavy EVQL… --light DIQM… --antigen TQVC… "
    "--mutations H:S31A\n\n"
    "Example: paratope explain variants.csv --parent wt -o parts.csv"
)
def explain(
    table: Annotated[
        str | None,
        Argument(help="CSV, TSV, Parquet, XLSX or antibody FASTA; - reads CSV from stdin."),
    ] = None,
    output: Annotated[
        str | None,
        Option("--output", "-o", help="File (.csv .tsv .parquet .xlsx), a line a part; - stdout."),
    ] = None,
    figure: Annotated[
        Path | None, Option(help="Plot of one pair (.png or .svg): parts, and each mutation.")
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
        str | None, Option(help="Id of the row that mutations are counted from, or consensus.")
    ] = None,
    known: Annotated[
        list[str] | None,
        Option(
            help="What is known of all rows: parent_pkd=8.7, parent_is=germline (mature, lead) or "
            "epitope=K93,D101; may be repeated."
        ),
    ] = None,
    columns: Columns = None,
    sheet: Sheet = None,
) -> None:
    """Say what a predicted pKd is made of: parts of the level, and each mutation.

    They add up to the prediction. Networks are no sum: of them, each residue of the antibody is
    masked in turn, and counts by what the pKd loses, which takes about a minute a pair. Of a
    campaign's model they are what was learned of each mutation, and of the sequence as a whole.
    """
    from paratope.models.predictor import Predictor

    reading = reading_options(columns, antigen if heavy is None else None, known_cells(known or []))
    subject = in_sheet(table, sheet), heavy, light, antigen, mutations or []
    source = given_source(*subject, reading.get("context"))
    check_output(output, table)
    _check_figure(figure)
    named = parent_id(parent, mutations)
    predictor = Predictor.load(model)
    on_screen = output is None and (heavy is not None or sys.stdout.isatty())
    with contextlib.ExitStack() as stack:
        tables, pair = stack.enter_context(open_tables(predictor, source, reading, named))
        show = _show if on_screen else stack.enter_context(_writer(output))
        drawn: list[ExplainedRow] = []
        total = failed = changed = 0
        for block in tables:
            rows = predictor.explain_rows(block.rows, parent=pair)
            total, failed = total + len(rows), failed + sum(bool(row.error) for row in rows)
            changed += sum(bool(row.explanation and row.explanation.changes) for row in rows)
            if figure is not None:
                drawn += [row for row in rows if not (mutations and row.id == PARENT_ID)]
                _check_single(drawn)
            show(rows)
    if figure is not None:
        _draw(drawn[0], figure)
    say(f"{total - failed} of {total} rows explained" + f"; {failed} in error" * bool(failed))
    written = [path for path in (output, figure) if path not in (None, "-")]
    then = f"intervals and domains come from: {command_line('predict', '--help')}"
    if not changed:
        then = "name the parent, by --parent or --mutations, to see what each mutation does"
    finish(then, *written)
    if failed:
        raise typer.Exit(3)


def _check_figure(figure: Path | None) -> None:
    """Fail before the work, not after it."""
    if figure is None:
        return
    if figure.suffix.lower() not in (".png", ".svg"):
        raise InputError(f"--figure {figure}: expected a name ending in .png or .svg")
    if not figure.absolute().parent.is_dir():
        raise InputError(f"--figure {figure}: its folder does not exist; make it first")


def _check_single(rows: "Sequence[ExplainedRow]") -> None:
    if len(rows) > 1:
        raise InputError(
            f"--figure draws one pair, but {rows[0].id!r}, {rows[1].id!r}, … were given; leave one "
            "row or one --mutations, or leave --figure out"
        )


@contextlib.contextmanager
def _writer(output: str | None) -> Any:
    """A function that writes rows; the file appears if all are."""
    import polars as pl

    from paratope.data.tables import TableWriter
    from paratope.models.explanation import explanation_frame

    with TableWriter(output or "-", keep={"pkd", "score"}) as writer:
        yield lambda rows: writer.write(
            explanation_frame(rows).with_columns(pl.col(pl.Float64).round(_DECIMALS))
        )


def _show(rows: "Sequence[ExplainedRow]") -> None:
    """Print each row's parts and mutations, and their sum."""
    console = open_console()
    for row in rows:
        if row.explanation is None:
            console.print(f"{row.id}: {row.error}", style="red", markup=False)
            continue
        told = row.explanation
        lines = [(name, "", f"{value:+.2f}") for name, value in told.parts.items()]
        lines += [(str(change), change.region, f"{value:+.2f}") for change, value in told.changes]
        label = "score" if told.label == "score" else "pKd"
        if told.is_sum:
            lines.append((f"predicted {label}", "", f"{told.pkd:.2f}"))
        titled = {"title": printable(row.id), "title_justify": "left"}
        print_table(console, ("part or mutation", "region", label), lines, **titled)
        if row.note:
            console.print(f"Note: {row.note}", markup=False)


def _draw(row: "ExplainedRow", target: Path) -> None:
    from paratope.evaluation.figures.explanations import ChangeBar, explained_prediction
    from paratope.evaluation.figures.style import save_figure

    if row.explanation is None:
        raise InputError(f"nothing to draw: {row.error}")
    parts, changes, pkd, note, _, label = row.explanation
    unit = "score" if label == "score" else "pKd"
    bars = [
        ChangeBar(
            f"{change.before}{change.number}{change.after}", change.chain, change.region, value
        )
        for change, value in changes
    ]
    title = f"{row.id}: predicted {unit} {pkd:.2f}"
    save_figure(explained_prediction(parts, bars, pkd, title, note, unit), target)


def known_cells(texts: Sequence[str]) -> dict[str, str]:
    """Cells of context columns, from ``name=value``."""
    cells: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or name not in ("parent_pkd", "parent_is", "epitope"):
            raise InputError(f"--known {text!r}: expected parent_pkd=…, parent_is=… or epitope=…")
        cells[name] = value
    return cells
