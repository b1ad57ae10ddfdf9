"""A model as a folder of plain files, written whole or not at all, checked when read.

``config.json`` names format version, encoders, network and recipe, and holds a checksum of every
other file; ``model.safetensors`` holds the trained weights of all networks; ``calibration.json``,
``familiarity.json``, ``metrics.json``, ``environment.json`` and ``card.md`` are what they say.
Nothing in it is ever unpickled or executed. Equal inputs give equal bytes.
"""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pydantic

from paratope.core.errors import ModelError, OutputError, unknown_name
from paratope.core.files import as_output_error, atomic_folder, json_text
from paratope.core.validation import Line, validated, within
from paratope.models.applicability_domain import ApplicabilityDomain
from paratope.models.calibration import Calibration
from paratope.models.recipes import LoraSettings, NetworkConfig

if TYPE_CHECKING:
    from paratope.models.network import Network

FORMAT_VERSION = 1
GENERAL = "general"  # The kind of model that is no network: its weights are arrays
BUNDLED_MODELS = ("default", "network")
_REQUIRED = ("model.safetensors", "calibration.json", "familiarity.json")
# Fields of `Bundle`, each a file: name.json
_DOCUMENTS = ("calibration", "familiarity", "metrics", "environment", "campaign")
_FILES = frozenset(
    {"config.json", "model.safetensors", "card.md", *(f"{name}.json" for name in _DOCUMENTS)}
)
_DTYPES = frozenset(f"torch.{kind}" for kind in ("float16", "bfloat16", "float32", "float64"))
# Bounds of memory: bytes of a file, and of a campaign's weights; values of a JSON file.
_MAX_BYTES: dict[str, int] = dict.fromkeys(
    ("config.json", "environment.json", "card.md"), 1_000_000
)
_MAX_JSON_BYTES, _MAX_CAMPAIGN_BYTES, _MAX_VALUES = 200_000_000, 1_000_000_000, 10_000_000


class BundleEncoders(pydantic.BaseModel):
    """Encoders by their names with revisions, and how they were trained themselves."""

    antibody: Line
    antigen: Line
    max_residues: Annotated[int, within(0, 100_000)] = 0
    lora: LoraSettings = LoraSettings()


class BundleConfig(pydantic.BaseModel):
    """What ``config.json`` says of a model."""

    encoders: BundleEncoders
    members: Annotated[int, within(1, 1000)]
    network: NetworkConfig | None = None  # None: a campaign's, or the general model's
    recipe: dict[str, Any] = {}
    kind: Line = "network"

    @classmethod
    def of(cls, config: object, where: str = "config.json") -> "BundleConfig":
        """Raises `ModelError` that begins with `where` for what is missing or out of range."""
        return validated(cls, config, where, ModelError)

    @property
    def max_bytes(self) -> int:
        """Bound of its weights as a file: of doubles, with room for biases and adapters."""
        if self.network is None:
            return _MAX_CAMPAIGN_BYTES
        network_bytes = 16 * self.network.weights + 4_000_000 * self.encoders.lora.rank
        return self.members * network_bytes + 50_000_000


@dataclasses.dataclass(frozen=True)
class Bundle:
    """Contents of a model folder."""

    # ``encoders`` (antibody, antigen: names with revisions), ``network``, ``members``, ``recipe``
    config: dict[str, Any]
    # ``"<member>.<parameter>"``: tensors; of the general model, arrays by name
    weights: Mapping[str, Any]
    # calibration, familiarity: as their classes write them
    calibration: dict[str, Any]
    familiarity: dict[str, Any]
    metrics: dict[str, Any]
    environment: dict[str, Any]
    card: str  # Markdown
    # The rows of the campaign that a model was adapted to, and what was learned; else empty
    campaign: dict[str, Any] = dataclasses.field(default_factory=dict)


