"""A network that cannot learn a dozen pairs by heart cannot learn anything."""

import dataclasses

import numpy as np
import pytest

from paratope.core.censoring import Censoring
from paratope.encoders import load_encoder
from paratope.encoders.embedding_store import EmbeddingStore
from paratope.models.batches import Examples
from paratope.models.recipes import RECIPES, load_recipe
from paratope.training import fit, score
from small_runs import rows

EASY = [
    *("network.dim=32", "network.heads=4", "network.tower_layers=1", "network.feed_forward=2"),
    *("network.regressor=[64]", "network.dropout=0", "training.batch_size=12"),
    *("training.accumulate=1", "training.max_epochs=100", "training.patience=0"),
    *("training.learning_rate=3e-3", "training.weight_decay=0", "training.monitor=rmse"),
    *("training.balance=none", "schedule.name=constant", "schedule.warmup_epochs=0"),
    *[f"loss.{name}=0" for name in ("huber", "focal_regression", "soft_spearman")],
    *[f"loss.{name}=0" for name in ("gaussian_nll", "pairwise_rank", "strong_binder_bce")],
    "loss.mse=1",
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_network_of_every_recipe_learns_twelve_pairs(recipe, tmp_path):
    exact = [dataclasses.replace(row, censoring=Censoring.EXACT) for row in rows(12)]
    examples = Examples.from_measurements(exact)
    with EmbeddingStore(load_encoder("residue"), tmp_path) as store:
        store.fill((*examples.antibodies, *examples.antigens))
        result = fit(examples, examples, load_recipe(recipe, EASY), (store, store))
        predicted = score(result.network(), examples, (store, store)).mean
    assert np.sqrt(np.mean((predicted - examples.pkd) ** 2)) < 0.1
