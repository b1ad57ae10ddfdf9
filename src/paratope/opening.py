"""Opening a model folder: the one file that knows every kind of model."""

import os

from paratope.models.bundle import GENERAL, Bundle, find_model, read_bundle
from paratope.models.general.general_model import GeneralModel
from paratope.models.predictor import Predictor

__all__ = ["open_predictor", "predictor_of"]


def open_predictor(
    source: str | os.PathLike[str] = "default",
    device: str = "auto",
    cache: str | os.PathLike[str] | None = None,
) -> Predictor:
    """The predictor of a model folder or a bundled name; see `Predictor.load`."""
    return predictor_of(read_bundle(find_model(source)), device, cache)


def predictor_of(
    bundle: Bundle, device: str = "auto", cache: str | os.PathLike[str] | None = None
) -> Predictor:
    """The predictor of a bundle in memory; raises as `open_predictor`."""
    if bundle.campaign:
        # imported here: a network's user pays for no Gaussian process
        from paratope.campaigns.campaign_bundle import open_campaign

        return Predictor(open_campaign(bundle, device, cache), bundle)
    if bundle.config.get("kind") == GENERAL:
        return Predictor(GeneralModel.of_bundle(bundle), bundle)
    # imported here: the general model's user pays for no torch
    from paratope.models.network_model import NetworkModel

    return Predictor(NetworkModel.open(bundle, device, cache), bundle)
