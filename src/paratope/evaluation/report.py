"""The report on one table of predictions, and on several tiers of difficulty."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.files import json_text, plain
from paratope.data.findings import Finding, ordered
from paratope.data.tables import read_frame
from paratope.evaluation.bootstrap import FEW_GROUPS, MIN_GROUPS, metric_intervals
from paratope.evaluation.breakdowns import MIN_LEVEL_ROWS, Breakdown, Estimate, break_down
from paratope.evaluation.diagnostics import (
    check_baselines,
    check_between_antigens,
    check_coverage,
    diagnose,
)
from paratope.evaluation.metrics import (
    at_threshold,
    best_cut,
    calibration_curve,
    compute,
    r2_parts,
    selective_risk_curve,
)
from paratope.evaluation.predictions import (
    PredictionTable,
    predictions_file,
    read_predictions,
    run_split_of,
)
from paratope.evaluation.references import (
    WITHIN_ANTIGEN,
    NoiseCeiling,
    Reference,
    fitted_references,
    noise_ceiling,
    table_references,
)

FORMAT = 1
TIER_COLUMN = "tier"


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """Everything `evaluate` found."""

    table: PredictionTable  # The judged rows
    part: str  # ``"all rows"``, or ``"test"`` where the table has a split
    grouping: str  # Column whose groups intervals resample; ``"row"``: rows count as independent
    groups: int
    metrics: Mapping[str, Estimate]  # Pooled over the judged rows
    r2_parts: Mapping[str, float]
    # Cut chosen on validation rows, and what it gives here; empty without validation rows
    chosen_threshold: Mapping[str, float]
    breakdowns: tuple[Breakdown, ...]
    references: tuple[Reference, ...]  # Baselines on the same rows
    noise: NoiseCeiling | None
    findings: tuple[Finding, ...]

    @property
    def curves(self) -> dict[str, dict[str, list[float]]]:
        """Calibration and selective-risk curves, where 10 rows or more have intervals."""
        if not self.table.rows.has_intervals or len(self.table) < 10:
            return {}
        claimed, observed = calibration_curve(self.table.rows)
        share, risk = selective_risk_curve(self.table.rows)
        return {
            "calibration": {"claimed": claimed.tolist(), "observed": observed.tolist()},
            "selective_risk": {"kept_share": share.tolist(), "rmse": risk.tolist()},
        }

    @property
    def values(self) -> dict[str, float]:
        """Pooled metrics without their intervals."""
        return {name: estimate.value for name, estimate in self.metrics.items()}

    @property
    def within_antigen(self) -> Estimate | None:
        """Mean Spearman correlation inside an antigen; None where no antigen has 5 exact rows."""
        by_antigen = _by_antigen(self.breakdowns)
        return None if by_antigen is None else by_antigen.macro.get("spearman")

    @property
    def without_within_antigen(self) -> str:
        """Why there is no mean within antigens, in words; empty if there is one."""
        if self.within_antigen is not None:
            return ""
        if "antigen" not in self.table.labels:
            return "no column antigen, so that ranking within an antigen cannot be judged"
        return f"no antigen has {MIN_LEVEL_ROWS} exact rows of different values"

    def estimate(self, name: str) -> Estimate:
        """A metric of the judged rows, or ``"within_antigen_spearman"``; NaN where undefined."""
        if name == WITHIN_ANTIGEN:
            return self.within_antigen or Estimate(math.nan)
        return self.metrics[name]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain numbers and text, as written to ``metrics.json``; None for NaN."""
        codes, by_antigen = self.table.rows.censoring, _by_antigen(self.breakdowns)
        counts = {kind.name.lower(): int((codes == kind).sum()) for kind in Censoring}
        return plain(
            {
                "format": FORMAT,
                "source": Path(self.table.source).name,
                "part": self.part,
                "columns": self.table.columns,
                "rows": {"in_table": self.table.total, "judged": len(self.table), **counts}
                | {"left_out": self.table.left_out},
                "intervals": {"level": 0.95, "resampled": self.grouping, "groups": self.groups},
                WITHIN_ANTIGEN: self.estimate(WITHIN_ANTIGEN).to_dict()
                | {"antigens": 0 if by_antigen is None else by_antigen.macro_levels},
                "baselines": [
                    {"name": reference.name, "note": reference.note, "metrics": reference.values}
                    for reference in self.references
                ],
                "metrics": {name: estimate.to_dict() for name, estimate in self.metrics.items()},
                "r2_parts": self.r2_parts,
                "chosen_threshold": self.chosen_threshold,
                "by": {breakdown.by: breakdown.to_dict() for breakdown in self.breakdowns},
                "noise_ceiling": self.noise,
                "findings": [
                    {"code": found.code, "severity": found.severity, "text": found.message}
                    | {"numbers": found.numbers}
                    for found in self.findings
                ],
                "curves": self.curves,
            }
        )

    def to_json(self) -> str:
        """`to_dict` as indented JSON text."""
        return json_text(self.to_dict())


