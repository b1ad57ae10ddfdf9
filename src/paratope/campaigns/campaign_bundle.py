"""A campaign's model as a model folder, with the general model that it uses inside."""

import functools
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
import pydantic

from paratope.campaigns.campaign.campaign import COLUMNS, Campaign
from paratope.campaigns.campaign_model import (
    MAX_ROWS,
    CampaignModel,
    FastFit,
    FittedState,
    SparseCampaignModel,
    TrainedKernel,
)
from paratope.campaigns.campaign_model.background import background
from paratope.campaigns.campaign_model.training import HalfRankNormalTransform, campaign_featuriser
from paratope.campaigns.kernels.substitution_prior import SubstitutionPrior
from paratope.campaigns.kernels.terms import Scales
from paratope.campaigns.kernels.variants import ParentSites
from paratope.campaigns.sparse_process import SparseProcess
from paratope.core.errors import ModelError
from paratope.core.files import plain
from paratope.core.validation import numbers, validated, within
from paratope.encoders.likelihood import AntibodyLanguage, LanguageModel
from paratope.models.applicability_domain import ApplicabilityDomain
from paratope.models.bundle import GENERAL, Bundle, BundleConfig
from paratope.models.general.general_model import GeneralModel
from paratope.models.network_model import NetworkModel
from paratope.models.predictor import Predictor
from paratope.molecules.sequences import Antibody, Antigen, Pair

# Of the general model's weights inside a campaign's bundle; of a sparse model's arrays.
PRIOR_PREFIX = "prior."
# Of the arrays of the full form and of the fast one.
_FULL, _FAST = "campaign.", "fast."
_T = TypeVar("_T")
# Rows that new variants are compared with: their covariances take the square of it in memory.
_MOST_COMPARED = 4 * MAX_ROWS
_Chain = Annotated[str, pydantic.Field(pattern="^[A-Z]+$")]


class _Pair(pydantic.BaseModel):
    id: str
    heavy: _Chain
    light: _Chain | None
    antigen: Annotated[tuple[_Chain, ...], pydantic.Field(min_length=1)]
    antigen_id: str

    def pair(self) -> Pair:
        antigen = Antigen(self.antigen, self.antigen_id)
        return Pair(Antibody(self.heavy, self.light, self.id), antigen)


def _described(pair: Pair) -> dict[str, Any]:
    """A pair as `_Pair` reads it."""
    antibody, antigen = pair.antibody, pair.antigen
    document = {"id": antibody.name, "heavy": antibody.heavy, "light": antibody.light}
    return document | {"antigen": list(antigen.chains), "antigen_id": antigen.name}


class _Prior(pydantic.BaseModel):
    """The general model that a campaign's uses."""

    config: dict[str, Any]
    calibration: dict[str, Any]
    familiarity: dict[str, Any]


class _Fast(pydantic.BaseModel):
    """The fast form of a campaign's model, beside its arrays."""

    weights: Annotated[dict[str, Annotated[float, within(0, 1e9)]], pydantic.Field(min_length=1)]
    noise: Annotated[np.ndarray, numbers(0, 1e9)]


