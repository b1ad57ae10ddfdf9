"""The embedding store: encode what is missing, read what is there.

One LMDB environment per encoder. A key is the SHA-256 of the encoder's name with revision and the
chains; a value is a header (dtype, shape, checksum) and the numbers. What an unpaired encoder gives
is kept per chain, what a paired one gives per molecule. Writes are transactions: a process that is
killed leaves what it had committed and nothing else.
"""

import contextlib
import dataclasses
import hashlib
import os
import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from paratope.core.errors import StoreError
from paratope.core.progress import Progress, silent
from paratope.encoders import Encoder, molecule_units
from paratope.encoders.store_environment import (
    NAME_FILE,
    Environment,
    acquire,
    clear_folder,
    disk_size,
    release,
)

FOLDER = "embeddings"
FORMAT_VERSION = 1
# Residues that are encoded between two commits: what a kill can cost.
RESIDUES_PER_COMMIT = 8192
# magic, format version, dtype (numpy name), rows, columns, CRC-32 of key, rows, columns and data
_HEADER = struct.Struct("<4sH10sIII")
_MAGIC = b"PTEM"


class EmbeddingStore:
    """Embeddings of one encoder: `fill` encodes what is missing, `get` reads.

    Several processes may read and write one store (in `folder`, by default `cache_folder`) at once;
    it also survives `os.fork`. Raises `StoreError` if the folder cannot be made or written, or
    holds something else.

    >>> import tempfile
    >>> from paratope.encoders import load_encoder
    >>> with EmbeddingStore(load_encoder("residue"), tempfile.mkdtemp()) as store:
    ...     print(store.fill([("EVQL", "DIQM"), ("EVQL",)]), store.get(("EVQL", "DIQM")).shape)
    2 (8, 51)
    """

    def __init__(self, encoder: Encoder, folder: str | os.PathLike[str] | None = None) -> None:
        self.encoder = encoder
        self.path = store_folder(encoder.name, folder)
        self._environment = acquire(self.path, encoder.name)
        self._closed = False

    def __enter__(self) -> "EmbeddingStore":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; the store cannot be used afterwards."""
        if not self._closed:
            self._closed = True
            release(self._environment)

    def __contains__(self, molecule: tuple[str, ...]) -> bool:
        return all(self._read(unit) is not None for unit in self._units(molecule))

    def __len__(self) -> int:
        return self._open().entries()

    @property
    def size_bytes(self) -> int:
        """Size of the store on disk."""
        return disk_size(self.path)

    def fill(self, molecules: Iterable[tuple[str, ...]], progress: Progress = silent) -> int:
        """Encode and keep what is not in the store yet, or is damaged.

        Gives how many chains (molecules, for a paired encoder) were encoded. Raises `EncoderError`
        if the encoder cannot take one (what was encoded before stays), `StoreError` if the store
        cannot be written (disk full, no permission).
        """
        units = dict.fromkeys(unit for molecule in molecules for unit in self._units(molecule))
        missing = [unit for unit in units if self._read(unit) is None]
        # like lengths together, so that the encoder's batches carry little padding
        missing.sort(key=lambda unit: (-sum(map(len, unit)), unit))
        done = 0
        for chunk in _chunks(missing):
            self._write(chunk, self.encoder.encode(chunk))
            done += len(chunk)
            progress(f"encoding with {self.encoder.name}", done, len(missing))
        return len(missing)

    def get(self, molecule: tuple[str, ...]) -> np.ndarray:
        """Embedding of one molecule, (residues, dim) float32: read, or encoded if not there.

        A damaged value is one that is not there.
        """
        parts = []
        for unit in self._units(molecule):
            rows = self._read(unit)
            if rows is None:
                rows = np.ascontiguousarray(self.encoder.encode([unit])[0], dtype=np.float32)
                self._write([unit], [rows])
            parts.append(rows)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def lacking(self, molecules: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """Those that are not in the store: quick, as no embedding is read.

        A damaged value is not noticed, but `get` notices it.
        """
        units = list({unit for molecule in molecules for unit in self._units(molecule)})
        missing = dict(zip(units, self._open().lacking(list(map(self._key, units))), strict=True))
        return [
            molecule
            for molecule in molecules
            if any(missing[unit] for unit in self._units(molecule))
        ]

    def clear(self) -> None:
        """Remove every embedding of this encoder."""
        self._open().clear()

    def _units(self, molecule: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        return molecule_units(tuple(molecule), self.encoder.paired)

    def _open(self) -> Environment:
        if self._closed:
            raise StoreError(f"the embedding store of {self.encoder.name} is closed")
        return self._environment

    def _key(self, unit: tuple[str, ...]) -> bytes:
        return embedding_key(self.encoder.name, unit)

    def _read(self, unit: tuple[str, ...]) -> np.ndarray | None:
        key = self._key(unit)
        value = self._open().read(key)
        rows = None if value is None else _unpack(key, value)
        # an entry of another shape was not written by this encoder: as good as damaged
        if rows is None or rows.shape != (sum(map(len, unit)), self.encoder.dim):
            return None
        return rows

    def _write(self, units: Sequence[tuple[str, ...]], arrays: Sequence[np.ndarray]) -> None:
        items = []
        for unit, rows in zip(units, arrays, strict=True):
            key, data = self._key(unit), np.ascontiguousarray(rows, dtype="<f4").tobytes()
            checksum = _checksum(key, len(rows), rows.shape[1], data)
            header = _HEADER.pack(_MAGIC, FORMAT_VERSION, b"float32", *rows.shape, checksum)
            items.append((key, header + data))
        self._open().write(items)


def embedding_key(encoder_name: str, chains: tuple[str, ...]) -> bytes:
    """SHA-256 of an encoder's name (with revision) and the chains that it encodes together."""
    # no part can hold the separator, so two different lists never give one text
    return hashlib.sha256("\n".join((encoder_name, *chains)).encode()).digest()


