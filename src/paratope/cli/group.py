"""How every command group looks: help on ``-h``, unknown names answered with the valid ones."""

import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option
from typer.core import TyperCommand, TyperGroup

from paratope.core.errors import InputError, unknown_name
from paratope.core.printing import printable

if TYPE_CHECKING:
    from rich.console import Console

Sheet = Annotated[
    str | None, Option(help="Sheet of an XLSX file; default: the first that holds a table.")
]
Columns = Annotated[
    str | None, Option(help="Names of your columns, such as heavy=VH,pkd=affinity.")
]
Device = Annotated[str, Option(help="auto, cpu or cuda.")]
MAX_SEED = 2**32 - 1  # what every generator takes
HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


class CommandGroup(TyperGroup):
    """A group of commands that answers an unknown command with the list of valid ones."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Name, command and remaining arguments; a usage error (exit 2) for an unknown name."""
        if not args[0].startswith("-") and args[0] not in self.commands:
            ctx.fail(unknown_name("command", args[0], self.commands))
        return super().resolve_command(ctx, args)


class WritingCommand(TyperCommand):
    """A command that no other one with the same output runs beside.

    The lines of its docstring are filled anew in its help, whatever the terminal's width.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.help = re.sub(r"(?<!\n)\n(?!\n)", " ", self.help or "")

    def invoke(self, ctx: Any) -> Any:
        """Run it, or raise `OutputError` at once."""
        output = ctx.params.get("output")
        if output in (None, "-"):
            return super().invoke(ctx)
        from paratope.core.files import sole_writer

        with sole_writer(output):
            return super().invoke(ctx)


class _App(typer.Typer):
    def command(self, *names: Any, **options: Any) -> Any:
        return super().command(*names, cls=WritingCommand, **options)


def command_app(summary: str | None = None) -> typer.Typer:
    """Typer application for one command module: one command or, with a summary, sub-commands.

    Every registered command has an ``epilog`` that starts with ``Example: paratope``.

    >>> app = command_app()
    >>> @app.command(epilog="Example: paratope hello Ada")
    ... def hello(name: str) -> None:
    ...     '''Greet somebody.'''
    """
    app = _App(
        cls=CommandGroup,
        add_completion=False,
        no_args_is_help=summary is not None,
        pretty_exceptions_enable=False,
        context_settings=HELP_OPTIONS,
    )
    if summary is not None:
        app.callback(help=summary)(lambda: None)
    return app


def in_sheet(table: Any, sheet: str | None) -> Any:
    """The table's path, with the sheet of it that is to be read."""
    if sheet is None:
        return table
    if table is None:
        raise InputError("--sheet is of an XLSX file; give the table too")
    from paratope.data.tables import SheetPath

    return SheetPath(table, sheet)


def say(*lines: str) -> None:
    """Print to stderr, which leaves stdout to the results."""
    for line in lines:
        typer.echo(printable(line), err=True)


def command_line(*words: object) -> str:
    """A command to type, as ``paratope suggest my-campaign -o next.csv``."""
    return shlex.join(["paratope", *map(str, words)])


def finish(then: str, *written: object) -> None:
    """The last line of every command: where it wrote, and what to do next."""
    say(f"Written: {', '.join(map(str, written))}. " * bool(written) + f"Next: {then}")


def table_console(width: int = 160) -> "Console":
    """A console for tables: one line a row, so wide, where no terminal sets the width."""
    return open_console(width=None if sys.stdout.isatty() else width)


def print_table(
    console: "Console", columns: Sequence[str], rows: Iterable[Sequence[object]], **options: Any
) -> None:
    """Print cells, which are no markup; options are of `rich.table.Table`, `column` of a column."""
    from rich.markup import escape
    from rich.table import Table

    column = options.pop("column", {})
    table = Table(box=None, **options)
    for name in columns:
        table.add_column(escape(name), **column)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    console.print(table)


def open_console(**options: Any) -> "Console":
    """A console for stdout; whatever text it is given, only its own styles reach the terminal."""
    from rich.console import Console

    class PrintableConsole(Console):
        def render_str(self, text: str, **options: Any) -> Any:
            return super().render_str(printable(text), **options)

    return PrintableConsole(highlight=False, **options)
