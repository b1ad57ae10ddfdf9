"""A campaign's model as a model folder, with the general model that it uses inside."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from paratope.campaigns.campaign.campaign import COLUMNS, Campaign
from paratope.campaigns.campaign_model import (
    CampaignModel,
    FittedState,
    SparseCampaignModel,
    TrainedKernel,
)
from paratope.campaigns.campaign_model.training import campaign_featuriser
from paratope.campaigns.kernels import AntibodyLanguage, LanguageModel, ParentSites, Scales
from paratope.campaigns.label_scale import HalfRankNormalTransform
from paratope.campaigns.sparse_process import SparseProcess
from paratope.core.errors import ModelError
from paratope.core.files import plain
from paratope.models.applicability_domain import ApplicabilityDomain
from paratope.models.bundle import Bundle
from paratope.models.network_model import NetworkModel
from paratope.models.predictor import Predictor
from paratope.molecules.sequences import Antibody, Antigen, Pair

# Of the general model's weights inside a campaign's bundle; of a sparse model's arrays.
PRIOR_PREFIX = "prior."
_PROCESS, _ERRORS = "campaign.process.", "campaign.errors."
_T = TypeVar("_T")


def open_campaign(
    bundle: Bundle, device: str = "auto", cache: str | os.PathLike[str] | None = None
) -> CampaignModel:
    """The campaign's model in a bundle; `cache` is the folder of the embedding stores.

    Raises `ModelError` if parts are missing or do not fit together, or if its language model is
    another one today.
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
        parts = (inner["config"], _below(PRIOR_PREFIX, bundle.weights), inner["calibration"])
        general = Bundle(*parts, inner["familiarity"], {}, {}, "")
        prior = Predictor(NetworkModel.open(general, device, cache), general)
    model = from_state(bundle.campaign, arrays, language, prior)
    model.domain = ApplicabilityDomain.from_json(bundle.familiarity)
    return model


def campaign_bundle(
    model: CampaignModel, *, metrics: Mapping[str, Any], environment: Mapping[str, Any], card: str
) -> Bundle:
    """A campaign's model as a bundle; the general model it uses is put inside."""
    import torch

    document, arrays = to_state(model)
    weights = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    if model.prior is not None:
        inner: Bundle = model.prior.bundle
        kept = ("config", "calibration", "familiarity")
        document["prior"] = {name: getattr(inner, name) for name in kept}
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


