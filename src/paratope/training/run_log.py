"""``log.txt`` of a run folder: one line for everything that happened, as it happens.

A line is a time (UTC), a phase and its values::

    2026-03-01T09:30:00.125Z batch epoch=2 batch=7/32 window=3/4 step=12
    2026-03-01T09:30:00.350Z checkpoint epoch=2 batch=8/32 step=13
    2026-03-01T09:30:00.371Z saved megabytes=1.8 seconds=0.021

Lines reach the operating system at once, so the last one says where a killed run was.
"""

import fcntl
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

from paratope.core.errors import OutputError, TrainingError

LOG = "log.txt"


class RunLog:
    """Writes what happens in a run; as a context, to a file that no other run writes to meanwhile.

    Without a path nothing is written; `say` is told every note, `write_history` the records of all
    epochs after each. Entering raises `TrainingError` if another process is writing the file,
    `OutputError` if it cannot be written.
    """

    def __init__(self, path: Path | None = None, say: Callable[[str], None] | None = None) -> None:
        self.path = path
        self._say = say
        self._file: IO[str] | None = None
        self.write_history: Callable[[Sequence[Mapping[str, Any]]], None] = lambda history: None

    def __enter__(self) -> Self:
        if self.path is None:
            return self
        try:
            self._file = self.path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise TrainingError(
                f"{self.path.parent}: another process is training into this folder; wait for it, "
                "or give another folder"
            ) from None
        except OSError:
            pass  # a file system without locks: nothing to go by
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def event(self, phase: str, **values: object) -> None:
        """Write a line of a phase and its values."""
        words = [
            f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in values.items()
        ]
        self._write(" ".join([phase, *words]))

    def note(self, text: str) -> None:
        """Write a line in words, and say it."""
        self._write(f"note {text}")
        if self._say is not None:
            self._say(text)

    def _write(self, text: str) -> None:
        if self._file is not None:
            time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
            self._file.write(f"{time}Z {' '.join(text.split())}\n")
