"""Command lines as documents show them, checked against the real commands without running them."""

import shlex
from collections.abc import Iterator
from typing import Any

from paratope.cli import COMMANDS, load_command


def leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below one that does something itself, with the words that reach it."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
    else:
        for name, child in children.items():
            yield from leaves(child, (*path, name))


def all_commands() -> dict[str, Any]:
    """Every command by the words that reach it: ``"predict"``, ``"data audit"``."""
    found = (leaf for name in COMMANDS for leaf in leaves(load_command(name), (name,)))
    return {" ".join(path): command for path, command in found}


def check_command_line(line: str) -> None:
    """Raise what a user would see if the line's command, options or number of arguments are wrong.

    Files need not exist. What follows a pipe, a redirection or a comment is not looked at.
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>;&")
    lexer.whitespace_split = True
    words = []
    for word in lexer:
        if set(word) <= set("|<>;&"):
            break
        words.append(word)
    assert words[0] == "paratope", line
    if words[1:] in (["--help"], ["--version"]):
        return
    assert words[1] in COMMANDS, f"{line}: no command {words[1]!r}"
    command, rest = load_command(words[1]), words[2:]
    while hasattr(command, "commands"):
        assert rest, f"{line}: a sub-command is missing"
        if rest == ["--help"]:
            return
        assert rest[0] in command.commands, f"{line}: no command {rest[0]!r}"
        command, rest = command.commands[rest[0]], rest[1:]
    context = command.make_context("paratope", [], resilient_parsing=True)
    context.resilient_parsing = False
    values, extra, _ = command.make_parser(context).parse_args(list(rest))
    assert not extra, f"{line}: too many arguments"
    for parameter in command.params:
        if parameter.required and parameter.name not in values:
            raise AssertionError(f"{line}: {parameter.name} is missing")
