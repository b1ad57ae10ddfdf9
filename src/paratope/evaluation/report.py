"""The report on one table of predictions."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paratope.evaluation.bootstrap import FEW_GROUPS, MIN_GROUPS, group_codes, metric_intervals
from paratope.evaluation.breakdowns import Breakdown, Estimate, break_down, plain
from paratope.evaluation.diagnostics import Finding, diagnose
from paratope.evaluation.metrics import (
    METRICS,
    at_threshold,
    best_cut,
    calibration_curve,
    compute,
    r2_parts,
    selective_risk_curve,
)
from paratope.evaluation.noise import NoiseCeiling, noise_ceiling
from paratope.evaluation.predictions import PredictionTable, read_predictions
from paratope.evaluation.references import Reference, fitted_references, table_references

FORMAT = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """Everything `evaluate` found.

    Attributes
    ----------
    table : PredictionTable
        The judged rows.
    part : str
        ``"all rows"``, or ``"test"`` where the table has a split.
    grouping : str
        Column whose groups the intervals resample; ``"row"`` if rows count as independent.
    groups : int
    metrics : dict of str to Estimate
        Pooled over the judged rows.
    r2_parts : dict of str to float
    chosen_threshold : dict of str to float
        Cut chosen on validation rows, and what it gives here; empty without validation rows.
    breakdowns : tuple of Breakdown
    references : tuple of Reference
        Baselines on the same rows.
    noise : NoiseCeiling or None
    findings : tuple of Finding
    curves : dict
        Calibration and selective-risk curves, where there are intervals.
    """

    table: PredictionTable
    part: str
    grouping: str
    groups: int
    metrics: Mapping[str, Estimate]
    r2_parts: Mapping[str, float]
    chosen_threshold: Mapping[str, float]
    breakdowns: tuple[Breakdown, ...]
    references: tuple[Reference, ...]
    noise: NoiseCeiling | None
    findings: tuple[Finding, ...]
    curves: Mapping[str, Mapping[str, list[float]]]

    @property
    def values(self) -> dict[str, float]:
        """Pooled metrics without their intervals."""
        return {name: estimate.value for name, estimate in self.metrics.items()}

    def to_dict(self) -> dict[str, Any]:
        """The report as plain numbers and text, as written to ``metrics.json``."""
        codes = self.table.rows.censoring
        return {
            "format": FORMAT,
            "source": Path(self.table.source).name,
            "part": self.part,
            "columns": dict(self.table.columns),
            "rows": {
                "in_table": self.table.total,
                "judged": len(self.table),
                "exact": int((codes == 0).sum()),
                "at_most": int((codes < 0).sum()),
                "at_least": int((codes > 0).sum()),
                "left_out": dict(self.table.left_out),
            },
            "intervals": {"level": 0.95, "resampled": self.grouping, "groups": self.groups},
            "metrics": {name: estimate.to_dict() for name, estimate in self.metrics.items()},
            "r2_parts": {name: plain(value) for name, value in self.r2_parts.items()},
            "chosen_threshold": {k: plain(v) for k, v in self.chosen_threshold.items()},
            "by": {b.by: _breakdown_dict(b) for b in self.breakdowns},
            "baselines": [
                {
                    "name": r.name,
                    "note": r.note,
                    "metrics": {name: plain(value) for name, value in r.values.items()},
                }
                for r in self.references
            ],
            "noise_ceiling": None
            if self.noise is None
            else {
                k: v if isinstance(v, int) else plain(v)
                for k, v in dataclasses.asdict(self.noise).items()
            },
            "findings": [
                {
                    "code": finding.code,
                    "severity": finding.severity,
                    "text": finding.text,
                    "numbers": {name: plain(v) for name, v in finding.numbers.items()},
                }
                for finding in self.findings
            ],
            "curves": {name: dict(curve) for name, curve in self.curves.items()},
        }

    def to_json(self) -> str:
        """`to_dict` as indented JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _breakdown_dict(breakdown: Breakdown) -> dict[str, Any]:
    return {
        "macro": {name: estimate.to_dict() for name, estimate in breakdown.macro.items()},
        "macro_levels": breakdown.macro_levels,
        "undecided_rows": breakdown.undecided,
        "levels": [
            {
                "name": level.name,
                "rows": level.rows,
                "exact": level.exact,
                "metrics": {name: plain(value) for name, value in level.values.items()},
            }
            for level in breakdown.levels
        ],
    }


