"""Rows against each other, and shortcuts: what predicts the label and knows nothing of binding."""

import re
from collections.abc import Iterator

import numpy as np

from paratope.data.audit.relations import centred, group_means
from paratope.data.audit.table import KCAL_PER_LOG10, AuditedTable, ValueColumn, rank_correlation
from paratope.data.findings import (
    MIN_DOMINANCE_ROWS,
    Finding,
    concise,
    dominant_group,
    named,
    percent,
)

# SD of one measurement (log10) that laboratories reach between each other
USUAL_SD = 0.5
CONFLICT_LOG10 = 1.0
CONFLICT_SDS = 5.0
MAX_COMPARED = 1500
# of cells that cannot be read: distinct texts, and rows of each
MAX_TEXTS_SHOWN, MAX_ROWS_SHOWN = 10, 8
# shortcuts
PERMUTATIONS = 400
FOLDS = 5
MIN_ROWS = 40
MIN_R2 = 0.08
MIN_GROUPS = 12
# of the first framework: enough to tell germlines apart
FAMILY_RESIDUES = 20
COPY_CORRELATION = 0.995


def check_cells(table: AuditedTable) -> Iterator[Finding]:
    """Missing and unreadable cells."""
    # the parent of mutations has their sequences
    variants = [bool(text) for text in table.text("mutations")]
    missing = {
        table.roles[role]: (
            "sequence",
            np.flatnonzero([not (text or v) for text, v in zip(cells, variants, strict=True)]),
        )
        for role in ("heavy", "antigen")
        if role in table.roles and (cells := table.text(role)) is not None
    }
    column = next(iter(table.labels), None)
    if column is not None:
        # a bound without a number (a non-binder) is an answer, and so is a column of binders
        empty = ~np.isfinite(column.values) & (column.bounds == 0)
        empty &= np.array([not text for text in table.text("binder")])
        empty[list(table.unreadable.get(column.name, ()))] = False
        missing[column.name] = "measured value", np.flatnonzero(empty)
    for name, (lack, rows) in missing.items():
        share = percent(len(rows), table.rows)
        message = f"{len(rows)} of {table.rows} rows ({share}) have no {lack}"
        yield from table.about_rows("missing", name, rows, message)
    for name, refused in table.unreadable.items():
        message = (
            f"{len(refused)} of {table.rows} rows ({percent(len(refused), table.rows)}) hold text "
            "that cannot be read as a value: every command leaves them out"
        )
        rows_of: dict[str, list[str]] = {}
        for row in refused:
            rows_of.setdefault(str(table.frame[name][row]), []).append(str(row + 1))
        shown = [
            f"{text!r}: row{'s' * (len(held) > 1)} {named(held, MAX_ROWS_SHOWN)}"
            for text, held in rows_of.items()
        ]
        if (more := len(shown) - MAX_TEXTS_SHOWN) > 0:
            shown[MAX_TEXTS_SHOWN:] = [f"{more} more texts"]
        yield table.finding("unreadable_value", name, message, refused, shown)


def check_ids(table: AuditedTable) -> Iterator[Finding]:
    """Ids used twice."""
    names = table.text("id")
    seen: set[object] = set()
    repeats, clashes = [], []
    for row, key in enumerate(zip(names, table.pair_codes, table.assay_codes, strict=True)):
        if names[row] is None:
            continue
        if names[row] in seen:
            repeats.append(row)
            if key not in seen:
                clashes.append(row)
        seen |= {names[row], key}
    # an id that names an antibody recurs once for every antigen and assay it meets
    one_to_one = len(set(zip(names, table.antibody_codes, strict=True))) <= len(set(names))
    known = bool((table.antibody_codes >= 0).any())
    if clashes and not (known and one_to_one):
        code, rows, which = "duplicate_id", clashes, "another pair has already"
    elif repeats and not known:
        code, rows, which = "duplicate_id:alone", repeats, "stands above already"
    else:
        return
    examples = sorted({names[row] or "" for row in rows})[:4]
    message = f"{len(rows)} rows carry an id that {which}"
    yield table.finding(code, table.roles["id"], message, rows, examples)


