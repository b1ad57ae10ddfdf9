"""Errors a user can meet. Each says what it got, what it expected and what to do.

Anything a user hands over that is wrong raises a `ParatopeError`; the command line prints its
message without a traceback. `assert` is for our own mistakes.
"""

import contextlib
from collections.abc import Iterable, Iterator


class ParatopeError(Exception):
    """Base of every error that a user's input, files or settings can cause."""


class InputError(ParatopeError):
    """A sequence, a value or a table cannot be read as what it should be."""


class OutputError(ParatopeError):
    """A file cannot be written: its name, its folder, permission or space."""


class EncoderError(ParatopeError):
    """An encoder is unknown, not installed, not downloaded, or was given what it cannot encode."""


class StoreError(ParatopeError):
    """The embedding store cannot be opened or written."""


class ModelError(ParatopeError):
    """A model bundle is missing, incomplete, altered or of another format version."""


class EngineError(ParatopeError):
    """Workers cannot be started, or end again and again."""


class TrainingError(ParatopeError):
    """A training run cannot start or go on: data, recipe, or numbers that are no longer finite."""


class MissingExtraError(ParatopeError):
    """An optional dependency is not installed; the message names the extra to install."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional part: pip install 'paratope[{extra}]'")
        self.feature = feature
        self.extra = extra


def unknown_name(kind: str, got: str, valid: Iterable[object]) -> str:
    """Message for a name that is not in a table, with the names that are.

    >>> unknown_name("encoder", "esm9", ["residue", "antiberty"])
    "unknown encoder 'esm9'; valid names: antiberty, residue"
    """
    names = ", ".join(sorted(str(name) for name in valid))
    return f"unknown {kind} {got!r}; valid names: {names}"


def one_line(error: BaseException) -> str:
    """An error's message without line ends, long ones cut."""
    return " ".join(str(error).split())[:200]


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Say in an `InputError` where it was: a column, a parent, a line."""
    try:
        yield
    except InputError as problem:
        raise type(problem)(f"{where}: {problem}") from None


@contextlib.contextmanager
def panics_as_errors(what: str) -> Iterator[None]:
    """Turn the panic of a library in Rust, which is no `Exception`, into an `InputError`."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise InputError(f"{what}: {one_line(error)}") from None
