"""What a screen shows: hits as a table and as a page, the distribution of the scores."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from rapidfuzz.distance import Levenshtein

from paratope.campaigns.campaign_model.background import MOST_CHANGES
from paratope.core.errors import InputError
from paratope.core.files import atomic_file
from paratope.core.templates import render
from paratope.core.units import pkd_to_kd_nM
from paratope.evaluation.figures.style import (
    BLUE,
    GREY,
    VERMILION,
    figure_bytes,
    panels,
    styled,
)
from paratope.molecules.liabilities import find_liabilities
from paratope.molecules.numbering import cdrs
from paratope.molecules.sequences import Antibody
from paratope.screening.run_folder import ScreenFolder
from paratope.screening.scoring import ScreenModel

# Two CDR-H3 are of one cluster if they share so many of their residues.
SAME_CLUSTER = 0.8
SHOWN_HITS = 100


def hits_frame(
    model: ScreenModel,
    names: Sequence[str],
    best: pl.DataFrame,
    specificity: Mapping[tuple[int, str], float],
    background: Mapping[str, np.ndarray],
) -> pl.DataFrame:
    """Hits against each antigen, the strongest first: prediction, what else is known, chains.

    `best` are their rows of the parts, in that order for each antigen.
    `background` are fast scores of random antibodies against each antigen, in order.
    """
    unit, frames = model.label, []
    for name in names:
        part = best.filter(pl.col("antigen") == name)
        rows = list(part.select("heavy", "light").iter_rows())
        columns = {
            "rank": pl.Series(range(1, part.height + 1), dtype=pl.Int64),
            "id": part["id"],
            "antigen": part["antigen"],
            unit: part["full"],
            f"{unit}_low": part["low"],
            f"{unit}_high": part["high"],
        }
        if unit == "pkd":
            strength = [pkd_to_kd_nM(value) for value in part["full"].to_list()]
            columns["kd_nM"] = pl.Series(strength, dtype=pl.Float64)
            columns["p_strong"] = part["p_strong"]
        columns |= {"domain": part["domain"], "note": part["note"], "fast": part["fast"]}
        if name in background:
            below = np.searchsorted(background[name], part["fast"].to_numpy())
            columns["percentile"] = pl.Series(100 * below / len(background[name]))
        for other in names if len(names) > 1 else ():
            values = [specificity.get((row, other)) for row in part["row"].to_list()]
            columns[f"{unit} {other}"] = pl.Series(values, dtype=pl.Float64)
        known = [described(heavy, light) for heavy, light in rows]
        columns["cluster"] = pl.Series(clusters([loop for loop, _ in known]), dtype=pl.Int64)
        columns["cdr_h3"] = pl.Series([loop for loop, _ in known], dtype=pl.String)
        columns["liabilities"] = pl.Series([text for _, text in known], dtype=pl.String)
        columns |= {"row": part["row"] + 1, "heavy": part["heavy"], "light": part["light"]}
        frames.append(pl.DataFrame(columns))
    return pl.concat(frames)


@functools.lru_cache(maxsize=4096)
def described(heavy: str, light: str | None) -> tuple[str, str]:
    """CDR-H3 and liabilities; empty where the chains cannot be numbered."""
    antibody = Antibody(heavy, light)
    try:
        return cdrs(antibody)["H3"], "; ".join(map(str, find_liabilities(antibody)))
    except InputError:
        return "", ""


def histogram_frame(folder: ScreenFolder, names: Sequence[str], bins: int) -> pl.DataFrame:
    """How many antibodies have which score against each antigen, fast and full."""
    stages = ("fast", "full")

    def scores() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        for _, part in folder.parts("antigen", *stages):
            for (name,), mine in part.partition_by("antigen", as_dict=True).items():
                if name in spans:  # a rejected row may have no antigen
                    yield name, {stage: mine[stage].drop_nulls().to_numpy() for stage in stages}

    spans = dict.fromkeys(names, (np.inf, -np.inf))
    for name, arrays in scores():
        (low, high), values = spans[name], np.concatenate(list(arrays.values()))
        spans[name] = (float(values.min(initial=low)), float(values.max(initial=high)))
    spans = {name: span for name, span in spans.items() if span[0] <= span[1]}
    edges = {name: np.linspace(*span, bins + 1) for name, span in spans.items()}
    counts = {name: {stage: np.zeros(bins, int) for stage in stages} for name in spans}
    for name, arrays in scores():
        for stage, values in arrays.items():
            counts[name][stage] += np.histogram(values, edges[name])[0]
    empty = {"antigen": pl.String, "low": pl.Float64, "high": pl.Float64}
    empty |= {"fast": pl.Int64, "full": pl.Int64}
    frames = [
        pl.DataFrame(
            {"antigen": [name] * bins, "low": each[:-1], "high": each[1:], **counts[name]},
            schema=empty,
        )
        for name, each in edges.items()
    ]
    return pl.concat([pl.DataFrame(schema=empty), *frames])


def clusters(loops: Sequence[str]) -> list[int]:
    """Number of each CDR-H3's cluster, from 1, in the order of their best.

    A loop joins the first cluster whose best loop shares `SAME_CLUSTER` of its residues (edit
    distance over the longer), so the best of a cluster stands for it.

    >>> clusters(["ARDYWGQG", "AKGLLV", "ARDFWGQG", "AKGLLI"])
    [1, 2, 1, 2]
    """
    leaders: list[str] = []
    known: dict[str, int] = {}
    for loop in loops:
        if loop not in known:
            near = (
                number
                for number, leader in enumerate(leaders, start=1)
                if Levenshtein.normalized_similarity(loop, leader) >= SAME_CLUSTER
            )
            known[loop] = next(near, len(leaders) + 1)
            if known[loop] > len(leaders):
                leaders.append(loop)
    return [known[loop] for loop in loops]


def write_page(
    folder: ScreenFolder,
    hits: pl.DataFrame,
    summary: Mapping[str, Any],
    background: Mapping[str, np.ndarray],
) -> None:
    """Write ``report.html``: for each antigen its best hits, their clusters, all scores."""
    histogram, unit = pl.read_csv(folder.path / "histogram.csv"), summary["unit"]
    antigens = []
    for name in hits["antigen"].unique(maintain_order=True).to_list():
        mine = hits.filter(pl.col("antigen") == name)
        shown = mine.head(SHOWN_HITS).drop("antigen", "note", "fast", "row", "heavy", "light")
        shown = shown.select(column for column in shown if column.null_count() < shown.height)
        figure = _distribution(
            histogram.filter(pl.col("antigen") == name),
            mine[unit].to_numpy(),
            background.get(name),
            unit,
        )
        antigens.append(
            {
                "name": name,
                "sentences": _sentences(mine, summary["recall"].get(name)),
                "figure": figure_bytes(figure).decode().partition("<svg")[2].join(("<svg", "")),
                "columns": shown.columns,
                "rows": shown.rows(),
            }
        )
    title = f"Screen of {summary['rows']:,} antibodies"
    page = render("evaluation", "screen.html", title=title, summary=summary, antigens=antigens)
    with atomic_file(folder.path / "report.html") as file:
        file.write(page.encode())


def recall_sentence(recall: Mapping[str, Any]) -> str:
    """What a funnel held, in words."""
    return (
        f"the best {recall['kept']:,} of {recall['scored']:,} by the fast form were scored in "
        f"full; expected recall of the full model's top {recall['top']:,}: "
        f"{recall['estimate']:.3f}. At the edge of the kept share {recall['edge_hits']} of "
        f"{recall['edge_rows']} are in the top, of a random sample beyond it "
        f"{recall['sample_hits']} of {recall['sample_rows']}"
    )


def _sentences(hits: pl.DataFrame, recall: Mapping[str, Any] | None) -> list[str]:
    sentences = []
    if recall:
        text = recall_sentence(recall)
        sentences.append(f"{text[0].upper()}{text[1:]}.")
    domains = dict(hits["domain"].value_counts().iter_rows())
    told = ", ".join(
        f"{domains[name]:,} {name}" for name in ("in", "near", "out") if name in domains
    )
    count = hits["cluster"].n_unique()
    sentences.append(f"{hits.height:,} hits in {count:,} clusters of CDR-H3; domain: {told}.")
    if "percentile" in hits.columns:
        sentences.append(
            "The percentile is the share of random variants of the campaign's parents, with one to "
            f"{MOST_CHANGES} changes usual in natural antibodies, that the fast form scores "
            "lower."
        )
    return sentences


@styled
def _distribution(
    histogram: pl.DataFrame, hits: np.ndarray, background: np.ndarray | None, unit: str
) -> Figure:
    """Shares of the library, of the background and of the hits by score."""
    figure, (axes,) = panels(7.0, 3.2)
    if histogram.height:
        edges = np.append(histogram["low"].to_numpy(), histogram["high"][-1])
        stage = "fast" if histogram["fast"].sum() else "full"
        counts = histogram[stage].to_numpy()
        axes.stairs(
            counts / max(counts.sum(), 1), edges, fill=True, color=GREY, alpha=0.35, label="library"
        )
        for values, colour, label in (
            (background, BLUE, "random variants of the parents"),
            (hits, VERMILION, "hits"),
        ):
            if values is not None and len(values):
                counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
                axes.stairs(counts / counts.sum(), edges, color=colour, label=label, linewidth=1.4)
        axes.legend()
    axes.set_xlabel(f"predicted {'pKd' if unit == 'pkd' else unit}")
    axes.set_ylabel("share")
    return figure
