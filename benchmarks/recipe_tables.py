"""The page of the recipes' comparison, every number and every verdict from its record."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

FAULTY = "v2.6, faults kept"
RECIPE_NAMES = ("v2.5", "v2.6", "v2.7", "default", FAULTY)
BASELINE_NAMES = ("constant", "complex_mean")
TITLES = {"random": "random split", "antigen": "split by antigen cluster"}
# A recall (in percent) that swings by more from epoch to epoch is unstable; as in the run folder.
STABLE_RECALL_SD = 10.0
PROMISED_SPEARMAN = (0.45, 0.55)
PROMISED_RMSE = (1.2, 1.5)
Line = Mapping[str, Any]

COLUMNS: dict[str, tuple[str, int]] = {
    "spearman": ("Spearman", 3),
    "spearman_within": ("Spearman within an antigen cluster", 3),
    "rmse": ("RMSE", 2),
    "r2": ("R²", 2),
    "recall_sd": ("recall SD, %", 1),
    "largest_recall_jump": ("largest recall jump, %", 1),
    "outside_percent": ("outside [4, 14], %", 2),
    "distinct_percent": ("distinct values, % of pairs", 1),
}
COSTS: dict[str, tuple[str, int]] = {
    "epochs": ("epochs", 1),
    "best_epoch": ("best epoch", 1),
    "cpu_seconds": ("CPU seconds", 0),
    "peak_memory_mb": ("peak memory, MB", 0),
    "checkpoint_mb": ("checkpoint, MB", 2),
    "parameters": ("parameters", 0),
}

# Training sources as the text calls them, but for Absci HER2, of which fewer may be drawn.
SOURCES = {
    "skempi": "SKEMPI v2",
    "sabdab": "SAbDab",
    "sabdab_full": "SAbDab",
    "saaint_manual": "SAAINT-DB",
    "hie2023": "Hie 2023",
    "shanker2024": "Shanker 2024",
    "magma_319345": "MAGMA-seq 319-345",
    "magma_2221c06": "MAGMA-seq 222-1C06",
}


def page(record: Mapping[str, Any]) -> list[str]:
    """The whole page as lines of Markdown."""
    runs = [with_shares(line) for line in record["runs"]]
    names = [*RECIPE_NAMES, *BASELINE_NAMES]
    lines = ["# Recipes side by side", "", *introduction(record), ""]
    for split, title in TITLES.items():
        chosen = [line for line in runs if line["split"] == split]
        if chosen:
            lines += [f"### Test rows, {title}", "", *table(chosen, names, COLUMNS), ""]
    costs = table(runs, RECIPE_NAMES, COSTS)
    lines += ["### Cost of a run, all splits and seeds", "", *costs, ""]
    lines += ["### Against v2.6, by `paratope compare`", "", *comparison_lines(record), ""]
    lines += ["### What was the recipe, what were the bugs", "", *fault_lines(record, runs), ""]
    lines += ["### Whether the promises of v2.7 hold", "", *promise_lines(runs)]
    return lines


def introduction(record: Mapping[str, Any]) -> list[str]:
    """What was compared, on what, and what is smaller than in the recipes."""
    settings, rows = record["settings"], record["rows"]
    drawn = rows.get("absci_her2, drawn")
    absci = (
        f"{drawn} of {rows['absci_her2']:,} of Absci HER2, drawn at random"
        if drawn
        else f"{rows['absci_her2']:,} of Absci HER2"
    )
    sources = ", ".join(f"{rows[key]:,} of {name}" for key, name in SOURCES.items() if key in rows)
    bounds, used = rows["of them bounds only"], rows["used"]
    heads = settings["heads"]
    compared = f"""
        Trained on the same rows ({sources}, {absci}; of {used:,} in all,
        {bounds:,} are bounds) with the same splits (80 % training, 10
        % validation, 10 % test, another one for each seed) and encoders
        ({" and ".join(settings["encoders"])}). Reduced for all alike: width {settings["width"]}
        with {heads} attention head{"s" * (heads > 1)}, regressors in proportion,
        {settings["max_residues"]} residues a side, at most {settings["max_epochs"]} epochs. Losses,
        output, dropout, schedule, batches, accumulation and early stopping are each recipe's own.
        Mean ± SD over {settings["seeds"]} seeds.
    """
    others = f"""
        *{FAULTY}* is recipe v2.6 on what that release's network was given: of each antibody chain
        the first residue and an unknown one (the tokenizer), each side pooled to one vector before
        attention, padding in the mean, a step after every batch. Its two schedules at a time are
        not made again. *complex_mean* knows only which antibody and antigen a row is about,
        mutations aside; of an unseen antigen it can only say the mean of all, as *constant* does.
    """
    return [one_line(compared), "", one_line(others)]


def one_line(text: str) -> str:
    """Text without its line breaks."""
    return " ".join(text.split())


def with_shares(line: Line) -> dict[str, Any]:
    """A run with its distinct values as a share of its distinct pairs."""
    shares = dict(line)
    shares["distinct_percent"] = 100 * line["distinct"] / line["pairs"]
    shares["one_antigen_percent"] = 100 * line["distinct_one_antigen"] / line["pairs_one_antigen"]
    return shares


def table(
    runs: Sequence[Line], names: Sequence[str], columns: Mapping[str, tuple[str, int]]
) -> list[str]:
    """One row per recipe: mean ± SD of each column over its runs."""
    rows = [["", *(title for title, _ in columns.values())], ["---"] * (len(columns) + 1)]
    for name in names:
        chosen = [line for line in runs if line["recipe"] == name]
        if chosen:
            cells = [
                spread([line.get(key) for line in chosen], digits)
                for key, (_, digits) in columns.items()
            ]
            rows.append([name, *cells])
    return ["| " + " | ".join(row) + " |" for row in rows]


def spread(values: Sequence[float | None], digits: int) -> str:
    """Mean ± SD; of fewer than all values if the others are undefined."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    text = f"{statistics.fmean(known):.{digits}f}"
    if len(known) > 1 and (sd := statistics.stdev(known)) > 0:
        text += f" ± {sd:.{digits}f}"
    return text if len(known) == len(values) else f"{text} ({len(known)} of {len(values)})"