class CampaignDocument(pydantic.BaseModel):
    """What ``campaign.json`` holds; n rows, of which m are compared with."""

    label: Literal["pkd", "score"]
    pairs: Annotated[tuple[_Pair, ...], pydantic.FailFast()]  # (n,)
    parents: Annotated[tuple[_Pair, ...], pydantic.FailFast(), pydantic.Field(min_length=1)]
    named_parents: Annotated[int, within(0, 1_000_000)]
    assays: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    notes: tuple[str, ...]
    left_out: tuple[str, ...]
    common_scale: bool = False
    # values, censoring, assay, replicates, noise_sd: (n,)
    values: Annotated[np.ndarray, numbers(-1e300, 1e300)]
    censoring: Annotated[np.ndarray, numbers(-1, 1, whole=True)]
    assay: Annotated[np.ndarray, numbers(0, 1e6, whole=True)]
    replicates: Annotated[np.ndarray, numbers(0, 1e9, whole=True)]
    noise_sd: Annotated[np.ndarray, numbers(0, 1e300, gaps=True)]
    weights: dict[str, Annotated[float, within(0, 1e9)]]
    noise: Annotated[np.ndarray, numbers(0, 1e9)]
    scales: Scales
    label_scale: dict[str, Any]
    prior_pkd: Annotated[np.ndarray, numbers(-1e6, 1e6)]  # (m,)
    # anchors, reference: (m,) of a sparse model; and the sites its rows change
    anchors: Annotated[np.ndarray, numbers(0, 1e7, whole=True)] | None = None
    reference: tuple[bool, ...] = ()
    changed_sites: tuple[str, ...] = ()
    prior: _Prior | None = None
    elsewhere: dict[str, Any] | None = None  # As `SubstitutionPrior`
    fast: _Fast | None = None  # None where all terms are fast, and in older folders

    @classmethod
    def of(cls, data: object) -> "CampaignDocument":
        """Raises `ModelError` for what is missing, out of range, or does not fit together."""
        return validated(cls, data, "campaign.json is damaged", ModelError)

    @property
    def inducing(self) -> np.ndarray:
        """The rows that are compared with, (m,)."""
        return np.arange(len(self.pairs)) if self.anchors is None else self.anchors

    @pydantic.model_validator(mode="after")
    def _fit_together(self) -> Self:
        rows, compared = len(self.pairs), len(self.inducing)
        if {len(getattr(self, name)) for name in COLUMNS} != {rows}:
            raise ValueError(f"columns of other lengths than its {rows} pairs")
        if not 0 < compared == len(self.prior_pkd) <= _MOST_COMPARED:
            raise ValueError(f"{len(self.prior_pkd)} prior_pkd for {compared} compared rows")
        if self.anchors is not None and len(self.reference) != compared:
            raise ValueError(f"reference of {len(self.reference)} for {compared} anchors")
        if self.inducing.max() >= rows or self.assay.max() >= len(self.assays):
            raise ValueError("rows or assays that it does not list")
        groups = len(self.assays) * max(self.named_parents, 1)
        if self.named_parents > len(self.parents) or len(self.noise) != groups:
            raise ValueError(f"{len(self.noise)} variances of noise for {groups} groups")
        if self.fast is not None and len(self.fast.noise) != groups:
            raise ValueError(f"{len(self.fast.noise)} variances of its fast form, not {groups}")
        return self


def open_campaign(
    bundle: Bundle, device: str = "auto", cache: str | os.PathLike[str] | None = None
) -> CampaignModel:
    """The campaign's model in a bundle; `cache` is the folder of the embedding stores.

    Raises `ModelError` if parts are missing or do not fit together, or if its language model is
    another one today.
    """
    document = CampaignDocument.of(bundle.campaign)
    arrays = {name: tensor.numpy() for name, tensor in bundle.weights.items()}
    language = prior = None
    if any(name.endswith(".embedding") for name in arrays):
        language = AntibodyLanguage(device, cache)
        learned_with = BundleConfig.of(bundle.config).encoders.antibody
        if learned_with != language.encoder.name:
            raise ModelError(
                f"this campaign was learned with the language model {learned_with!r}, but this "
                f"paratope has {language.encoder.name!r}; adapt to its measurements anew, or "
                "install the version of paratope that made it"
            )
    if inner := document.prior:
        parts = (inner.config, _below(PRIOR_PREFIX, bundle.weights), inner.calibration)
        general = Bundle(*parts, inner.familiarity, {}, {}, "")
        if inner.config.get("kind") == GENERAL:
            prior = Predictor(GeneralModel.of_bundle(general), general)
        else:
            prior = Predictor(NetworkModel.open(general, device, cache), general)
    model = from_state(document, arrays, language, prior)
    model.domain = ApplicabilityDomain.from_json(bundle.familiarity)
    model.background = functools.cache(functools.partial(background, model))
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
        weights |= {
            f"{PRIOR_PREFIX}{name}": torch.as_tensor(values)
            for name, values in inner.weights.items()
        }
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
    campaign, trained, process = model.campaign, model.trained, model.process
    document = {
        "label": campaign.label,
        "pairs": list(map(_described, campaign.pairs)),
        "parents": list(map(_described, model.parents)),
        "named_parents": len(campaign.parents),
        "assays": campaign.assays,
        "notes": campaign.notes,
        "left_out": campaign.left_out,
        "common_scale": campaign.common_scale,
        "weights": model.weights,
        "noise": process.noise,
        "scales": trained.scales,
        "label_scale": model.scale,
        "prior_pkd": model.train.prior,
        "elsewhere": trained.elsewhere,
        **{name: getattr(campaign, name) for name in COLUMNS},
    }
    arrays = {
        "campaign.delta": model.train.delta.astype(np.float16),
        "campaign.mean": model.train.mean.astype(np.float16),
    }
    if isinstance(process, SparseProcess):
        document["anchors"], document["reference"] = trained.inducing, trained.reference
        document["changed_sites"] = sorted(model.changed_sites)
    arrays |= _process_arrays(model, _FULL)
    if model.fast is not model:
        fast = model.fast
        document["fast"] = {"weights": fast.weights, "noise": fast.process.noise}
        arrays |= _process_arrays(fast, _FAST)
    for index, sites in enumerate(model.featuriser.parent_sites):
        if sites.embedding:
            for name in ("embedding", "log_probability"):
                rows = np.stack(list(getattr(sites, name).values()))
                arrays[f"campaign.parent{index}.{name}"] = rows
    return plain(document), arrays