def write_bundle(bundle: Bundle, folder: str | os.PathLike[str]) -> Path:
    """Write a bundle over the model in a folder, other files kept; raises as `check_target`."""
    target = Path(folder)
    check_target(target)
    weights = {name: bundle.weights[name] for name in sorted(bundle.weights)}
    if bundle.config.get("kind") == GENERAL:
        from safetensors.numpy import save

        content = save({name: np.array(values, order="C") for name, values in weights.items()})
    else:
        from safetensors.torch import save as save_tensors

        content = save_tensors(weights)
    contents = {"model.safetensors": content, "card.md": bundle.card.encode("utf-8")}
    for name in _DOCUMENTS:
        if name != "campaign" or bundle.campaign:
            indent = 2 if name in ("metrics", "environment") else None
            contents[f"{name}.json"] = _json_bytes(getattr(bundle, name), indent)
    checksums = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    config = {"format_version": FORMAT_VERSION, **bundle.config, "sha256": checksums}
    contents["config.json"] = _json_bytes(config)
    with atomic_folder(target, _FILES) as new, as_output_error(target):
        for name, data in contents.items():
            (new / name).write_bytes(data)
    return target


def check_target(target: Path) -> None:
    """Raise `OutputError` unless a folder is empty or a model's, and can be written.

    A model's ``config.json`` has our ``format_version`` and ``sha256``, unlike others of that name.
    """
    if target.exists() and not target.is_dir():
        raise OutputError(f"cannot write {target}: this is a file; expected a folder")
    above = next(folder for folder in target.absolute().parents if folder.exists())
    if not above.is_dir():
        raise OutputError(f"cannot write {target}: {above} is a file; expected a folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise OutputError(
            f"cannot write {target}: no permission to write in {above}; choose another folder"
        )
    if not target.is_dir() or not any(target.iterdir()):
        return
    try:
        config = read_config(target)
    except ModelError:
        config = {}
    if not {"format_version", "sha256"} <= set(config):
        raise OutputError(f"{target} exists and is no model folder; choose another name")


def read_bundle(folder: str | os.PathLike[str]) -> Bundle:
    """The bundle of a folder; `ModelError` if a file is missing, altered, or of another version."""
    source = Path(folder)
    if not source.is_dir():
        raise ModelError(f"{source}: no such model folder")
    config = read_config(source)
    version = config.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{source}: model format version {version!r}; this paratope reads {FORMAT_VERSION}; "
            "install the version of paratope that made it, or train it anew"
        )
    checksums = config.get("sha256")
    if not isinstance(checksums, dict) or not set(_REQUIRED) <= set(checksums):
        raise ModelError(f"{source}: config.json lists no checksums; the folder is incomplete")
    settings = BundleConfig.of(config, f"{source}: config.json")
    contents: dict[str, bytes] = {}
    for name, expected in checksums.items():
        if name not in _FILES:
            raise ModelError(f"{source}: config.json names {name!r}, which no model folder holds")
        most = settings.max_bytes if name == "model.safetensors" else _MAX_JSON_BYTES
        contents[name] = _read(source, name, _MAX_BYTES.get(name, most))
        if hashlib.sha256(contents[name]).hexdigest() != expected:
            raise ModelError(
                f"{source}: {name} is not the file that was saved (checksum differs); "
                "copy the folder again from where it was made"
            )
    weights = _weights(source, settings.kind, contents["model.safetensors"])
    documents = {
        name: _parse(source, f"{name}.json", contents.get(f"{name}.json", b"{}"))
        for name in _DOCUMENTS
    }
    card = contents.get("card.md", b"").decode("utf-8", errors="replace")
    return Bundle(config=config, weights=weights, card=card, **documents)


