"""Where embeddings are kept: cache folders, their sizes, and clearing them."""

import dataclasses
import hashlib
import os
import re
from pathlib import Path

from paratope.core.errors import StoreError
from paratope.encoders.embedding_store.environment import (
    NAME_FILE,
    acquire,
    clear_folder,
    disk_size,
    release,
)

FOLDER = "embeddings"


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
    return root / FOLDER / _folder_name(encoder_name)


def list_caches(folder: str | os.PathLike[str] | None = None) -> tuple[CacheEntry, ...]:
    """Every encoder's stored embeddings in a cache folder (default `cache_folder`), by name."""
    caches = []
    for path in _store_folders(folder):
        name = (path / NAME_FILE).read_text().strip()
        caches.append(CacheEntry(name, _count_entries(path, name), disk_size(path), path))
    return tuple(sorted(caches, key=lambda cache: cache.encoder))


def clear_caches(folder: str | os.PathLike[str] | None = None) -> int:
    """Remove all stored embeddings of a cache folder, readable or not; gives the bytes freed."""
    freed = 0
    for path in _store_folders(folder):
        freed += disk_size(path)
        clear_folder(path)
    return freed


def _count_entries(path: Path, name: str) -> int | None:
    try:
        environment = acquire(path, name)
    except StoreError:  # listed all the same, so that the user sees what to clear
        return None
    try:
        return environment.entries()
    finally:
        release(environment)


def _store_folders(folder: str | os.PathLike[str] | None) -> list[Path]:
    root = (Path(folder) if folder is not None else cache_folder()) / FOLDER
    return sorted(path.parent for path in root.glob(f"*/{NAME_FILE}"))


def _folder_name(encoder_name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._@+-]", "-", encoder_name)
    if plain == encoder_name:
        return plain
    return f"{plain}-{hashlib.sha256(encoder_name.encode()).hexdigest()[:8]}"
