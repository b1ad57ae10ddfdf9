"""The folder of a screen: blocks that are durable once written, and what they were made of."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from paratope.core.errors import InputError, OutputError
from paratope.core.files import as_output_error, atomic_file, write_json
from paratope.screening.remote_folder import RemoteFolder

MANIFEST = "manifest.json"
# What a screen's parts hold, a row for each antibody and antigen.
PART_SCHEMA = {
    "row": pl.Int64,  # In the library, from 0
    "id": pl.String,
    "heavy": pl.String,
    "light": pl.String,
    "antigen": pl.String,
    "stage": pl.String,  # ``fast``, ``full`` or ``rejected``
    "fast": pl.Float64,
    "full": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p_strong": pl.Float64,
    "domain": pl.String,
    "note": pl.String,
    "error": pl.String,
}
FULL_COLUMNS = ("full", "low", "high", "p_strong", "domain", "note", "error")
# So often, in seconds, is the log sent to a remote folder.
_SEND_LOG = 30


class ScreenFolder:
    """A screen's folder; raises `InputError` if it is that of another screen.

    `made_of` is what the answer depends on: the library, the model, the antigens, the options.
    `remote` is what the folder is a copy of, if it is one.
    """

    def __init__(
        self, path: Path, made_of: Mapping[str, Any], remote: RemoteFolder | None = None
    ) -> None:
        self.path, now = path, json.loads(json.dumps(made_of))
        self._made_of, self._remote, self._log_sent = now, remote, 0.0
        with as_output_error(path):
            path.mkdir(parents=True, exist_ok=True)
        if remote:
            remote.fetch(r"manifest\.json|throughput\.csv|hits\.csv")
        manifest = path / MANIFEST
        if manifest.exists():
            try:
                known = json.loads(manifest.read_text(encoding="utf-8"))
                before = dict(known["made_of"])
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{manifest} is damaged; give another folder: {error}") from None
            changed = [
                name for name in dict.fromkeys([*now, *before]) if before.get(name) != now.get(name)
            ]
            if changed:
                each = (json.dumps(of.get(changed[0]), ensure_ascii=False) for of in (before, now))
                shown = [text if len(text) < 80 else f"{text[:77]}..." for text in each]
                raise InputError(
                    f"{path} holds a screen of another {', another '.join(changed)}: {shown[0]} "
                    f"before, {shown[1]} now. To go on with it, give what it was begun with; for "
                    "a new screen, give another folder"
                )
            self.finished: dict[str, Any] | None = known.get("finished")
        else:
            names = remote.names if remote else [entry.name for entry in path.iterdir()]
            if any(not name.startswith(".paratope-") for name in names):  # of a killed process
                raise OutputError(f"{path} is not empty and holds no screen; give another folder")
            self.finished = None
            write_json(manifest, {"made_of": now})
            self._send(manifest)
        if self.finished:
            self._remove_full()
            return
        with as_output_error(path):
            for name in ("parts", "full"):
                (path / name).mkdir(exist_ok=True)
        if remote:
            remote.fetch(r"(parts|full)/\d+\.parquet")

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Keep what a finished screen says of itself."""
        for file in (*self.path.glob("*.csv"), *self.path.glob("*.html")):
            self._send(file)
        write_json(self.path / MANIFEST, {"made_of": self._made_of, "finished": summary})
        self._send(self.path / MANIFEST)
        self.finished = dict(summary)
        self._remove_full()

    def write(self, path: Path, frame: pl.DataFrame) -> None:
        """Write a block, whole or not at all."""
        write_part(path, frame)
        self._send(path)

    def _send(self, path: Path) -> None:
        if self._remote:
            self._remote.send(path)

    def _remove_full(self) -> None:
        """All that was scored in full is in the parts."""
        shutil.rmtree(self.path / "full", ignore_errors=True)
        if self._remote:
            self._remote.remove("full")

    def part(self, number: int) -> Path:
        """File of a block of the library."""
        return self.path / "parts" / f"{number:08d}.parquet"

    def rescored(self, number: int) -> Path:
        """File of a block of those that were scored in full."""
        return self.path / "full" / f"{number:08d}.parquet"

    def parts(self, *columns: str) -> Iterator[tuple[int, pl.DataFrame]]:
        """Blocks in order, or some columns of them; those without holes before them."""
        number = 0
        while (path := self.part(number)).exists():
            yield number, read_part(path, columns)
            number += 1

    def log(self, stage: str, rows: int, seconds: float, peak_mb: float) -> None:
        """One line of ``throughput.csv``: when, what, how fast, the most memory of who did it."""
        path = self.path / "throughput.csv"
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = f"{now},{stage},{rows},{seconds:.3f},{rows / max(seconds, 1e-9):.1f},{peak_mb:.0f}\n"
        with as_output_error(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                if not os.fstat(descriptor).st_size:
                    line = "time,stage,rows,seconds,rows_per_second,peak_memory_mb\n" + line
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        if time.monotonic() - self._log_sent > _SEND_LOG:
            self._send(path)
            self._log_sent = time.monotonic()


def write_part(path: Path, frame: pl.DataFrame) -> None:
    """Write a block, whole or not at all."""
    with atomic_file(path) as file:
        frame.write_parquet(file, compression="zstd")


def read_part(path: Path, columns: tuple[str, ...] = ()) -> pl.DataFrame:
    """A block, or some columns of it; raises `InputError` if it is damaged."""
    with contextlib.suppress(OSError, pl.exceptions.PolarsError):
        return pl.read_parquet(path, columns=list(columns) or None, use_pyarrow=False)
    raise InputError(f"{path} is damaged; remove it and repeat the command, which makes it again")
