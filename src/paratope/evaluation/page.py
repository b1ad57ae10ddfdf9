"""A report as one HTML page without any outside reference, and as a folder."""

import json
import math
from pathlib import Path
from typing import Any

import polars as pl

from paratope.core.errors import InputError
from paratope.core.files import atomic_file
from paratope.data.tables import write_table
from paratope.evaluation import figures
from paratope.evaluation.bootstrap import MIN_GROUPS
from paratope.evaluation.breakdowns import Breakdown, Estimate
from paratope.evaluation.diagnostics import shortened
from paratope.evaluation.metrics import METRICS
from paratope.evaluation.report import Report, metric_direction
from paratope.evaluation.statistics import missing_interval

# Metrics by what they answer, in the order of the page.
METRIC_GROUPS = {
    "How well it ranks": ("spearman", "pearson", "kendall", "concordance"),
    "How far it is off": (
        "rmse", "mae", "bias", "r2", "within_half_log_percent", "within_one_log_percent",
    ),
    "Finding strong binders (pKd ≥ 9)": (
        "auroc", "average_precision", "recall_percent", "precision_percent", "f1_percent",
        "recall_top_5_percent", "recall_top_10_percent", "enrichment_top_5", "enrichment_top_10",
        "top_1_regret", "top_10_regret", "auroc_p_strong",
    ),
    "Whether its intervals are true": (
        *(name for name in METRICS if name.startswith(("coverage_", "width_"))),
        "miscalibration_area", "ence", "selective_gain_percent", "bounds_respected_percent",
    ),
}  # fmt: skip
BREAKDOWN_COLUMNS = ("spearman", "pearson", "rmse", "mae", "bias", "within_one_log_percent")
SHOWN_LEVELS = 30
_TITLES = {
    "antigen": "Per antigen",
    "assay": "Per assay",
    "source": "Per source",
    "bin": "Per range of measured pKd",
    "split": "Per part of the split",
}


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


def interval_text(estimate: Estimate, unit: str = "") -> str:
    """The 95 % interval for people, empty where there is none."""
    if estimate.interval is None:
        return ""
    low, high = (number(end, unit) for end in (estimate.interval.low, estimate.interval.high))
    return f"{low} to {high}"


def report_figures(report: Report) -> dict[str, str]:
    """SVG of every figure of a report, by title-less name."""
    rows = report.table.rows
    bins = next(breakdown for breakdown in report.breakdowns if breakdown.by == "bin").levels
    drawn = {
        "predicted_versus_measured": figures.predicted_versus_measured(rows),
        "residuals": figures.residuals(rows),
        "per_bin": figures.per_bin(
            [level.name for level in bins],
            [level.rows for level in bins],
            [level.values.get("rmse", math.nan) for level in bins],
            [level.values.get("bias", math.nan) for level in bins],
        ),
    }
    if report.curves:
        drawn["calibration"] = figures.calibration(rows)
        drawn["selective_risk"] = figures.selective_risk(rows)
    return {name: _inline(figures.figure_bytes(figure), name) for name, figure in drawn.items()}


def _inline(svg: bytes, name: str) -> str:
    """SVG to put into a page: no XML header, identifiers of its own."""
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    for mark in ('id="', 'href="#', "url(#"):
        text = text.replace(mark, f"{mark}{name}-")
    return text


def _metric_rows(report: Report, names: tuple[str, ...]) -> list[dict[str, str]]:
    rows = []
    for name in names:
        estimate = report.metrics.get(name)
        if estimate is None:
            continue
        info = METRICS[name]
        rows.append(
            {
                "name": name,
                "summary": info.summary,
                "value": number(estimate.value, info.unit),
                "interval": interval_text(estimate, info.unit),
                "better": metric_direction(name),
            }
        )
    return rows


def _without_interval(report: Report) -> str:
    """Why some intervals are missing, empty where none is."""
    if report.groups < MIN_GROUPS:
        return f"fewer than {MIN_GROUPS} groups, so that no metric has any"
    reasons = {}
    for name, estimate in report.metrics.items():
        if estimate.interval is None and math.isfinite(estimate.value):
            reasons.setdefault(missing_interval(name, len(report.table)), []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())


