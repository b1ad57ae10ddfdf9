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
import shutil
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from paratope.core.errors import StoreError
from paratope.core.progress import Progress, silent
from paratope.encoders import Encoder, molecule_units
from paratope.molecules.sequences import Chains

FOLDER = "embeddings"
NAME_FILE = "encoder.txt"
FORMAT_VERSION = 1
INITIAL_MAP_BYTES = 64 << 20
# Residues that are encoded between two commits: what a kill can cost.
RESIDUES_PER_COMMIT = 8192
# magic, format version, dtype (numpy name), rows, columns, CRC-32 of key, rows, columns and data
_HEADER = struct.Struct("<4sH10sIII")


class EmbeddingStore:
    """Embeddings of one encoder: `fill` encodes what is missing, `get` reads.

    Several processes may read and write one store (in `folder`, by default `cache_folder`) at once;
    it also survives `os.fork`. Raises `StoreError` if the folder cannot be made or written, or
    holds something else.
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

    def __contains__(self, molecule: Chains) -> bool:
        return all(self._read(unit) is not None for unit in self._units(molecule))

    def __len__(self) -> int:
        return self._open().entries()

    def fill(self, molecules: Iterable[Chains], progress: Progress = silent) -> int:
        """Encode what is missing or damaged; gives how many chains (paired: molecules) it was.

        Raises `EncoderError` if the encoder cannot take one (what was encoded before stays),
        `StoreError` if the store cannot be written (disk full, no permission).
        """
        units = dict.fromkeys(unit for molecule in molecules for unit in self._units(molecule))
        missing = [unit for unit in units if self._read(unit) is None]
        # like lengths together, so that the encoder's batches carry little padding
        missing.sort(key=lambda unit: (-sum(map(len, unit)), unit))
        starts = np.cumsum([0, *(sum(map(len, unit)) for unit in missing)])
        done = 0
        while done < len(missing):
            full = int(np.searchsorted(starts, starts[done] + RESIDUES_PER_COMMIT, "right"))
            chunk = missing[done : max(full - 1, done + 1)]
            self._write(chunk, self.encoder.encode(chunk))
            done += len(chunk)
            progress(f"encoding with {self.encoder.name}", done, len(missing))
        return len(missing)

    def get(self, molecule: Chains) -> np.ndarray:
        """Embedding of one molecule, (residues, dim): read, or encoded if missing or damaged."""
        parts = []
        for unit in self._units(molecule):
            rows = self._read(unit)
            if rows is None:
                rows = np.ascontiguousarray(self.encoder.encode([unit])[0], dtype=np.float32)
                self._write([unit], [rows])
            parts.append(rows)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def lacking(self, molecules: Sequence[Chains]) -> list[Chains]:
        """Those that are not in the store: quick, as none is read (and no damage noticed)."""
        units = list({unit for molecule in molecules for unit in self._units(molecule)})
        keys = [embedding_key(self.encoder.name, unit) for unit in units]
        missing = dict(zip(units, self._open().lacking(keys), strict=True))
        return [each for each in molecules if any(missing[unit] for unit in self._units(each))]

    def clear(self) -> None:
        """Remove every embedding of this encoder."""
        self._open().clear()

    def _units(self, molecule: Chains) -> tuple[Chains, ...]:
        return molecule_units(tuple(molecule), self.encoder.paired)

    def _open(self) -> "Environment":
        if self._closed:
            raise StoreError(f"the embedding store of {self.encoder.name} is closed")
        return self._environment

    def _read(self, unit: Chains) -> np.ndarray | None:
        """The array of a unit; None if it is not there, damaged, or of another format or shape."""
        key = embedding_key(self.encoder.name, unit)
        value = self._open().read(key) or b""
        header, data = value[: _HEADER.size], value[_HEADER.size :]
        shape = sum(map(len, unit)), self.encoder.dim
        if len(data) != 4 * shape[0] * shape[1] or header != _header(key, shape, data):
            return None
        # a copy: the caller may write into it
        return np.frombuffer(data, dtype="<f4").reshape(shape).astype(np.float32)

    def _write(self, units: Sequence[Chains], arrays: Sequence[np.ndarray]) -> None:
        items = []
        for unit, rows in zip(units, arrays, strict=True):
            key = embedding_key(self.encoder.name, unit)
            data = np.ascontiguousarray(rows, dtype="<f4").tobytes()
            items.append((key, _header(key, rows.shape, data) + data))
        self._open().write(items)


def embedding_key(encoder_name: str, chains: Chains) -> bytes:
    """SHA-256 of an encoder's name (with revision) and the chains that it encodes together."""
    # no part can hold the separator, so two different lists never give one text
    return hashlib.sha256("\n".join((encoder_name, *chains)).encode()).digest()


def _header(key: bytes, shape: tuple[int, ...], data: bytes) -> bytes:
    checksum = zlib.crc32(data, zlib.crc32(key + struct.pack("<II", *shape)))
    return _HEADER.pack(b"PTEM", FORMAT_VERSION, b"float32", *shape, checksum)


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


