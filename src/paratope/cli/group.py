"""How every command group looks: help on ``-h``, unknown names answered with the valid ones."""

from typing import Any

import typer
from typer.core import TyperGroup

from paratope.core.errors import unknown_name

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


class CommandGroup(TyperGroup):
    """A group of commands that answers an unknown command with the list of valid ones."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Name, command and remaining arguments; a usage error (exit 2) for an unknown name."""
        if not args[0].startswith("-") and args[0] not in self.commands:
            ctx.fail(unknown_name("command", args[0], self.commands))
        return super().resolve_command(ctx, args)


def command_app(summary: str | None = None) -> typer.Typer:
    """Typer application for one command module.

    A module with one command registers one function; a module with sub-commands gives `summary`
    and registers one function each. Every registered command has an ``epilog`` that starts with
    ``Example: paratope``.

    Parameters
    ----------
    summary : str or None
        Help text of a group of sub-commands.

    Examples
    --------
    >>> app = command_app()
    >>> @app.command(epilog="Example: paratope hello Ada")
    ... def hello(name: str) -> None:
    ...     '''Greet somebody.'''
    """
    app = typer.Typer(
        cls=CommandGroup,
        add_completion=False,
        no_args_is_help=summary is not None,
        pretty_exceptions_enable=False,
        context_settings=HELP_OPTIONS,
    )
    if summary is not None:
        app.callback(help=summary)(lambda: None)
    return app