@dataclasses.dataclass(frozen=True, slots=True)
class TierReport:
    """A report for each tier: random, unseen position, unseen antibody, unseen antigen, ..."""

    reports: Mapping[str, Report]  # By the tier's name, in the order given

    def reference_values(self, metric: str) -> dict[str, list[float | None]]:
        """A metric of each simple predictor in every tier, None where it could not be made."""
        references = [
            {reference.name: reference.values.get(metric) for reference in report.references}
            for report in self.reports.values()
        ]
        names = dict.fromkeys(name for values in references for name in values)
        return {name: [values.get(name) for values in references] for name in names}

    def to_json(self) -> str:
        """Every tier's report as one indented JSON text."""
        return json_text({"tiers": {name: r.to_dict() for name, r in self.reports.items()}})


def _by_antigen(breakdowns: Sequence[Breakdown]) -> Breakdown | None:
    return next((found for found in breakdowns if found.by == "antigen"), None)


def _few_groups(grouping: str, groups: int) -> list[Finding]:
    if grouping == "row":
        text = (
            "No group or antigen column: intervals treat all rows as independent and are too "
            "narrow if many rows share an antibody or antigen (name one with --group)."
        )
    elif groups < MIN_GROUPS:
        text = f"Only {groups} groups ({grouping}): too few for intervals; none are shown."
    elif groups < FEW_GROUPS:
        text = f"Only {groups} groups ({grouping}): the intervals are rough."
    else:
        return []
    severity = "info" if grouping == "row" else "warning"
    return [Finding("groups", severity, text, numbers={"groups": groups})]


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
        Any table with both values, a run folder or a report folder; see `read_predictions` for what
        is recognised.
    true, pred, group : str, optional
        Columns, where their names are not usual ones.
    train : path, optional
        Measurements to fit the baselines on; the ``train`` rows of the table, or of the run whose
        predictions they are, otherwise.
    baselines : bool
        Whether to fit baselines where sequences and training rows allow it.
    draws : int, optional
        Bootstrap draws; 1000 by default, 500 for large tables.
    seed : int
        Of the bootstrap.

    Raises
    ------
    InputError
        If the table cannot be judged, or `train` contradicts the run's own split.

    Returns
    -------
    Report
        On the ``test`` rows where the table has a split, else on all of them.

    Examples
    --------
    >>> report = evaluate(pl.DataFrame({"true": [6.0, 7.0, 8.5], "pred": [6.5, 7.0, 8.0]}))
    >>> round(report.values["rmse"], 3)
    0.408
    """
    if train is not None and not baselines:
        raise InputError(
            f"--train {train} is what baselines are fitted on, and --no-baselines asks for none; "
            "leave out one of them"
        )
    whole = predictions_file(source) if isinstance(source, str | Path) else source
    if not isinstance(whole, PredictionTable):
        whole = read_predictions(whole, true=true, pred=pred, group=group)
    test, training, validation = (whole.part(part) for part in ("test", "train", "validation"))
    table = whole if test is None else test
    if test is None:
        training = validation = None
    grouping, labels = table.grouping()
    groups = len(set(labels.tolist()))
    values = compute(table.rows)
    intervals = metric_intervals(table.rows, labels, list(values), draws=draws, seed=seed)
    roles = [by for by in ("antigen", "assay", "source") if by in table.labels]
    breakdowns = [break_down(table, by, seed=seed) for by in (*roles, "bin")]
    if "split" in whole.labels:
        breakdowns.append(break_down(whole, "split", seed=seed))
    references = table_references(table, training)
    if baselines:
        fitted = fitted_references(table, training, train)
        made = {reference.name.replace("_", " ") for reference in fitted if reference.values}
        references = [kept for kept in references if kept.name not in made] + fitted
    metrics = {name: Estimate(value, intervals.get(name)) for name, value in values.items()}
    by_antigen = _by_antigen(breakdowns)
    within = None if by_antigen is None else by_antigen.macro.get("spearman")
    findings = [
        *check_coverage(table, metrics),
        *check_between_antigens(values["spearman"], within),
        *check_baselines(values, within, references),
        *diagnose(table),
        *_few_groups(grouping, groups),
    ]
    cut = math.nan if validation is None else best_cut(validation.rows)
    return Report(
        table=table,
        part="all rows" if test is None else "test",
        grouping=grouping,
        groups=groups,
        metrics=metrics,
        r2_parts=r2_parts(table.rows),
        chosen_threshold={"cut": cut, **at_threshold(table.rows, cut)} if cut == cut else {},
        breakdowns=tuple(breakdowns),
        references=tuple(references),
        noise=noise_ceiling(table),
        findings=ordered(findings),
    )


def has_tiers(source: str | Path) -> bool:
    """Whether a table says in a column ``tier`` which tier each row belongs to."""
    if str(source) == "-" or Path(source).is_dir():
        return False
    return TIER_COLUMN in read_frame(source).frame.columns


def evaluate_tiers(sources: Sequence[str | Path], **options: Any) -> TierReport:
    """Judge predictions of several tiers, each on its own rows, with the options of `evaluate`.

    `sources` are a table, run folder or report folder for each tier, named by its file or folder,
    or one table with a column ``tier``. Raises `InputError` if a table cannot be judged, or two
    have the same name.
    """
    columns = {key: options.pop(key, None) for key in ("true", "pred", "group")}
    reports: dict[str, Report] = {}
    for name, source, frame in _parts(sources):
        table = read_predictions(frame, **columns)
        table = dataclasses.replace(
            table, source=f"{Path(source).name} · {name}", run_split=run_split_of(source)
        )
        if name in reports:
            raise InputError(f"two tiers are called {name!r}; give the files different names")
        reports[name] = evaluate(table, **options)
    return TierReport(reports)


def _parts(sources: Sequence[str | Path]) -> list[tuple[str, str, pl.DataFrame]]:
    """Name, file and rows of each tier."""
    files = [predictions_file(source) for source in sources]
    frames = [read_frame(file).frame for file in files]
    if len(files) > 1:
        paths = [Path(source).resolve() for source in sources]
        names, parents = [path.stem for path in paths], [path.parent.name for path in paths]
        if len(set(names)) < len(names) and len(set(parents)) == len(names):
            names = parents
        return list(zip(names, map(str, files), frames, strict=True))
    (frame,) = frames
    if TIER_COLUMN not in frame.columns:
        raise InputError(f"{sources[0]}: one table of several tiers needs a column {TIER_COLUMN!r}")
    tiers = frame[TIER_COLUMN].cast(pl.String).fill_null("")
    names = [tier for tier in tiers.unique(maintain_order=True) if tier]
    return [(tier, str(files[0]), frame.filter(tiers == tier)) for tier in names]
