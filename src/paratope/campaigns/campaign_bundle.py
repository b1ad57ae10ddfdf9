"""A campaign's model as a model folder, with the general model that it uses inside."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from paratope.campaigns.campaign_model import CampaignModel
from paratope.campaigns.campaign_model.parts import from_parts, to_parts
from paratope.campaigns.kernels import AntibodyLanguage
from paratope.core.errors import ModelError
from paratope.models.applicability_domain import ApplicabilityDomain
from paratope.models.bundle import Bundle
from paratope.models.network_model import NetworkModel
from paratope.models.predictor import Predictor

# Of the general model's weights inside a campaign's bundle.
PRIOR_PREFIX = "prior."


def open_campaign(
    bundle: Bundle, device: str = "auto", cache: str | os.PathLike[str] | None = None
) -> CampaignModel:
    """The campaign's model in a bundle.

    Parameters
    ----------
    bundle : Bundle
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    cache : path, optional
        Folder of the embedding stores.

    Raises
    ------
    ModelError
        If parts are missing or do not fit together, or its language model is another one today.
    """
    arrays = {name: tensor.numpy() for name, tensor in bundle.weights.items()}
    language = prior = None
    if any(name.endswith(".embedding") for name in arrays):
        language = AntibodyLanguage(device, cache)
        learned_with = bundle.config.get("encoders", {}).get("antibody")
        if learned_with != language.encoder.name:
            raise ModelError(
                f"this campaign was learned with the language model {learned_with!r}, but this "
                f"paratope has {language.encoder.name!r}; adapt to its measurements anew, or "
                "install the version of paratope that made it"
            )
    if inner := bundle.campaign.get("prior"):
        weights = {
            name.removeprefix(PRIOR_PREFIX): tensor
            for name, tensor in bundle.weights.items()
            if name.startswith(PRIOR_PREFIX)
        }
        parts = (inner["config"], weights, inner["calibration"], inner["familiarity"])
        general = Bundle(*parts, {}, {}, "")
        prior = Predictor(NetworkModel.open(general, device, cache), general)
    model = from_parts(bundle.campaign, arrays, language, prior)
    model.domain = ApplicabilityDomain.from_json(bundle.familiarity)
    return model


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
        familiarity=model.domain.to_json(),
        metrics=dict(metrics),
        environment=dict(environment),
        card=card,
        campaign=document,
    )
