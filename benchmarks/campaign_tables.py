"""Tables of the campaign benchmark, made of its raw rows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Set before the work: mean Spearman over repeats, by draw, number of variants and landscape.
TARGETS: dict[str, dict[str, float]] = {
    "random 24": {"1n8z": 0.60, "2fjg": 0.38, "3gbn_h1": 0.84, "aayl49": 0.28},
    "random 96": {"1n8z": 0.68, "2fjg": 0.51, "3gbn_h1": 0.905, "aayl49": 0.38},
    "random 384": {"2fjg": 0.72, "3gbn_h1": 0.94, "aayl49": 0.50},
    "unseen 96": {"1n8z": 0.65, "2fjg": 0.40, "3gbn_h1": 0.77},
    "unseen 384": {"1n8z": 0.66, "2fjg": 0.47, "3gbn_h1": 0.70},
}
# What each term of the kernel compares.
MEANING: dict[str, str] = {
    "same_site_substitution": "the same site changed to a similar residue",
    "near_substitution": "similar substitutions at neighbouring IMGT positions",
    "near_site": "changes in the same stretch of IMGT positions",
    "substitution": "changes with the same effect on size, charge, hydropathy, …",
    "new_residue": "changes to similar residues, wherever they are",
    "site_context": "sites the language model sees alike",
    "site_context_substitution": "similar residues at sites the language model sees alike",
    "profile_substitution": "similar residues at sites with similar residue preferences",
    "likelihood": "changes the language model finds similarly likely",
    "site_context_likelihood": "the language model's likelihood, at sites it sees alike",
    "mutation_count": "number of mutations, linearly",
    "region": "which regions are changed",
    "parent_same_site_substitution": "the same site of one parent changed to a similar residue",
    "parent_near_site": "changes in the same stretch of one parent",
    "parent_mutation_count": "number of mutations in one parent, linearly",
    "parent_region": "which regions of one parent are changed",
    "saturating_substitution": "same_site_substitution, saturating: interactions of changes",
    "saturating_site_context": "site_context_substitution, saturating: interactions of changes",
    "total_likelihood": "the language model's likelihood, linearly",
    "embedding": "embedding, position by position",
    "embedding_linear": "embedding, position by position, linearly",
    "regional_embedding": "mean embedding of each region",
    "mean_embedding": "mean embedding of the chains",
    "residues": "number of residues that differ",
    "physics": "sum of the physico-chemical changes",
    "general_model": "the general model's pKd, linearly",
    "parent": "the same parent",
    "antigen_same_site_substitution": "the same site changed to a similar residue, by antigen",
    "antigen_near_site": "changes in the same stretch of positions, by antigen",
    "antigen_mutation_count": "number of mutations, linearly, by antigen",
    "antigen_region": "which regions are changed, by antigen",
}
_OURS = "paratope"
_NO_PARENT = "paratope_no_parent_named"


def _by_cell(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, int], list[Any]]:
    cells: dict[tuple[str, str, int], list[Any]] = defaultdict(list)
    for row in rows:
        cells[row["assay"], row["mode"], row["measured"]].append(row)
    return cells


def cell_table(
    rows: Sequence[Mapping[str, Any]],
    targets: Mapping[str, Mapping[str, float]],
    baselines: Sequence[str],
) -> list[str]:
    """One line for each landscape, kind of draw and number of variants."""
    head = ["landscape", "draw", "N", "trained on", "repeats", "ours", "target", "reached",
            "best baseline", "ours − it ± SE", "no worse", "ours, no parent named",
            *baselines]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for (assay, mode, measured), members in _by_cell(rows).items():
        scores = {
            name: np.array([row["spearman"][name] for row in members])
            for name in (_OURS, _NO_PARENT, *baselines)
        }
        ours = scores[_OURS]
        best = max(baselines, key=lambda name: float(scores[name].mean()))
        difference = ours - scores[best]
        error = float(difference.std(ddof=1) / np.sqrt(len(difference)))
        target = targets.get(f"{mode} {measured}", {}).get(assay)
        trained = [row["trained_on"] for row in members]
        cells = [
            assay,
            mode,
            str(measured),
            str(min(trained)) if min(trained) == max(trained) else f"{min(trained)}–{max(trained)}",
            str(len(members)),
            f"**{ours.mean():.3f}**",
            "" if target is None else f"{target:g}",
            "" if target is None else ("yes" if ours.mean() >= target else "no"),
            best,
            f"{difference.mean():+.3f} ± {error:.3f}",
            "yes" if difference.mean() >= -2 * error else "no",
            f"{scores[_NO_PARENT].mean():.3f}",
            *(f"{scores[name].mean():.3f}" for name in baselines),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def coverage_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Coverage by landscape and kind of draw, and over all."""
    levels = list(rows[0]["coverage"])
    head = [
        "landscape",
        "draw",
        "draws",
        *(f"{float(level):.0%}" for level in levels),
        "width 90 %",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in rows:
        groups[row["assay"], row["mode"]].append(row)
    for mode in dict.fromkeys(row["mode"] for row in rows):
        groups["mean of the landscapes", mode] = []
    for (assay, mode), members in groups.items():
        parts = (
            [members]
            if members
            else [part for (_, kind), part in groups.items() if kind == mode and part]
        )
        means = [
            np.mean([np.mean([row["coverage"][level] for row in part]) for part in parts])
            for level in levels
        ]
        width = np.mean([np.mean([row["width_90"] for row in part]) for part in parts])
        count = sum(len(part) for part in parts)
        cells = [assay, mode, str(count), *(f"{value:.3f}" for value in means), f"{width:.2f} SD"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def ablation_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Change of Spearman without each term, over all draws and by kind."""
    whole = {_place(row): row["spearman"] for row in rows if not row["left_out"]}
    changes: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for row in rows:
        if row["left_out"]:
            changes[row["left_out"]].append((row["mode"], row["spearman"] - whole[_place(row)]))
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    head = ["left out", "what it compares", "all draws", *modes]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    order = sorted(changes, key=lambda name: float(np.mean([d for _, d in changes[name]])))
    for name in order:
        parts = [[d for _, d in changes[name]]]
        parts += [[d for kind, d in changes[name] if kind == mode] for mode in modes]
        cells = [f"{np.mean(p):+.4f} ± {np.std(p, ddof=1) / np.sqrt(len(p)):.4f}" for p in parts]
        lines.append("| " + " | ".join([f"`{name}`", MEANING[name], *cells]) + " |")
    lines += ["", f"With all terms: mean Spearman {np.mean(list(whole.values())):.4f} over "
              f"{len(whole)} draws."]  # fmt: skip
    return lines


def _place(row: Mapping[str, Any]) -> tuple:
    return row["assay"], row["mode"], row["measured"], row["repeat"]


def folds_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Predictors of each set of folds."""
    lines = ["| set | predictor | rows | Pearson | Spearman | target | reached |",
             "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for row in rows:
        target = row.get("target")
        lines.append(
            f"| {row['set']} | {row['predictor']} | {row['rows']} | {row['pearson']:.3f} | "
            f"{row['spearman']:.3f} | {'' if target is None else f'{target:g}'} | "
            f"{'' if target is None else ('yes' if row['pearson'] >= target else 'no')} |"
        )
    return lines
