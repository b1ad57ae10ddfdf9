"""Faults that a single metric hides: collapse, floors, foreign units, dominance, bias, ..."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from paratope.core.units import PKD_MAX_OUTPUT, PKD_MIN_OUTPUT
from paratope.data.findings import (
    DOMINANT_SHARE,
    MAX_OUTSIDE_SHARE,
    Finding,
    collapse,
    dominant_group,
    ordered,
    outlying_cluster,
    outside_share,
    percent,
    point_masses,
)
from paratope.evaluation.bootstrap import MIN_GROUPS, Bootstrap, Interval
from paratope.evaluation.breakdowns import Estimate
from paratope.evaluation.metrics import (
    COVERAGE_LEVELS,
    METRICS,
    STRONG_PKD,
    errors,
    r2_parts,
    strong_binders,
)
from paratope.evaluation.predictions import PredictionTable
from paratope.evaluation.references import WITHIN_ANTIGEN, Reference

# Fewer exact rows than this tell nothing of a coverage.
_MIN_COVERAGE_ROWS = 10
# A pooled Spearman this much above that within antigens is made by their differences.
_BETWEEN_ANTIGENS = 0.2


def check_collapse(table: PredictionTable) -> Iterator[Finding]:
    """Few distinct predictions, or hardly any spread."""
    spread = collapse(table.rows.predicted, table.rows.measured)
    if spread.fault:
        message = f"{spread.message[0].upper()}{spread.message[1:]}."
        numbers = {"distinct": spread.distinct, "largest_tie_share": spread.tie_share}
        numbers["spread_ratio"] = spread.spread_ratio
        message += " Most rows cannot be ranked at all."
        yield Finding("collapse", "error", message, numbers=numbers)


def check_constant(table: PredictionTable) -> Iterator[Finding]:
    """The mean of the measured values, for every row, against the model."""
    rows, rmse = table.rows, METRICS["rmse"]
    mean = (rows.exact() if len(rows.exact()) else rows).measured.mean()
    model, flat = rmse(rows), rmse(dataclasses.replace(rows, predicted=np.full(len(rows), mean)))
    if flat <= model and len(rows) >= 3:
        yield Finding(
            "constant",
            "error",
            f"The mean predictor is better: answering {mean:.2f} (the mean of the measured values) "
            f"for every row gives RMSE {flat:.4f}, the model {model:.4f}.",
            numbers={"rmse": model, "rmse_of_mean": flat},
        )


def check_cluster(table: PredictionTable) -> Iterator[Finding]:
    """Measured values of another unit, and what is left of the correlation without them."""
    rows, pearson, spearman = table.rows.exact(), METRICS["pearson"], METRICS["spearman"]
    apart = (rows.measured < PKD_MIN_OUTPUT) | (rows.measured > PKD_MAX_OUTPUT)
    apart &= outside_share(rows.measured) > MAX_OUTSIDE_SHARE
    cluster = outlying_cluster(rows.measured)
    # a cluster of possible values may be another antigen, which is no fault
    if cluster is not None and outside_share(rows.measured[cluster.members]) > 0.5:
        apart[cluster.members] = True
    if not apart.any():
        return
    values, rest, share = rows.measured[apart], rows.take(~apart), float(apart.mean())
    all_r, rest_r, rest_rho = pearson(rows), pearson(rest), spearman(rest)
    drop = abs(all_r) - abs(rest_r)
    message = (
        f"{len(values):,} measured values ({percent(share)}) from {values.min():.4g} to "
        f"{values.max():.4g} lie apart from the others or outside pKd {PKD_MIN_OUTPUT:g} to "
        f"{PKD_MAX_OUTPUT:g} (100 µM to 10 fM), where few assays measure: probably another unit."
    )
    if math.isfinite(rest_r):
        message += (
            f" Without them: Pearson r {rest_r:.3f} (all rows {all_r:.3f}), Spearman "
            f"{rest_rho:.3f} (all rows {spearman(rows):.3f})."
        )
    if drop > 0.1:
        message += " The correlation over all rows is made by them."
    yield Finding(
        "outlying_cluster",
        "error" if drop > 0.1 or share > 0.5 else "warning",
        message,
        numbers={"share": share, "pearson": all_r, "pearson_rest": rest_r}
        | {"spearman_rest": rest_rho},
    )


def check_floor(table: PredictionTable) -> Iterator[Finding]:
    """Point masses among the exact measured values."""
    rows = table.rows.exact()
    masses = point_masses(rows.measured)
    if not masses:
        return
    parts = ", ".join(
        f"{mass.count:,} rows ({percent(mass.count, len(rows))}) at exactly {mass.value:.6g}"
        for mass in masses
    )
    keep = ~np.isin(rows.measured, [mass.value for mass in masses])
    inside = rows.take(keep & (rows.measured >= PKD_MIN_OUTPUT) & (rows.measured <= PKD_MAX_OUTPUT))
    share, rho = float(1.0 - keep.mean()), METRICS["spearman"](inside)
    yield Finding(
        "floor",
        "error" if share > 0.1 else "warning",
        f"Measured values sit at a floor: {parts}. Such values are usually an assay's limit "
        "(non-binders), not measurements; mark them with '<' or '>'. Without them, and inside the "
        f"measurable range: Spearman {rho:.3f} over {len(inside):,} rows.",
        numbers={
            "share": share,
            "largest_share": masses[0].count / len(rows),
            "largest_value": masses[0].value,
            "spearman_rest": rho,
        },
    )


def check_bias(table: PredictionTable) -> Iterator[Finding]:
    """A mean error that matters."""
    rows = table.rows.exact()
    if len(rows) < 3 or rows.measured.std() == 0:
        return
    error = rows.predicted - rows.measured
    mean = float(error.mean())
    if abs(mean) < max(0.15 * rows.measured.std(), 3 * error.std() / math.sqrt(len(rows))):
        return
    parts = r2_parts(rows)
    yield Finding(
        "bias",
        "error" if parts["bias"] > 0.25 else "warning",
        f"Bias {mean:+.2f}: predictions are on average {abs(mean):.2f} log10 units too "
        f"{'strong' if mean > 0 else 'weak'}, a factor of {10 ** abs(mean):.3g} in Kd. "
        f"R² {parts['r2']:.3f} = correlation {parts['correlation']:.3f} - scale "
        f"{parts['scale']:.3f} - bias {parts['bias']:.3f}.",
        numbers={"bias": mean, **{f"r2_{name}": part for name, part in parts.items()}},
    )


def check_threshold(table: PredictionTable) -> Iterator[Finding]:
    """Recall that only says on which side of the threshold nearly everything lies."""
    positive, known = strong_binders(table.rows)
    rows = table.rows.take(known)
    called = float((rows.predicted >= STRONG_PKD).mean()) if len(rows) else math.nan
    if len(rows) < 20 or not 0 < positive.sum() < len(rows) or 0.05 < called < 0.95:
        return
    recall, area = METRICS["recall_percent"](rows), METRICS["auroc"](rows)
    yield Finding(
        "threshold",
        "warning",
        f"{percent(called)} of the predictions reach pKd {STRONG_PKD:g}, so the recall of "
        f"{recall:.2f} % says where the threshold lies, not how well strong binders are told "
        f"apart: AUROC {area:.3f} (0.5 is chance).",
        numbers={"called_share": called, "recall_percent": recall, "auroc": area},
    )


def check_inverted(table: PredictionTable) -> Iterator[Finding]:
    """A ranking that is right when turned round."""
    rho, count = METRICS["spearman"](table.rows), len(table.rows.exact())
    if math.isfinite(rho) and rho < -0.2 and abs(rho) * math.sqrt(count) > 3:
        yield Finding(
            "inverted",
            "error",
            f"The ranking is inverted (Spearman {rho:.3f}): is the predicted column a Kd or a ΔG, "
            "where lower is stronger, instead of a pKd?",
            numbers={"spearman": rho},
        )


def check_range(table: PredictionTable) -> Iterator[Finding]:
    """Predictions that no affinity can have."""
    predicted = table.rows.predicted
    share = outside_share(predicted)
    if share > 0:
        yield Finding(
            "range",
            "warning" if share > MAX_OUTSIDE_SHARE else "info",
            f"{round(share * len(predicted)):,} predictions ({percent(share)}) lie outside pKd "
            f"{PKD_MIN_OUTPUT:g} to {PKD_MAX_OUTPUT:g} (from {predicted.min():.4g} to "
            f"{predicted.max():.4g}).",
            numbers={"share": share},
        )


def check_dominance(table: PredictionTable) -> Iterator[Finding]:
    """One antigen, antibody, assay or source that makes much of the table."""
    for kind in DOMINANT_SHARE:
        labels = table.labels.get("heavy" if kind == "antibody" else kind)
        group = None if labels is None else dominant_group(labels, kind)
        if group is not None:
            yield Finding(
                "dominance",
                "warning",
                f"One {'antibody heavy chain' if kind == 'antibody' else kind} of "
                f"{group.groups:,} makes {percent(group.share)} of the rows "
                f"({shortened(group.label)}): pooled numbers weigh it most; read the macro "
                "averages.",
                numbers={"share": group.share, "levels": group.groups},
            )


def shortened(label: object, width: int = 28) -> str:
    """A label for people: long sequences cut, with their length."""
    text = str(label) or "(empty)"
    return text if len(text) <= width else f"{text[: width - 10]}… ({len(text)} aa)"


def check_bounds(table: PredictionTable) -> Iterator[Finding]:
    """How many rows are bounds, and how they were counted."""
    codes = table.rows.censoring
    at_most, at_least = int((codes < 0).sum()), int((codes > 0).sum())
    wrong = int((errors(table.rows)[codes != 0] != 0).sum())
    if at_most + at_least:
        yield Finding(
            "censored",
            "info",
            f"{at_most + at_least:,} of {len(codes):,} rows are bounds ({at_most:,} at most, "
            f"{at_least:,} at least) and count as inequalities; {wrong:,} of them contradict the "
            "prediction. Correlations, R² and bias use the other rows only.",
            numbers={"at_most": at_most, "at_least": at_least, "contradicted": wrong},
        )


def check_left_out(table: PredictionTable) -> Iterator[Finding]:
    """Rows of the file that are not judged."""
    if table.left_out:
        reasons = "; ".join(
            f"{count:,} {reason}" if count else reason for reason, count in table.left_out.items()
        )
        yield Finding(
            "left_out",
            "warning" if table.faulty else "info",
            f"{table.total - len(table):,} of {table.total:,} rows are not judged: {reasons}.",
            numbers={"rows": table.total - len(table)},
        )


PREDICTION_CHECKS: tuple[Callable[[PredictionTable], Iterator[Finding]], ...] = (
    check_collapse,
    check_constant,
    check_cluster,
    check_floor,
    check_bias,
    check_threshold,
    check_inverted,
    check_range,
    check_dominance,
    check_bounds,
    check_left_out,
)


def diagnose(table: PredictionTable) -> tuple[Finding, ...]:
    """All findings, errors first."""
    return ordered(finding for check in PREDICTION_CHECKS for finding in check(table))


def _coverage_interval(
    table: PredictionTable, level: float, metrics: Mapping[str, Estimate]
) -> Interval | None:
    """95 % interval of an observed coverage, percent: over groups, or over rows where they are few.

    Where every draw agrees, as at 0 or 100 %, the exact end for n independent groups that are all
    inside, 0.025^(1 / n) (Clopper and Pearson 1934, Biometrika 26, 404).
    """
    name, rows = f"coverage_{round(100 * level)}_percent", table.rows.exact()
    if name not in metrics or len(rows) < _MIN_COVERAGE_ROWS:
        return None
    estimate = metrics[name]
    if estimate.interval is not None:
        return estimate.interval
    groups = len(set(table.grouping()[1].tolist()))
    if estimate.value in (0.0, 100.0):
        end = 100 * 0.025 ** (1 / (groups if groups >= MIN_GROUPS else len(rows)))
        return Interval(end, 100.0) if estimate.value else Interval(0.0, 100.0 - end)
    return Bootstrap(np.arange(len(rows))).metric_interval(METRICS[name], rows)


def check_coverage(table: PredictionTable, metrics: Mapping[str, Estimate]) -> Iterator[Finding]:
    """Nominal coverages that lie outside the 95 % interval of the observed ones."""
    if not table.rows.has_intervals:
        return
    claimed = set(np.round(np.asarray(table.rows.coverage), 6).tolist())
    for low, word, verdict in (
        (True, "narrow", "The model is surer than it may be."),
        (False, "wide", "The model is less sure than it could be."),
    ):
        told, numbers, is_claimed = [], {}, False
        for level in COVERAGE_LEVELS:
            interval, nominal = _coverage_interval(table, level, metrics), 100 * level
            if interval is None:
                continue
            if not (interval.high < nominal if low else interval.low > nominal):
                continue
            observed = metrics[f"coverage_{round(nominal)}_percent"].value
            told.append(
                f"the {nominal:.0f} % interval contains {observed:.1f} % of the exact measured "
                f"values (95 % interval {interval.low:.1f} to {interval.high:.1f} %)"
            )
            numbers[f"coverage_{round(nominal)}_percent"] = observed
            is_claimed |= round(level, 6) in claimed
        if told:
            rescaled = "" if is_claimed else " These levels are rescaled from the one given."
            yield Finding(
                f"coverage_too_{word}",
                "error" if is_claimed and low else "warning",
                f"Intervals are too {word}: {'; '.join(told)}. {verdict}{rescaled}",
                numbers=numbers,
            )


def check_between_antigens(pooled: float, within: Estimate | None) -> Iterator[Finding]:
    """A pooled ranking that is made by differences between antigens."""
    if within is None or not pooled - within.value > _BETWEEN_ANTIGENS:
        return
    yield Finding(
        "between_antigens",
        "warning",
        f"Spearman {pooled:.3f} over all rows, but {within.value:.3f} on average within an "
        "antigen: most of the ranking says which antigen it is, not which antibody binds better.",
        numbers={"spearman": pooled, WITHIN_ANTIGEN: within.value},
    )


def check_baselines(
    pooled: Mapping[str, float], within: Estimate | None, references: Sequence[Reference]
) -> Iterator[Finding]:
    """Baselines fitted on the training rows that rank or predict no worse than the model."""
    fitted = [reference for reference in references if reference.fitted]
    model = {"spearman": pooled["spearman"], "rmse": pooled["rmse"]}
    if within is not None:
        model = {WITHIN_ANTIGEN: within.value, "rmse": pooled["rmse"]}
    titles = {WITHIN_ANTIGEN: "ranks within antigens", "spearman": "ranks", "rmse": "predicts"}
    units = {"rmse": "RMSE"}
    for name, own in model.items():
        sign = -1 if name == "rmse" else 1
        known = [found for found in fitted if math.isfinite(found.values.get(name, math.nan))]
        best = max(known, key=lambda found: sign * found.values[name], default=None)
        own = own if math.isfinite(own) else 0.0
        if best is None or sign * best.values[name] < sign * own:
            continue
        beaten = sum(sign * found.values[name] >= sign * own for found in known)
        yield Finding(
            "baseline",
            "warning",
            f"A simple predictor {titles[name]} no worse than the model: "
            f"{best.name.replace('_', ' ')} {units.get(name, 'Spearman')} {best.values[name]:.3f}, "
            f"the model {own:.3f}; {beaten} of {len(known)} fitted baselines do.",
            numbers={name: own, f"{name}_of_baseline": best.values[name]},
        )
