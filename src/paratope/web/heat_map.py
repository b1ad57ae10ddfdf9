"""A scan's heat map as Plotly takes it, drawn as the scan's job ends: its imports take seconds."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from paratope.core.files import plain
from paratope.evaluation.figures.campaigns import region_runs
from paratope.evaluation.figures.scans import RESIDUE_ORDER, colour_scale
from paratope.molecules.mutations import chain_domain
from paratope.molecules.sequences import Antibody


def figure_of(
    variants: pl.DataFrame, chains: Mapping[str, str], unit: str, chain: str
) -> dict[str, Any]:
    """Data and layout of a heat map: residues by positions, CDRs framed, the parent's dotted.

    `chains` are the parent's, `unit` is ``pkd`` or ``score``, `chain` is ``H`` or ``L``.
    """
    parent = Antibody(chains["heavy"], chains.get("light"))
    domain = chain_domain(parent, chain)
    delta, low, high = (f"delta_{unit}{end}" for end in ("", "_low", "_high"))
    rows = variants.filter(pl.col("chain") == chain)
    sites = sorted(set(rows["position"].to_list()))
    at = {position: index for index, position in enumerate(sites)}
    z: list[list[Any]] = [[None] * len(sites) for _ in RESIDUE_ORDER]
    texts = [[""] * len(sites) for _ in RESIDUE_ORDER]
    mutations = [[""] * len(sites) for _ in RESIDUE_ORDER]
    label = "ΔpKd" if unit == "pkd" else "Δscore"
    for row in rows.iter_rows(named=True):
        y, x = RESIDUE_ORDER.index(row["mutant"]), at[row["position"]]
        z[y][x], mutations[y][x] = row[delta], row["mutations"]
        if row[delta] is not None:
            lines = [
                f"<b>{row['mutations']}</b> ({row['imgt']}, {row['region']})",
                f"{label} {row[delta]:+.2f} ({row[low]:+.2f} to {row[high]:+.2f})",
                f"stronger with probability {row['p_stronger']:.2f}",
            ]
            if row["liabilities_gained"]:
                lines.append(f"new liability: {row['liabilities_gained']}")
            texts[y][x] = "<br>".join(lines)
    bound = colour_scale(variants[delta].to_numpy())
    names = [f"{domain.residues[p - 1]}{domain.positions[p - 1]}" for p in sites]
    heat = {
        "type": "heatmap",
        "z": z,
        "text": texts,
        "customdata": mutations,
        "hovertemplate": "%{text}<extra></extra>",
        "y": list(RESIDUE_ORDER),
        "x": list(range(len(sites))),
        "zmid": 0,
        "zmin": -bound,
        "zmax": bound,
        "colorscale": [
            [0, "#b2182b"],
            [0.25, "#f4a582"],
            [0.5, "#f7f7f7"],
            [0.75, "#92c5de"],
            [1, "#2166ac"],
        ],
        "xgap": 1,
        "ygap": 1,
        "hoverongaps": False,
        "colorbar": {"title": {"text": label}, "thickness": 12},
    }
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": list(range(len(sites))),
        "y": [domain.residues[p - 1] for p in sites],
        "marker": {"size": 5, "color": "#14202e"},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    shapes, notes = _frames([domain.regions[p - 1] for p in sites])
    width = max(360, 18 * len(sites) + 130)
    axis = {"tickmode": "array", "tickvals": heat["x"], "ticktext": names, "tickangle": -90}
    layout = {
        "width": width,
        "height": 480,
        "margin": {"l": 32, "r": 10, "t": 34, "b": 64},
        "xaxis": {
            **axis,
            "tickfont": {"size": 10},
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
            "range": [-0.5, len(sites) - 0.5],
        },
        "yaxis": {
            "autorange": "reversed",
            "showgrid": False,
            "fixedrange": True,
            "tickfont": {"family": "monospace", "size": 12},
            "dtick": 1,
            "type": "category",
            "categoryorder": "array",
            "categoryarray": list(RESIDUE_ORDER),
        },
        "shapes": shapes,
        "annotations": notes,
        "plot_bgcolor": "#e5e7eb",
        "hovermode": "closest",
        "dragmode": False,
    }
    return plain({"data": [heat, dots], "layout": layout})


def _frames(regions: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Borders of the CDRs, and their names above."""
    shapes, notes = [], []
    for start, stop, region in region_runs(regions):
        if not region.startswith("CDR"):
            continue
        ends = {"x0": start - 0.5, "x1": stop - 0.5, "y0": -0.5, "y1": len(RESIDUE_ORDER) - 0.5}
        line = {"color": "#14202e", "width": 1.5}
        shapes.append({"type": "rect", **ends, "line": line, "fillcolor": "rgba(0,0,0,0)"})
        middle = (start + stop - 1) / 2
        notes.append(
            {
                "x": middle,
                "y": 1.0,
                "yref": "paper",
                "yanchor": "bottom",
                "text": region,
                "showarrow": False,
            }
        )
    return shapes, notes