def _breakdown_rows(breakdown: Breakdown) -> dict[str, Any]:
    def cells(values: Any) -> list[str]:
        return [number(values.get(name), METRICS[name].unit) for name in BREAKDOWN_COLUMNS]

    macro = {name: estimate.value for name, estimate in breakdown.macro.items()}
    return {
        "title": _TITLES[breakdown.by],
        "by": breakdown.by,
        "levels": [
            {"name": shortened(level.name), "rows": level.rows, "cells": cells(level.values)}
            for level in breakdown.levels[:SHOWN_LEVELS]
        ],
        "hidden": max(0, len(breakdown.levels) - SHOWN_LEVELS),
        "macro": cells(macro),
        "macro_levels": breakdown.macro_levels,
        "macro_intervals": [
            interval_text(breakdown.macro[name], METRICS[name].unit) if name in macro else ""
            for name in BREAKDOWN_COLUMNS
        ],
        "undecided": breakdown.undecided,
    }


def environment() -> Any:
    """The templates of pages."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(report: Report) -> str:
    """The report as one self-contained HTML page."""
    data = report.to_dict()
    reference_columns = ("spearman", "pearson", "rmse", "mae", "r2", "auroc")
    groups = {title: _metric_rows(report, names) for title, names in METRIC_GROUPS.items()}
    return (
        environment()
        .get_template("report.html")
        .render(
            title=data["source"],
            data=data,
            headline=[
                (
                    label,
                    number(report.metrics[name].value),
                    interval_text(report.metrics[name]),
                    more,
                )
                for name, label, more in (
                    ("spearman", "Spearman", "rank correlation"),
                    ("pearson", "Pearson", "linear correlation"),
                    ("rmse", "RMSE", "log10 units"),
                    ("bias", "Bias", "predicted − measured"),
                )
            ],
            findings=report.findings,
            parts={name: number(value) for name, value in report.r2_parts.items()},
            groups={title: rows for title, rows in groups.items() if rows},
            without_interval=_without_interval(report),
            chosen={
                k: number(v, "%" if "percent" in k else "")
                for k, v in data["chosen_threshold"].items()
            },
            reference_columns=[(name, METRICS[name].summary) for name in reference_columns],
            model_cells=[number(report.values.get(name)) for name in reference_columns],
            references=[
                (
                    r.name.replace("_", " "),
                    r.note,
                    [number(r.values.get(name)) for name in reference_columns],
                )
                for r in report.references
            ],
            breakdown_columns=[(name, METRICS[name].summary) for name in BREAKDOWN_COLUMNS],
            breakdowns=[_breakdown_rows(breakdown) for breakdown in report.breakdowns],
            noise=None
            if data["noise_ceiling"] is None
            else {
                name: value if isinstance(value, int) else number(value)
                for name, value in data["noise_ceiling"].items()
            },
            figures=report_figures(report),
        )
    )


def write_report(report: Report, folder: str | Path) -> Path:
    """Write ``metrics.json``, ``report.html`` and ``judged_rows.csv`` into a folder.

    The folder is made if need be. The rows are what `paratope.evaluation.compare` reads.

    Returns
    -------
    Path
        Of the page.
    """
    target = Path(folder)
    page = render_page(report)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {target}: {error.strerror or error}") from error
    with atomic_file(target / "metrics.json") as file:
        file.write(report.to_json().encode("utf-8"))
    with atomic_file(target / "report.html") as file:
        file.write(page.encode("utf-8"))
    write_table(_judged_rows(report), target / "judged_rows.csv")
    return target / "report.html"


def _judged_rows(report: Report) -> pl.DataFrame:
    """Measured and predicted value of each judged row, with what identifies it."""
    table = report.table
    sign = {-1: "<", 0: "", 1: ">"}
    kept = [role for role in ("id", "antigen", "assay", "source", "group") if role in table.labels]
    return pl.DataFrame(
        {
            "row": table.index + 1,
            **{role: [str(label) for label in table.labels[role]] for role in kept},
            "true": table.rows.measured,
            "relation": [sign[int(code)] for code in table.rows.censoring],
            "pred": table.rows.predicted,
        }
    )


def read_metrics(path: str | Path) -> dict[str, Any]:
    """The ``metrics.json`` that `write_report` wrote."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} as a metrics.json: {error}") from error
