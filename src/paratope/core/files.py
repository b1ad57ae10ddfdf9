"""Writing files, folders and JSON: whole or not at all."""

import contextlib
import ctypes
import dataclasses
import enum
import errno
import fcntl
import hashlib
import json
import math
import os
import secrets
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from paratope.core.errors import OutputError

_WRITE_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EPIPE}
)
# renameat2(2): flag RENAME_EXCHANGE, and "relative to the working directory"
_RENAME_EXCHANGE, _AT_FDCWD = 2, -100

_held: set[Path] = set()  # What this process writes


@contextlib.contextmanager
def sole_writer(target: str | os.PathLike[str]) -> Iterator[str]:
    """While it lasts, no other process writes a file or folder; gives a name for what is temporary.

    Raises `OutputError` if another one is at it. The lock is of the system, so it ends with the
    process however that ends; what a killed one left behind is removed. Where nothing can be
    locked (no folder, a device), nothing is: the writing itself says what is wrong.
    """
    path = Path(os.path.realpath(target))
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    lock, temporary = path.with_name(f".paratope-lock-{digest}.tmp"), f".paratope-{digest}-"
    is_special = path.exists() and not (path.is_file() or path.is_dir())
    descriptor = None if is_special or path in _held else _locked(lock, target)
    if descriptor is None:
        yield temporary
        return
    _held.add(path)
    try:
        for left in path.parent.glob(f"{temporary}*.tmp"):
            _remove(left)
        yield temporary
    finally:
        _held.discard(path)
        with contextlib.suppress(OSError):
            lock.unlink()
        os.close(descriptor)


def _locked(lock: Path, target: object) -> int | None:
    """Descriptor of a file that is locked; None where none can be."""
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                return descriptor  # else the one before us has just removed it
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(descriptor)
            raise OutputError(
                f"cannot write {target}: another command is writing it; wait for its end, or "
                "choose another output"
            ) from None
        except OSError:  # a file system without locks
            return descriptor
        os.close(descriptor)


@contextlib.contextmanager
def atomic_file(target: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file that appears under its name only when it is complete.

    Written beside the target, flushed to disk, renamed; a device or a pipe is written directly. If
    anything fails, the target is as it was and nothing is left behind. Raises `OutputError` if it
    cannot be written: no folder, no permission, no space.
    """
    path = Path(os.path.realpath(target))  # a link stays a link
    if path.exists() and not path.is_file() and not path.is_dir():
        with as_output_error(target), path.open("wb") as device:
            yield device
        return
    with _temporary_beside(path, target) as temporary:
        with as_output_error(target):
            if path.is_dir():
                raise IsADirectoryError(None, "this is a folder; expected a file name")
            file = temporary.open("xb")
        # what the caller does meanwhile may fail to read something else: that is not our error
        with as_output_error(target, only=_WRITE_ERRORS), file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with as_output_error(target):
            if path.exists():
                temporary.chmod(path.stat().st_mode & 0o7777)
            os.replace(temporary, path)
    _flush(path.parent)


@contextlib.contextmanager
def atomic_folder(target: str | os.PathLike[str], replaces: Collection[str] = ()) -> Iterator[Path]:
    """A folder that appears under its name, with all its files, only when it is complete.

    The caller fills the folder it is given, which is beside the target. Whatever else a target
    that is already there holds comes along by hard links before the two folders are exchanged, so
    at no moment is any of it missing; only the files named in `replaces` end with it. Parents are
    made. Whether a folder that is there may be written to is for the caller to decide. If anything
    fails, the target is as it was; raises `OutputError` if it cannot be written.
    """
    path = Path(os.path.realpath(target))
    with as_output_error(target):
        path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary_beside(path, target) as temporary:
        with as_output_error(target):
            temporary.mkdir()
            if path.exists():
                temporary.chmod(path.stat().st_mode & 0o7777)
        with as_output_error(target, only=_WRITE_ERRORS):
            yield temporary
        with as_output_error(target):
            for entry in sorted(temporary.rglob("*"), reverse=True):
                _flush(entry)
            for entry in path.iterdir() if path.exists() else ():
                beside = temporary / entry.name
                if entry.name in replaces or beside.exists():
                    continue
                if entry.is_dir() and not entry.is_symlink():
                    shutil.copytree(entry, beside, symlinks=True, copy_function=_link)
                else:
                    _link(entry, beside)
            _flush(temporary)
            # what was there has the temporary name afterwards
            if not path.exists():
                temporary.rename(path)
            elif not _exchange(temporary, path):
                old = path.with_name(f".paratope-{secrets.token_hex(8)}.tmp")
                path.rename(old)
                try:
                    temporary.rename(path)
                except BaseException:
                    old.rename(path)
                    raise
                old.rename(temporary)
    _flush(path.parent)


@contextlib.contextmanager
def _temporary_beside(path: Path, target: str | os.PathLike[str]) -> Iterator[Path]:
    """A name beside a path that this process alone writes; what is left under it is removed."""
    with sole_writer(target) as name:
        temporary = path.with_name(f"{name}{secrets.token_hex(8)}.tmp")
        try:
            yield temporary
        finally:
            _remove(temporary)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # not every file system has hard links
        shutil.copy2(source, target, follow_symlinks=False)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step, where the system can (Linux, most file systems)."""
    library = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None
    rename = getattr(library, "renameat2", None)
    names = _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second)
    return rename is not None and rename(*names, _RENAME_EXCHANGE) == 0


def _flush(path: Path) -> None:
    """Flush a file or folder to the disk; not every file system can flush a folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def as_output_error(target: object, only: frozenset[int] | None = None) -> Iterator[None]:
    """Say what failed; with `only`, for these error numbers, others pass."""
    try:
        yield
    except OSError as error:
        if only is not None and error.errno not in only:
            raise
        reason = error.strerror or str(error)
        if isinstance(error, FileNotFoundError):
            reason = "its folder does not exist; make it first"
        elif isinstance(error, PermissionError):
            reason = "no permission to write there"
        raise OutputError(f"cannot write {target}: {reason}") from error


def json_text(value: object, *, indent: int | None = 2, sort_keys: bool = False) -> str:
    r"""A value as JSON with a line end, see `plain`; `TypeError` for kinds that it does not take.

    Without `indent` everything is on one line without spaces.

    >>> json_text({"rmse": float("nan"), "rows": np.arange(2)}, indent=None)
    '{"rmse":null,"rows":[0,1]}\n'
    """
    text = json.dumps(
        plain(value),
        indent=indent,
        separators=None if indent else (",", ":"),
        sort_keys=sort_keys,
        ensure_ascii=False,
        allow_nan=False,
    )
    return text + "\n"


def write_json(
    path: str | os.PathLike[str], value: object, *, indent: int | None = 2, sort_keys: bool = False
) -> None:
    """Write `json_text` to a file, whole or not at all; raises `OutputError` as `atomic_file`."""
    text = json_text(value, indent=indent, sort_keys=sort_keys)
    with atomic_file(path) as file:
        file.write(text.encode(errors="backslashreplace"))  # of names that are no Unicode


def plain(value: Any) -> Any:
    """A value in JSON's own kinds; numbers that are not finite become None.

    Unpacks NumPy numbers and arrays, enumerations, dataclasses, paths and mappings of them.
    """
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value
