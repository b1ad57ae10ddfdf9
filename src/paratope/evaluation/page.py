"""A report as one HTML page without any outside reference, and as a folder."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.files import atomic_file
from paratope.core.templates import render
from paratope.data.tables import write_table
from paratope.evaluation.bootstrap import MIN_GROUPS
from paratope.evaluation.breakdowns import Breakdown, Estimate
from paratope.evaluation.diagnostics import shortened
from paratope.evaluation.figures import charts, style
from paratope.evaluation.metrics import METRICS
from paratope.evaluation.references import WITHIN_ANTIGEN
from paratope.evaluation.report import Report, TierReport

# Metrics by what they answer, in the order of the page.
METRIC_GROUPS = {
    "How well it ranks": "spearman pearson kendall concordance",
    "How far it is off": "rmse mae bias r2 within_half_log_percent within_one_log_percent",
    "Finding strong binders (pKd ≥ 9)": "auroc average_precision recall_percent precision_percent "
    "f1_percent recall_top_5_percent recall_top_10_percent enrichment_top_5 enrichment_top_10 "
    "top_1_regret top_10_regret auroc_p_strong",
    "Whether its intervals are true": "coverage_50_percent coverage_80_percent coverage_90_percent "
    "coverage_95_percent width_50 width_80 width_90 width_95 miscalibration_area ence "
    "selective_gain_percent bounds_respected_percent",
}
HEADLINE = (
    ("rmse", "RMSE", "log10 units"),
    ("bias", "Bias", "predicted − measured"),
    ("spearman", "Spearman over all rows", "rank correlation"),
    ("pearson", "Pearson over all rows", "linear correlation"),
)
REFERENCE_COLUMNS = (WITHIN_ANTIGEN, "spearman", "pearson", "rmse", "mae", "r2", "auroc")
BREAKDOWN_COLUMNS = ("spearman", "pearson", "rmse", "mae", "bias", "within_one_log_percent")
TIER_METRICS = (
    WITHIN_ANTIGEN,
    "spearman",
    "pearson",
    "rmse",
    "mae",
    "bias",
    "r2",
    "within_one_log_percent",
)
SHOWN_LEVELS = 30
_TITLES = {
    "antigen": "Per antigen",
    "assay": "Per assay",
    "source": "Per source",
    "bin": "Per range of measured pKd",
    "split": "Per part of the split",
}
_BETTER = {"max": "higher", "min": "lower", "zero": "nearer 0", "level": "nearer its level"}


def number(value: float | None, unit: str = "") -> str:
    """A metric for people: three decimals, two for percentages, a dash where undefined.

    >>> number(0.39456), number(99.963, "%"), number(float("nan"))
    ('0.395', '99.96 %', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if unit == "%":
        return f"{value:.2f} %"
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def summary_of(metric: str) -> str:
    """What a metric is, in a line."""
    if metric == WITHIN_ANTIGEN:
        return "mean of the rank correlations inside each antigen"
    return METRICS[metric].summary


def predictor_rows(report: Report, columns: Sequence[str]) -> list[tuple[str, list[str], str]]:
    """The judged predictions and each simple predictor: name, metrics as text, made from."""
    own = [number(report.estimate(name).value) for name in columns]
    simple = [
        (found.name.replace("_", " "), [number(found.values.get(name)) for name in columns])
        + (found.note,)
        for found in report.references
    ]
    return [("these predictions", own, ""), *simple]


def interval_text(estimate: Estimate, unit: str = "") -> str:
    """The 95 % interval for people, empty where there is none."""
    if estimate.interval is None:
        return ""
    return f"{number(estimate.interval.low, unit)} to {number(estimate.interval.high, unit)}"


def _drawings(report: Report) -> dict[str, str]:
    """Inline SVG of every figure of a report, by name; identifiers are the figure's own."""
    rows = report.table.rows
    bins = next(breakdown for breakdown in report.breakdowns if breakdown.by == "bin").levels
    drawn = {
        "predicted_versus_measured": charts.predicted_versus_measured(rows),
        "residuals": charts.residuals(rows),
        "per_bin": charts.per_bin(
            [level.name for level in bins],
            [level.rows for level in bins],
            [level.values.get("rmse", math.nan) for level in bins],
            [level.values.get("bias", math.nan) for level in bins],
        ),
    }
    if report.curves:
        drawn["calibration"] = charts.calibration(rows)
        drawn["selective_risk"] = charts.selective_risk(rows)
    texts = {}
    for name, figure in drawn.items():
        text = style.figure_bytes(figure).decode("utf-8")
        text = text[text.index("<svg") :]  # without the XML header
        for mark in ('id="', 'href="#', "url(#"):
            text = text.replace(mark, f"{mark}{name}-")
        texts[name] = text
    return texts


def _without_interval(report: Report) -> str:
    """Why some intervals are missing, empty where none is."""
    if report.groups < MIN_GROUPS:
        return f"fewer than {MIN_GROUPS} groups, so that no metric has any"
    reasons: dict[str, list[str]] = {}
    for name, estimate in report.metrics.items():
        if estimate.interval is None and math.isfinite(estimate.value):
            reason = METRICS[name].why_no_draws(len(report.table))
            reason = reason or "all draws agree, or too many leave it undefined"
            reasons.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())


