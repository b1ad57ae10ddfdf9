"""Opening a model folder: the one file that knows every kind of model."""

import os

from paratope.models.bundle import Bundle, find_model, read_bundle
from paratope.models.predictor import Predictor

__all__ = ["open_predictor", "predictor_of"]


def open_predictor(
    source: str | os.PathLike[str] = "default",
    device: str = "auto",
    cache: str | os.PathLike[str] | None = None,
) -> Predictor:
    """The predictor of a model folder, or of a bundled name.

    Parameters
    ----------
    source : path or str
        A model folder (or a run folder, whose ``bundle`` is taken), or a name of
        `paratope.models.bundle.BUNDLED_MODELS`.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    cache : path, optional
        Folder of the embedding stores.

    Raises
    ------
    ModelError
        If there is no such model, or its folder is incomplete or altered.
    EncoderError
        If one of its encoders is not here.
    """
    return predictor_of(read_bundle(find_model(source)), device, cache)


def predictor_of(
    bundle: Bundle, device: str = "auto", cache: str | os.PathLike[str] | None = None
) -> Predictor:
    """The predictor of a bundle in memory; raises as `open_predictor`."""
    if bundle.campaign:
        from paratope.campaigns.campaign_bundle import open_campaign

        campaign = open_campaign(
            bundle, device, cache, lambda inner: predictor_of(inner, device, cache)
        )
        return Predictor(bundle, device, cache, campaign)
    return Predictor(bundle, device, cache)