def _weights(source: Path, kind: str, data: bytes) -> dict[str, Any]:
    """Tensors of networks, arrays of the general model, which needs no torch."""
    from safetensors import SafetensorError

    try:
        if kind == GENERAL:
            from safetensors.numpy import load

            weights: dict[str, Any] = load(data)
            known = {name: values.dtype.kind in "fi" for name, values in weights.items()}
        else:
            from safetensors.torch import load as load_tensors

            weights = dict(load_tensors(data))
            # a campaign may hold a general model, whose indices are whole numbers
            kinds = _DTYPES | ({"torch.int64"} if kind == "campaign" else set())
            known = {name: str(tensor.dtype) in kinds for name, tensor in weights.items()}
    except (SafetensorError, KeyError) as error:
        raise ModelError(f"{source}: model.safetensors cannot be read: {error}") from error
    for name, values in weights.items():
        is_finite = np.isfinite(values) if kind == GENERAL else values.isfinite()
        if not known[name] or not is_finite.all():
            raise ModelError(
                f"{source}: model.safetensors: {name!r} is not of finite numbers, or of the kind "
                f"{values.dtype}, which no model holds"
            )
    return weights


def read_config(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of a model folder, unchecked; raises `ModelError` if it is no JSON."""
    return _parse(folder, "config.json", _read(folder, "config.json"))


def find_model(source: str | os.PathLike[str]) -> Path:
    """Folder of a model: a folder, a run folder's bundle, or a bundled name; else `ModelError`."""
    folder = Path(source)
    if folder.is_dir():
        has_bundle = not (folder / "config.json").exists() and (folder / "bundle").is_dir()
        return folder / "bundle" if has_bundle else folder
    if str(source) in BUNDLED_MODELS:
        return bundled_folder(str(source))
    raise ModelError(f"{unknown_name('model', str(source), BUNDLED_MODELS)}; or a model folder")


def bundled_folder(name: str) -> Path:
    """Where a model that comes with the package is."""
    return Path(str(resources.files("paratope"))) / "models" / "bundled" / name


def make_bundle(
    networks: "Sequence[Network]",
    encoders: Mapping[str, Any],
    recipe: Mapping[str, Any],
    calibration: Calibration,
    domain: ApplicabilityDomain,
    *,
    metrics: Mapping[str, Any],
    environment: Mapping[str, Any],
    card: str,
) -> Bundle:
    """Parts of a model as a bundle; `ModelError` if the networks are of different shapes."""
    if any(network.config != networks[0].config for network in networks):
        raise ModelError("the networks of a bundle must have one shape; these differ")
    weights = {
        f"{index}.{name}": tensor.detach().cpu().contiguous()
        for index, network in enumerate(networks)
        for name, tensor in network.state_dict().items()
    }
    config = {
        "encoders": dict(encoders),
        "network": networks[0].config.model_dump(),
        "members": len(networks),
        "recipe": dict(recipe),
    }
    documents = calibration.to_json(), domain.to_json(), dict(metrics), dict(environment)
    return Bundle(config, weights, *documents, card)


def _read(folder: Path, name: str, most: int = 1_000_000) -> bytes:
    """A regular file of at most so many bytes."""
    path = folder / name
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ModelError(f"{folder}: {name} is no regular file; this is no model folder")
        if size > most:
            raise ModelError(
                f"{folder}: {name} has {size:,} bytes; expected at most {most:,} in such a model"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{folder}: {name} is missing; this is no complete model folder") from None
    except OSError as error:
        raise ModelError(f"{folder}: cannot read {name}: {error.strerror}") from error


def _parse(folder: Path, name: str, data: bytes) -> dict[str, Any]:
    if sum(map(data.count, (b",", b"[", b"{"))) > _MAX_VALUES:
        raise ModelError(f"{folder}: {name} holds more than {_MAX_VALUES:,} values")
    try:
        value = json.loads(data, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ModelError(f"{folder}: {name} is nested too deep for a model's") from None
    except ValueError as error:
        raise ModelError(f"{folder}: {name} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{folder}: {name} should hold a JSON object, got {type(value).__name__}")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not finite")
    return value


def _json_bytes(value: object, indent: int | None = 2) -> bytes:
    return json_text(value, indent=indent, sort_keys=True).encode()
