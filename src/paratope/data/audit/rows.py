"""Rows against each other: missing cells, repeated ids, duplicates, conflicts, dominance."""

from collections.abc import Iterator

import numpy as np

from paratope.data.audit.columns import KCAL_PER_LOG10, ValueColumn
from paratope.data.audit.report import Finding, percent, plain, row_numbers
from paratope.data.audit.subject import Subject

# SD of one measurement (log10) that laboratories reach between each other
USUAL_SD = 0.5
CONFLICT_LOG10 = 1.0
CONFLICT_SDS = 5.0
DOMINANT_ANTIGEN = 0.5
DOMINANT_ANTIBODY = 0.15
MAX_COMPARED = 1500


def check_cells(subject: Subject) -> Iterator[Finding]:
    """Missing and unreadable cells, and ids used twice."""
    for role in ("heavy", "antigen"):
        texts = subject.text(role)
        rows = [row for row, text in enumerate(texts) if text is None]
        if role in subject.roles and rows:
            yield _missing(subject, subject.roles[role], rows, "no sequence")
    label = subject.label if subject.labels else None
    if label is not None:
        unreadable = set(label.unreadable)
        # a bound without a number (a non-binder) is an answer
        empty = ~np.isfinite(label.values) & (label.bounds == 0)
        rows = [int(row) for row in np.flatnonzero(empty) if row not in unreadable]
        answered = [row for row in rows if subject.text("binder")[row]]
        rows = [row for row in rows if row not in set(answered)]
        if rows:
            yield _missing(subject, label.name, rows, "no measured value")
        if unreadable:
            texts = subject.frame[label.name].to_list()
            bad = sorted(unreadable)
            yield Finding(
                "unreadable_value", "warning", 0.97, subject.name, label.name,
                f"{len(bad)} cells hold text that is no number",
                "Write a number, a bound such as <5, or leave the cell empty.",
                len(bad), row_numbers(bad),
                tuple(f"{subject.shown(row)}: {texts[row]!r}" for row in bad[:4]),
            )  # fmt: skip
    yield from _repeated_ids(subject)


def _missing(subject: Subject, column: str, rows: list[int], what: str) -> Finding:
    return Finding(
        "missing", "warning", 0.99, subject.name, column,
        f"{len(rows)} of {subject.rows} rows ({percent(len(rows), subject.rows)}) have {what}",
        "Fill them in or leave the rows out; a non-binder is a bound, not an empty cell.",
        len(rows), row_numbers(rows), tuple(subject.shown(row) for row in rows[:3]),
    )  # fmt: skip


def _repeated_ids(subject: Subject) -> Iterator[Finding]:
    names = subject.text("id")
    if not any(names):
        return
    first: dict[tuple[object, ...], int] = {}
    clashes = []
    keys = zip(subject.pair_codes, subject.assay_codes, strict=True)
    for row, (name, (pair, assay)) in enumerate(zip(names, keys, strict=True)):
        if name is None:
            continue
        if (name,) in first and (name, pair, assay) not in first:
            clashes.append(row)
        first.setdefault((name,), row)
        first.setdefault((name, pair, assay), row)
    plain_repeats = len([n for n in names if n]) - len({n for n in names if n})
    # an id that names an antibody recurs once for every antigen and assay it meets
    names_antibody = _one_to_one([n or "" for n in names], subject.antibody_codes)
    if clashes and not names_antibody:
        yield Finding(
            "duplicate_id", "warning", 0.9, subject.name, subject.roles["id"],
            f"{len(clashes)} rows carry an id that another pair has already",
            "Give every row its own id, or join tables by more than the id.",
            len(clashes), row_numbers(clashes),
            tuple(sorted({names[r] or "" for r in clashes})[:4]),
        )  # fmt: skip
    elif plain_repeats and (subject.pair_codes < 0).all():
        seen: set[str] = set()
        rows = [r for r, n in enumerate(names) if n and (n in seen or seen.add(n))]
        yield Finding(
            "duplicate_id", "warning", 0.8, subject.name, subject.roles["id"],
            f"{len(rows)} rows carry an id that stands above already",
            "Give every row its own id, or say which are replicates.",
            len(rows), row_numbers(rows), tuple(sorted({names[r] or "" for r in rows})[:4]),
        )  # fmt: skip


def _one_to_one(names: list[str], codes: np.ndarray) -> bool:
    """Whether nearly every name stands for one antibody."""
    if (codes < 0).all():
        return False
    pairs = set(zip(names, codes.tolist(), strict=True))
    return len(pairs) - len(set(names)) <= 0


def check_duplicates(subject: Subject) -> Iterator[Finding]:
    """Repeated rows, near-duplicates, and pairs whose values contradict each other."""
    column = subject.label
    if column is None or (subject.pair_codes < 0).all():
        return
    groups = _groups(subject, column)
    yield from _repeated_rows(subject, column, groups)
    yield from _conflicts(subject, column, groups)
    yield from _near_duplicates(subject)


