"""A scan as a folder: tables, figures, and a page that says what to make of them."""

import os
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from paratope.campaigns.scanning.columns import value_columns
from paratope.campaigns.scanning.mutational_scan import Scan, is_flat, percent
from paratope.core.errors import OutputError
from paratope.core.files import atomic_file
from paratope.core.templates import render
from paratope.data.tables import write_table
from paratope.evaluation.figures import scans
from paratope.evaluation.figures.style import save_figure
from paratope.molecules.mutations import chain_domain

TABLE, SPECIFICITY, SUMMARY = "scan.csv", "specificity.csv", "summary.md"
_CHAINS = {"H": "Heavy chain", "L": "Light chain"}
_LABELS = {"pkd": "ΔpKd", "score": "change of the score"}
_VALUES = {"pkd": "pKd", "score": "score"}
# Combinations shown in the figure, and variants in the summary.
_SHOWN_COMBINATIONS, _SHOWN_VARIANTS = 30, 15


def write_scan(scan: Scan, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write tables, figures and summary into a folder, made if needed, and return their paths.

    ``scan.csv``, ``specificity.csv`` (several antigens), figures as PNG and SVG, ``summary.md``;
    raises `OutputError` if they cannot be written.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {target}: {error.strerror}") from error
    write_table(scan.variants, target / TABLE)
    written = [target / TABLE]
    if scan.specificity is not None:
        write_table(scan.specificity, target / SPECIFICITY)
        written.append(target / SPECIFICITY)
    for name, figure in _figures(scan).items():
        for suffix in (".png", ".svg"):
            save_figure(figure, target / f"{name}{suffix}")
            written.append(target / f"{name}{suffix}")
    with atomic_file(target / SUMMARY) as file:
        file.write(summary(scan).encode())
    return (*written, target / SUMMARY)


def summary(scan: Scan) -> str:
    """The page that says what was scanned, what came out, and what to beware of, in Markdown."""
    delta, low, high = value_columns(scan.unit)[3:6]
    kinds = {"single": "single mutants", "alanine": "alanine mutants"}
    best = scan.variants.drop_nulls(delta).sort(delta, descending=True).head(_SHOWN_VARIANTS)
    return render(
        "campaigns",
        "scan.md",
        title=_title(scan, "Scan"),
        scan=scan,
        what=kinds.get(scan.kind, scan.kind),
        parent=scan.references[0],
        antigens=zip(scan.names, scan.references, strict=True),
        value=_VALUES[scan.unit],
        label=_LABELS[scan.unit],
        percent=percent,
        best=best.to_dicts(),
        judged="log_frequency_ratio" in best.columns,
        with_new=scan.variants["liabilities_gained"].is_not_null().sum(),
        **{"delta": delta, "low": low, "high": high},
    )


def _figures(scan: Scan) -> dict[str, Figure]:
    delta, low, high = value_columns(scan.unit)[3:6]
    scanned = [chain for chain in "HL" if chain in scan.variants["chain"]]
    if scan.kind == "single":
        drawn = {f"heat_map_{chain}": _heat_map(scan, chain) for chain in scanned}
    elif scan.kind == "alanine":
        drawn = {f"alanine_{chain}": _profile(scan, chain) for chain in scanned}
    else:
        best = scan.variants.drop_nulls(delta).sort(delta, descending=True)
        best = best.head(_SHOWN_COMBINATIONS)
        drawn = {
            "combinations": scans.ranked_changes(
                best["mutations"].to_list(),
                *(best[name].to_list() for name in (delta, low, high)),
                label=f"predicted {_LABELS[scan.unit]}, {percent(scan.coverage)} interval",
                title=_title(scan, "Combinations"),
            )
        }
    if scan.specificity is not None:
        target, *others = (f"{delta} {name}" for name in scan.names)
        rows = scan.specificity[1:].drop_nulls([target, *others])  # the first is the parent
        drawn["specificity"] = scans.specificity(
            scan.names,
            [(parent.value, parent.low, parent.high) for parent in scan.references],
            rows[target].to_numpy(),
            rows.select(pl.max_horizontal(*others)).to_series().to_numpy(),
            rows["mutations"].to_list(),
            label=_LABELS[scan.unit],
            value_label=f"predicted {_VALUES[scan.unit]}, {percent(scan.coverage)} interval",
        )
    return drawn


def _title(scan: Scan, what: str) -> str:
    return f"{what} of {scan.parent.name or 'the antibody'} against {scan.names[0]}"


def _heat_map(scan: Scan, chain: str) -> Figure:
    domain = chain_domain(scan.parent, chain)
    order = scans.RESIDUE_ORDER
    changes = np.full((len(order), len(domain.residues)), np.nan)
    rows = scan.variants.filter(pl.col("chain") == chain)
    delta, low, high = value_columns(scan.unit)[3:6]
    for position, mutant, value in rows.select("position", "mutant", delta).iter_rows():
        changes[order.index(mutant), position - 1] = np.nan if value is None else value
    median = scan.variants.select(((pl.col(high) - pl.col(low)) / 2).median()).item()
    half = float("nan") if median is None else median
    scanned = sorted({position - 1 for position in rows["position"]})
    return scans.heat_map(
        changes[:, scanned],
        [(domain.residues[at], domain.positions[at], domain.regions[at]) for at in scanned],
        label=_LABELS[scan.unit],
        title=_title(scan, f"{_CHAINS[chain]}: predicted {_LABELS[scan.unit]} of single mutants"),
        subtitle="blue: stronger than the parent (dots), red: weaker; the "
        f"{percent(scan.coverage)} interval of one change is ±{half:.2f}",
        scale=scans.colour_scale(scan.variants[delta].to_numpy()),
        warning="nearly flat: ranks nothing" if is_flat(scan.variants, scan.unit) else "",
    )


def _profile(scan: Scan, chain: str) -> Figure:
    rows = scan.variants.filter(pl.col("chain") == chain)
    delta, low, high = value_columns(scan.unit)[3:6]
    names = [f"{letter}{imgt}" for letter, imgt in rows.select("wild_type", "imgt").iter_rows()]
    regions = [f"CDR{region[1]}" if len(region) == 2 else region[1:] for region in rows["region"]]
    changes, lows, highs = (
        rows[name].fill_null(float("nan")).to_list() for name in (delta, low, high)
    )
    return scans.position_profile(
        changes,
        lows,
        highs,
        names,
        regions,
        label=_LABELS[scan.unit],
        title=_title(scan, f"Alanine scan, {_CHAINS[chain].lower()}"),
    )
