"""Shortcuts: what predicts the label without knowing anything about binding."""

import re
from collections.abc import Iterator

import numpy as np

from paratope.data.audit.columns import ValueColumn, rank_correlation
from paratope.data.audit.report import Finding, row_numbers
from paratope.data.audit.subject import Subject

PERMUTATIONS = 400
FOLDS = 5
MIN_ROWS = 40
MIN_R2 = 0.08
MIN_GROUPS = 12
# of the first framework: enough to tell germlines apart
FAMILY_RESIDUES = 20
COPY_CORRELATION = 0.995


def check_lengths(subject: Subject) -> Iterator[Finding]:
    """What a model that sees only the chains' lengths reaches, against shuffled lengths."""
    column = subject.label
    if column is None:
        return
    rows = np.flatnonzero(column.exact)
    values = column.logs()[rows]
    rows, values = rows[np.isfinite(values)], values[np.isfinite(values)]
    if len(rows) < MIN_ROWS:
        return
    heavy = np.array([len(subject.heavy[r] or "") for r in rows], dtype=float)
    light = np.array([len(subject.light[r] or "") for r in rows], dtype=float)
    antigen = np.array([len(subject.antigen[r] or "") for r in rows], dtype=float)
    antigens, antibodies = subject.antigen_codes[rows], subject.antibody_codes[rows]
    if (antibodies >= 0).any():
        # each antibody is one unit, however often it was measured, and compared within its antigen
        unit, units = _units(antibodies)
        targets = _means(_centred(values, antigens), unit, units)
        lengths = np.stack([_means(heavy, unit, units), _means(light, unit, units)], axis=1)
        first = np.unique(unit, return_index=True)[1]
        family = _units(np.array([(subject.heavy[rows[k]] or "")[:FAMILY_RESIDUES] for k in first]))
        yield from _antibody_lengths(subject, column, lengths, targets, family)
    # antigen lengths between antigens: each antigen is one unit
    unit, units = _units(antigens)
    if units >= MIN_GROUPS and antigen.max() > 30:
        targets = _means(values, unit, units)
        yield from _finding(
            subject, column, "antigen", _means(antigen, unit, units)[:, None], targets
        )


def _antibody_lengths(
    subject: Subject,
    column: ValueColumn,
    lengths: np.ndarray,
    targets: np.ndarray,
    family: tuple[np.ndarray, int],
) -> Iterator[Finding]:
    """Lengths within families of one germline, and between them.

    The members of a family share length and affinity through descent, which is no shortcut by
    itself: within families each antibody counts, between them each family does.
    """
    unit, units = family
    if len(targets) >= MIN_ROWS:
        within = np.stack([_centred(each, unit) for each in lengths.T], axis=1)
        found = list(_finding(subject, column, "antibody", within, _centred(targets, unit)))
        yield from found
        if found:
            return
    if units >= MIN_GROUPS:
        between = np.stack([_means(each, unit, units) for each in lengths.T], axis=1)
        yield from _finding(subject, column, "antibody", between, _means(targets, unit, units))


def _units(codes: np.ndarray) -> tuple[np.ndarray, int]:
    different, unit = np.unique(codes, return_inverse=True)
    return unit.ravel(), len(different)


def _means(values: np.ndarray, unit: np.ndarray, units: int) -> np.ndarray:
    return np.bincount(unit, values, units) / np.bincount(unit, minlength=units)