def _process_arrays(model: CampaignModel, prefix: str) -> dict[str, np.ndarray]:
    """What is kept of a form's process."""
    process = model.process
    if not isinstance(process, SparseProcess):
        return {
            f"{prefix}site_target": process.ep_target,
            f"{prefix}site_variance": process.ep_variance,
        }
    arrays = {f"{prefix}process.{name}": array for name, array in process.to_arrays().items()}
    return arrays | {f"{prefix}errors.{name}": errors for name, errors in model.errors.items()}


def _learned(
    document: CampaignDocument, arrays: Mapping[str, np.ndarray], prefix: str
) -> tuple[tuple[np.ndarray, np.ndarray] | None, FittedState | None]:
    """The inverse of `_process_arrays`: factors of an exact process, or a sparse one."""
    if document.anchors is None:
        ep = arrays[f"{prefix}site_target"], arrays[f"{prefix}site_variance"]
        if {len(part) for part in ep} != {len(document.pairs)}:
            raise ValueError("a process of other rows")
        return ep, None
    process = SparseProcess.from_arrays(_below(f"{prefix}process.", arrays))
    rows = len(document.inducing), len(document.pairs)
    if (len(process.alpha), len(process.ep_target)) != rows:
        raise ValueError("a process of other rows")
    errors = {name: arrays[f"{prefix}errors.{name}"] for name in ("in", "near")}
    # sites of chains without IMGT numbers were once marked with #
    sites_seen = frozenset(site.replace("#", "n") for site in document.changed_sites)
    return None, FittedState(process, errors, sites_seen)


def from_state(
    document: CampaignDocument,
    arrays: Mapping[str, np.ndarray],
    language: LanguageModel | None,
    prior: Any = None,
) -> CampaignModel:
    """The inverse of `to_state`, with the language model and the general model it was fitted with.

    Raises `ModelError` if parts are missing or do not fit together.
    """
    try:
        parents = tuple(parent.pair() for parent in document.parents)
        columns: dict[str, Any] = {name: getattr(document, name) for name in COLUMNS}
        campaign = Campaign(
            pairs=tuple(row.pair() for row in document.pairs),
            label=document.label,
            assays=document.assays,
            parents=parents[: document.named_parents],
            notes=document.notes,
            left_out=document.left_out,
            common_scale=document.common_scale,
            **columns,
        )
        sites = [ParentSites.of(parent, None) for parent in parents]
        for index, parent in enumerate(sites):
            if f"campaign.parent{index}.embedding" in arrays:
                for name in ("embedding", "log_probability"):
                    rows = arrays[f"campaign.parent{index}.{name}"]
                    getattr(parent, name).update(zip(parent.residues, rows, strict=True))
        featuriser = campaign_featuriser(campaign, parents, sites)
        inducing = document.inducing
        compared = campaign.rows(inducing)
        delta, mean = arrays["campaign.delta"], arrays["campaign.mean"]
        if mean.shape != (len(inducing), len(featuriser.roles) * featuriser.dim):
            raise ValueError("embeddings of other rows or another width")
        train = featuriser.features(
            compared.pairs, None, document.prior_pkd, compared.assay, (delta, mean)
        )
        reference = np.array(document.reference)
        elsewhere = None
        if document.elsewhere is not None:
            elsewhere = SubstitutionPrior.from_json(document.elsewhere)
        trained = TrainedKernel(
            parents=parents,
            featuriser=featuriser,
            scale=HalfRankNormalTransform.from_json(document.label_scale),
            scales=document.scales,
            train=train,
            weights=document.weights,
            noise=document.noise,
            language=language,
            prior=prior,
            elsewhere=elsewhere,
            inducing=document.anchors,
            reference=None if document.anchors is None else reference,
        )
        ep, fitted = _learned(document, arrays, _FULL)
        kind = CampaignModel if fitted is None else SparseCampaignModel
        model = kind(campaign, trained, ep=ep, fitted=fitted)
        if (fast := document.fast) is not None:
            model.fast_fit = FastFit(fast.weights, fast.noise, *_learned(document, arrays, _FAST))
        return model
    except (KeyError, TypeError, ValueError, IndexError, AssertionError) as error:
        raise ModelError(f"not a campaign's model, or damaged: {error!r}") from error


def _below(prefix: str, values: Mapping[str, _T]) -> dict[str, _T]:
    """The values whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix)
    }
