"""Jobs and uploaded tables: kept in SQLite and a private folder, run in processes of their own.

What a job does is in `paratope.web.work`. A job that was under way when the server ended is
started again with the next one; one that has finished keeps its results until they expire.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import secrets
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from paratope.core.errors import InputError
from paratope.core.files import json_text, write_json
from paratope.web.protection import LOG, Refusal
from paratope.web.settings import Limits

STATES = ("queued", "running", "finished", "failed", "cancelled")
SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".xlsx", ".fasta", ".fa", ".csv.gz", ".tsv.gz")
MAX_ATTEMPTS = 3
RESULT = "result.json"  # what the child leaves, beside the files that it names
_ID = re.compile(r"[0-9a-f]{24}")
_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, kind TEXT, parameters TEXT, state TEXT, created REAL, started REAL,
    finished REAL, attempts INTEGER DEFAULT 0, error TEXT DEFAULT ''
);
CREATE TABLE IF NOT EXISTS tables (
    id TEXT PRIMARY KEY, name TEXT, suffix TEXT, bytes INTEGER, created REAL
);
"""


@dataclasses.dataclass(frozen=True)
class Job:
    """A job as it stands in the database."""

    id: str
    kind: str
    parameters: dict[str, Any]
    state: str
    created: float
    started: float | None
    finished: float | None
    attempts: int
    error: str


@dataclasses.dataclass(frozen=True)
class Table:
    """An uploaded table."""

    id: str
    name: str  # as its owner calls it; never part of a path
    suffix: str  # one of `SUFFIXES`
    bytes: int
    created: float


@dataclasses.dataclass
class Progress:
    """How far a running job is."""

    stage: str = ""
    done: int = 0
    total: int = 0
    since: float = dataclasses.field(default_factory=time.monotonic)

    def update(self, stage: str, done: int, total: int) -> None:
        """What the child has said."""
        if stage != self.stage:
            self.since = time.monotonic()
        self.stage, self.done, self.total = stage, done, total

    @property
    def eta_seconds(self) -> float | None:
        """Seconds to the end of the stage, at its speed so far; None where it is not counted."""
        if self.total <= 1 or not self.done:
            return None
        return (time.monotonic() - self.since) * (self.total - self.done) / self.done