def _groups(subject: Subject, column: ValueColumn) -> list[np.ndarray]:
    """Rows with exact values of each pair within each assay, where there are several."""
    rows = np.flatnonzero(column.exact & (subject.pair_codes >= 0))
    if len(rows) == 0:
        return []
    keys = np.stack([subject.pair_codes[rows], subject.assay_codes[rows]], axis=1)
    _, inverse, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(inverse.ravel(), kind="stable")
    parts = np.split(rows[order], np.cumsum(counts)[:-1])
    return [part for part in parts if len(part) > 1]


def _logs(column: ValueColumn) -> np.ndarray:
    return column.logs() if column.kind != "ddg" else column.values / KCAL_PER_LOG10


def _repeated_rows(
    subject: Subject, column: ValueColumn, groups: list[np.ndarray]
) -> Iterator[Finding]:
    """Same pair, same assay, same value: more often than rounded replicates agree by chance."""
    from scipy import stats

    values = column.values
    rows: list[int] = []
    comparisons = 0
    for group in groups:
        _, first = np.unique(values[group], return_index=True)
        rows += np.delete(group, first).tolist()
        comparisons += len(group) * (len(group) - 1) // 2
    if not rows:
        return
    sd = _replicate_sd(_logs(column), groups)
    step = _rounding(_logs(column)[column.exact])
    chance = 1.0 if sd == 0 else min(1.0, step / (2.0 * np.sqrt(np.pi) * sd))
    by_chance = 0.0 if sd == 0 else comparisons * chance
    p = float(stats.poisson.sf(len(rows) - 1, by_chance)) if by_chance > 0 else 0.0
    if p > 1e-3:
        return
    ids_differ = "id" in subject.roles
    yield Finding(
        "duplicate_row", "warning", float(np.clip(1.0 - p, 0.9, 0.98)), subject.name, column.name,
        f"{len(rows)} rows repeat a pair of the same assay with exactly the same value"
        + (f", where chance would make about {by_chance:.1f} agree" if by_chance else ""),
        "Keep one of each: copies give false weight and leak between training and test rows."
        + (" Their ids differ." if ids_differ else ""),
        len(rows), row_numbers(sorted(rows)), tuple(subject.shown(row) for row in sorted(rows)[:4]),
    )  # fmt: skip


def _rounding(values: np.ndarray) -> float:
    """Typical distance between neighbouring different values."""
    for decimals in range(4):
        scaled = values * 10**decimals
        if (np.abs(scaled - np.round(scaled)) < 1e-6).mean() > 0.95:
            return 10.0**-decimals
    return 1e-4


def _replicate_sd(logs: np.ndarray, groups: list[np.ndarray]) -> float:
    """Robust SD of one measurement from the spread of replicates; 0 without any spread."""
    gaps = np.array([abs(float(np.diff(logs[group][:2])[0])) for group in groups])
    gaps = gaps[gaps > 0]
    if len(gaps) == 0:
        return 0.0
    # of a normal, half the differences of two values are smaller than 0.954 SD
    return float(np.median(gaps) / 0.954)


def _conflicts(
    subject: Subject, column: ValueColumn, groups: list[np.ndarray]
) -> Iterator[Finding]:
    """Replicates that differ by more than replicates do."""
    from scipy import stats

    logs = _logs(column)
    groups = [group for group in groups if len(set(column.values[group])) > 1]
    if not groups:
        return
    squares = sum(float(((logs[g] - logs[g].mean()) ** 2).sum()) for g in groups)
    freedom = sum(len(g) - 1 for g in groups)
    sd = float(np.sqrt(squares / freedom))
    robust = _replicate_sd(logs, groups)
    spread = "log10 units" if column.kind not in ("score", "number") else "units of the column"
    scale = 1.0 if spread == "log10 units" else 2.0 * float(np.std(logs[column.exact]))
    limit = max(CONFLICT_LOG10 * scale, CONFLICT_SDS * robust if len(groups) >= 10 else 0.0)
    bad = [group for group in groups if np.ptp(logs[group]) > limit]
    usual = USUAL_SD * scale
    lowest = sd * np.sqrt(freedom / stats.chi2.ppf(0.999, freedom))
    # a table of honest replicates with this much noise holds some wide ones
    comparisons = sum(len(g) * (len(g) - 1) / 2 for g in groups)
    # a spread known from few pairs is known badly
    robust *= 1.0 + 2.5 / np.sqrt(len(groups))
    honest = np.sqrt(2.0) * min(robust, usual) + 1e-9
    expected = comparisons * 2.0 * float(stats.norm.sf(limit / honest))
    surprising = len(bad) > 0 and float(stats.poisson.sf(len(bad) - 1, expected)) < 1e-3
    message = (
        f"{len(groups)} pairs are measured more than once in the same assay, with an SD of "
        f"{sd:.2f} {spread} (from {freedom + len(groups)} rows)"
    )
    if surprising or lowest > usual:
        rows = np.sort(np.concatenate(bad)) if bad else np.sort(np.concatenate(groups))
        if bad:
            message += f"; {len(bad)} of them differ by more than {limit:.1f}"
        yield Finding(
            "conflict", "warning", 0.9 if surprising else 0.8, subject.name, column.name, message,
            "Find out which value is right, or keep the median; no model can be better than this "
            "SD.",
            len(rows), row_numbers(rows),
            tuple(
                f"rows {', '.join(str(int(r) + 1) for r in group[:4])}: "
                + ", ".join(plain(float(column.values[r])) for r in group[:4])
                for group in bad[:4]
            ),
        )  # fmt: skip
    else:
        rows = np.sort(np.concatenate(groups))
        yield Finding(
            "replicates", "info", 0.95, subject.name, column.name, message,
            "Keep replicates on one side of a split; this SD is the floor of any model's error.",
            len(rows), row_numbers(rows),
        )  # fmt: skip


