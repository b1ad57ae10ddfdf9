"""Encoders: frozen maps from a molecule's chains to one vector per residue, in one table."""

import dataclasses
from collections.abc import Callable

from paratope.encoders.antiberty import AntibertyEncoder
from paratope.encoders.protocol import BaseEncoder, Encoder, molecule_units
from paratope.encoders.residue import ResidueEncoder
from paratope.errors import EncoderError, unknown_name

__all__ = ["ENCODERS", "BaseEncoder", "Encoder", "EncoderEntry", "load_encoder", "molecule_units"]


@dataclasses.dataclass(frozen=True, slots=True)
class EncoderEntry:
    """A line of `ENCODERS`.

    Attributes
    ----------
    summary : str
    weights : str
        Where its weights come from.
    licence : str
        Of the weights.
    build : callable
        ``build(location, device)``: `location` is what follows ``@`` in a specification, a
        revision or a folder, or None.
    """

    summary: str
    weights: str
    licence: str
    build: Callable[[str | None, str], Encoder]


def _bundled(encoder_class: type, takes_device: bool) -> Callable[[str | None, str], Encoder]:
    """An encoder that comes installed: its only revision is the one that is there."""

    def build(location: str | None, device: str) -> Encoder:
        name, revision = encoder_class.name.split("@")
        if location not in (None, revision):
            raise EncoderError(
                f"{name}: revision {location!r} is asked for, {revision!r} is what is installed; "
                f"use {name!r}, or install the version of paratope that the model was made with"
            )
        return encoder_class(device=device) if takes_device else encoder_class()

    return build


ENCODERS: dict[str, EncoderEntry] = {
    "residue": EncoderEntry(
        "BLOSUM62, physico-chemical descriptors and identity of each residue; for any protein",
        "none",
        "MIT",
        _bundled(ResidueEncoder, takes_device=False),
    ),
    "antiberty": EncoderEntry(
        "AntiBERTy, a language model of single antibody chains; for antibodies only",
        "bundled (package antiberty)",
        "MIT",
        _bundled(AntibertyEncoder, takes_device=True),
    ),
}


def load_encoder(spec: str, device: str = "auto") -> Encoder:
    """The encoder of a specification. Its weights are read when it is first used.

    Parameters
    ----------
    spec : str
        ``NAME``, a key of `ENCODERS`; or ``NAME@REVISION``, as in `Encoder.name`; or
        ``NAME@FOLDER``.
    device : str
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    EncoderError
        If the name is unknown, the revision is not here, or the device is not there.
    MissingExtraError
        If the encoder needs an optional part that is not installed.

    Examples
    --------
    >>> load_encoder("residue").name
    'residue@1'
    """
    name, at, location = spec.partition("@")
    if name not in ENCODERS:
        raise EncoderError(unknown_name("encoder", name, ENCODERS))
    if at and not location:
        raise EncoderError(f"{spec!r}: nothing after '@'; expected a revision or a folder")
    return ENCODERS[name].build(location or None, device)