class Store:
    """The private folder: a database, tables by their ids, a folder a job."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self.folder, self.limits = folder, limits
        for name in ("tables", "jobs"):
            (folder / name).mkdir(exist_ok=True, mode=0o700)
        self._base = sqlite3.connect(
            folder / "jobs.sqlite", isolation_level=None, check_same_thread=False
        )
        self._base.row_factory = sqlite3.Row
        self._base.executescript("PRAGMA journal_mode=WAL;" + _TABLES)
        for left in (folder / "tables").glob("*.part"):
            left.unlink()
        self._base.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")

    def close(self) -> None:
        """Close the database."""
        self._base.close()

    def jobs(self, state: str | None = None, most: int = 100) -> list[Job]:
        """The newest jobs, or all of a state, the oldest first."""
        if state is None:
            rows = self._base.execute("SELECT * FROM jobs ORDER BY created DESC LIMIT ?", (most,))
        else:
            rows = self._base.execute(
                "SELECT * FROM jobs WHERE state = ? ORDER BY created", (state,)
            )
        return [_job(row) for row in rows]

    def job(self, job_id: str) -> Job:
        """A job by its id; refuses others."""
        found = self._row("jobs", job_id)
        if found is None:
            raise Refusal(404, "no_such_job", "there is no such job; it may have expired")
        return _job(found)

    def table(self, table_id: str) -> Table:
        """An uploaded table by its id; refuses others."""
        found = self._row("tables", table_id)
        if found is None:
            raise Refusal(404, "no_such_table", "there is no such table; it may have expired")
        return Table(**dict(found))

    def _row(self, kind: str, given: str) -> sqlite3.Row | None:
        if not _ID.fullmatch(given):
            return None
        return self._base.execute(f"SELECT * FROM {kind} WHERE id = ?", (given,)).fetchone()

    def job_folder(self, job: Job) -> Path:
        """The folder of a job."""
        return self.folder / "jobs" / job.id

    def table_path(self, table: Table) -> Path:
        """The file of a table."""
        return self.folder / "tables" / f"{table.id}{table.suffix}"

    def result(self, job: Job) -> dict[str, Any]:
        """What a finished job has left; empty for others."""
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self.job_folder(job) / RESULT).read_text("utf-8"))
        return {}

    def result_file(self, job: Job, name: str) -> Path:
        """A file of a job's results, by its name in the list of them; refuses others."""
        if name not in {one["name"] for one in self.result(job).get("files", ())}:
            raise Refusal(404, "no_such_file", "this job has no such file")
        return self.job_folder(job) / name

    def stored_bytes(self) -> int:
        """Bytes of all tables and results."""
        return sum(entry.stat().st_size for entry in self.folder.rglob("*") if entry.is_file())

    async def add_table(self, name: str, content: AsyncIterator[bytes]) -> Table:
        """Keep a table as it arrives; refuses what is too large or of a kind that is not read."""
        lower = name.lower()
        suffix = next((one for one in reversed(SUFFIXES) if lower.endswith(one)), "")
        if not suffix:
            words = f"{name[:80]!r} is no name of a table; expected one of {', '.join(SUFFIXES)}"
            raise Refusal(422, "unknown_suffix", words, {"name": words})
        left = self.limits.stored_bytes - self.stored_bytes()
        table = Table(secrets.token_hex(12), name[:200], suffix, 0, time.time())
        partial, size = self.folder / "tables" / f"{table.id}.part", 0
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                async for chunk in content:
                    size += len(chunk)
                    if size > self.limits.table_bytes:
                        most = f"{self.limits.table_bytes / 1e6:g} MB"
                        raise Refusal(413, "too_large", f"the table is larger than {most}")
                    if size > left:
                        words = "no room for more tables; delete jobs, or wait until they expire"
                        raise Refusal(503, "no_room", words, retry_after=3600)
                    file.write(chunk)
            if not size:
                raise Refusal(422, "empty", "the table is empty", {"table": "the file is empty"})
            table = dataclasses.replace(table, bytes=size)
            partial.rename(self.table_path(table))
        finally:
            partial.unlink(missing_ok=True)
        self._base.execute("INSERT INTO tables VALUES (?,?,?,?,?)", dataclasses.astuple(table))
        return table

    def remove_table(self, table: Table) -> None:
        """Forget a table."""
        self._base.execute("DELETE FROM tables WHERE id = ?", (table.id,))
        self.table_path(table).unlink(missing_ok=True)

    def add_job(self, kind: str, parameters: Mapping[str, Any], tables: Sequence[Path] = ()) -> Job:
        """Queue a job; the tables come along, so that they may expire."""
        if len(self.jobs("queued")) >= self.limits.waiting_jobs:
            words = f"{self.limits.waiting_jobs} jobs are waiting already"
            raise Refusal(429, "busy", words, retry_after=60)
        if self.stored_bytes() > self.limits.stored_bytes:
            words = "no room for more results; delete jobs, or wait until they expire"
            raise Refusal(503, "no_room", words, retry_after=3600)
        job = Job(
            secrets.token_hex(12), kind, dict(parameters), "queued", time.time(), None, None, 0, ""
        )
        folder = self.job_folder(job)
        folder.mkdir(mode=0o700)
        inputs = []
        for number, path in enumerate(tables, start=1):
            inputs.append(f"input-{number}{''.join(path.suffixes[-2:])}")
            os.link(path, folder / inputs[-1])
        about = {"kind": kind, "inputs": inputs, "seconds": self.limits.job_seconds}
        write_json(folder / "job.json", {**parameters, **about})
        self._base.execute(
            "INSERT INTO jobs (id, kind, parameters, state, created) VALUES (?,?,?,?,?)",
            (job.id, kind, json_text({**parameters, "inputs": inputs}), "queued", job.created),
        )
        return job

    def set_state(self, job: Job, state: str, **changes: Any) -> None:
        """A job's new state, with other columns."""
        assert state in STATES
        names = ", ".join(f"{name} = ?" for name in ("state", *changes))
        values = (state, *changes.values(), job.id)
        self._base.execute(f"UPDATE jobs SET {names} WHERE id = ?", values)

    def remove_job(self, job: Job) -> None:
        """Forget a job and its results."""
        self._base.execute("DELETE FROM jobs WHERE id = ?", (job.id,))
        shutil.rmtree(self.job_folder(job), ignore_errors=True)

    def expire(self) -> None:
        """Remove what has been kept long enough."""
        day = 86_400.0
        old = time.time() - self.limits.table_days * day
        for row in self._base.execute("SELECT * FROM tables WHERE created < ?", (old,)).fetchall():
            self.remove_table(Table(**dict(row)))
        old = time.time() - self.limits.job_days * day
        rows = self._base.execute("SELECT * FROM jobs WHERE finished < ?", (old,)).fetchall()
        for row in rows:
            self.remove_job(_job(row))


