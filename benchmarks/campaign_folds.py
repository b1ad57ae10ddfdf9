"""Campaigns over many antibodies at once: ddG of AB645 and AB1101 in ProtAttBA's folds."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model import CampaignModel
from paratope.campaigns.kernels.terms import TERMS, WITHIN_PARENT
from paratope.core.units import ddg_kcal_mol_to_delta_pkd
from paratope.data.datasets import load_dataset
from paratope.data.measurements import Measurement
from paratope.encoders.likelihood import AntibodyLanguage, LanguageModel
from paratope.evaluation.baselines import BASELINES
from paratope.evaluation.metrics import METRICS
from paratope.models.recipes import load_recipe
from paratope.molecules.sequences import Pair
from public_comparators import protattba_predictions
from public_predictors import Encoders

OURS = "paratope campaign"
FOLD_SETS = ("ab645", "ab1101")
TARGETS = {"ab645": 0.55, "ab1101": 0.70}


def fold_lines(root: Path, name: str) -> list[dict[str, Any]]:
    """Our model, baselines and ProtAttBA on the same rows."""
    frame = protattba_predictions(name, root)
    origin = {
        row.origin.row: row for row in load_dataset(name, root, as_published=True).measurements
    }
    encode = Encoders.of(load_recipe("default"))
    rows = []
    for number in frame["row"]:
        row = origin[number]
        assert row.parent is not None
        rows.append(
            dataclasses.replace(row, pair=encode.seen(row.pair), parent=encode.seen(row.parent))
        )
    ddg = frame["ddg_kcal_mol"].to_numpy()
    delta = np.array([ddg_kcal_mol_to_delta_pkd(value) for value in ddg])
    fold = frame["fold"].to_numpy()
    language = AntibodyLanguage()
    ours, shared, trees, one_hot = (np.empty(len(rows)) for _ in range(4))
    common = [term for term in TERMS if term not in WITHIN_PARENT]
    for held in np.unique(fold):
        train, test = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        ours[test] = _campaign(rows, delta, train, test, language)
        shared[test] = _campaign(rows, delta, train, test, language, common)
        labelled = [
            Measurement(rows[row].pair, pkd=8.0 + float(delta[row]), assay="a") for row in train
        ]
        pairs = [rows[row].pair for row in test]
        one_hot[test] = BASELINES["one_hot_gp"]().fit(labelled).predict_pkd(pairs)
        trees[test] = BASELINES["boosted_kmers"]().fit(labelled).predict_pkd(pairs)
    judged = {
        OURS: ours,
        "paratope campaign, no effects of a parent's own": shared,
        "baseline one_hot_gp": one_hot,
        "baseline boosted_kmers": trees,
        "ProtAttBA": -frame["prediction"].to_numpy(),
    }
    return [
        {
            "set": name,
            "predictor": predictor,
            "rows": len(rows),
            "pearson": round(float(METRICS["pearson"](delta, values)), 4),
            "spearman": round(float(METRICS["spearman"](delta, values)), 4),
            **({"target": TARGETS[name]} if predictor == OURS else {}),
        }
        for predictor, values in judged.items()
    ]


def _campaign(
    rows: list[Measurement],
    delta: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    language: LanguageModel,
    terms: Sequence[str] | None = None,
) -> np.ndarray:
    """ΔpKd of the test rows, of a campaign of the training rows and their parents at 0."""
    parents: dict[Pair, Pair] = {}
    for row in (*train, *test):
        parent = rows[row].parent
        assert parent is not None
        parents.setdefault(parent, parent)
    pairs = [rows[row].pair for row in train] + list(parents)
    values = np.concatenate([delta[train], np.zeros(len(parents))])
    campaign = Campaign(
        tuple(pairs),
        values,
        "score",
        np.zeros(len(pairs), int),
        np.zeros(len(pairs), int),
        ("ddG",),
        np.ones(len(pairs), int),
        np.full(len(pairs), np.nan),
        tuple(parents),
    )
    model = CampaignModel.fit(campaign, language=language, terms=terms)
    return model.predict([rows[row].pair for row in test])
