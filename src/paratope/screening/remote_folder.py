"""Libraries and folders of screens on other file systems (``s3://…``): copied here, kept there.

A screen works in a temporary folder of this machine. What its remote folder holds is fetched first,
and every file is sent as soon as it is durable here, so that whatever is killed can be gone on
with. The file systems are those of fsspec.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from paratope.core.errors import InputError, OutputError, ParatopeError, one_line, unknown_name
from paratope.core.files import sole_writer
from paratope.core.progress import Progress
from paratope.screening.library import is_library

# Files that are fetched at once.
_AT_ONCE = 64
# What a killed process was writing.
_LEFT = re.compile(r"(^|/)\.paratope-[\w-]+\.tmp$")
_KEPT = "; what was written before is kept: repeat the command, and it goes on"


class AtHand(NamedTuple):
    """A screen's library and folder on this machine."""

    library: list[Path]
    folder: Path
    remote: "RemoteFolder | None"  # What the folder is a copy of


@contextlib.contextmanager
def at_hand(
    library: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str], progress: Progress
) -> Iterator[AtHand]:
    """Copies of what is remote, for as long as it lasts; no other process has the same output.

    Errors call a copy by its URL. Raises `InputError` if something cannot be read or is on no file
    system that is known, `OutputError` if the folder cannot be read or has another writer.
    """
    sources, target = [*map(_place, library)], _place(output)
    folder, remote = Path(target), None
    urls: dict[str, str] = {}  # by what is a copy of them
    with _called(urls), contextlib.ExitStack() as stack:
        if isinstance(target, Path):
            stack.enter_context(sole_writer(target))
        if any(isinstance(each, str) for each in (*sources, target)):
            # named by the output, so that what a killed screen leaves is found and removed
            key = target.rstrip("/") if isinstance(target, str) else os.path.realpath(target)
            digest = hashlib.sha256(os.fsencode(key)).hexdigest()[:16]
            lock = Path(tempfile.gettempdir()) / f"paratope-screen-{digest}"
            urls[str(lock)] = str(output)
            prefix = stack.enter_context(sole_writer(lock))
            above = tempfile.TemporaryDirectory(".tmp", prefix, lock.parent)
            copies = Path(stack.enter_context(above))
            if isinstance(target, str):
                folder = copies / "screen"
                urls[str(folder)] = target.rstrip("/")
                remote = RemoteFolder(target, folder, progress)
            for number, source in enumerate(sources):
                if isinstance(source, str):
                    copy = copies / f"library-{number:06d}"
                    sources[number] = _copied(source, copy, urls, progress)
        yield AtHand([*map(Path, sources)], folder, remote)


class RemoteFolder:
    """A screen's folder on another file system, of which a local one is the copy.

    Raises `OutputError` if it cannot be listed, and `InputError` if nothing knows how.
    """

    def __init__(self, url: str, local: Path, progress: Progress) -> None:
        from fsspec.spec import AbstractFileSystem

        self.url, self._local, self._progress = url.rstrip("/"), local, progress
        with _in_words(OutputError, f"cannot write {url}"):
            self._files, root = _opened(url)
            self._root = root.rstrip("/")
            # Where files can be renamed they appear whole by that; elsewhere they are put whole
            self._renames = type(self._files).mv is not AbstractFileSystem.mv
            self._files.invalidate_cache()
            if self._files.isfile(self._root):
                raise OutputError(f"cannot write {url}: this is a file; expected a folder")
            found: list[str] = []
            with contextlib.suppress(FileNotFoundError):
                found = self._files.find(self._root)
            names = {name[len(self._root) :].strip("/") for name in found} - {""}
            left = {name for name in names if _LEFT.search(name)}
            for name in left:
                self._files.rm_file(f"{self._root}/{name}")
            self.names = sorted(names - left)

    def fetch(self, pattern: str) -> None:
        """Copy the files whose names in the folder are of a pattern."""
        wanted = [name for name in self.names if re.fullmatch(pattern, name)]
        for start in range(0, len(wanted), _AT_ONCE):
            self._progress("fetching the folder", start, max(len(wanted), 2))
            some = wanted[start : start + _AT_ONCE]
            with _in_words(OutputError, f"cannot read {self.url}"):
                theirs = [f"{self._root}/{name}" for name in some]
                self._files.get(theirs, [str(self._local / name) for name in some])

    def send(self, path: Path) -> None:
        """Write a file of the local folder, whole or not at all."""
        files, name = self._files, path.relative_to(self._local).as_posix()
        above, target = f"{self._root}/{name}".rpartition("/")[0], f"{self._root}/{name}"
        with _in_words(OutputError, f"cannot write {self.url}/{name}", _KEPT):
            if not self._renames:
                files.put_file(str(path), target)
                return
            files.makedirs(above, exist_ok=True)
            beside = f"{above}/.paratope-{secrets.token_hex(8)}.tmp"
            files.put_file(str(path), beside)
            with contextlib.suppress(OSError):
                files.mv(beside, target)
            files.invalidate_cache()
            if files.exists(beside):  # some (SMB, HDFS) rename to no name that is taken
                if files.exists(target):
                    files.rm_file(target)
                files.mv(beside, target)

    def remove(self, folder: str) -> None:
        """Remove a folder in it, if it is there."""
        with _in_words(OutputError, f"cannot write {self.url}/{folder}", _KEPT):
            self._files.invalidate_cache()
            with contextlib.suppress(FileNotFoundError):
                self._files.rm(f"{self._root}/{folder}", recursive=True)


