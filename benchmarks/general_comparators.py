"""The general model, the ensemble of networks before it and published scores, on the same rows."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from general_folds import mean_with_interval, per_group, rank_correlation
from measured_landscapes import MeasuredLandscape, measured_landscapes, prepared, without_family
from paratope.core.errors import ParatopeError
from paratope.data.datasets import load_dataset
from paratope.models.general.fitting import Fit, TrainingTable
from paratope.models.predictor import Predictor
from paratope.molecules.sequences import Residues
from public_comparators import gearbind_predictions

PUBLISHED = ("FoldX", "Flex-ddG", "GearBind+P")
OURS, NETWORKS = "general model", "old network ensemble"
LANDSCAPE_ROWS = 200  # Of each landscape, drawn at random
FEWEST_MUTANTS = 5


def comparators_part(table: TrainingTable) -> tuple[dict[str, Any], list[str]]:
    """Mutants of SKEMPI's complexes, and a random part of every landscape."""
    networks = Predictor.load("network")
    of_skempi, lines = complexes(table, networks)
    of_landscapes, more = landscapes(table, networks)
    record = {"skempi": of_skempi, "landscapes": of_landscapes}
    return record, [*lines, "", *more]


def complexes(table: TrainingTable, networks: Predictor) -> tuple[dict[str, Any], list[str]]:
    """Spearman per complex of SKEMPI; the general model saw no relative of the antigen."""
    held = table.cross_validate(table.cluster)
    of_skempi = table.source == "skempi_v2"
    rows = np.flatnonzero(of_skempi & np.array([bool(changes) for changes in table.changes]))
    sides = [{bool(change.region) for change in table.changes[row]} for row in rows]
    score = {
        OURS: held.delta[rows],
        NETWORKS: networks.predict_pkd([table.pairs[row] for row in rows]),
    }
    of_antibody = np.array([side == {True} for side in sides])
    of_antigen = np.array([side == {False} for side in sides])
    group, measured = table.group[rows], table.pkd[rows]
    record = {
        "antibody mutants": per_complex(score, measured, group, of_antibody),
        "antigen mutants": per_complex(score, measured, group, of_antigen),
    }
    names = {text.split(":")[1] for text in record["antibody mutants"][OURS]["complexes"]}
    matched = list(
        published_rows(names, {table.pairs[row].residues: at for at, row in enumerate(rows)})
    )
    index = np.array([at for at, _ in matched])
    score = {method: values[index] for method, values in score.items()}
    for method in PUBLISHED:
        score[method] = -np.array([line[method] for _, line in matched], float)
    stronger = -np.array([line["ddg_kcal_mol"] for _, line in matched])
    of_published = score, stronger, np.array([line["complex_id"] for _, line in matched])
    every = np.ones(len(index), bool)
    record["all mutants with published scores"] = per_complex(*of_published, every)
    record["antibody mutants with published scores"] = per_complex(
        *of_published, of_antibody[index]
    )
    lines = [
        "Mean Spearman per complex of SKEMPI (95 %). The general model saw neither the antigen nor "
        "its relatives. **The networks were trained on these rows**, each on four fifths of the "
        "antibody families, and on relatives of others, so theirs is what they remember, not what "
        "they predict. FoldX and Flex-ddG read the structure of the complex; GearBind+P does too, "
        "and is trained on other complexes of SKEMPI. The constant ranks nothing: 0.",
        "",
        "| | complexes | rows | " + " | ".join((OURS, NETWORKS, *PUBLISHED)) + " |",
        "|---|---|---|" + "---|" * (2 + len(PUBLISHED)),
    ]
    for name, line in record.items():
        cells = [told(line.get(method)) for method in (OURS, NETWORKS, *PUBLISHED)]
        lines.append(f"| {name} | {line[OURS]['groups']} | {line['rows']} | {' | '.join(cells)} |")
    return record, lines


