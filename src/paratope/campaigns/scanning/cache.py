"""Scans kept on disk: the same question to the same model is read, not computed."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from paratope.core.errors import ModelError
from paratope.encoders.embedding_store import cache_folder
from paratope.models.bundle import find_model

FOLDER = "scans"
# Raised when what a scan holds, or how it is worked out, changes.
FORMAT_VERSION = 1


def model_checksum(model: Any) -> str | None:
    """What tells one model from another: its folder's list of checksums, as written there.

    Parameters
    ----------
    model : Predictor, or a folder or bundled name of one
        A model in memory that was never written has none.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    if isinstance(model, str | os.PathLike):
        path = find_model(model) / "config.json"
        try:
            config: Any = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} cannot be read: {error}") from error
    else:
        config = getattr(getattr(model, "bundle", None), "config", None)
    if not isinstance(config, Mapping) or "sha256" not in config:
        return None
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class ScanCache:
    """Tables of one scan under a key.

    Parameters
    ----------
    parts : sequence of str
        All that the answer depends on.
    folder : path-like, optional
        Default `cache_folder`.
    """

    def __init__(self, parts: Sequence[str], folder: str | os.PathLike[str] | None = None) -> None:
        text = json.dumps([FORMAT_VERSION, *parts])
        root = Path(folder) if folder is not None else cache_folder()
        self.path = root / FOLDER / hashlib.sha256(text.encode()).hexdigest()

    def read(self) -> tuple[dict[str, pl.DataFrame], dict[str, Any]] | None:
        """Tables by name and plain values; None if there is nothing, or it is damaged."""
        try:
            values = json.loads((self.path / "scan.json").read_text(encoding="utf-8"))
            tables = {}
            for name, digest in values["sha256"].items():
                data = (self.path / f"{name}.parquet").read_bytes()
                if hashlib.sha256(data).hexdigest() != digest:
                    return None
                tables[name] = pl.read_parquet(data)
            return tables, values["values"]
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            pl.exceptions.PolarsError,
        ):
            return None

    def write(self, tables: Mapping[str, pl.DataFrame], values: Mapping[str, Any]) -> None:
        """Keep a scan; a folder that cannot be written leaves it unkept."""
        temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}.tmp")
        try:
            temporary.mkdir(parents=True)
            digests = {}
            for name, table in tables.items():
                table.write_parquet(temporary / f"{name}.parquet")
                data = (temporary / f"{name}.parquet").read_bytes()
                digests[name] = hashlib.sha256(data).hexdigest()
            document = json.dumps({"sha256": digests, "values": dict(values)})
            (temporary / "scan.json").write_text(document, encoding="utf-8")
            shutil.rmtree(self.path, ignore_errors=True)
            temporary.rename(self.path)
        except OSError:  # it is only a cache
            pass
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