def _replicates(table: AuditedTable) -> tuple[ValueColumn | None, np.ndarray, list[np.ndarray]]:
    """The label, its values in log10 (rows,), and the rows of each pair repeated in one assay."""
    column = table.label
    if column is None:
        return None, np.empty(0), []
    # sizes matter here, not the sign
    logs = column.values / KCAL_PER_LOG10 if column.kind == "ddg" else column.logs()
    groups: dict[tuple[int, int], list[int]] = {}
    for row in np.flatnonzero(column.exact & (table.pair_codes >= 0)).tolist():
        groups.setdefault((table.pair_codes[row], table.assay_codes[row]), []).append(row)
    repeated = sorted((key, rows) for key, rows in groups.items() if len(rows) > 1)
    return column, logs, [np.array(rows) for _, rows in repeated]


def check_duplicates(table: AuditedTable) -> Iterator[Finding]:
    """Same pair, same assay, same value: more often than rounded replicates agree by chance."""
    from scipy import stats

    column, logs, groups = _replicates(table)
    if column is None:
        return
    repeats = [np.delete(g, np.unique(column.values[g], return_index=True)[1]) for g in groups]
    rows = np.sort(np.concatenate(repeats)) if repeats else np.empty(0, int)
    if not len(rows):
        return
    sd, step = _replicate_sd(logs, groups), 1e-4
    exact = logs[column.exact]
    for decimals in range(3, -1, -1):
        if (np.abs(exact * 10**decimals - np.round(exact * 10**decimals)) < 1e-6).mean() > 0.95:
            step = 10.0**-decimals
    comparisons = sum(len(group) * (len(group) - 1) // 2 for group in groups)
    # two normal values fall on one step with the density of their difference at zero
    chance = min(1.0, step / (2.0 * np.sqrt(np.pi) * sd)) if sd else 0.0
    expected = comparisons * chance
    p = float(stats.poisson.sf(len(rows) - 1, expected)) if expected > 0 else 0.0
    if p > 1e-3:
        return
    yield table.finding(
        "duplicate_row",
        column,
        f"{len(rows)} rows repeat a pair of the same assay with exactly the same value"
        + (f", where chance would make about {expected:.1f} agree" if expected else ""),
        rows,
        table.shown(rows),
        confidence=float(np.clip(1.0 - p, 0.9, 0.98)),
    )


def _replicate_sd(logs: np.ndarray, groups: list[np.ndarray]) -> float:
    """Robust SD of one measurement from the spread of replicates; 0 without any spread."""
    gaps = np.array([abs(float(logs[group[1]] - logs[group[0]])) for group in groups])
    gaps = gaps[gaps > 0]
    # of a normal, half the differences of two values are smaller than 0.954 SD
    return float(np.median(gaps) / 0.954) if len(gaps) else 0.0


def check_conflicts(table: AuditedTable) -> Iterator[Finding]:
    """Replicates that differ by more than replicates do."""
    from scipy import stats

    column, logs, groups = _replicates(table)
    groups = [group for group in groups if np.ptp(logs[group]) > 0]
    if column is None or not groups:
        return
    squares = sum(float(((logs[g] - logs[g].mean()) ** 2).sum()) for g in groups)
    freedom = sum(len(group) - 1 for group in groups)
    sd, robust = float(np.sqrt(squares / freedom)), _replicate_sd(logs, groups)
    unit, scale = "log10 units", 1.0
    if column.kind in ("score", "number"):
        unit, scale = "units of the column", 2.0 * float(np.std(logs[column.exact]))
    limit = max(CONFLICT_LOG10 * scale, CONFLICT_SDS * robust if len(groups) >= 10 else 0.0)
    bad = [group for group in groups if np.ptp(logs[group]) > limit]
    usual = USUAL_SD * scale
    lowest = sd * np.sqrt(freedom / stats.chi2.ppf(0.999, freedom))
    # A table of honest replicates with this much noise holds some wide ones; an SD known from few
    # pairs is known badly.
    comparisons = sum(len(group) * (len(group) - 1) / 2 for group in groups)
    honest = np.sqrt(2.0) * min(robust * (1.0 + 2.5 / np.sqrt(len(groups))), usual) + 1e-9
    expected = comparisons * 2.0 * float(stats.norm.sf(limit / honest))
    surprising = bool(bad) and float(stats.poisson.sf(len(bad) - 1, expected)) < 1e-3
    message = (
        f"{len(groups)} pairs are measured more than once in the same assay, with an SD of "
        f"{sd:.2f} {unit} (from {freedom + len(groups)} rows)"
    )
    if not (surprising or lowest > usual):
        yield table.finding("replicates", column, message, np.sort(np.concatenate(groups)))
        return
    rows = np.sort(np.concatenate(bad or groups))
    if bad:
        message += f"; {len(bad)} of them differ by more than {limit:.1f}"
    examples = [
        f"rows {', '.join(str(int(row) + 1) for row in group[:4])}: "
        + ", ".join(concise(float(column.values[row])) for row in group[:4])
        for group in bad[:4]
    ]
    confidence = 0.9 if surprising else 0.8
    yield table.finding("conflict", column, message, rows, examples, confidence=confidence)


def check_near_duplicates(table: AuditedTable) -> Iterator[Finding]:
    """How many antibodies have a close relative in the table."""
    from rapidfuzz import process
    from rapidfuzz.distance import Levenshtein

    rows = np.flatnonzero(table.antibody_codes >= 0)
    if table.label is None or len(rows) == 0:
        return
    chosen = rows[np.unique(table.antibody_codes[rows], return_index=True)[1]]
    if len(chosen) > MAX_COMPARED:
        chosen = np.random.default_rng(0).choice(chosen, MAX_COMPARED, replace=False)
    chains = [(table.heavy[row] or "", table.light[row] or "") for row in chosen]
    texts = ["|".join(pair) for pair in chains]
    edits = process.cdist(texts, texts, scorer=Levenshtein.distance, score_cutoff=2, dtype=np.uint8)
    np.fill_diagonal(edits, 255)
    close = (edits <= 2).any(axis=1)
    cut = sorted(
        {
            int(chosen[i])
            for i, j in zip(*np.nonzero(edits <= 2), strict=True)
            if len(texts[i]) < len(texts[j])
            and all(part in whole for part, whole in zip(chains[i], chains[j], strict=True))
        }
    )
    column = table.roles.get("heavy", "")
    ends = "with one or two residues cut off an end"
    message = f"{len(cut)} antibodies are another one of the table {ends}"
    yield from table.about_rows("fragment_duplicate", column, cut, message)
    if close.any():
        share = f"{percent(int(close.sum()), len(chosen))} of {len(chosen)} antibodies"
        message = f"{share} differ from another one by one or two residues"
        yield table.finding("near_duplicates", column, message, np.sort(chosen[close]))


def check_dominance(table: AuditedTable) -> Iterator[Finding]:
    """One antigen or one antibody that makes up most rows."""
    for kind, codes in (("antigen", table.antigen_codes), ("antibody", table.antibody_codes)):
        known, column = codes[codes >= 0], table.roles.get(kind, "")
        group = dominant_group(known, kind)
        if group is not None:
            rows, share = np.flatnonzero(codes == group.label), percent(group.count, table.rows)
            message = f"one {kind} of {group.groups} makes up {share} of the rows"
            message += f" ({group.count} of {table.rows})"
            yield table.finding(f"dominant_{kind}", column, message, rows, table.shown(rows[:1]))
        elif kind == "antigen" and len(known) >= MIN_DOMINANCE_ROWS and np.ptp(known) == 0:
            message = f"all {len(known)} rows have the same antigen"
            yield table.finding("one_antigen", column, message, len(known))


# shortcuts


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
