"""Model folders that version 0.1 wrote are still opened, and say what they said then.

`tests/data/model-0.1` (a tiny network) and `tests/data/campaign-0.1` (a campaign of two assays with
bounds, on top of that network) were written by version 0.1, with their predictions beside them;
only the parent's difference from itself has since lost its interval.
"""

import numpy as np
import polars as pl
import pytest

from paratope.models.prediction import output_columns
from paratope.models.predictor import Predictor


@pytest.mark.parametrize(("name", "tolerance"), [("model-0.1", 1e-6), ("campaign-0.1", 1e-4)])
def test_models_of_version_0_1_say_what_they_said(name, tolerance, repository, tmp_path):
    folder = repository / "tests" / "data" / name
    before = pl.read_csv(folder / "predictions.csv")
    names = list(output_columns(with_parent=True))
    with Predictor.load(folder, device="cpu", cache=tmp_path) as predictor:
        now = predictor.predict(before.drop(names), parent=str(before["id"][0]))
    for column in names:
        if now[column].dtype == pl.Float64:
            np.testing.assert_allclose(
                now[column], before[column], rtol=tolerance, atol=tolerance, err_msg=column
            )
        else:
            assert now[column].to_list() == before[column].to_list(), column
