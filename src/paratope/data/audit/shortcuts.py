"""Shortcuts: what predicts the label without knowing anything about binding."""

import re
from collections.abc import Iterator

import numpy as np

from paratope.data.audit.relations import centred, group_means
from paratope.data.audit.table import AuditedTable, ValueColumn, rank_correlation
from paratope.data.findings import Finding

PERMUTATIONS = 400
FOLDS = 5
MIN_ROWS = 40
MIN_R2 = 0.08
MIN_GROUPS = 12
# of the first framework: enough to tell germlines apart
FAMILY_RESIDUES = 20
COPY_CORRELATION = 0.995


def check_lengths(table: AuditedTable) -> Iterator[Finding]:
    """What a model that sees only the chains' lengths reaches, against shuffled lengths.

    An antibody counts once, however often it was measured, and is compared within its antigen. The
    members of a germline family share length and affinity through descent, which is no shortcut by
    itself: within families each antibody counts, between them each family does.
    """
    column = table.label
    if column is None:
        return
    rows = np.flatnonzero(column.exact & np.isfinite(column.logs()))
    if len(rows) < MIN_ROWS:
        return
    values = column.logs()[rows]
    lengths = {
        role: np.array([len(getattr(table, role)[row] or "") for row in rows], dtype=float)
        for role in ("heavy", "light", "antigen")
    }
    antigens, antibodies = table.antigen_codes[rows], table.antibody_codes[rows]
    if (antibodies >= 0).any():
        targets = group_means(centred(values, antigens), antibodies)
        chains = [group_means(lengths[role], antibodies) for role in ("heavy", "light")]
        first = rows[np.unique(antibodies, return_index=True)[1]]
        family = np.array([(table.heavy[row] or "")[:FAMILY_RESIDUES] for row in first])
        shortcuts = []
        if len(targets) >= MIN_ROWS:
            within = np.stack([centred(each, family) for each in chains], axis=1)
            targets_within = centred(targets, family)
            shortcuts = list(_length_model(table, column, "antibody", within, targets_within))
            yield from shortcuts
        if not shortcuts and len(np.unique(family)) >= MIN_GROUPS:
            between = np.stack([group_means(each, family) for each in chains], axis=1)
            targets = group_means(targets, family)
            yield from _length_model(table, column, "antibody", between, targets)
    if len(np.unique(antigens)) >= MIN_GROUPS and lengths["antigen"].max() > 30:
        between = group_means(lengths["antigen"], antigens)[:, None]
        targets = group_means(values, antigens)
        yield from _length_model(table, column, "antigen", between, targets)


def _length_model(
    table: AuditedTable,
    column: ValueColumn,
    molecule: str,
    lengths: np.ndarray,
    targets: np.ndarray,
) -> Iterator[Finding]:
    """A ridge on lengths and their squares, (units, chains), against targets, (units,)."""
    if (np.ptp(lengths, axis=0) == 0).all() or np.ptp(targets) == 0:
        return
    rng = np.random.default_rng(0)
    folds = np.arange(len(targets)) % FOLDS
    rng.shuffle(folds)
    scaled = (lengths - lengths.mean(axis=0)) / np.maximum(lengths.std(axis=0), 1e-9)
    scaled = scaled.clip(-4.0, 4.0)
    features = np.concatenate([np.ones((len(lengths), 1)), scaled, scaled**2], axis=1)
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
    yield table.finding(
        "length_shortcut",
        column,
        f"a model that sees only the {molecule}'s length reaches R² {reached:.2f} "
        f"(cross-validated; with shuffled lengths at most {max(0.0, max(chance)):.2f})",
        len(targets),
        confidence=min(0.97, 1.0 - p) * min(1.0, 0.7 + reached),
    )


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


def check_copies(table: AuditedTable) -> Iterator[Finding]:
    """Columns that give the label away: copies of it under another name, or within an id."""
    label = table.label
    if label is None or label.exact.sum() < 20:
        return
    for column in table.values:
        if column is label or column.is_affinity or column.kind == "ddg":
            continue
        rows = np.flatnonzero(column.exact & label.exact)
        x, y = label.logs()[rows], column.values[rows]
        if len(rows) >= 20 and min(len(np.unique(x)), len(np.unique(y))) >= 10:
            correlation = abs(rank_correlation(x, y))
            if correlation >= COPY_CORRELATION:
                yield _copy(table, label, column.name, correlation, rows)
    known = {column.name for column in table.values}
    known |= {table.roles.get(role, "") for role in ("heavy", "light", "antigen")}
    for name in table.frame.columns:
        if name not in known:
            texts = table.frame[name].to_list()
            # a text gives a label away if it holds that number to the decimals it is written with;
            # two digits or more after the point do not agree by chance, row after row
            holds = [
                any(abs(float(n) - value) <= 0.5 * 10 ** -len(n.partition(".")[2]) for n in numbers)
                for text, value in zip(texts, label.values, strict=True)
                for numbers in [re.findall(r"-?\d+\.\d{2,}", text or "")]
            ]
            rows = np.flatnonzero(label.exact & np.array(holds, bool))
            if len(rows) >= max(20, 0.5 * label.exact.sum()):
                yield _copy(table, label, name, 1.0, rows)


def _copy(
    table: AuditedTable, label: ValueColumn, name: str, correlation: float, rows: np.ndarray
) -> Finding:
    seen = f"rank correlation {correlation:.3f} over {len(rows)} rows"
    message = f"this column gives {label.name} away ({seen})"
    return table.finding("label_copy", name, message, rows)