def _unpack(key: bytes, value: bytes) -> np.ndarray | None:
    """The array of a value, or None if it is damaged or of another format."""
    if len(value) < _HEADER.size:
        return None
    magic, version, dtype, n_rows, n_columns, checksum = _HEADER.unpack_from(value)
    if (magic, version, dtype.rstrip(b"\0")) != (_MAGIC, FORMAT_VERSION, b"float32"):
        return None
    data = value[_HEADER.size :]
    if len(data) != 4 * n_rows * n_columns or checksum != _checksum(key, n_rows, n_columns, data):
        return None
    # a copy: the caller may write into it
    return np.frombuffer(data, dtype="<f4").reshape(n_rows, n_columns).astype(np.float32)


def _checksum(key: bytes, n_rows: int, n_columns: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(key + struct.pack("<II", n_rows, n_columns)))


def _chunks(units: list[tuple[str, ...]]) -> Iterable[list[tuple[str, ...]]]:
    """Units in runs of at most `RESIDUES_PER_COMMIT` residues (a longer one alone)."""
    start, residues = 0, 0
    for end, unit in enumerate(units):
        length = sum(map(len, unit))
        if end > start and residues + length > RESIDUES_PER_COMMIT:
            yield units[start:end]
            start, residues = end, 0
        residues += length
    if units:
        yield units[start:]


def cache_folder() -> Path:
    """Where caches live: ``PARATOPE_CACHE``, or ``~/.cache/paratope``."""
    return Path(
        os.environ.get("PARATOPE_CACHE") or Path.home() / ".cache" / "paratope"
    ).expanduser()


@dataclasses.dataclass(frozen=True, slots=True)
class CacheEntry:
    """The stored embeddings of one encoder: how many (None: unreadable), and their size on disk."""

    encoder: str
    entries: int | None
    size_bytes: int
    folder: Path


def store_folder(encoder_name: str, folder: str | os.PathLike[str] | None = None) -> Path:
    """Folder of one encoder's embeddings in a cache folder (default `cache_folder`)."""
    root = Path(folder) if folder is not None else cache_folder()
    name = re.sub(r"[^A-Za-z0-9._@+-]", "-", encoder_name)
    if name != encoder_name:
        name += f"-{hashlib.sha256(encoder_name.encode()).hexdigest()[:8]}"
    return root / FOLDER / name


def list_caches(folder: str | os.PathLike[str] | None = None) -> tuple[CacheEntry, ...]:
    """Every encoder's stored embeddings in a cache folder (default `cache_folder`), by name."""
    caches = []
    for path in _store_folders(folder):
        name, entries = (path / NAME_FILE).read_text().strip(), None
        # a damaged one is listed all the same, so that the user sees what to clear
        with contextlib.suppress(StoreError):
            environment = acquire(path, name)
            try:
                entries = environment.entries()
            finally:
                release(environment)
        caches.append(CacheEntry(name, entries, disk_size(path), path))
    return tuple(sorted(caches, key=lambda cache: cache.encoder))


def clear_caches(folder: str | os.PathLike[str] | None = None) -> int:
    """Remove all stored embeddings of a cache folder, readable or not; gives the bytes freed."""
    freed = 0
    for path in _store_folders(folder):
        freed += disk_size(path)
        clear_folder(path)
    return freed


def _store_folders(folder: str | os.PathLike[str] | None) -> list[Path]:
    root = (Path(folder) if folder is not None else cache_folder()) / FOLDER
    return sorted(path.parent for path in root.glob(f"*/{NAME_FILE}"))