def mean(runs: Sequence[Line], recipe: str, split: str, key: str) -> float | None:
    """Mean of a number over the seeds of a recipe; None if it is undefined in all."""
    values = [line.get(key) for line in runs if (line["recipe"], line["split"]) == (recipe, split)]
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def comparison_lines(record: Mapping[str, Any]) -> list[str]:
    """Differences to v2.6 on the same test rows, mean over seeds, and each seed's p-value."""
    rows = [["split", "", "Spearman − v2.6", "p of each seed", "RMSE − v2.6", "p of each seed"]]
    rows.append(["---"] * len(rows[0]))
    for split, title in TITLES.items():
        comparisons = [
            comparison for comparison in record["comparisons"] if comparison["split"] == split
        ]
        names = dict.fromkeys(
            line["name"] for comparison in comparisons for line in comparison["differences"]
        )
        for name in names:
            cells: list[str] = []
            for metric in ("spearman", "rmse"):
                differences = [
                    line
                    for comparison in comparisons
                    for line in comparison["differences"]
                    if (line["name"], line["metric"]) == (name, metric)
                ]
                cells.append(spread([line["value"] for line in differences], 3))
                known = [line["p_value"] for line in differences if line["p_value"] is not None]
                cells.append(", ".join(f"{value:.3f}" for value in known) or "–")
            rows.append([title, name, *cells])
    groups = sorted({comparison["intervals"]["groups"] for comparison in record["comparisons"]})
    return [
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        one_line(f"""
            p: predictions of whole antigen clusters swapped at random ({groups[0]} to {groups[-1]}
            clusters a test set). Intervals and the other metrics of each comparison are in
            benchmarks/results/recipes.json.
        """),
    ]


class Fault(NamedTuple):
    """Something that was wrong with the release, and how to see it in a run."""

    name: str
    key: str  # number of a run that shows it
    unit: str
    right: str  # what is right, in words
    is_right: Callable[[float], bool]