def _near_duplicates(subject: Subject) -> Iterator[Finding]:
    """How many antibodies have a close relative in the table."""
    from rapidfuzz import process
    from rapidfuzz.distance import Levenshtein

    rows = np.flatnonzero(subject.antibody_codes >= 0)
    _, first = np.unique(subject.antibody_codes[rows], return_index=True)
    chosen = rows[first]
    if len(chosen) < 2:
        return
    if len(chosen) > MAX_COMPARED:
        chosen = np.random.default_rng(0).choice(chosen, MAX_COMPARED, replace=False)
    texts = [f"{subject.heavy[r]}|{subject.light[r] or ''}" for r in chosen]
    distance = process.cdist(
        texts, texts, scorer=Levenshtein.distance, score_cutoff=2, dtype=np.uint8
    )
    np.fill_diagonal(distance, 255)
    close = (distance <= 2).any(axis=1)
    contained = [
        int(chosen[i])
        for i in np.flatnonzero(close)
        for j in np.flatnonzero(distance[i] <= 2)
        if len(texts[i]) < len(texts[j])
        and (subject.heavy[chosen[i]] or "") in (subject.heavy[chosen[j]] or "")
        and (subject.light[chosen[i]] or "") in (subject.light[chosen[j]] or "")
    ]
    if contained:
        fragments = sorted(set(contained))
        yield Finding(
            "fragment_duplicate", "warning", 0.9, subject.name, subject.roles.get("heavy", ""),
            f"{len(fragments)} antibodies are another one of the table with one or two residues "
            "cut off an end",
            "Treat them as the same antibody: cut all to the variable domain, then merge "
            "replicates.",
            len(fragments), row_numbers(fragments),
            tuple(subject.shown(row) for row in fragments[:4]),
        )  # fmt: skip
    if close.any():
        share = percent(int(close.sum()), len(chosen))
        yield Finding(
            "near_duplicates", "info", 0.99, subject.name, subject.roles.get("heavy", ""),
            f"{share} of {len(chosen)} antibodies differ from another one by one or two residues",
            "A random split would put near copies on both sides: split by antibody, position or "
            "antigen.",
            int(close.sum()), row_numbers(np.sort(chosen[close])),
        )  # fmt: skip


def check_dominance(subject: Subject) -> Iterator[Finding]:
    """One antigen or one antibody that makes up most rows."""
    total = subject.rows
    for what, codes, limit in (
        ("antigen", subject.antigen_codes, DOMINANT_ANTIGEN),
        ("antibody", subject.antibody_codes, DOMINANT_ANTIBODY),
    ):
        known = codes[codes >= 0]
        if len(known) < 20:
            continue
        counts = np.bincount(known)
        different, top = len(counts), int(counts.max())
        if different == 1:
            if what == "antigen":
                yield Finding(
                    "one_antigen", "info", 0.99, subject.name, subject.roles.get("antigen", ""),
                    f"all {len(known)} rows have the same antigen",
                    "Nothing here says how a model does on another antigen.", len(known),
                )  # fmt: skip
            continue
        even = len(known) / different
        if different >= 3 and top > limit * len(known) and top > 2.5 * even:
            rows = np.flatnonzero(codes == int(counts.argmax()))
            yield Finding(
                f"dominant_{what}", "warning", 0.95, subject.name, subject.roles.get(what, ""),
                f"one {what} of {different} makes up {percent(top, total)} of the rows ({top} of "
                f"{total})",
                f"Pooled metrics mostly describe this {what}: report them per {what}, weight rows, "
                "or cap its share.",
                len(rows), row_numbers(rows), (subject.shown(int(rows[0])),),
            )  # fmt: skip