def _centred(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    unit, units = _units(codes)
    return values - _means(values, unit, units)[unit]


def _finding(
    subject: Subject, column: ValueColumn, what: str, lengths: np.ndarray, targets: np.ndarray
) -> Iterator[Finding]:
    if (np.ptp(lengths, axis=0) == 0).all() or np.ptp(targets) == 0:
        return
    rng = np.random.default_rng(0)
    folds = np.arange(len(targets)) % FOLDS
    rng.shuffle(folds)
    features = _features(lengths)
    reached = _cross_validated_r2(features, targets, folds)
    if reached < MIN_R2:
        return
    chance = [
        _cross_validated_r2(features[rng.permutation(len(features))], targets, folds)
        for _ in range(PERMUTATIONS)
    ]
    p = (1 + sum(value >= reached for value in chance)) / (1 + PERMUTATIONS)
    if p > 0.004:
        return
    yield Finding(
        "length_shortcut", "warning", float(np.clip(1.0 - p, 0.0, 0.97)) * min(1.0, 0.7 + reached),
        subject.name, column.name,
        f"a model that sees only the {what}'s length reaches R² {reached:.2f} (cross-validated; "
        f"with shuffled lengths at most {max(0.0, max(chance)):.2f})",
        "Compare every model with this length-only baseline; look for two sources or constructs "
        "mixed in one table.",
        len(targets),
    )  # fmt: skip


def _features(lengths: np.ndarray) -> np.ndarray:
    scaled = (lengths - lengths.mean(axis=0)) / np.maximum(lengths.std(axis=0), 1e-9)
    scaled = np.clip(scaled, -4.0, 4.0)
    return np.concatenate([np.ones((len(lengths), 1)), scaled, scaled**2], axis=1)


def _cross_validated_r2(features: np.ndarray, targets: np.ndarray, folds: np.ndarray) -> float:
    predicted = np.empty_like(targets)
    penalty = 1e-3 * len(targets) * np.eye(features.shape[1])
    penalty[0, 0] = 0.0
    for fold in range(FOLDS):
        held = folds == fold
        x, y = features[~held], targets[~held]
        weights = np.linalg.solve(x.T @ x + penalty, x.T @ y)
        predicted[held] = features[held] @ weights
    return float(1.0 - ((targets - predicted) ** 2).sum() / ((targets - targets.mean()) ** 2).sum())


def check_copies(subject: Subject) -> Iterator[Finding]:
    """Columns that give the label away: copies of it under another name, or within an id."""
    label = subject.label
    if label is None or label.exact.sum() < 20:
        return
    for column in subject.values:
        if column is label or column.kind in ("pkd", "kd", "log_kd", "dg", "ddg"):
            continue
        rows = np.flatnonzero(column.exact & label.exact)
        if len(rows) < 20:
            continue
        strength = _strength(label.logs()[rows], column.values[rows])
        if abs(strength) >= COPY_CORRELATION:
            yield _copy(subject, label, column.name, abs(strength), rows)
    numeric = {column.name for column in subject.values}
    for name in subject.frame.columns:
        if name in numeric or name in (subject.roles.get(r) for r in ("heavy", "light", "antigen")):
            continue
        rows = _holding(subject, label, name)
        if len(rows) >= max(20, 0.5 * label.exact.sum()):
            yield _copy(subject, label, name, 1.0, rows)


def _strength(first: np.ndarray, second: np.ndarray) -> float:
    if len(np.unique(first)) < 10 or len(np.unique(second)) < 10:
        return 0.0
    return rank_correlation(first, second)


def _holding(subject: Subject, label: ValueColumn, name: str) -> np.ndarray:
    """Rows whose text contains the label's number."""
    texts = subject.frame[name].to_list()
    rows = np.flatnonzero(label.exact)
    found = []
    for row in rows:
        numbers = re.findall(r"-?\d+\.\d+", texts[row] or "")
        # a number of two digits or more after the point does not agree by chance, row after row
        if any(
            len(number.partition(".")[2]) >= 2
            and abs(float(number) - label.values[row]) <= 0.5 * 10 ** -len(number.partition(".")[2])
            for number in numbers
        ):
            found.append(row)
    return np.array(found, dtype=int)


def _copy(
    subject: Subject, label: ValueColumn, name: str, strength: float, rows: np.ndarray
) -> Finding:
    return Finding(
        "label_copy", "warning", 0.95, subject.name, name,
        f"this column gives {label.name} away (rank correlation {strength:.3f} over {len(rows)} "
        "rows)",
        "Never use it as an input: a model would score perfectly and know nothing.",
        len(rows), row_numbers(rows),
    )  # fmt: skip
