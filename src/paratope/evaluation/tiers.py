"""Tiers of difficulty in one report: random, unseen position, unseen antibody, unseen antigen."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from paratope.core.errors import InputError
from paratope.core.files import atomic_file
from paratope.data.tables import read_frame
from paratope.evaluation.comparison import predictions_file
from paratope.evaluation.metrics import METRICS
from paratope.evaluation.page import environment, interval_text, number, write_report
from paratope.evaluation.predictions import read_predictions
from paratope.evaluation.report import Report, evaluate

TIER_COLUMN = "tier"
TIER_METRICS = ("spearman", "pearson", "rmse", "mae", "bias", "r2", "within_one_log_percent")


@dataclasses.dataclass(frozen=True, slots=True)
class TierReport:
    """A report for each tier.

    Attributes
    ----------
    reports : dict of str to Report
        By the tier's name, in the order given.
    """

    reports: Mapping[str, Report]

    @property
    def predictors(self) -> tuple[str, ...]:
        """Names of the simple predictors of any tier, in order of appearance."""
        return tuple(
            dict.fromkeys(one.name for report in self.reports.values() for one in report.references)
        )

    def row(self, name: str, metric: str) -> list[float | None]:
        """A metric of a simple predictor in each tier, None where it could not be made."""
        found = []
        for report in self.reports.values():
            values = {one.name: one.values for one in report.references}
            found.append(values.get(name, {}).get(metric))
        return found

    def to_json(self) -> str:
        """Every tier's report as one indented JSON text."""
        tiers = {name: report.to_dict() for name, report in self.reports.items()}
        return json.dumps({"tiers": tiers}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def has_tiers(source: str | Path) -> bool:
    """Whether a table says in a column ``tier`` which tier each row belongs to."""
    if str(source) == "-" or Path(source).is_dir():
        return False
    return TIER_COLUMN in read_frame(source).frame.columns


def evaluate_tiers(sources: Sequence[str | Path], **options: Any) -> TierReport:
    """Judge predictions of several tiers, each on its own rows.

    Parameters
    ----------
    sources : sequence of path
        A table, run folder or report folder for each tier, named by its file or folder; or one
        table with a column ``tier``.
    **options
        As `evaluate` takes them.

    Returns
    -------
    TierReport

    Raises
    ------
    InputError
        If a table cannot be judged, or two have the same name.
    """
    columns = {key: options.pop(key, None) for key in ("true", "pred", "group")}
    reports: dict[str, Report] = {}
    for name, source, frame in _parts(sources):
        table = read_predictions(frame, **columns)
        table = dataclasses.replace(table, source=f"{Path(source).name} · {name}")
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
        return [
            (name, str(file), frame) for name, file, frame in zip(names, files, frames, strict=True)
        ]
    (frame,) = frames
    if TIER_COLUMN not in frame.columns:
        raise InputError(f"{sources[0]}: one table of several tiers needs a column {TIER_COLUMN!r}")
    tiers = frame[TIER_COLUMN].cast(pl.String).fill_null("")
    return [
        (str(tier), str(files[0]), frame.filter(tiers == tier))
        for tier in dict.fromkeys(tiers.to_list())
        if tier
    ]


def tier_rows(found: TierReport, metric: str) -> list[tuple[str, list[str]]]:
    """A metric of the judged predictions and of each simple predictor, in each tier, as text."""
    unit = METRICS[metric].unit
    cells = []
    for report in found.reports.values():
        estimate = report.metrics[metric]
        ends = interval_text(estimate, unit)
        cells.append(number(estimate.value, unit) + (f" ({ends})" if ends else ""))
    simple = [
        (name.replace("_", " "), [number(value, unit) for value in found.row(name, metric)])
        for name in found.predictors
        if any(value is not None for value in found.row(name, metric))
    ]
    return [("these predictions", cells), *simple]


def render_tiers(found: TierReport) -> str:
    """The tiers side by side as one HTML page, with links to each tier's own report."""
    return (
        environment()
        .get_template("tiers.html")
        .render(
            tiers=[
                (name, folder_name(name), len(report.table), report.groups, report.grouping)
                for name, report in found.reports.items()
            ],
            tables=[
                (metric, METRICS[metric].summary, tier_rows(found, metric))
                for metric in TIER_METRICS
            ],
            findings=[
                (name, finding)
                for name, report in found.reports.items()
                for finding in report.findings
            ],
        )
    )


def folder_name(tier: str) -> str:
    """A tier's name as a folder: ``"unseen-antigen"``."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in tier).strip(".") or "tier"


def write_tiers(found: TierReport, folder: str | Path) -> Path:
    """Write ``report.html`` and ``metrics.json`` of all tiers, and each tier's report below.

    Returns
    -------
    Path
        Of the page.
    """
    target = Path(folder)
    for name, report in found.reports.items():
        write_report(report, target / folder_name(name))
    for name, text in (("metrics.json", found.to_json()), ("report.html", render_tiers(found))):
        with atomic_file(target / name) as file:
            file.write(text.encode("utf-8"))
    return target / "report.html"
