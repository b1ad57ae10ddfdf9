"""Few-shot ranking inside one landscape: baselines trained on a few of its variants.

The draws come from the reference file beside the public data, so that every method is given the
same variants: N = 24, 96, 384, drawn at random or without the positions that are tested.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from paratope.core.errors import InputError
from paratope.data.measurements import Measurement
from paratope.evaluation.baselines import BASELINES
from paratope.evaluation.metrics import METRICS
from public_tables import Line

# Repeats of each number of measured variants.
REPEATS = {24: 8, 96: 8, 384: 4}
MODES = ("random", "unseen")
# A draw that leaves fewer variants to rank is not reported.
MIN_TEST_ROWS = 100
# What the others look at does not differ inside one landscape.
FEW_SHOT_BASELINES = (
    "mutation_count", "mutation_type", "nearest_neighbour", "one_hot_ridge", "one_hot_gp",
    "boosted_kmers",
)  # fmt: skip
TITLES = {
    "assay": "assay",
    "mode": "draw",
    "measured": "N",
    "trained_on": "trained on",
    "test_rows": "ranked",
    "repeats": "repeats",
    **{name: name for name in FEW_SHOT_BASELINES},
}


def reference_draws(root: Path) -> ModuleType:
    """The draws' module, beside the folder of public data."""
    path = root.resolve().parent / "reference" / "draws.py"
    if not path.is_file():
        raise InputError(f"{path}: the reference draws are not there; few-shot needs them")
    spec = importlib.util.spec_from_file_location("draws", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def few_shot(
    root: Path,
    assay: str,
    table: Path,
    rows: Sequence[Measurement],
    repeats: dict[int, int] | None = None,
) -> list[Line]:
    """Mean Spearman of every baseline for each number of measured variants and kind of draw.

    Parameters
    ----------
    root : Path
        Folder of public data.
    assay : str
    table : Path
        The assay's table, which the draws read.
    rows : sequence of Measurement
        Its measurements: light chain and antigen of the variants.
    repeats : dict of int to int, optional
        Draws of each number of variants.
    """
    draws = reference_draws(root)
    sequences, labels = draws.landscape(str(table))
    pairs = {row.pair.antibody.heavy: row.pair for row in rows}
    variants = [
        Measurement(pairs[sequence], score=float(label), assay=assay)
        for sequence, label in zip(sequences, labels, strict=True)
    ]
    lines = []
    for mode in MODES:
        for measured, count in (repeats or REPEATS).items():
            parts = [draws.draw(sequences, measured, mode, repeat) for repeat in range(count)]
            parts = [part for part in parts if len(part[1]) >= MIN_TEST_ROWS]
            if not parts:
                continue
            correlations = {
                name: [rank(name, variants, labels, *part) for part in parts]
                for name in FEW_SHOT_BASELINES
            }
            lines.append(_line(assay, mode, measured, parts, correlations))
    return lines


def _line(
    assay: str,
    mode: str,
    measured: int,
    parts: list[tuple[np.ndarray, np.ndarray]],
    correlations: dict[str, list[float]],
) -> Line:
    trained = [len(train) for train, _ in parts]
    ranked = [len(test) for _, test in parts]
    return {
        "assay": assay,
        "mode": mode,
        "measured": measured,
        "trained_on": span(trained),
        "test_rows": span(ranked),
        "repeats": len(parts),
        **{name: round(float(np.mean(values)), 4) for name, values in correlations.items()},
        "each_repeat": {
            name: [round(v, 4) for v in values] for name, values in correlations.items()
        },
    }


def rank(
    name: str,
    variants: Sequence[Measurement],
    labels: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
) -> float:
    """Spearman of a baseline on the variants of a draw; 0 if it tells them all the same."""
    model = BASELINES[name]().fit([variants[int(index)] for index in train])
    predicted = model.predict_pkd([variants[int(index)].pair for index in test])
    value = METRICS["spearman"](labels[test], predicted)
    return value if np.isfinite(value) else 0.0


def span(values: Sequence[int]) -> str:
    """One number, or the least and the greatest."""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"
