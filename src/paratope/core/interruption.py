"""Leaving in good order when asked to, by Ctrl-C (SIGINT) or SIGTERM, and what goes on afterwards.

A first signal ends the work at the next place where it can go on later; a second one ends it at
once. Nothing is damaged by either: every file is written whole or not at all.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, ClassVar, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """Somebody asked to leave; not an `Exception`, so nothing takes it for an error."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.exit_code = 128 + number
        super().__init__(f"interrupted by {signal.Signals(number).name}")


class Interruption:
    """Whether somebody has asked to leave.

    As a context, it listens to SIGINT and SIGTERM (in the main thread; elsewhere it hears nothing).
    A signal raises `Interrupted` where it arrives, or inside `deferred` at the next `check`.
    Outside its context it never interrupts anything.

    >>> with Interruption() as interruption:
    ...     try:
    ...         with interruption.deferred():
    ...             signal.raise_signal(signal.SIGTERM)
    ...             print("not in the middle of this line's work")
    ...     except Interrupted as interrupted:
    ...         print(interrupted)
    not in the middle of this line's work
    interrupted by SIGTERM
    """

    def __init__(self) -> None:
        self._asked: int | None = None
        self._deferred = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise `Interrupted` if somebody has asked to leave."""
        if self._asked is not None:
            raise Interrupted(self._asked)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a signal waits for the next `check`; the end of the context is one."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked is not None:
            os.write(2, b"Left at once.\n")
            os._exit(128 + number)
        self._asked = number
        if not self._deferred:
            raise Interrupted(number)
        os.write(2, b"Leaving; a second signal leaves at once.\n")


class Resumable:
    """An object whose attributes named in `kept` are plain values, and all it goes on from."""

    kept: ClassVar[tuple[str, ...]]

    def state_dict(self) -> dict[str, Any]:
        """The kept attributes by name."""
        return {name: getattr(self, name) for name in self.kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from another's state; what is not in it stays."""
        for name in self.kept:
            setattr(self, name, state.get(name, getattr(self, name)))
