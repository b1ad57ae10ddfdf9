"""What a campaign's model has learned, and where."""

from typing import Any, NamedTuple

import numpy as np

from paratope.campaigns.campaign_model.grams import term
from paratope.campaigns.kernels import ADDITIVE, Comparison, Features
from paratope.molecules.numbering import REGIONS


class Importance(NamedTuple):
    """What was learned where.

    Attributes
    ----------
    sites : list of dict
        ``chain`` (``H``, ``L``, ``A0`` …), ``imgt``, ``region``, ``changes`` (how many were
        measured), ``effect`` (mean of their learned effects, in the campaign's units, roughly) and
        ``spread`` (their root mean square); along the chains.
    terms : dict of str to float
        Share of each term of the kernel in the variance of the fitted values.
    """

    sites: list[dict[str, Any]]
    terms: dict[str, float]


def importance(model: Any) -> Importance:
    """Learned effects of the changes that were measured, by site, and the terms' shares.

    The effect of a change is its part in the additive terms of the kernel.

    Parameters
    ----------
    model : CampaignModel
    """
    train: Features = model.train
    alpha = model.process.alpha
    effects = np.zeros(len(train.changes.key))
    fitted = {}
    incidence = train.incidence()
    changes = Comparison(train.changes, train.changes, model.scales)
    for name, weight in model.weights.items():
        centring = model._centring[name]
        gram = centring.train(term(name, train, train, model.scales, 0, model.compared))
        fitted[name] = weight * gram @ alpha
        if name in ADDITIVE:
            between = ADDITIVE[name](changes)
            # centring changes every effect of a term by what the training mean has of it
            reference = slice(None) if centring.reference is None else centring.reference
            centred = incidence - incidence[reference].mean(0)
            effects += weight / centring.scale * (between @ (centred.T @ alpha))
    total = sum(fitted.values())
    spread = float(np.var(total)) or 1.0
    covariances = {name: float(np.mean((v - v.mean()) * (total - np.mean(total))))
                   for name, v in fitted.items()}  # fmt: skip
    unit = float(np.diff(model.to_label(np.array([-0.5, 0.5])))[0])
    return Importance(
        _by_site(train, effects * unit),
        {name: round(value / spread, 4) for name, value in covariances.items()},
    )


def _by_site(train: Features, effects: np.ndarray) -> list[dict[str, Any]]:
    table = train.changes
    found = []
    for key in np.unique(table.key):
        rows = table.key == key
        role = key[:2] if key.startswith("A") else key[:1]
        region = int(table.region[rows][0])
        found.append(
            {
                "chain": str(role),
                "imgt": str(key[len(role) :]),
                "region": REGIONS[region] if region < len(REGIONS) else "",
                "changes": int(rows.sum()),
                "effect": round(float(effects[rows].mean()), 4),
                "spread": round(float(np.sqrt(np.mean(effects[rows] ** 2))), 4),
                "place": float(table.place[rows][0]),
            }
        )
    found.sort(key=lambda one: one["place"])
    return [{name: value for name, value in one.items() if name != "place"} for one in found]
