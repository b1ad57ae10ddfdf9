"""Downloading published files from their origin: resumed, verified, all or nothing.

Nothing is downloaded unless a user asks for it. A file appears under its name only after its
SHA-256 has been found to be that of the checksum table; what has come so far waits beside it as
``NAME.part`` and is resumed, also by a later run.
"""

import dataclasses
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from paratope.core.errors import InputError, OutputError, unknown_name
from paratope.data.datasets import DATASETS
from paratope.data.datasets.comparators import COMPARATORS
from paratope.data.datasets.dataset import DataFile, data_root, locate, sha256_of

Progress = Callable[[str, int, int | None], None]
BLOCK_BYTES = 1 << 16
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class _CutError(Exception):
    """The connection ended or the server stumbled; worth another try."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch left in the folder.

    Attributes
    ----------
    downloaded : tuple of Path
    present : tuple of Path
        Were there already, with the right checksum.
    missing : tuple of str
        Files that are published nowhere as such, and how to make them.
    """

    downloaded: tuple[Path, ...]
    present: tuple[Path, ...]
    missing: tuple[str, ...]


def checksum_table() -> dict[str, DataFile]:
    """Every file that a data set or a comparator reads, by its path under the data root."""
    groups = [dataset.files for dataset in DATASETS.values()] + list(COMPARATORS.values())
    return {file.path: file for files in groups for file in files}


def fetch(
    name: str,
    folder: Path | None = None,
    base_url: str | None = None,
    *,
    attempts: int = 5,
    pause_s: float = 0.5,
    timeout_s: float = 30.0,
    progress: Progress | None = None,
) -> Fetched:
    """Download the published files of a data set or comparator.

    Parameters
    ----------
    name : str
        One of ``DATASETS`` or ``COMPARATORS``.
    folder : Path, optional
        Data root to put them under (default `data_root`).
    base_url : str, optional
        A mirror with the layout of the data root, instead of each file's origin.
    attempts : int
        Tries in a row that bring not one byte, before giving up.
    pause_s : float
        Before the second try; doubled for each further one.
    timeout_s : float
        For which a connection may stay silent.
    progress : callable, optional
        Called with file name, bytes so far, bytes in all (None if unknown).

    Returns
    -------
    Fetched

    Raises
    ------
    InputError
        If the name is unknown, no file of it is published, the server does not have the file,
        cannot be reached (the message says which file to put where, and its checksum), or sends
        another file.
    OutputError
        If the folder cannot be written.
    """
    files = files_of(name)
    root = Path(folder) if folder is not None else data_root()
    published = [file for file in files if file.url or base_url]
    if not published:
        made = "; ".join(f"{file.path}: {file.made}" for file in files)
        raise InputError(f"{name} is not published as a file. Put it under {root} yourself. {made}")
    downloaded, present = [], []
    for file in published:
        target = root / file.path
        if target.is_file() and sha256_of(target) == file.sha256:
            present.append(target)
            continue
        url = f"{base_url.rstrip('/')}/{file.path}" if base_url else file.url
        _check_scheme(url)
        download = _Download(file, target, url, timeout_s, progress)
        download.run(attempts, pause_s)
        downloaded.append(target)
    missing = [
        f"{root / file.path} (SHA-256 {file.sha256}) is not published; made from: {file.made}"
        for file in files
        if file not in published and locate(root, file) is None
    ]
    return Fetched(tuple(downloaded), tuple(present), tuple(missing))


def files_of(name: str) -> tuple[DataFile, ...]:
    """Files of a data set or comparator; raises `InputError` for an unknown name or a format."""
    if name in COMPARATORS:
        return COMPARATORS[name]
    if name not in DATASETS:
        raise InputError(unknown_name("data set", name, [*DATASETS, *COMPARATORS]))
    files = DATASETS[name].files
    if not files:
        raise InputError(f"{name} is a table format: there is nothing to fetch")
    return files


def _check_scheme(url: str) -> None:
    if not re.match(r"https?://", url):
        raise InputError(f"expected a URL that starts with http:// or https://, got {url!r}")


