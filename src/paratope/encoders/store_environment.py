"""One LMDB environment as the store needs it: shared, growing, safe over forks and kills."""

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lmdb

from paratope.core.errors import StoreError

INITIAL_MAP_BYTES = 64 << 20
NAME_FILE = "encoder.txt"


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

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            self._lmdb.close()

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
            environment.close()


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