def _curves(table: PredictionTable) -> dict[str, dict[str, list[float]]]:
    if not table.rows.has_intervals or len(table) < 10:
        return {}
    claimed, observed = calibration_curve(table.rows)
    share, risk = selective_risk_curve(table.rows)
    return {
        "calibration": {"claimed": claimed.tolist(), "observed": observed.tolist()},
        "selective_risk": {"kept_share": share.tolist(), "rmse": risk.tolist()},
    }


def _few_groups(grouping: str, groups: int, rows: int) -> list[Finding]:
    if grouping == "row":
        text = (
            "No group or antigen column: intervals treat all rows as independent and are too "
            "narrow "
            "if many rows share an antibody or antigen (name one with --group)."
        )
        return [Finding("groups", "note", text, {"groups": groups})]
    if groups < MIN_GROUPS:
        text = f"Only {groups} groups ({grouping}): too few for intervals; none are shown."
        return [Finding("groups", "warning", text, {"groups": groups})]
    if groups < FEW_GROUPS:
        text = f"Only {groups} groups ({grouping}): the intervals are rough."
        return [Finding("groups", "warning", text, {"groups": groups})]
    return []


def evaluate(
    source: Any,
    *,
    true: str | None = None,
    pred: str | None = None,
    group: str | None = None,
    train: str | Path | None = None,
    baselines: bool = True,
    draws: int | None = None,
    seed: int = 0,
) -> Report:
    """Judge a table of measured and predicted values.

    Parameters
    ----------
    source : path, frame or PredictionTable
        Any table with both values; see `read_predictions` for what is recognised.
    true, pred, group : str, optional
        Columns, where their names are not usual ones.
    train : path, optional
        Measurements to fit the baselines on; the ``train`` rows of the table otherwise.
    baselines : bool
        Whether to fit baselines where sequences and training rows allow it.
    draws : int, optional
        Bootstrap draws; 1000 by default, 500 for large tables.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Report
        On the ``test`` rows where the table has a split, else on all of them.

    Examples
    --------
    >>> import polars as pl
    >>> report = evaluate(pl.DataFrame({"true": [6.0, 7.0, 8.5], "pred": [6.5, 7.0, 8.0]}))
    >>> round(report.values["rmse"], 3)
    0.408
    """
    whole = source
    if not isinstance(whole, PredictionTable):
        whole = read_predictions(source, true=true, pred=pred, group=group)
    test, training, validation = (whole.part(part) for part in ("test", "train", "validation"))
    table, part = (whole, "all rows") if test is None else (test, "test")
    grouping, labels = table.grouping()
    codes, groups = group_codes(labels.tolist())
    values = compute(table.rows)
    intervals = metric_intervals(table.rows, codes, list(values), draws=draws, seed=seed)
    metrics = {name: Estimate(value, intervals.get(name)) for name, value in values.items()}
    roles = [by for by in ("antigen", "assay", "source") if by in table.labels]
    breakdowns = [break_down(table, by, seed=seed) for by in (*roles, "bin")]
    if "split" in whole.labels:
        breakdowns.append(break_down(whole, "split", seed=seed))
    training = None if test is None else training
    references = table_references(table, training)
    if baselines:
        fitted = fitted_references(table, training, train)
        made = {one.name.replace("_", " ") for one in fitted if one.values}
        references = [one for one in references if one.name not in made] + fitted
    chosen: dict[str, float] = {}
    if validation is not None and test is not None:
        cut = best_cut(validation.rows)
        if math.isfinite(cut):
            chosen = {"cut": cut, **at_threshold(table.rows, cut)}
    findings = (*diagnose(table), *_few_groups(grouping, groups, len(table)))
    return Report(
        table=table,
        part=part,
        grouping=grouping,
        groups=groups,
        metrics=metrics,
        r2_parts=r2_parts(table.rows),
        chosen_threshold=chosen,
        breakdowns=tuple(breakdowns),
        references=tuple(references),
        noise=noise_ceiling(table),
        findings=findings,
        curves=_curves(table),
    )


def metric_direction(name: str) -> str:
    """Which way a metric is better, for people."""
    return {"max": "higher", "min": "lower", "zero": "nearer 0", "level": "nearer its level"}[
        METRICS[name].direction
    ]
