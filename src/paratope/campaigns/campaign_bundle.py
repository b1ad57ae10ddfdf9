"""A campaign's model as a model folder, with the general model that it uses inside."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from paratope.campaigns.campaign_model import CampaignModel
from paratope.campaigns.campaign_model.parts import from_parts, to_parts
from paratope.campaigns.kernels import AntibodyLanguage
from paratope.models.bundle import Bundle
from paratope.models.familiarity import Familiarity

# Of the general model's weights inside a campaign's bundle.
PRIOR_PREFIX = "prior."


def open_campaign(
    bundle: Bundle,
    device: str,
    cache: str | os.PathLike[str] | None,
    open_prior: Callable[[Bundle], Any],
) -> CampaignModel:
    """The campaign's model in a bundle.

    Parameters
    ----------
    bundle : Bundle
    device : str
    cache : path or None
        Folder of the embedding stores.
    open_prior : callable
        What opens the bundle of the general model that it was adapted from, if there is one.

    Raises
    ------
    ModelError
        If parts are missing or do not fit together.
    """
    arrays = {name: tensor.numpy() for name, tensor in bundle.weights.items()}
    uses_language = any(name.endswith(".embedding") for name in arrays)
    language = AntibodyLanguage(device, cache) if uses_language else None
    prior = None
    if inner := bundle.campaign.get("prior"):
        weights = {
            name.removeprefix(PRIOR_PREFIX): tensor
            for name, tensor in bundle.weights.items()
            if name.startswith(PRIOR_PREFIX)
        }
        parts = (inner["config"], weights, inner["calibration"], inner["familiarity"])
        prior = open_prior(Bundle(*parts, {}, {}, ""))
    return from_parts(bundle.campaign, arrays, language, prior)


def campaign_bundle(
    model: CampaignModel,
    *,
    metrics: Mapping[str, Any],
    environment: Mapping[str, Any],
    card: str,
) -> Bundle:
    """A campaign's model as a bundle; the general model it uses is put inside."""
    import torch

    document, arrays = to_parts(model)
    weights = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    if model.prior is not None:
        inner: Bundle = model.prior.bundle
        document["prior"] = {
            "config": inner.config,
            "calibration": inner.calibration,
            "familiarity": inner.familiarity,
        }
        weights |= {f"{PRIOR_PREFIX}{name}": tensor for name, tensor in inner.weights.items()}
    encoder = model.language.encoder.name if isinstance(model.language, AntibodyLanguage) else ""
    return Bundle(
        config={
            "kind": "campaign",
            "label": model.campaign.label,
            "encoders": {"antibody": encoder, "antigen": ""},
            "members": 1,
            "recipe": {"terms": sorted(model.weights)},
        },
        weights=weights,
        calibration={name: errors.tolist() for name, errors in model.errors.items()},
        familiarity=Familiarity.of_pairs(model.campaign.pairs).to_json(),
        metrics=dict(metrics),
        environment=dict(environment),
        card=card,
        campaign=document,
    )
