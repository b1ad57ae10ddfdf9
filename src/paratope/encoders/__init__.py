"""Encoders: frozen maps from a molecule's chains to one vector per residue, in one table."""

import dataclasses
import os
from typing import Any

from paratope.core.errors import EncoderError, ParatopeError, unknown_name
from paratope.encoders.antiberty import AntibertyEncoder
from paratope.encoders.hub import HubModel, download, locate
from paratope.encoders.language_models import (
    PUBLISHED,
    Esm2Encoder,
    IgBertEncoder,
    IgT5Encoder,
    IgT5UnpairedEncoder,
    ProtT5Encoder,
)
from paratope.encoders.near import NearEncoder
from paratope.encoders.protocol import BaseEncoder, Encoder, molecule_units
from paratope.encoders.residue import ResidueEncoder

__all__ = [
    "ENCODERS",
    "BaseEncoder",
    "Encoder",
    "EncoderEntry",
    "download_encoder",
    "load_encoder",
    "molecule_units",
]


@dataclasses.dataclass(frozen=True, slots=True)
class EncoderEntry:
    """A line of `ENCODERS`."""

    summary: str
    encoder_class: Any
    weights: str  # Where its weights come from
    licence: str  # Of the weights
    dim: int
    # The published model, if its weights are not installed with the package
    hub: HubModel | None = None

    @property
    def max_residues(self) -> int | None:
        """Longest chain it takes (longest molecule, for a paired encoder)."""
        return self.encoder_class.max_residues

    def is_here(self) -> bool:
        """Whether its weights are on this machine."""
        try:
            self.build(None, "auto")
        except ParatopeError:
            return False
        return True

    def build(self, location: str | None, device: str) -> Encoder:
        """The encoder; `location` is what follows ``@`` in a specification, or None."""
        if self.hub is not None:
            return self.encoder_class(self.hub, locate(self.hub, location), device)
        name, revision = self.encoder_class.name.split("@")
        if location not in (None, revision):
            raise EncoderError(
                f"{name}: revision {location!r} is asked for, {revision!r} is what is installed; "
                f"use {name!r}, or install the version of paratope that the model was made with"
            )
        return self.encoder_class(device)


def _bundled(encoder_class: Any, summary: str, weights: str, licence: str) -> EncoderEntry:
    return EncoderEntry(summary, encoder_class, weights, licence, encoder_class.dim)


def _published(name: str, encoder_class: Any, summary: str) -> EncoderEntry:
    model = PUBLISHED[name]
    dim = model.architecture[encoder_class.dim_field]
    return EncoderEntry(summary, encoder_class, model.repository, "MIT", dim, model)


ENCODERS: dict[str, EncoderEntry] = {
    "residue": _bundled(
        ResidueEncoder, "identity, BLOSUM62, physical properties; any protein", "none", "MIT"
    ),
    "antiberty": _bundled(
        AntibertyEncoder, "AntiBERTy; antibody chains only", "bundled (package antiberty)", "MIT"
    ),
    "near": _bundled(
        NearEncoder, "NEAR, made for homology; any protein", "extra [near]", "BSD-3-Clause"
    ),
    "igt5": _published("igt5", IgT5Encoder, "IgT5; heavy and light chain together"),
    "igt5-unpaired": _published(
        "igt5-unpaired", IgT5UnpairedEncoder, "IgT5 of single antibody chains"
    ),
    "igbert": _published("igbert", IgBertEncoder, "IgBert; heavy and light chain together"),
    "prott5": _published("prott5", ProtT5Encoder, "ProtT5-XL; any protein"),
    **{
        name: _published(name, Esm2Encoder, f"ESM-2 {name[5:].upper()}; any protein")
        for name in PUBLISHED
        if name.startswith("esm2-")
    },
}


def load_encoder(spec: str, device: str = "auto") -> Encoder:
    """The encoder of a specification; its weights are read when it is first used.

    `spec` is ``NAME`` (a key of `ENCODERS`), ``NAME@REVISION`` as in `Encoder.name`, or
    ``NAME@FOLDER``; `device` is ``auto``, ``cpu`` or ``cuda``. Raises `EncoderError` if the name is
    unknown, or revision or device is not here, `MissingExtraError` if an extra is not installed.

    >>> load_encoder("residue").name
    'residue@1'
    """
    name, location = _parse(spec)
    return ENCODERS[name].build(location, device)


def download_encoder(spec: str, folder: str | os.PathLike[str] | None = None) -> str:
    """Fetch the weights of ``NAME`` or ``NAME@COMMIT`` from their hub; says how to use them.

    They go into `folder` as plain files, or the hub's own cache. Raises `EncoderError`.
    """
    name, revision = _parse(spec)
    entry = ENCODERS[name]
    if entry.hub is None:
        return f"{name}: nothing to download ({entry.weights})"
    files = download(entry.hub, revision, folder)
    use = f"{name}@{folder or files.revision}"
    if folder is None and revision in (None, entry.hub.revision):
        use = name
    return f"{entry.hub.repository} {files.revision} is in {files.folder}; use it as {use}"


def _parse(spec: str) -> tuple[str, str | None]:
    name, at, location = spec.partition("@")
    if name not in ENCODERS:
        raise EncoderError(unknown_name("encoder", name, ENCODERS))
    if at and not location:
        raise EncoderError(f"{spec!r}: nothing after '@'; expected a revision or a folder")
    return name, location or None
