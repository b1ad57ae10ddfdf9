"""Downloading published files from their origin: verified by SHA-256, whole or not at all.

Nothing is downloaded unless a user asks for it.
"""

import dataclasses
import re
import time
from pathlib import Path

from paratope.core.errors import InputError, unknown_name
from paratope.core.files import as_output_error, atomic_file
from paratope.core.progress import Progress, silent
from paratope.data.datasets import DATASETS
from paratope.data.datasets.dataset import DataFile, data_root, locate, sha256_of

_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_BLOCK_BYTES = 1 << 16

# Predictions and folds that others published, to be judged on the same rows (benchmarks read them).
GEARBIND = DataFile(
    "gearbind/skempi_v2_with_all_results_0415.csv",
    sha256="e8bf1de18ef5731c7d0dec6760d74701edae979557623b3d2afa4c5c4a7fd539",
    url="https://raw.githubusercontent.com/DeepGraphLearning/GearBind/"
    "c557c3f6e7b6295c3d505786750fa01e7712223e/data/skempi_v2_with_all_results_0415.csv",
)
_PROTATTBA_URL = (
    "https://raw.githubusercontent.com/code4luck/ProtAttBA/"
    "9adbf9899a7b3aa69da4ea00f5b3ca9e14bddbbd/cross_validation/results/{}_results.csv"
)
PROTATTBA: dict[str, DataFile] = {
    name.lower(): DataFile(f"protattba/{name}_results.csv", sha256, _PROTATTBA_URL.format(name))
    for name, sha256 in (
        ("AB645", "085781aa51604b89a1b17913056afb409e613edca284995fa96a204b2ee461a3"),
        ("AB1101", "4afa0596ae7e3be1a869cc78954dc3eb56b63ee3922a35b8b0789845d85b59c8"),
        ("S1131", "e49b1b647c7e96447c971705ea7c382be9243448685e8f69987cced9390c5ab2"),
    )
}
_GRAPHINITY_URL = (
    "https://raw.githubusercontent.com/oxpig/Graphinity/281a72fde123d89bf29a50a73fc787f5d355e1b9/"
    "data/ddg_experimental/Experimental_ddG_645/cdr_seqid_cutoffs"
)
_GRAPHINITY_NAME = "Experimental_ddG_645_-Reverse_Mutations_-Non_Binders-cutoff_{}-10foldcv.csv"
GRAPHINITY: dict[int, DataFile] = {
    cutoff: DataFile(f"graphinity/{name}", sha256, f"{_GRAPHINITY_URL}/{name}")
    for cutoff, sha256 in (
        (70, "eb2987bea9aa46a46379e50befd90275f022d38bdd99f67a09ffaec573b16760"),
        (90, "993fad32da78d7672e9286bfa249ce2dd415fe7a67791c6fb1ccc27efeb4735d"),
        (100, "13f19f7bcb2e8f654cdf19d49089cdcc7411484a5cbe7329529ebf5ff26a0524"),
    )
    for name in [_GRAPHINITY_NAME.format(cutoff)]
}
COMPARATORS: dict[str, tuple[DataFile, ...]] = {
    "gearbind": (GEARBIND,),
    "protattba": tuple(PROTATTBA.values()),
    "graphinity": tuple(GRAPHINITY.values()),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch left in the folder."""

    downloaded: tuple[Path, ...]
    present: tuple[Path, ...]  # Were there already, with the right checksum
    missing: tuple[str, ...]  # Files that are published nowhere as such, and how to make them


def fetch(
    name: str,
    folder: Path | None = None,
    base_url: str | None = None,
    *,
    attempts: int = 5,
    pause_s: float = 0.5,
    timeout_s: float = 30.0,
    progress: Progress = silent,
) -> Fetched:
    """Download the published files of a data set or comparator.

    `folder` is the data root to put them under (default `data_root`); `base_url` a mirror with its
    layout, instead of each file's origin. A server that fails, a connection that is cut or silent
    for `timeout_s`, is tried `attempts` times, after pauses that double from `pause_s`. `progress`
    is called with the file's name, bytes received and bytes in all.

    Raises `InputError` if the name is unknown, no file of it is published, the server does not have
    the file, cannot be reached (the message says which file to put where, and its checksum), or
    sends another file; `OutputError` if the folder cannot be written.
    """
    if name not in DATASETS and name not in COMPARATORS:
        raise InputError(unknown_name("data set", name, [*DATASETS, *COMPARATORS]))
    files = COMPARATORS[name] if name in COMPARATORS else DATASETS[name].files
    if not files:
        raise InputError(f"{name} is a table format: there is nothing to fetch")
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
        if not re.match(r"https?://", url):
            raise InputError(f"expected a URL that starts with http:// or https://, got {url!r}")
        by_hand = (
            f"To do without a network, get the file{f' from {file.url}' if file.url else ''} and "
            f"put it at {target}; its SHA-256 is {file.sha256}"
        )
        for attempt in range(1, attempts + 1):
            try:
                _download(url, target, file.sha256, timeout_s, progress)
                break
            except _FailedDownloadError as failure:
                if failure.may_pass and attempt < attempts:
                    time.sleep(pause_s * 2 ** (attempt - 1))
                    continue
                tries = f"gave up after {attempts} tries: " if failure.may_pass else ""
                raise InputError(f"{url}: {tries}{failure}. {by_hand}") from failure
        downloaded.append(target)
    missing = [
        f"{root / file.path} (SHA-256 {file.sha256}) is not published; made from: {file.made}"
        for file in files
        if file not in published and locate(root, file) is None
    ]
    return Fetched(tuple(downloaded), tuple(present), tuple(missing))


class _FailedDownloadError(Exception):
    """Why one download failed, and whether another try may succeed."""

    def __init__(self, reason: str, *, may_pass: bool = False) -> None:
        super().__init__(reason)
        self.may_pass = may_pass


def _download(url: str, target: Path, sha256: str, timeout_s: float, progress: Progress) -> None:
    """Download one file; nothing appears under its name unless its checksum is right."""
    import pooch
    from requests import RequestException  # what pooch's downloads fail with

    download = pooch.HTTPDownloader(
        _Meter(target.name, progress),  # pyright: ignore[reportArgumentType]: any bar-like object
        _BLOCK_BYTES,
        timeout=timeout_s,
        # nothing in between may compress: the checksum is of the bytes as published
        headers={"User-Agent": "paratope", "Accept-Encoding": "identity"},
    )
    with as_output_error(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_file(target) as stream:
            download(url, stream, None)
            received = sha256_of(Path(stream.name))
            if received != sha256:
                raise _FailedDownloadError(
                    f"not the file expected: SHA-256 {received}, expected {sha256}. Nothing was "
                    "kept. It may have changed at its origin, or something in between answered in "
                    "its place"
                )
    except RequestException as failure:
        if failure.response is None:
            raise _FailedDownloadError(str(failure), may_pass=True) from failure
        status = failure.response.status_code
        raise _FailedDownloadError(
            f"the server answered {status} {failure.response.reason}",
            may_pass=status in _RETRIED_STATUS,
        ) from failure


class _Meter:
    """What pooch moves as its progress bar."""

    def __init__(self, name: str, progress: Progress) -> None:
        self.name = name
        self.progress = progress
        self.total = 0
        self.done = 0

    def update(self, count: int) -> None:
        # the last block counts as a whole one, and a server may not say the length
        self.done = min(self.done + count, self.total or self.done + count)
        self.progress(self.name, self.done, max(self.total, self.done))

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        pass
