"""Answers of a campaign's model as the columns of a table of predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from paratope.core.units import pkd_to_kd_nM
from paratope.models.familiarity import Closeness
from paratope.molecules.sequences import Pair

_UNSEEN_SITES = "changes positions that no measured variant changes"


def prediction_columns(
    model: Any,
    pairs: Sequence[Pair],
    closeness: Sequence[Closeness],
    coverage: float,
    strong_threshold_pkd: float,
    parent: Pair | None,
) -> list[dict[str, Any]]:
    """What is said of each pair, by the names of `paratope.models.prediction.Prediction`.

    Parameters
    ----------
    model : CampaignModel
    pairs : sequence of Pair
    closeness : sequence of Closeness
        Identities to the campaign's molecules.
    coverage : float
        Of the intervals.
    strong_threshold_pkd : float
    parent : Pair or None
        What changes are counted from.
    """
    change = None
    if parent is None:
        answer = model.answer(pairs)
    else:
        answer, change = model.answer_and_change(pairs, parent, coverage)
    value = model.to_label(answer.mean)
    low, high = model.interval(answer, coverage)
    label = model.campaign.label
    columns: dict[str, np.ndarray] = {}
    if label == "pkd":
        columns["p_strong"] = model.exceeds(answer, strong_threshold_pkd)
        columns["kd_nM"] = np.array([pkd_to_kd_nM(float(one)) for one in value])
    columns |= {label: value, f"{label}_low": low, f"{label}_high": high}
    if change is not None:
        names = (f"delta_{label}", f"delta_{label}_low", f"delta_{label}_high", "p_stronger")
        columns |= dict(zip(names, change, strict=True))
    found = []
    for row, close in enumerate(closeness):
        note = answer.note[row]
        if not note and answer.domain[row] == "near":
            note = _UNSEEN_SITES
        found.append(
            {
                "domain": str(answer.domain[row]),
                "antigen_identity": close.antigen_identity,
                "antibody_identity": close.antibody_identity,
                "note": note,
                **{name: float(values[row]) for name, values in columns.items()},
            }
        )
    return found
