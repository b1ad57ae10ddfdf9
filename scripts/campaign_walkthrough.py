"""Walk through a campaign on public data, for docs/campaigns.md: figures and numbers.

Absci's trastuzumab variants with a Kd for HER2 play the library; 96 of them, at random, are the
first plate, and the rest is what nobody has measured yet. Every step is the command that a reader
would type. Needs the public data (PARATOPE_DATA); the data themselves are written nowhere but into
a temporary folder.
"""

import contextlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from paratope.cli import main as paratope
from paratope.evaluation.figures.campaigns import held_out_predictions
from paratope.evaluation.figures.style import (
    BLUE,
    GREY,
    VERMILION,
    panels,
    save_figure,
    shortened,
    styled,
)
from paratope.evaluation.metrics import EvaluationRows

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "figures" / "campaigns"
RESULTS = ROOT / "benchmarks" / "results"
PLATE = 96
HIT_SHARE = 0.1
SEED = 0


def run(*arguments: object) -> str:
    """What a command prints; stops if it fails."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            paratope([str(argument) for argument in arguments])
        except SystemExit as left:
            if left.code not in (0, None):
                raise
    return out.getvalue()


def library(folder: Path) -> pl.DataFrame:
    """Variants with a Kd, each once, and a pool that hides it."""
    run("data", "import", "absci_her2", "-o", folder / "her2.csv")
    frame = pl.read_csv(folder / "her2.csv", infer_schema_length=None)
    measured = frame.with_columns(pl.col("pkd").cast(pl.Float64, strict=False)).drop_nulls("pkd")
    variants = measured.unique("heavy", keep="first", maintain_order=True)
    return variants.with_row_index("variant").select("variant", "heavy", "light", "antigen", "pkd")


def adapt(measured: pl.DataFrame, folder: Path, name: str) -> str:
    """What ``paratope adapt`` prints; the model is in ``folder / name``."""
    table = folder / f"{name}.csv"
    measured.rename({"variant": "id"}).write_csv(table)
    options = ("--prior", "none", "--assay", name, "--overwrite")
    return run("adapt", table, "-o", folder / name, *options)


def predict(rows: pl.DataFrame, folder: Path, name: str) -> pl.DataFrame:
    """Predictions of rows whose values are hidden from the model, with these values."""
    pool, target = folder / "pool.csv", folder / "predictions.csv"
    rows.drop("pkd").rename({"variant": "id"}).write_csv(pool)
    run("predict", pool, "--model", folder / name, "-o", target)
    return pl.read_csv(target).with_columns(rows["pkd"].alias("truth"))


def judge(predictions: pl.DataFrame) -> dict[str, float]:
    """How good predictions of unmeasured variants are."""
    truth, value = predictions["truth"].to_numpy(), predictions["pkd"].to_numpy()
    inside = (predictions["pkd_low"] <= predictions["truth"]) & (
        predictions["truth"] <= predictions["pkd_high"]
    )
    return {
        "rows": predictions.height,
        "spearman": float(spearmanr(truth, value)[0]),
        "rmse": float(np.sqrt(np.mean((truth - value) ** 2))),
        "constant_rmse": float(truth.std()),
        "coverage": float(inside.to_numpy().mean()),
    }


def walk(folder: Path) -> dict[str, object]:
    """Both rounds; numbers for the document."""
    everything = library(folder)
    order = np.random.default_rng(SEED).permutation(everything.height)
    first, rest = everything[order[:PLATE]], everything[order[PLATE:]]
    said = adapt(first, folder, "plate-1")
    predictions = predict(rest, folder, "plate-1")
    next_plate = folder / "plate-2-design.csv"
    run("suggest", folder / "plate-1", "--candidates", folder / "pool.csv", "--batch", PLATE,
        "-o", next_plate, "--allow", "all", "--seed", SEED)  # fmt: skip
    chosen = pl.read_csv(next_plate, infer_schema_length=None)
    second = rest.filter(pl.col("heavy").is_in(chosen["heavy"].implode()))
    left = rest.filter(~pl.col("heavy").is_in(chosen["heavy"].implode()))
    both = adapt(pl.concat([first, second]), folder, "plate-2")
    hit = float(np.quantile(everything["pkd"].to_numpy(), 1 - HIT_SHARE))
    draw_figures(folder, predictions, first, second, rest, hit)
    reports = {
        name: json.loads((folder / name / "report" / "expectation.json").read_text("utf-8"))
        for name in ("plate-1", "plate-2")
    }
    same = [judge(predict(left, folder, name)) for name in ("plate-1", "plate-2")]
    return {
        "library": everything.height,
        "said": said,
        "said_after_two": both,
        "reports": reports,
        "pool": judge(predictions),
        "left": same,
        "hit": hit,
        "rounds": [
            round_of("the library", everything, hit),
            round_of("first plate, at random", first, hit),
            round_of("second plate, suggested", second, hit),
            round_of("second plate, had it been random (mean)", rest, hit, PLATE),
        ],
        "reasons": chosen.select("id", "mutations", "predicted_pkd", "p_beats_best", "reason")
        .head(5)
        .rows(),
    }


def round_of(
    name: str, rows: pl.DataFrame, hit: float, size: int | None = None
) -> dict[str, object]:
    """Hits and mean of a set of variants, or what a random plate of a size out of it would have."""
    values = rows["pkd"].to_numpy()
    share = float((values >= hit).mean())
    return {
        "name": name,
        "rows": size or len(values),
        "hits": share * (size or len(values)),
        "mean": float(values.mean()),
        "best": None if size else float(values.max()),
    }


def draw_figures(
    folder: Path,
    predictions: pl.DataFrame,
    first: pl.DataFrame,
    second: pl.DataFrame,
    rest: pl.DataFrame,
    hit: float,
) -> None:
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name in ("held_out", "learning_curve", "positions"):
        shutil.copyfile(folder / "plate-1" / "report" / f"{name}.png", FIGURES / f"{name}.png")
    columns = {
        name: predictions[name].to_numpy() for name in ("truth", "pkd", "pkd_low", "pkd_high")
    }
    rows = EvaluationRows(
        columns["truth"], columns["pkd"], low=columns["pkd_low"], high=columns["pkd_high"]
    )
    title = "Variants that nobody had measured"
    save_figure(held_out_predictions(rows, "pKd", title=title), FIGURES / "pool.png")
    values = {
        "not measured yet": rest["pkd"].to_list(),
        "first plate, at random": first["pkd"].to_list(),
        "second plate, suggested": second["pkd"].to_list(),
    }
    save_figure(plates(values, hit, "pKd"), FIGURES / "plates.png")


@styled
def plates(values: Mapping[str, Sequence[float]], threshold: float, unit: str) -> Figure:
    """Measured values of named sets of variants, a row of points each, with means and hits."""
    figure, (axes,) = panels(6.8, 1.1 + 0.75 * len(values))
    rows = np.arange(len(values))[::-1]
    labels = []
    for row, (name, measured) in zip(rows, values.items(), strict=True):
        points = np.asarray(measured, float)
        y = row + np.random.default_rng(0).uniform(-0.28, 0.28, len(points))
        hits = points >= threshold
        for chosen, colour in ((~hits, GREY), (hits, BLUE)):
            looks = {"s": 10, "color": colour, "alpha": 0.55, "linewidths": 0}
            axes.scatter(points[chosen], y[chosen], **looks)
        axes.plot([points.mean()] * 2, [row - 0.36, row + 0.36], color=VERMILION, linewidth=2.5)
        labels.append(f"{shortened(name)}\n{int(hits.sum())} of {len(points)} are hits")
    axes.axvline(threshold, color=BLUE, linewidth=1, linestyle=(0, (4, 2)))
    axes.set_yticks(rows, labels)
    axes.grid(visible=False, axis="y")
    axes.set(
        xlabel=f"measured {unit} (bars: means; dashed: hits)", ylim=(-0.55, len(values) - 0.45)
    )
    return figure


def write_pages(numbers: dict[str, object]) -> None:
    """Numbers as JSON, and the blocks that docs/campaigns.md quotes."""
    page = RESULTS / "campaign_walkthrough.json"
    kept = {name: value for name, value in numbers.items() if not name.startswith("said")}
    page.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name in ("said", "said_after_two"):
        lines = [line.rstrip() for line in str(numbers[name]).splitlines()]
        block = "\n".join(["```", *lines, "```"])
        file = "expectation" if name == "said" else "expectation_two_plates"
        write_block(file, block)
    write_block("pool", pool_block(numbers))
    write_block("rounds", rounds_block(numbers))
    write_block("reasons", reasons_block(numbers))


def write_block(name: str, text: str) -> None:
    path = RESULTS / f"campaign_walkthrough_{name}.md"
    path.write_text(f"# {name.replace('_', ' ').capitalize()}\n\n{text}\n", encoding="utf-8")


def pool_block(numbers: dict) -> str:
    random = numbers["reports"]["plate-1"]["validations"]["random"]
    report, constant = random["model"], random["standards"]["constant"]
    lines = [
        "| | rows | Spearman | RMSE | RMSE of the mean | 90 % intervals cover |",
        "|---|---|---|---|---|---|",
        f"| predicted by the report | {PLATE} | {report['spearman']:.2f} "
        f"({report['low']:.2f} to {report['high']:.2f}) | {report['rmse']:.2f} | "
        f"{constant['rmse']:.2f} | {random['coverage']['90%']:.0%} |",
        _judged_row("the variants that nobody had measured", numbers["pool"]),
        _judged_row("those left after the second plate, first model", numbers["left"][0]),
        _judged_row("the same, model of both plates", numbers["left"][1]),
    ]
    return "\n".join(lines)


def _judged_row(name: str, figures: dict) -> str:
    return (
        f"| {name} | {figures['rows']} | {figures['spearman']:.2f} | {figures['rmse']:.2f} | "
        f"{figures['constant_rmse']:.2f} | {figures['coverage']:.0%} |"
    )


def rounds_block(numbers: dict) -> str:
    lines = [
        f"A hit is one of the strongest {HIT_SHARE:.0%} of the library's {numbers['library']} "
        f"variants (pKd at least {numbers['hit']:.2f}).",
        "",
        "| | variants | hits | mean pKd | best pKd |",
        "|---|---|---|---|---|",
    ]
    for plate in numbers["rounds"]:
        best = "" if plate["best"] is None else f"{plate['best']:.2f}"
        lines.append(
            f"| {plate['name']} | {plate['rows']} | {plate['hits']:.0f} | "
            f"{plate['mean']:.2f} | {best} |"
        )
    return "\n".join(lines)


def reasons_block(numbers: dict) -> str:
    lines = ["| mutations | predicted pKd | P(beats best) | reason |", "|---|---|---|---|"]
    for _, mutations, pkd, beats, reason in numbers["reasons"]:
        lines.append(f"| `{mutations}` | {pkd:.2f} | {beats:.2f} | {reason} |")
    return "\n".join(lines)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        numbers = walk(Path(folder))
    write_pages(numbers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