FAULTS = (
    Fault(
        "one value for all antibodies of an antigen",
        "one_antigen_percent",
        " %",
        "distinct values among the pairs of the commonest test antigen: at least 25 %",
        lambda value: value >= 25,
    ),
    Fault(
        "recall that swings",
        "recall_sd",
        " %",
        f"SD over the epochs: at most {STABLE_RECALL_SD:g} %",
        lambda value: value <= STABLE_RECALL_SD,
    ),
    Fault("predictions outside [4, 14]", "outside_percent", " %", "none", lambda value: value == 0),
    Fault("errors no smaller than of the mean", "r2", "", "R²: above 0", lambda value: value > 0),
    Fault(
        "no ranking within an antigen",
        "spearman_within",
        "",
        "Spearman within an antigen cluster: above 0.1",
        lambda value: value > 0.1,
    ),
)


def fault_lines(record: Mapping[str, Any], runs: Sequence[Line]) -> list[str]:
    """Each fault of the release, with and without its bugs, and whose it was."""
    release = record.get("release") or {}
    rows = [
        ["fault (what is right)", "split", "release", FAULTY, "v2.6", "v2.7", "default", "whose"]
    ]
    rows.append(["---"] * len(rows[0]))
    judged = (FAULTY, "v2.6", "v2.7", "default")
    for fault in FAULTS:
        for split, title in TITLES.items():
            values = [mean(runs, name, split, fault.key) for name in judged]
            if None in values:
                continue
            wrong = [value is not None and not fault.is_right(value) for value in values]
            rows.append(
                [
                    f"{fault.name} ({fault.right})",
                    title,
                    number(release.get(fault.key), fault.unit),
                    *(number(value, fault.unit) for value in values),
                    whose(wrong[0], wrong[1], wrong[3]),
                ]
            )
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if release:
        text = f"""
            Release: computed from its own {release["rows"]:,} test predictions
            ({release["distinct"]} distinct values) and its training history of {release["epochs"]}
            epochs, on data of its own; its file names no antigens, so its first number is that of
            all rows.
        """
        lines += ["", one_line(text)]
    return lines


def whose(with_bugs: bool, without: bool, default: bool) -> str:
    """Where a fault comes from, by where it is seen."""
    if without and default:
        return "no single recipe's: the default has it too"
    if without:
        return "the recipe's own: there without the bugs"
    return "the bugs'" if with_bugs else "neither's, on these labels"


def number(value: float | None, unit: str) -> str:
    """A number with its unit."""
    return "–" if value is None else f"{value:.2f}{unit}"


def promise_lines(runs: Sequence[Line]) -> list[str]:
    """What v2.7 was announced to reach, and what it reached."""
    low, high = PROMISED_SPEARMAN
    least, most = PROMISED_RMSE
    rows = [["split", "promise", "v2.7", "holds"], ["---"] * 4]
    for split, title in TITLES.items():
        chosen = [line for line in runs if (line["recipe"], line["split"]) == ("v2.7", split)]
        if not chosen:
            continue
        rho, rmse = (mean(runs, "v2.7", split, key) for key in ("spearman", "rmse"))
        lookup = mean(runs, "complex_mean", split, "spearman")
        beside = "" if lookup is None else f"; complex_mean alone {lookup:.3f}"
        rows.append(
            [
                title,
                f"Spearman {low} to {high}",
                spread([line["spearman"] for line in chosen], 3) + beside,
                "–"
                if rho is None
                else "yes"
                if low <= rho <= high
                else "exceeded"
                if rho > high
                else "no",
            ]
        )
        constant = mean(runs, "constant", split, "rmse")
        rows.append(
            [
                title,
                f"RMSE {least} to {most}",
                f"{spread([line['rmse'] for line in chosen], 2)}; constant {number(constant, '')}",
                "–"
                if rmse is None
                else "exceeded"
                if rmse < least
                else "yes"
                if rmse <= most
                else "no",
            ]
        )
        deviations = [line["recall_sd"] for line in chosen if line["recall_sd"] is not None]
        stable = sum(value <= STABLE_RECALL_SD for value in deviations)
        rows.append(
            [
                title,
                f"stable recall (SD at most {STABLE_RECALL_SD:g} %)",
                f"SD {spread([line['recall_sd'] for line in chosen], 1)} %",
                f"in {stable} of {len(chosen)} runs",
            ]
        )
    return ["| " + " | ".join(row) + " |" for row in rows]