def _place(path: str | os.PathLike[str]) -> Path | str:
    """A local path, or the URL of what is elsewhere."""
    text = os.fspath(path)
    if text.startswith(("file://", "local://")):
        return Path(text.partition("://")[2])
    return text if "://" in text else Path(text)


def _opened(url: str) -> tuple[Any, str]:
    """File system of a URL, and the path there; raises `InputError` if there is none."""
    import fsspec

    protocol = url.partition("://")[0].rpartition("::")[2]
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError:
        known = unknown_name("protocol", protocol, fsspec.available_protocols())
        raise InputError(f"{url}: {known}") from None
    except ImportError as error:
        package = getattr(error.__cause__, "name", None)
        told = f"needs the package {package}: pip install {package}" if package else error
        raise InputError(f"{url}: {protocol}:// {told}") from None
    return fsspec.url_to_fs(url)


def _copied(url: str, folder: Path, urls: dict[str, str], progress: Progress) -> Path:
    """A copy in a new folder of a remote file, or of a remote folder's files of libraries."""
    from fsspec.callbacks import Callback

    def tell(size: int | None, value: int, **_: Any) -> None:
        progress("copying the library (MB)", value // 10**6, max((size or 0) // 10**6, 1))

    folder.mkdir()
    with _in_words(InputError, url):
        files, root = _opened(url)
        files.invalidate_cache()
        if files.info(root)["type"] == "directory":
            copy, inside = folder, files.ls(root, detail=True)
            wanted = [each["name"] for each in inside if each["type"] == "file"]
            wanted = {name: folder / Path(name).name for name in wanted if is_library(name)}
        else:
            copy = folder / Path(urlsplit(root).path if "://" in root else root).name
            wanted = {root: copy}
        urls[str(copy)] = url.rstrip("/")
        for theirs, ours in wanted.items():
            files.get_file(theirs, str(ours), callback=Callback(hooks={"tell": tell}))
    return copy


@contextlib.contextmanager
def _in_words(kind: type[ParatopeError], what: str, then: str = "") -> Iterator[None]:
    """Say what a file system raises, of whatever type that is."""
    try:
        yield
    except ParatopeError:
        raise
    except Exception as error:
        known = {
            FileNotFoundError: "no such file, folder or bucket",
            PermissionError: "no permission",
        }
        reason = known.get(type(error), one_line(error) or type(error).__name__)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            reason += f" there or in {tempfile.gettempdir()}; TMPDIR names another place for copies"
        raise kind(f"{what}: {reason}{then}") from error


@contextlib.contextmanager
def _called(urls: dict[str, str]) -> Iterator[None]:
    """Call copies by their URLs in errors, except where this machine's disk is what fails."""
    try:
        yield
    except ParatopeError as problem:
        text = str(problem)
        for copy, url in urls.items():
            text = text.replace(copy, url)
        if text == str(problem):
            raise
        if isinstance(problem.__cause__, OSError):
            text = f"{problem} (a temporary copy; TMPDIR names another place for it)"
        raise type(problem)(text) from problem.__cause__