class Environment:
    """One LMDB environment. LMDB allows one per file in a process, so stores share it."""

    def __init__(self, path: Path, encoder_name: str) -> None:
        self.path = path
        self.encoder_name = encoder_name
        self.users = 0
        self._lock = threading.RLock()
        self._lmdb = self._open()
        self._pid = os.getpid()

    def read(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        with self._transaction(write=False) as transaction:
            return transaction.get(key)

    def lacking(self, keys: Sequence[bytes]) -> list[bool]:
        """Whether each key has no value; none is read."""
        with self._transaction(write=False) as transaction:
            cursor = transaction.cursor()
            return [not cursor.set_key(key) for key in keys]

    def write(self, items: list[tuple[bytes, bytes]]) -> None:
        """All of `items` in one transaction, in a larger map if need be."""
        with self._lock:
            while True:
                try:
                    with self._transaction(write=True) as transaction:
                        for key, value in items:
                            transaction.put(key, value)
                    return
                except lmdb.MapFullError:
                    self._lmdb.set_mapsize(2 * self._lmdb.info()["map_size"])

    def entries(self) -> int:
        """How many values are kept."""
        with self._transaction(write=False) as transaction:
            return transaction.stat()["entries"]

    def clear(self) -> None:
        """Start again with new files, so that the disk space is free at once."""
        with self._lock:
            self._lmdb.close()
            remove_folder(self.path)
            self._lmdb = self._open()

    @contextlib.contextmanager
    def _transaction(self, write: bool) -> Iterator[Any]:
        # the lock: the map must not be resized while this process reads it
        with self._lock:
            if os.getpid() != self._pid:
                # an environment must not be used on the other side of a fork; closing the
                # child's copy leaves the parent's locks and reader slots alone
                self._lmdb.close()
                self._lmdb = self._open()
                self._pid = os.getpid()
            elif _inode(self.path / "data.mdb") != self._inode:
                # another process has cleared the store: what is written to its old files is lost
                self._lmdb.close()
                self._lmdb = self._open()
            try:
                try:
                    transaction = self._lmdb.begin(write=write)
                except lmdb.MapResizedError:  # by another process
                    self._lmdb.set_mapsize(0)
                    transaction = self._lmdb.begin(write=write)
                with transaction:
                    yield transaction
            except lmdb.MapFullError:
                raise
            except (lmdb.Error, OSError) as error:
                action = "written" if write else "read"
                raise _store_error(self.path, f"cannot be {action}: {error}") from error

    def _open(self) -> Any:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            name_file = self.path / NAME_FILE
            if not name_file.exists():
                name_file.write_text(self.encoder_name + "\n")
            data = self.path / "data.mdb"
            size = data.stat().st_size if data.exists() else 0
            environment = lmdb.open(
                str(self.path), map_size=max(INITIAL_MAP_BYTES, size), max_readers=1024
            )
        except (lmdb.Error, OSError) as error:
            raise _store_error(self.path, f"cannot be opened: {error}") from error
        # reading beyond the end of a truncated file would kill the process
        used = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        if used > data.stat().st_size:
            environment.close()
            raise _store_error(self.path, f"is truncated: {data.stat().st_size} of {used} bytes")
        self._inode = _inode(data)
        return environment


_ENVIRONMENTS: dict[Path, Environment] = {}
_ENVIRONMENTS_LOCK = threading.Lock()


def acquire(path: Path, encoder_name: str) -> Environment:
    """The environment of a folder, opened or made; `release` it when done."""
    with _ENVIRONMENTS_LOCK:
        path = Path(os.path.realpath(path))
        if path not in _ENVIRONMENTS:
            _ENVIRONMENTS[path] = Environment(path, encoder_name)
        _ENVIRONMENTS[path].users += 1
        return _ENVIRONMENTS[path]


def release(environment: Environment) -> None:
    """Close an environment if nobody else in this process uses it."""
    with _ENVIRONMENTS_LOCK:
        environment.users -= 1
        if environment.users == 0:
            _ENVIRONMENTS.pop(environment.path, None)
            with environment._lock:
                environment._lmdb.close()


def clear_folder(path: Path) -> None:
    """Empty a store that is open in this process; remove one that is not, with its folder."""
    with _ENVIRONMENTS_LOCK:
        environment = _ENVIRONMENTS.get(Path(os.path.realpath(path)))
    if environment is None:
        remove_folder(path)
    else:
        environment.clear()


def disk_size(path: Path) -> int:
    """Bytes that a folder's files take on disk (LMDB's files can have holes)."""
    return sum(file.stat().st_blocks * 512 for file in path.iterdir() if file.is_file())


def remove_folder(path: Path) -> None:
    """Remove a store's folder."""
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise StoreError(f"embedding store {path} cannot be removed: {error}") from error


def _inode(path: Path) -> tuple[int, int] | None:
    """What tells a file from another that has taken its name; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _store_error(path: Path, what: str) -> StoreError:
    return StoreError(
        f"embedding store {path} {what}; free some space, set PARATOPE_CACHE to a folder that "
        "can be written, or clear it: paratope encoders cache --clear"
    )
