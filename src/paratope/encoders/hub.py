"""Language models from a hub: where their files are on this machine, and how they are read.

Nothing here touches the network but `download`. Weights are read from safetensors, or from a
PyTorch file with ``weights_only=True``; no code that comes with a model is ever run.
"""

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from paratope.core.errors import EncoderError, MissingExtraError

# A folder with one sub-folder per encoder, for machines without a hub: see `locate`.
FOLDER_VARIABLE = "PARATOPE_ENCODERS"
RECORD_FILE = "paratope.json"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CONFIGURATION_FILES = (
    *("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.txt", "spiece.model"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class HubModel:
    """A published model."""

    name: str  # Key of `paratope.encoders.ENCODERS`
    repository: str  # Hub id
    # The commit that is used; None where none is pinned: then it is the one that `download` finds,
    # which becomes part of the encoder's name
    revision: str | None
    # The fields of its published ``config.json`` that set its size
    architecture: Mapping[str, Any] = dataclasses.field(hash=False)


@dataclasses.dataclass(frozen=True, slots=True)
class LocalFiles:
    """A model's folder on this machine, and the revision that is in it."""

    folder: Path
    revision: str

    def read_config(self, model_type: str) -> dict[str, Any]:
        """Fields of ``config.json``; raises `EncoderError` unless it is of `model_type`."""
        path = self.folder / "config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EncoderError(f"{path} cannot be read: {error}") from error
        got = config.get("model_type") if isinstance(config, dict) else None
        if got != model_type:
            raise EncoderError(f"{path}: expected a model of type {model_type!r}, got {got!r}")
        return config


def locate(model: HubModel, location: str | None) -> LocalFiles:
    """The files of a model in a folder, or of a revision (None: the table's), on this machine.

    Looked for in ``$PARATOPE_ENCODERS/<name>``, then the hub's cache; `EncoderError` if not here.
    """
    if location is not None and (
        os.sep in location or location.startswith(("~", ".")) or Path(location).is_dir()
    ):
        folder = Path(location).expanduser()
        if not folder.is_dir():
            raise EncoderError(f"{model.name}: there is no folder {folder}")
        return _checked(model, LocalFiles(folder, _folder_revision(model, folder)))
    wanted = location or model.revision
    parent = os.environ.get(FOLDER_VARIABLE)
    if parent and (folder := Path(parent).expanduser() / model.name).is_dir():
        revision = _folder_revision(model, folder)
        # without a wish of the user's own, what they have put there is what they want
        if location in (None, revision):
            return _checked(model, LocalFiles(folder, revision))
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    storage = repo_folder_name(repo_id=model.repository, repo_type="model")
    cache = Path(constants.HF_HUB_CACHE) / storage
    newest = cache / "refs" / "main"  # that was fetched
    commit = wanted or (newest.read_text().strip() if newest.is_file() else "")
    folder = cache / "snapshots" / commit
    if not commit or not folder.is_dir():
        at = f" at revision {wanted}" if wanted else ""
        name = f"{model.name}@{location}" if location else model.name
        raise EncoderError(
            f"{model.name}: {model.repository}{at} is not on this machine; get it with "
            f"'paratope encoders download {name}', or point to a folder that holds it: "
            f"'{model.name}@FOLDER', or {FOLDER_VARIABLE}=PARENT with PARENT/{model.name} in it"
        )
    return _checked(model, LocalFiles(folder, folder.name))


def download(
    model: HubModel, revision: str | None = None, folder: str | os.PathLike[str] | None = None
) -> LocalFiles:
    """Fetch a model's files, by default of the table's commit: the one function that uses the hub.

    They go into `folder`, to carry to a machine without network, or the hub's own cache. Raises
    `EncoderError` if the hub cannot be reached or lacks the files.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi, snapshot_download

    wanted = revision or model.revision or "main"
    try:
        info = HfApi().model_info(model.repository, revision=wanted)
        names = [file.rfilename for file in info.siblings or []]
        # one format is enough: most repositories hold the same weights in several
        weights = [name for name in names if re.fullmatch(r"model.*\.safetensors", name)]
        weights = weights or [name for name in names if re.fullmatch(r"pytorch_model.*\.bin", name)]
        indices = [name for name in names if name.endswith(".index.json")]
        path = snapshot_download(
            model.repository,
            # by name into the cache, which then remembers what the name stood for
            revision=wanted if folder is None else info.sha,
            local_dir=None if folder is None else str(folder),
            allow_patterns=[*_CONFIGURATION_FILES, *weights, *indices],
        )
    except Exception as error:  # what the hub's client raises differs between its versions
        raise EncoderError(
            f"{model.name}: {model.repository} could not be downloaded: {error}; without a "
            f"network, copy its files from a machine that has one and use '{model.name}@FOLDER'"
        ) from error
    commit = str(info.sha)
    if folder is not None:
        record = {"repository": model.repository, "revision": commit}
        (Path(folder) / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n")
    return _checked(model, LocalFiles(Path(path), commit))


def read_vocabulary(folder: Path) -> dict[str, int]:
    """Tokens and ids of a folder's vocabulary file; `EncoderError` if none can be read.

    `MissingExtraError` if it is a SentencePiece model and that library is not installed.
    """
    try:
        if (path := folder / "tokenizer.json").is_file():
            from transformers import PreTrainedTokenizerFast

            return PreTrainedTokenizerFast(tokenizer_file=str(path)).get_vocab()
        if (path := folder / "spiece.model").is_file():
            if importlib.util.find_spec("sentencepiece") is None:
                raise MissingExtraError(f"reading the vocabulary {path}", "t5")
            from sentencepiece import SentencePieceProcessor

            pieces = SentencePieceProcessor(model_file=str(path))
            return {pieces.IdToPiece(index): index for index in range(pieces.GetPieceSize())}
        if (path := folder / "vocab.txt").is_file():
            tokens = path.read_text(encoding="utf-8").split()
            return {token: index for index, token in enumerate(tokens)}
    except MissingExtraError:
        raise
    except Exception as error:  # the libraries raise bare Exception, too
        raise EncoderError(f"{path} cannot be read: {error}") from error
    raise EncoderError(
        f"{folder} holds no vocabulary; expected tokenizer.json, spiece.model or vocab.txt"
    )


def load_weights(model_class: Any, files: LocalFiles, **options: Any) -> Any:
    """A `transformers` model of a folder, float32; `EncoderError` if its files are not whole."""
    import torch

    try:
        with quiet_transformers():
            model, report = model_class.from_pretrained(
                files.folder,
                local_files_only=True,
                use_safetensors=any(files.folder.glob("*.safetensors")),
                dtype=torch.float32,
                output_loading_info=True,
                **options,
            )
    except MissingExtraError:
        raise
    except Exception as error:  # the libraries raise a dozen kinds for damaged files
        raise EncoderError(f"{files.folder}: the model cannot be read: {error}") from error
    # a head that predicts contacts is no part of what is used here
    missing = sorted(key for key in report["missing_keys"] if "contact_head" not in key)
    if missing or report["mismatched_keys"]:
        lacking = ", ".join(missing[:3]) or "weights of the right shape"
        raise EncoderError(
            f"{files.folder}: not the weights of a {model_class.__name__}: no {lacking}"
        )
    return model


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No bar and no report while a model is read; what is missing is for the caller to see."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _checked(model: HubModel, files: LocalFiles) -> LocalFiles:
    if not [*files.folder.glob("*.safetensors"), *files.folder.glob("pytorch_model*.bin")]:
        raise EncoderError(
            f"{model.name}: {files.folder} holds no weights (model.safetensors or "
            f"pytorch_model.bin); run 'paratope encoders download {model.name}'"
        )
    return files


def _folder_revision(model: HubModel, folder: Path) -> str:
    """The commit that `download` has recorded, or a fingerprint of the files."""
    record = folder / RECORD_FILE
    if record.is_file():
        try:
            fields = json.loads(record.read_text())
            if fields["repository"] == model.repository and _COMMIT.fullmatch(fields["revision"]):
                return fields["revision"]
        except (ValueError, KeyError, TypeError) as error:
            raise EncoderError(f"{record} cannot be read: {error!r}; remove it") from error
    return f"folder-{fingerprint(folder)}"


def fingerprint(folder: Path) -> str:
    """16 hexadecimal digits that differ if configuration, vocabulary or weights do.

    Of large files the size, the first MiB and 256 blocks spread over them are read, to be quick.
    """
    digest = hashlib.sha256()
    weights = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    for path in sorted({*weights, *(folder / name for name in _CONFIGURATION_FILES)}):
        if not path.is_file():
            continue
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(1 << 20))
            if size > 1 << 24:
                for part in range(256):
                    file.seek(size * part // 256)
                    digest.update(file.read(4096))
            else:
                digest.update(file.read())
    return digest.hexdigest()[:16]