def per_complex(
    score: dict[str, np.ndarray], measured: np.ndarray, group: np.ndarray, chosen: np.ndarray
) -> dict[str, Any]:
    """Spearman of each method in every complex with enough of the chosen rows, and their number."""
    counts = np.unique(group[chosen], return_counts=True)[1]
    record: dict[str, Any] = {"rows": int(counts[counts >= FEWEST_MUTANTS].sum())}
    for method, values in score.items():
        each = per_group(values[chosen], measured[chosen], group[chosen], FEWEST_MUTANTS)
        record[method] = {**mean_with_interval(list(each.values())), "complexes": each}
    return record


def told(line: dict[str, Any] | None) -> str:
    """A mean with its interval, empty without one."""
    if line is None:
        return ""
    interval = line.get("mean_95")
    return f"{line['mean']:.2f}" + (
        f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    )


def published_rows(
    complexes: set[str], place: dict[Residues, int]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Published scores of a complex's mutants that all have, each with the place of our row."""
    ours: dict[tuple[str, frozenset[str]], int] = {}
    for row in load_dataset("skempi").measurements:
        name = row.origin.complex_id.split(":")[0]
        if name not in complexes:
            continue
        try:
            index = place.get(prepared(row.pair).residues)
        except ParatopeError:
            continue
        if index is not None:
            ours[name, frozenset(row.origin.mutations)] = index
    for line in gearbind_predictions(antibodies=False).iter_rows(named=True):
        key = line["complex_id"], frozenset(line["mutations"].split(","))
        if key in ours and all(line[method] is not None for method in PUBLISHED):
            yield ours[key], line


def landscapes(table: TrainingTable, networks: Predictor) -> tuple[dict[str, Any], list[str]]:
    """Zero-shot Spearman of a random part of each landscape; our model saw no relative of it."""
    campaigns = measured_landscapes(FEWEST_MUTANTS)
    record: dict[str, Any] = {}
    for campaign, (_, fit) in zip(campaigns, without_family(table, campaigns), strict=True):
        drawn = np.random.default_rng(0).permutation(len(campaign.pairs))[:LANDSCAPE_ROWS]
        part = campaign.take(np.sort(drawn))
        record[part.name] = {
            "class": part.kind,
            "family": part.family,
            "rows": len(part.pairs),
            OURS: rank_correlation(expected_by(fit, part), part.measured),
            NETWORKS: rank_correlation(networks.predict_pkd(list(part.pairs)), part.measured),
        }
    lines = [
        f"Mean Spearman of landscapes over families (95 %), of at most {LANDSCAPE_ROWS} variants "
        "each, drawn at random. The general model was fitted without the antibody family; the "
        "networks may have been trained on relatives, such as other variants of trastuzumab.",
        "",
        f"| class | families | landscapes | rows | {OURS} | {NETWORKS} |",
        "|---|---|---|---|---|---|",
    ]
    for kind in ("all", *dict.fromkeys(line["class"] for line in record.values())):
        chosen = [line for line in record.values() if kind in ("all", line["class"])]
        cells = [told(mean_with_interval(by_family(chosen, method))) for method in (OURS, NETWORKS)]
        rows, families = sum(x["rows"] for x in chosen), len({x["family"] for x in chosen})
        lines.append(f"| {kind} | {families} | {len(chosen)} | {rows} | {cells[0]} | {cells[1]} |")
    lines += ["", f"| landscape | rows | {OURS} | {NETWORKS} |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {line['rows']} | {line[OURS]:.2f} | {line[NETWORKS]:.2f} |"
        for name, line in record.items()
    ]
    return record, lines


def by_family(lines: list[dict[str, Any]], method: str) -> list[float]:
    """Mean over the landscapes of each family."""
    own: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        own[line["family"]].append(line[method])
    return [float(np.mean(values)) for values in own.values()]


def expected_by(fit: Fit, landscape: MeasuredLandscape) -> np.ndarray:
    """The general model's Δ of each variant, (n,)."""
    scores = fit.substitutions
    sums = [
        [scores.antibody(each).sum(), 0.0, scores.cost(each).sum()] for each in landscape.changes
    ]
    return np.array(sums) @ fit.level.slopes
