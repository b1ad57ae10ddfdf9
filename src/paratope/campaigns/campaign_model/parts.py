"""A campaign's model as plain values and tensors, and back."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from paratope.campaigns.campaign import UNKNOWN_ANTIGEN, Campaign
from paratope.campaigns.campaign_model.large import LargeCampaignModel, Learned
from paratope.campaigns.campaign_model.model import CampaignModel
from paratope.campaigns.kernels import Featuriser, LanguageModel, ParentSites, Scales
from paratope.campaigns.label_scale import LabelScale
from paratope.campaigns.sparse_process import SparseProcess
from paratope.core.errors import ModelError
from paratope.molecules.sequences import Antibody, Antigen, Pair

_ARRAYS = ("values", "censoring", "assay", "replicates", "noise_sd")
# Of the arrays of a large campaign's process and of its errors.
_PROCESS, _ERRORS = "campaign.process.", "campaign.errors."


def to_parts(model: CampaignModel) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What ``campaign.json`` holds, and named arrays."""
    campaign = model.campaign
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
        "scales": dataclasses.asdict(model.scales),
        "label_scale": model.scale.to_json(),
        "prior_pkd": model.train.prior.tolist(),
        **{
            name: [None if value != value else value for value in getattr(campaign, name).tolist()]
            for name in _ARRAYS
        },
    }
    arrays = {
        "campaign.delta": model.train.delta.astype(np.float16),
        "campaign.mean": model.train.mean.astype(np.float16),
    }
    if isinstance(model, LargeCampaignModel):
        document["anchors"] = model.anchors.tolist()
        document["reference"] = model.reference.tolist()
        document["changed_sites"] = sorted(model.changed_sites)
        process = model.process.to_arrays()
        arrays |= {f"{_PROCESS}{name}": array for name, array in process.items()}
        arrays |= {f"{_ERRORS}{name}": errors for name, errors in model.errors.items()}
    else:
        arrays["campaign.site_target"] = model.process.ep_target
        arrays["campaign.site_variance"] = model.process.ep_variance
    for number, sites in enumerate(model.sites):
        if sites.embedding:
            arrays[f"campaign.parent{number}.embedding"] = np.stack(list(sites.embedding.values()))
            tables = np.stack(list(sites.log_probability.values()))
            arrays[f"campaign.parent{number}.log_probability"] = tables
    return document, arrays


def from_parts(
    document: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    language: LanguageModel | None,
    prior: Any = None,
) -> CampaignModel:
    """The inverse of `to_parts`.

    Parameters
    ----------
    document, arrays : mapping
    language : LanguageModel or None
        Needed if the model was fitted with one.
    prior : object, optional
        The general model it was fitted with.

    Raises
    ------
    ModelError
        If parts are missing or do not fit together.
    """
    try:
        parents = [_pair_from_json(pair) for pair in document["parents"]]
        columns: dict[str, Any] = {
            name: np.array([np.nan if value is None else value for value in document[name]])
            for name in _ARRAYS
        }
        for name in ("censoring", "assay", "replicates"):
            columns[name] = columns[name].astype(int)
        campaign = Campaign(
            pairs=tuple(_pair_from_json(pair) for pair in document["pairs"]),
            label=document["label"],
            assays=tuple(document["assays"]),
            parents=tuple(parents[: int(document["named_parents"])]),
            notes=tuple(document["notes"]),
            left_out=tuple(document["left_out"]),
            common_scale=bool(document.get("common_scale", False)),
            **columns,
        )
        sites = [_sites(number, parent, arrays) for number, parent in enumerate(parents)]
        antigens = tuple(one.chains for one in campaign.antigens) or (UNKNOWN_ANTIGEN.chains,)
        featuriser = Featuriser(parents, sites, antigens)
        anchors = np.array(document.get("anchors", range(len(campaign))), int)
        train = featuriser.assemble(
            campaign.rows(anchors).pairs,
            arrays["campaign.delta"],
            arrays["campaign.mean"],
            np.array(document["prior_pkd"], float),
        )
        scales: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in document["scales"].items()
        }
        scale, weights = LabelScale.from_json(document["label_scale"]), document["weights"]
        frame = (parents, sites, scale, Scales(**scales), train, weights, document["noise"])
        if "anchors" in document:
            reference = np.array(document["reference"], bool)
            learned = _learned(document, arrays)
            return LargeCampaignModel(
                campaign, anchors, reference, *frame, language, prior, learned
            )  # fmt: skip
        bounds = arrays["campaign.site_target"], arrays["campaign.site_variance"]
        return CampaignModel(campaign, *frame, language, prior, bounds)
    except (KeyError, TypeError, ValueError, IndexError, AssertionError) as error:
        raise ModelError(f"not a campaign's model, or damaged: {error!r}") from error


def _learned(document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Learned:
    """What the rows of a large campaign have left behind."""
    named = {
        prefix: {
            name.removeprefix(prefix): array
            for name, array in arrays.items()
            if name.startswith(prefix)
        }
        for prefix in (_PROCESS, _ERRORS)
    }
    process = SparseProcess.from_arrays(named[_PROCESS])
    errors = {name: named[_ERRORS][name] for name in ("in", "near")}
    if not len(process.alpha) == len(document["anchors"]) == len(document["reference"]):
        raise ValueError("rows that stand for all: of different numbers")
    if len(process.ep_target) != len(document["pairs"]):
        raise ValueError("a process of other rows")
    return Learned(process, errors, frozenset(document["changed_sites"]))


def _sites(number: int, parent: Pair, arrays: Mapping[str, np.ndarray]) -> ParentSites:
    sites = ParentSites.of(parent, None)
    embedding = arrays.get(f"campaign.parent{number}.embedding")
    if embedding is None:
        return sites
    table = arrays[f"campaign.parent{number}.log_probability"]
    own = [site for site in sites.residues if not site.role.startswith("A")]
    return dataclasses.replace(
        sites,
        embedding=dict(zip(own, embedding, strict=True)),
        log_probability=dict(zip(own, table, strict=True)),
    )


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