class _Download:
    """One file on its way: a ``.part`` beside the target, grown over several connections."""

    def __init__(
        self, file: DataFile, target: Path, url: str, timeout_s: float, progress: Progress | None
    ) -> None:
        self.file = file
        self.target = target
        self.part = target.with_name(target.name + ".part")
        self.url = url
        self.timeout_s = timeout_s
        self.progress = progress

    def run(self, attempts: int, pause_s: float) -> None:
        """Download, verify and put in place; a left-over that does not fit is started over."""
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            resumed = self.part.exists()
            self._complete(attempts, pause_s)
            if sha256_of(self.part) != self.file.sha256 and resumed:
                self.part.unlink()
                self._complete(attempts, pause_s)
            self._verify()
            os.replace(self.part, self.target)
        except OSError as problem:
            raise OutputError(
                f"{self.target}: cannot be written: {problem.strerror or problem}"
            ) from problem

    def _verify(self) -> None:
        found = sha256_of(self.part)
        if found == self.file.sha256:
            return
        self.part.unlink()
        raise InputError(
            f"{self.url} is not the file expected: SHA-256 {found}, expected {self.file.sha256}. "
            f"Nothing was kept. It may have changed at its origin, or something in between "
            f"answered in its place. {self._by_hand()}"
        )

    def _complete(self, attempts: int, pause_s: float) -> None:
        """Grow the part until the server says it is whole."""
        failures = 0
        while True:
            before = self._size()
            try:
                self._connect()
                return
            except _CutError as cut:
                failures = 1 if self._size() > before else failures + 1
                if failures >= attempts:
                    raise InputError(
                        f"{self.url}: gave up after {attempts} tries: {cut}. {self._by_hand()}"
                    ) from cut
            time.sleep(pause_s * 2 ** (failures - 1))

    def _connect(self) -> None:
        """One connection: append what is missing, or start over if the server cannot resume."""
        start = self._size()
        headers = {"User-Agent": "paratope", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        request = urllib.request.Request(self.url, headers=headers)
        try:
            answer = urllib.request.urlopen(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as refusal:
            self._refused(refusal, start)
            return
        except (OSError, http.client.HTTPException) as cut:
            raise _CutError(_reason(cut)) from cut
        with answer:
            self._receive(answer, start)

    def _refused(self, refusal: urllib.error.HTTPError, start: int) -> None:
        status = refusal.code
        refusal.close()
        if status == 416 and start:  # nothing beyond what we have: whole, or another file's part
            if sha256_of(self.part) != self.file.sha256:
                self.part.unlink()
                raise _CutError("what was left of an earlier download does not fit") from refusal
            return
        if status in _RETRIED_STATUS:
            raise _CutError(f"the server answered {status} {refusal.reason}") from refusal
        raise InputError(
            f"{self.url}: the server answered {status} {refusal.reason}. {self._by_hand()}"
        ) from refusal

    def _receive(self, answer: http.client.HTTPResponse, start: int) -> None:
        resumes = answer.status == 206 and _range_start(answer) == start
        if start and not resumes:
            start = 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length is not None and length.isdecimal() else None
        size = start
        with self.part.open("ab" if start else "wb") as stream:
            for block in _blocks(answer):
                stream.write(block)
                size += len(block)
                if self.progress is not None:
                    self.progress(self.target.name, size, total)
            stream.flush()
            os.fsync(stream.fileno())
        if total is not None and size < total:
            raise _CutError(f"the connection was cut after {size} of {total} bytes")

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _by_hand(self) -> str:
        origin = f" from {self.file.url}" if self.file.url else ""
        return (
            f"To do without a network, get the file{origin} and put it at {self.target}; "
            f"its SHA-256 is {self.file.sha256}"
        )


def _blocks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            block = answer.read(BLOCK_BYTES)
        except (OSError, http.client.HTTPException) as cut:
            raise _CutError(_reason(cut)) from cut
        if not block:
            return
        yield block


def _reason(cut: Exception) -> str:
    reason = cut.reason if isinstance(cut, urllib.error.URLError) else cut
    return str(reason) or type(cut).__name__


def _range_start(answer: http.client.HTTPResponse) -> int | None:
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(match[1]) if match else None
