"""How good any model could look on these rows, given how far replicates differ."""

import dataclasses
import math

import numpy as np

from paratope.evaluation.bootstrap import group_codes
from paratope.evaluation.predictions import PredictionTable


@dataclasses.dataclass(frozen=True, slots=True)
class NoiseCeiling:
    """Measurement noise seen in replicates of the same pair.

    Attributes
    ----------
    pairs : int
        Pairs measured more than once.
    rows : int
        Their rows.
    sd : float
        Standard deviation of one measurement about its pair's mean, log10 units.
    sd_within_assay : float
        The same inside one assay; NaN without such replicates.
    rmse_floor : float
        RMSE of a perfect model against single measurements: `sd`.
    pearson_ceiling : float
        Correlation a perfect model would reach: sqrt(1 - sd² / variance of measured).
    """

    pairs: int
    rows: int
    sd: float
    sd_within_assay: float
    rmse_floor: float
    pearson_ceiling: float


def _pooled_sd(values: np.ndarray, codes: np.ndarray) -> tuple[float, int, int]:
    counts = np.bincount(codes)
    means = np.bincount(codes, values) / counts
    squares = np.bincount(codes, (values - means[codes]) ** 2)
    repeated = counts > 1
    freedom = int((counts[repeated] - 1).sum())
    if freedom == 0:
        return math.nan, 0, 0
    sd = math.sqrt(float(squares[repeated].sum()) / freedom)
    return sd, int(repeated.sum()), int(counts[repeated].sum())


def noise_ceiling(table: PredictionTable) -> NoiseCeiling | None:
    """Noise from replicates: exact rows with the same heavy, light and antigen sequence.

    Parameters
    ----------
    table : PredictionTable

    Returns
    -------
    NoiseCeiling or None
        None without sequences, or without a pair that was measured twice.
    """
    table = table.take(table.rows.censoring == 0)
    if not {"heavy", "antigen"} <= set(table.labels) or not len(table):
        return None
    keys = [
        table.labels[role].tolist()
        for role in ("heavy", "light", "antigen")
        if role in table.labels
    ]
    codes, _ = group_codes(list(zip(*keys, strict=True)))
    sd, pairs, rows = _pooled_sd(table.rows.measured, codes)
    if pairs == 0:
        return None
    inside = math.nan
    if "assay" in table.labels:
        by_assay, _ = group_codes(list(zip(codes, table.labels["assay"].tolist(), strict=True)))
        inside = _pooled_sd(table.rows.measured, by_assay)[0]
    variance = float(table.rows.measured.var())
    ceiling = math.sqrt(max(0.0, 1 - sd**2 / variance)) if variance > 0 else math.nan
    return NoiseCeiling(pairs, rows, sd, inside, sd, ceiling)
