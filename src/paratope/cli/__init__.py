"""The command line: a table of commands, each imported only when it runs.

A command module defines ``app = command_app(...)`` (see `paratope.cli.group`) with either one
command or, given a summary, several sub-commands. Nothing of it is imported for the main help.

Exit codes: 0 all done; 2 bad usage or unreadable input; 3 finished, with some rows in error;
130 interrupted. A command ends with 3 by ``raise typer.Exit(3)``.
"""

import errno
import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer import Option
from typer.core import TyperCommand

from paratope.cli.group import HELP_OPTIONS, CommandGroup
from paratope.core.errors import ParatopeError, panics_as_errors
from paratope.core.printing import printable

# Command: the module that defines it, and its line in the main help
COMMANDS: dict[str, tuple[str, str]] = {
    "predict": ("paratope.cli.predict", "Predict pKd with an interval for a table of pairs."),
    "explain": ("paratope.cli.explain", "Say what a predicted pKd is made of, as a sum."),
    "adapt": ("paratope.cli.adapt", "Fit a model to a campaign's measurements, and validate it."),
    "suggest": ("paratope.cli.suggest", "Design the next plate of a campaign."),
    "screen": ("paratope.cli.screen", "Screen a library of up to millions for its best binders."),
    "scan": ("paratope.cli.scan", "Predict every mutant: heat maps, liabilities."),
    "simulate-campaign": (
        "paratope.cli.simulate_campaign",
        "Replay a measured landscape: rounds saved by a model.",
    ),
    "train": ("paratope.cli.train", "Train a model on a table of measurements."),
    "evaluate": ("paratope.cli.evaluate", "Evaluate any table of measured and predicted values."),
    "compare": ("paratope.cli.compare", "Compare runs or tables of predictions on the same rows."),
    "data": ("paratope.cli.data", "Import, audit, split and simulate measurements."),
    "models": ("paratope.cli.models", "List and show models; combine several into an ensemble."),
    "encoders": ("paratope.cli.encoders", "List, download and time encoders; manage their cache."),
    "serve": ("paratope.cli.serve", "Pages and an API over the models, on this machine."),
    "doctor": ("paratope.cli.doctor", "Check this installation."),
}


def load_command(name: str) -> Any:
    """The command or group of sub-commands behind a name in ``COMMANDS``, importing its module."""
    module = importlib.import_module(COMMANDS[name][0])
    command = typer.main.get_command(module.app)
    command.name = name
    return command


class CommandTable(CommandGroup):
    """The top-level group: lists ``COMMANDS`` unimported and imports the one that runs."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {
            name: TyperCommand(name, help=summary) for name, (_, summary) in COMMANDS.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Name, loaded command and remaining arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if command is not None else None, rest


def root_command() -> Any:
    """The ``paratope`` command itself."""
    app = typer.Typer(
        cls=CommandTable,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings=HELP_OPTIONS,
        epilog="Example: paratope predict pairs.csv -o predictions.csv",
    )

    def print_version(wanted: bool) -> None:
        if wanted:
            from paratope import __version__

            typer.echo(f"paratope {__version__}")
            raise typer.Exit()

    @app.callback()
    def paratope(
        version: Annotated[
            bool,
            Option("--version", callback=print_version, is_eager=True, help="Print the version."),
        ] = False,
    ) -> None:
        """How tightly an antibody binds an antigen (pKd), from sequence alone, with intervals."""

    return typer.main.get_command(app)


def lacking_options(message: str, arguments: Sequence[str]) -> str:
    """What to do instead where a message advises options that the command typed has not."""
    command, *words = arguments
    command = load_command(command)
    if hasattr(command, "commands"):
        command = command.commands[words[0]]
    known = {option for parameter in command.params for option in parameter.opts}
    advised = re.findall(r"(?<!\S)--[a-z][a-z-]+", message.partition("paratope ")[0])
    lacking = [option for option in dict.fromkeys(advised) if option not in known]
    if not lacking:
        return ""
    instead = ": rename the column in the table" * ("--columns" in lacking)
    return f". This command has no {', '.join(lacking)}{instead}"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line on what follows ``paratope`` and leave with its exit code."""
    try:
        with panics_as_errors("a library failed"):
            root_command().main(arguments, prog_name="paratope")
    except ParatopeError as error:
        cause, message = error.__cause__, str(error)
        message += lacking_options(message, sys.argv[1:] if arguments is None else arguments)
        # polars raises an OSError without its number, which stands in the text
        if isinstance(cause, BrokenPipeError) or (
            isinstance(cause, OSError) and f"os error {errno.EPIPE}" in str(cause)
        ):  # the reader of our output has gone, as ``head`` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing to flush to
            sys.exit(1)
    except OSError as error:
        message = f"{error.filename}: " * bool(error.filename) + (error.strerror or str(error))
    else:
        sys.exit(0)
    print(f"Error: {printable(message)}", file=sys.stderr)
    sys.exit(2)