def _job(row: sqlite3.Row) -> Job:
    return Job(**{**dict(row), "parameters": json.loads(row["parameters"])})


class Runner:
    """Runs queued jobs, some at a time, each in a process that ends with this one."""

    def __init__(self, store: Store, processes: int) -> None:
        self.store = store
        self.progress: dict[str, Progress] = {}
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._asked = asyncio.Event()
        self._tasks = [asyncio.create_task(self._loop()) for _ in range(processes)]
        self._tasks.append(asyncio.create_task(self._expire()))

    @property
    def running(self) -> int:
        """Jobs under way."""
        return len(self._running)

    def wake(self) -> None:
        """There is a new job."""
        self._asked.set()

    def cancel(self, job: Job) -> None:
        """End a job that waits or runs; remove the results of one that has ended."""
        if job.state not in ("queued", "running"):
            self.store.remove_job(job)
            return
        self.store.set_state(job, "cancelled", finished=time.time())
        if job.id in self._running:
            _kill(self._running[job.id])

    async def close(self) -> None:
        """End what runs; it goes on with the next start."""
        for task in self._tasks:
            task.cancel()
        for process in self._running.values():
            _kill(process)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _expire(self) -> None:
        while True:
            self.store.expire()
            await asyncio.sleep(600)

    async def _loop(self) -> None:
        while True:
            waiting = self.store.jobs("queued")
            if not waiting:
                self._asked.clear()
                await self._asked.wait()
                continue
            await self._run(waiting[0])

    async def _run(self, job: Job) -> None:
        attempts = job.attempts + 1
        if attempts > MAX_ATTEMPTS:
            words = f"the server ended {MAX_ATTEMPTS} times while this job ran"
            self.store.set_state(job, "failed", error=words, finished=time.time())
            return
        now = time.time()
        self.store.set_state(job, "running", attempts=attempts, started=job.started or now)
        progress = self.progress[job.id] = Progress("starting")
        error = ""
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "paratope.web.work",
                str(self.store.job_folder(job)),
                stdin=asyncio.subprocess.PIPE,  # which ends when this process does
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # may quote sequences
                limit=1 << 20,
                start_new_session=True,
            )
            self._running[job.id] = process
            assert process.stdout is not None
            async for line in process.stdout:
                told = json.loads(line)
                error = told.get("error", error)
                if "stage" in told:
                    progress.update(told["stage"], told["done"], told["total"])
            code = await process.wait()
            if code and not error:
                error = f"the process of this job ended with code {code}; is memory short?"
        except asyncio.CancelledError:  # the server is being stopped: not the job's fault
            self.store.set_state(job, "queued", attempts=job.attempts)
            raise
        except (OSError, ValueError) as problem:
            error = f"the process of this job could not be run: {type(problem).__name__}"
        finally:
            self._running.pop(job.id, None)
            self.progress.pop(job.id, None)
        with contextlib.suppress(Refusal):  # removed meanwhile
            if self.store.job(job.id).state == "running":
                state = "failed" if error else "finished"
                self.store.set_state(job, state, error=error, finished=time.time())
            told = {"event": "job", "job": job.id, "kind": job.kind, "seconds": time.time() - now}
            LOG.info(json.dumps({**told, "state": self.store.job(job.id).state}))


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def checked_columns(columns: Mapping[str, str]) -> dict[str, str]:
    """Columns that a client maps; raises `InputError` for names of nothing that is read."""
    from paratope.data.tables import ALIASES

    unknown = [name for name in columns if name not in ALIASES]
    if unknown:
        raise InputError(f"columns: {unknown[0]!r} is not read; expected {', '.join(ALIASES)}")
    return {name: column for name, column in columns.items() if column}