def to_state(model: CampaignModel) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What ``campaign.json`` holds, and named arrays."""
    campaign, trained = model.campaign, model.trained
    document = {
        "label": campaign.label,
        "pairs": [_pair_to_json(pair) for pair in campaign.pairs],
        "parents": [_pair_to_json(pair) for pair in model.parents],
        "named_parents": len(campaign.parents),
        "assays": list(campaign.assays),
        "notes": list(campaign.notes),
        "left_out": list(campaign.left_out),
        "common_scale": campaign.common_scale,
        "weights": model.weights,
        "noise": model.process.noise.tolist(),
        "scales": dataclasses.asdict(trained.scales),
        "label_scale": model.scale.to_json(),
        "prior_pkd": model.train.prior.tolist(),
        **{name: plain(getattr(campaign, name).tolist()) for name in COLUMNS},
    }
    arrays = {
        "campaign.delta": model.train.delta.astype(np.float16),
        "campaign.mean": model.train.mean.astype(np.float16),
    }
    if isinstance(model, SparseCampaignModel):
        document["anchors"] = model.inducing.tolist()
        document["reference"] = model.reference.tolist()
        document["changed_sites"] = sorted(model.changed_sites)
        assert isinstance(model.process, SparseProcess)
        process = model.process.to_arrays()
        arrays |= {f"{_PROCESS}{name}": array for name, array in process.items()}
        arrays |= {f"{_ERRORS}{name}": errors for name, errors in model.errors.items()}
    else:
        arrays["campaign.site_target"] = model.process.ep_target
        arrays["campaign.site_variance"] = model.process.ep_variance
    for index, sites in enumerate(model.featuriser.parent_sites):
        if sites.embedding:
            for name in ("embedding", "log_probability"):
                rows = np.stack(list(getattr(sites, name).values()))
                arrays[f"campaign.parent{index}.{name}"] = rows
    return document, arrays


def from_state(
    document: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    language: LanguageModel | None,
    prior: Any = None,
) -> CampaignModel:
    """The inverse of `to_state`, with the language model and the general model it was fitted with.

    Raises `ModelError` if parts are missing or do not fit together.
    """
    try:
        parents = tuple(_pair_from_json(pair) for pair in document["parents"])
        columns: dict[str, Any] = {
            name: np.array([np.nan if value is None else value for value in document[name]])
            for name in COLUMNS
        }
        for name in ("censoring", "assay", "replicates"):
            columns[name] = columns[name].astype(int)
        campaign = Campaign(
            pairs=tuple(_pair_from_json(pair) for pair in document["pairs"]),
            label=document["label"],
            assays=tuple(document["assays"]),
            parents=parents[: int(document["named_parents"])],
            notes=tuple(document["notes"]),
            left_out=tuple(document["left_out"]),
            common_scale=bool(document.get("common_scale", False)),
            **columns,
        )
        sites = [ParentSites.of(parent, None) for parent in parents]
        for index, own in enumerate(sites):
            if f"campaign.parent{index}.embedding" in arrays:
                for name in ("embedding", "log_probability"):
                    rows = arrays[f"campaign.parent{index}.{name}"]
                    getattr(own, name).update(zip(own.residues, rows, strict=True))
        featuriser = campaign_featuriser(campaign, parents, sites)
        inducing = np.array(document.get("anchors", range(len(campaign))), int)
        compared = campaign.rows(inducing)
        train = featuriser.assemble(
            compared.pairs,
            arrays["campaign.delta"],
            arrays["campaign.mean"],
            np.array(document["prior_pkd"], float),
            compared.assay,
        )
        scales: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in document["scales"].items()
        }
        trained = TrainedKernel(
            parents=parents,
            featuriser=featuriser,
            scale=HalfRankNormalTransform.from_json(document["label_scale"]),
            scales=Scales(**scales),
            train=train,
            weights=dict(document["weights"]),
            noise=np.array(document["noise"], float),
            language=language,
            prior=prior,
        )
        if "anchors" in document:
            process = SparseProcess.from_arrays(_below(_PROCESS, arrays))
            reference = np.array(document["reference"], bool)
            if not len(process.alpha) == len(inducing) == len(reference):
                raise ValueError("inducing rows of different numbers")
            if len(process.ep_target) != len(campaign):
                raise ValueError("a process of other rows")
            errors = {name: arrays[f"{_ERRORS}{name}"] for name in ("in", "near")}
            # sites of chains without IMGT numbers were once marked with #
            sites_seen = frozenset(site.replace("#", "n") for site in document["changed_sites"])
            fitted = FittedState(process, errors, sites_seen)
            return SparseCampaignModel(campaign, trained, inducing, reference, fitted)
        ep = arrays["campaign.site_target"], arrays["campaign.site_variance"]
        return CampaignModel(campaign, trained, ep=ep)
    except (KeyError, TypeError, ValueError, IndexError, AssertionError) as error:
        raise ModelError(f"not a campaign's model, or damaged: {error!r}") from error


def _below(prefix: str, values: Mapping[str, _T]) -> dict[str, _T]:
    """The values whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix)
    }


def _pair_to_json(pair: Pair) -> dict[str, Any]:
    return {
        "id": pair.antibody.name,
        "heavy": pair.antibody.heavy,
        "light": pair.antibody.light,
        "antigen": list(pair.antigen.chains),
        "antigen_id": pair.antigen.name,
    }


def _pair_from_json(data: Mapping[str, Any]) -> Pair:
    return Pair(
        Antibody(data["heavy"], data["light"], data["id"]),
        Antigen(tuple(data["antigen"]), data["antigen_id"]),
    )
