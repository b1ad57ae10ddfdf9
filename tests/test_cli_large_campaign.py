"""More variants than an exact Gaussian process takes, from a table to the next round."""

import json

import numpy as np
import polars as pl
import pytest

from paratope import adapt
from paratope.campaigns.campaign_model import INDUCING_ROWS

TRAIN, TEST = 5_100, 200
NETWORK_SECONDS = 60.0


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_simulated_landscape_from_adapt_to_suggest(tmp_path, run_paratope):
    table = tmp_path / "table.csv"
    run_paratope(
        *("data", "simulate", "-o", table, "--antibodies", TRAIN + TEST, "--antigens", 1),
        *("--noise", 0.3, "--floor", 7, "--seed", 1, "--single-domain"),
        code=0,
    )
    frame = pl.read_csv(table, infer_schema=False)
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    frame.head(TRAIN).write_csv(train)
    frame.tail(TEST).write_csv(test)
    model = tmp_path / "model"

    # as the command does, with less time for the networks
    adapted = adapt(train, model, report=False, network_seconds=NETWORK_SECONDS)
    assert any("two models learned from" in note for note in adapted.campaign.notes)
    choice = json.loads((model / "metrics.json").read_text())["choice"]
    assert choice["train_rows"] + choice["judged_rows"] == TRAIN
    assert all(one["spearman"] > 0.3 for one in choice["candidates"])
    campaign = json.loads((model / "campaign.json").read_text())
    assert len(campaign["anchors"]) <= INDUCING_ROWS < len(campaign["pairs"]) == TRAIN

    run_paratope("predict", test, "--model", model, "-o", tmp_path / "told.csv", code=0)
    told = pl.read_csv(tmp_path / "told.csv", infer_schema_length=None)
    measured = frame.tail(TEST)["pkd"]
    exact = ~measured.str.starts_with("<").to_numpy()
    value = measured.str.strip_chars("<").cast(float).to_numpy()
    mean, low, high = (told[name].to_numpy() for name in ("pkd", "pkd_low", "pkd_high"))
    assert np.corrcoef(mean[exact], value[exact])[0, 1] > 0.4
    assert 0.83 <= np.mean((low <= value) & (value <= high), where=exact) <= 0.97
    assert mean[~exact].mean() < mean[exact].mean()  # bounds lie low

    chosen = tmp_path / "next.csv"
    run_paratope("suggest", model, "--batch", 24, "--candidates", test, "-o", chosen, code=0)
    assert pl.read_csv(chosen)["heavy"].n_unique() == 24