def _breakdown_rows(breakdown: Breakdown) -> dict[str, Any]:
    def cells(values: Mapping[str, float]) -> list[str]:
        return [number(values.get(name), METRICS[name].unit) for name in BREAKDOWN_COLUMNS]

    macro = breakdown.macro
    return {
        "title": _TITLES[breakdown.by],
        "by": breakdown.by,
        "levels": [
            {"name": shortened(level.name), "rows": level.rows, "cells": cells(level.values)}
            for level in breakdown.levels[:SHOWN_LEVELS]
        ],
        "hidden": max(0, len(breakdown.levels) - SHOWN_LEVELS),
        "macro": cells({name: estimate.value for name, estimate in macro.items()}),
        "macro_levels": breakdown.macro_levels,
        "macro_intervals": [
            interval_text(macro[name], METRICS[name].unit) if name in macro else ""
            for name in BREAKDOWN_COLUMNS
        ],
        "undecided": breakdown.undecided,
    }


def render_page(report: Report) -> str:
    """The report as one self-contained HTML page."""
    data = report.to_dict()
    groups = {
        title: [
            {
                "name": name,
                "summary": METRICS[name].summary,
                "value": number(report.metrics[name].value, METRICS[name].unit),
                "interval": interval_text(report.metrics[name], METRICS[name].unit),
                "better": _BETTER[METRICS[name].direction],
            }
            for name in names.split()
            if name in report.metrics
        ]
        for title, names in METRIC_GROUPS.items()
    }
    noise = data["noise_ceiling"] and {
        name: value if isinstance(value, int) else number(value)
        for name, value in data["noise_ceiling"].items()
    }
    return render(
        "evaluation",
        "report.html",
        title=data["source"],
        data=data,
        within=(
            number(report.estimate(WITHIN_ANTIGEN).value),
            interval_text(report.estimate(WITHIN_ANTIGEN)),
            report.without_within_antigen,
        ),
        headline=[
            (label, number(estimate.value), interval_text(estimate), more)
            for name, label, more in HEADLINE
            for estimate in [report.metrics[name]]
        ],
        findings=report.findings,
        parts={name: number(value) for name, value in report.r2_parts.items()},
        groups={title: rows for title, rows in groups.items() if rows},
        without_interval=_without_interval(report),
        chosen={
            name: number(value, "%" if "percent" in name else "")
            for name, value in report.chosen_threshold.items()
        },
        reference_columns=[(name, summary_of(name)) for name in REFERENCE_COLUMNS],
        predictors=predictor_rows(report, REFERENCE_COLUMNS),
        breakdown_columns=[(name, METRICS[name].summary) for name in BREAKDOWN_COLUMNS],
        breakdowns=[_breakdown_rows(breakdown) for breakdown in report.breakdowns],
        noise=noise,
        figures=_drawings(report),
    )


def tier_rows(tiers: TierReport, metric: str) -> list[tuple[str, list[str]]]:
    """A metric of the judged predictions and of each simple predictor, in each tier, as text."""
    unit = "" if metric == WITHIN_ANTIGEN else METRICS[metric].unit
    cells = []
    for report in tiers.reports.values():
        estimate = report.estimate(metric)
        ends = interval_text(estimate, unit)
        cells.append(number(estimate.value, unit) + (f" ({ends})" if ends else ""))
    simple = [
        (name.replace("_", " "), [number(value, unit) for value in values])
        for name, values in tiers.reference_values(metric).items()
        if any(value is not None for value in values)
    ]
    return [("these predictions", cells), *simple]


def _folder_name(tier: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in tier).strip(".") or "tier"


def render_tiers(tiers: TierReport) -> str:
    """The tiers side by side as one HTML page, with links to each tier's own report."""
    return render(
        "evaluation",
        "tiers.html",
        tiers=[
            (name, _folder_name(name), len(report.table), report.groups, report.grouping)
            for name, report in tiers.reports.items()
        ],
        tables=[(metric, summary_of(metric), tier_rows(tiers, metric)) for metric in TIER_METRICS],
        findings=[
            (name, finding) for name, report in tiers.reports.items() for finding in report.findings
        ],
    )


def _write(target: Path, **texts: str) -> Path:
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {target}: {error.strerror or error}") from error
    for kind, name in (("json", "metrics.json"), ("html", "report.html")):
        with atomic_file(target / name) as file:
            file.write(texts[kind].encode("utf-8", "backslashreplace"))
    return target / "report.html"


def write_report(report: Report, folder: str | Path) -> Path:
    """Write ``metrics.json``, ``report.html`` and ``judged_rows.csv`` into a (new) folder.

    The rows are what `paratope.evaluation.compare` reads. Returns the path of the page.
    """
    page = _write(Path(folder), json=report.to_json(), html=render_page(report))
    table, sign = (
        report.table,
        {Censoring.AT_MOST: "<", Censoring.EXACT: "", Censoring.AT_LEAST: ">"},
    )
    kept = [role for role in ("id", "antigen", "assay", "source", "group") if role in table.labels]
    rows = {
        "row": table.index + 1,
        **{role: [str(label) for label in table.labels[role]] for role in kept},
        "true": table.rows.measured,
        "relation": [sign[code] for code in table.rows.censoring.tolist()],
        "pred": table.rows.predicted,
    }
    write_table(pl.DataFrame(rows), page.parent / "judged_rows.csv")
    return page


def write_tiers(tiers: TierReport, folder: str | Path) -> Path:
    """Write the page (its path is returned) and numbers of all tiers, and each tier's report."""
    for name, report in tiers.reports.items():
        write_report(report, Path(folder) / _folder_name(name))
    return _write(Path(folder), json=tiers.to_json(), html=render_tiers(tiers))
