"""Published predictors judged on the rows they were published for, beside trivial baselines.

Prints a table per public set and writes it to ``benchmarks/results/public_<set>.md``. Numbers in
brackets are what the publications state.
"""

import sys
from pathlib import Path

import numpy as np
import polars as pl

from paratope.datasets import data_root
from paratope.datasets.abbibench import ASSAYS, abbibench_scores, published_spearman
from paratope.datasets.attabseq import load_ab645, load_ab1101
from paratope.datasets.comparators import (
    GEARBIND_MODELS,
    gearbind_predictions,
    graphinity_folds,
    protattba_predictions,
)
from paratope.evaluation.bootstrap import group_codes, metric_intervals
from paratope.metrics import METRICS, judged

RESULTS = Path(__file__).parent / "results"
GEARBIND_PUBLISHED = {"FoldX": 0.398, "Flex-ddG": 0.483, "GearBind+P": 0.618, "Ensemble": 0.647}
PROTATTBA_PUBLISHED = {"ab645": 0.488, "ab1101": 0.657}
COLUMNS = ("predictor", "rows", "Pearson", "95 %", "Spearman", "per complex", "RMSE", "published")


def judge(
    name: str,
    measured: np.ndarray,
    predicted: np.ndarray,
    complexes: list[str],
    published: str = "",
    calibrated: bool = True,
) -> dict[str, str]:
    """One line of a table; per complex is the mean Spearman over complexes with ten rows."""
    known = np.isfinite(predicted)
    rows = judged(measured[known], predicted[known])
    codes, count = group_codes([c for c, keep in zip(complexes, known, strict=True) if keep])
    interval = metric_intervals(rows, codes, ["pearson"]).get("pearson")
    inside = [METRICS["spearman"].fn(rows.take(codes == code)) for code in range(count)
              if (codes == code).sum() >= 10]  # fmt: skip
    finite = [value for value in inside if np.isfinite(value)]
    cells = (
        name,
        str(len(rows)),
        _number(METRICS["pearson"].fn(rows)),
        "" if interval is None else f"{interval.low:.2f} to {interval.high:.2f}",
        _number(METRICS["spearman"].fn(rows)),
        _number(float(np.mean(finite))) if finite else "–",
        _number(METRICS["rmse"].fn(rows)) if calibrated else "–",
        published,
    )
    return dict(zip(COLUMNS, cells, strict=True))


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "–"


def complex_mean(measured: np.ndarray, complexes: list[str], folds: np.ndarray) -> np.ndarray:
    """Mean of the same complex in the other folds; of all other folds' rows where there is none."""
    predicted = np.empty(len(measured))
    labels = np.array(complexes)
    for fold in np.unique(folds):
        train = folds != fold
        for place in np.flatnonzero(~train):
            same = train & (labels == labels[place])
            predicted[place] = measured[same if same.any() else train].mean()
    return predicted


def gearbind(root: Path) -> list[dict[str, str]]:
    """SKEMPI antibody–antigen, folds by complex."""
    frame = gearbind_predictions(root)
    measured, complexes = frame["ddg_kcal_mol"].to_numpy(), frame["complex_id"].to_list()
    folds = frame["fold"].to_numpy()
    lines = [
        judge(
            model, measured, frame[model].to_numpy(), complexes,
            f"{GEARBIND_PUBLISHED[model]:.3f}" if model in GEARBIND_PUBLISHED else "",
            not model.startswith(("esm", "ESM")),
        )
        for model in GEARBIND_MODELS
    ]  # fmt: skip
    constant = complex_mean(measured, [""] * len(measured), folds)
    lines.append(judge("constant of the other folds", measured, constant, complexes))
    return lines


def protattba(root: Path, name: str) -> list[dict[str, str]]:
    """AB645 or AB1101, all rows as published, with ProtAttBA's folds."""
    frame = protattba_predictions(name, root)
    load = {"ab645": load_ab645, "ab1101": load_ab1101}[name]
    origin = {
        one.origin.row: one.origin.complex_id for one in load(root, as_published=True).measurements
    }
    complexes = [origin.get(row, f"row {row}") for row in frame["row"]]
    measured, folds = frame["ddg_kcal_mol"].to_numpy(), frame["fold"].to_numpy()
    baseline = complex_mean(measured, complexes, folds)
    return [
        judge(
            "ProtAttBA", measured, frame["prediction"].to_numpy(), complexes,
            f"{PROTATTBA_PUBLISHED[name]:.3f}",
        ),
        judge("complex mean of the other folds", measured, baseline, complexes),
    ]  # fmt: skip


def graphinity(root: Path) -> list[dict[str, str]]:
    """AB645 without flagged non-binders, folds by CDR identity: what the complex alone gives."""
    lines = []
    for cutoff in (70, 90, 100):
        frame = graphinity_folds(cutoff, root)
        measured, complexes = frame["ddg_kcal_mol"].to_numpy(), frame["complex_id"].to_list()
        predicted = complex_mean(measured, complexes, frame["fold"].to_numpy())
        name = f"complex mean, folds at {cutoff} % CDR identity"
        lines.append(judge(name, measured, predicted, complexes))
    return lines


def abbibench(root: Path, assay: str) -> list[dict[str, str]]:
    """One landscape: every published zero-shot score, raw, against the label."""
    frame = abbibench_scores(assay, root)
    stated = {
        (row["model"], row["score"]): row["spearman_raw"]
        for row in published_spearman(root).filter(pl.col("dataset") == assay).to_dicts()
    }
    lines = []
    for column in frame.columns[3:]:
        known = frame.filter(pl.col(column).is_not_null() & pl.col("binding_score").is_not_null())
        rows = judged(known["binding_score"].to_numpy(), known[column].to_numpy())
        value = stated.get(tuple(column.split("|", 1)))  # type: ignore[call-overload]
        lines.append(
            {
                "predictor": column.replace("|", ", "),
                "rows": str(len(rows)),
                "Spearman": _number(METRICS["spearman"].fn(rows)),
                "published": "" if value is None else f"{value:.3f}",
            }
        )
    return sorted(lines, key=lambda line: -float(line["Spearman"].replace("–", "-9")))


def table(lines: list[dict[str, str]]) -> str:
    """Lines as a Markdown table."""
    names = list(lines[0])
    rows = [names, ["---"] * len(names), *([line[name] for name in names] for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def sections(root: Path) -> dict[str, tuple[str, list[dict[str, str]]]]:
    """Every set by file name: title and lines."""
    found = {
        "skempi": ("SKEMPI v2 antibody–antigen, GearBind's folds by complex", gearbind(root)),
        "ab645": ("AB645, ProtAttBA's folds, all rows as published", protattba(root, "ab645")),
        "ab1101": ("AB1101, ProtAttBA's folds, all rows as published", protattba(root, "ab1101")),
        "ab645_cdr": ("AB645, Graphinity's folds by CDR identity", graphinity(root)),
    }
    for assay in ASSAYS:
        found[f"abbibench_{assay}"] = (f"AbBiBench {assay}, zero-shot", abbibench(root, assay))
    return found


def main() -> None:
    root = data_root()
    RESULTS.mkdir(exist_ok=True)
    for name, (title, lines) in sections(root).items():
        text = f"# {title}\n\n{table(lines)}\n"
        (RESULTS / f"public_{name}.md").write_text(text, encoding="utf-8")
        sys.stdout.write(f"\n{text}")


if __name__ == "__main__":
    main()
