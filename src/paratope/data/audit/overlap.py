"""The same pairs in two tables: another unit, a turned sign, a log of a log, overlap."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from paratope.data.audit.columns import KCAL_PER_LOG10, ValueColumn
from paratope.data.audit.relations import UNIT_STEPS
from paratope.data.audit.report import Finding, plain
from paratope.data.audit.subject import Subject, domains_of

MIN_MATCHED = 15
MATCH_R2 = 0.98
# a chain longer than a variable domain may be a single-chain antibody
LONG_CHAIN = 160


@dataclasses.dataclass(frozen=True, slots=True)
class _Form:
    """A relation y = f(x) between two columns about the same pairs."""

    words: str
    function: Callable[[np.ndarray], np.ndarray]
    takes_log: bool = False


_FORMS = (
    _Form("the same values", lambda x: x),
    _Form("minus the other's values", lambda x: -x),
    _Form("9 minus the other's values", lambda x: 9.0 - x),
    _Form("9 - log10 of the other's values", lambda x: 9.0 - _log10(x), takes_log=True),
    _Form("-log10 of the other's values", lambda x: -_log10(x), takes_log=True),
    _Form("12 - log10 of the other's values", lambda x: 12.0 - _log10(x), takes_log=True),
    _Form("6 - log10 of the other's values", lambda x: 6.0 - _log10(x), takes_log=True),
    _Form("log10 of the other's values", lambda x: _log10(x), takes_log=True),
    _Form("-RT ln(10) times the other's values", lambda x: -KCAL_PER_LOG10 * x),
    *(
        _Form(f"the other's values shifted by {shift:+g}", lambda x, shift=shift: x + shift)
        for step in UNIT_STEPS
        for shift in (step, -step)
    ),
)


def _log10(values: np.ndarray) -> np.ndarray:
    return np.log10(np.where(values > 0, values, np.nan))


def check_tables(subjects: Sequence[Subject]) -> Iterator[Finding]:
    """Columns of different tables about the same pairs (or antibodies)."""
    for k, second in enumerate(subjects):
        for first in subjects[:k]:
            keys = _shared_keys(first, second)
            if keys is None:
                continue
            for y in first.independent:
                for x in second.independent:
                    if "prediction" in (x.kind, y.kind):
                        continue
                    yield from _two_tables((first, y, keys[0]), (second, x, keys[1]))


def _shared_keys(first: Subject, second: Subject) -> tuple[list[object], list[object]] | None:
    """Keys under which rows of two tables can be matched: as many molecules as both tables hold."""
    used = [
        role for role in ("heavy", "light", "antigen")
        if any(getattr(first, role)) and any(getattr(second, role))
    ]  # fmt: skip
    for roles in (used, ["heavy"]):
        if "heavy" not in roles:
            continue
        keys = [
            [
                key if key[0] is not None else None
                for key in zip(*(_variable(subject, role) for role in roles), strict=True)
            ]
            for subject in (first, second)
        ]
        if len(set(keys[0]) & set(keys[1]) - {None}) >= MIN_MATCHED:
            return list(keys[0]), list(keys[1])
    names = first.text("id"), second.text("id")
    if len(set(names[0]) & set(names[1]) - {None}) >= MIN_MATCHED and not used:
        return list(names[0]), list(names[1])
    return None


def _variable(subject: Subject, role: str) -> list[str | None]:
    """A role's chains without linkers: of a single-chain antibody its heavy domain."""
    chains: list[str | None] = getattr(subject, role)
    if role != "heavy":
        return chains
    cut: dict[str, str] = {}
    for chain in chains:
        if chain and chain not in cut and len(chain) > LONG_CHAIN:
            heavy = next((d.residues for d in domains_of(chain) if d.is_heavy), chain)
            cut[chain] = heavy
    return [cut.get(chain, chain) if chain else None for chain in chains]


def _two_tables(
    left: tuple[Subject, ValueColumn, list[object]],
    right: tuple[Subject, ValueColumn, list[object]],
) -> Iterator[Finding]:
    (first, y_column, first_keys), (second, x_column, second_keys) = left, right
    y_of, x_of = _by_key(y_column, first_keys), _by_key(x_column, second_keys)
    shared = [key for key in y_of if key in x_of]
    if len(shared) < MIN_MATCHED:
        return
    y = np.array([y_of[key] for key in shared])
    x = np.array([x_of[key] for key in shared])
    for forward in (True, False):
        source, target = (x, y) if forward else (y, x)
        form = _relation(source, target)
        if form is None:
            continue
        maker, made = (
            ((second, x_column), (first, y_column))
            if forward
            else ((first, y_column), (second, x_column))
        )
        yield from _related(maker, made, form, len(shared))
        return


def _by_key(column: ValueColumn, keys: list[object]) -> dict[object, float]:
    found: dict[object, list[float]] = {}
    for row in np.flatnonzero(column.exact):
        if keys[row] is not None:
            found.setdefault(keys[row], []).append(float(column.values[row]))
    return {key: float(np.median(values)) for key, values in found.items()}


def _relation(x: np.ndarray, y: np.ndarray) -> _Form | None:
    """The first of the known relations that gives y from x, nearly exactly."""
    total = float(np.sum((y - y.mean()) ** 2))
    if total == 0 or len(np.unique(x)) < 5:
        return None
    for form in _FORMS:
        given = form.function(x)
        usable = np.isfinite(given)
        if usable.mean() < 0.7:
            continue
        error = float(np.sum((y[usable] - given[usable]) ** 2))
        spread = float(np.sum((y[usable] - y[usable].mean()) ** 2))
        if spread > 0 and 1.0 - error / spread >= MATCH_R2:
            return form
    return None


def _related(
    maker: tuple[Subject, ValueColumn], made: tuple[Subject, ValueColumn], form: _Form, shared: int
) -> Iterator[Finding]:
    (source, x), (target, y) = maker, made
    seen = f"in {shared} shared rows {y.name} is {form.words} ({x.name} of {source.name})"
    if form.takes_log:
        reasons = _already_log(x)
        if reasons:
            yield Finding(
                "double_log", "error", min(0.99, 0.8 + 0.1 * len(reasons)), target.name, y.name,
                f"{seen}, which are logarithms already ({'; '.join(reasons)}): a log of a log",
                f"Its order holds, its scale is wrong. Use {x.name} of {source.name}: pKd = 9 - "
                "log10(Kd/nM).",
                shared,
            )  # fmt: skip
        return
    same_kind = x.kind == y.kind and x.kind != "number"
    if form.words == "the same values":
        yield Finding(
            "shared_rows", "info", 0.99, target.name, y.name,
            f"{seen}: the tables overlap",
            "Do not train on one and test on the other.", shared,
        )  # fmt: skip
    elif form.words == "minus the other's values" and x.kind not in ("kd",):
        yield Finding(
            "sign", "error", 0.97, target.name, y.name, f"{seen}: one sign is turned",
            "Decide which direction is stronger binding and turn the other column.", shared,
        )  # fmt: skip
    elif "shifted" in form.words and (same_kind or {x.kind, y.kind} <= {"pkd", "score"}):
        yield Finding(
            "unit_shift", "error", 0.97, target.name, y.name, f"{seen}: another unit",
            "Convert one of the tables before they are pooled.", shared,
        )  # fmt: skip
    elif form.words.startswith("9 minus") and same_kind:
        yield Finding(
            "unit_shift", "error", 0.95, target.name, y.name,
            f"{seen}: one is pKd, the other log10(Kd/nM)",
            "Convert one of the tables before they are pooled.", shared,
        )  # fmt: skip


def _already_log(column: ValueColumn) -> list[str]:
    """Why a column's numbers are logarithms and no Kd; empty if they may be a Kd."""
    from scipy import stats

    values = column.values[column.exact]
    reasons = []
    if column.kind == "log_kd" or "log" in column.name.lower():
        reasons.append("its name says so")
    if (values <= 0).sum() >= 2:
        reasons.append(f"{int((values <= 0).sum())} are zero or negative")
    positive = values[values > 0]
    if len(positive) >= 30:
        skew = abs(float(stats.skew(positive)))
        log_skew = abs(float(stats.skew(np.log10(positive))))
        if skew < 1.0 and log_skew > 1.5 * skew + 0.5 and float(np.max(positive)) < 15:
            reasons.append(
                f"they spread evenly between {plain(float(positive.min()))} and "
                f"{plain(float(positive.max()))}, as a logarithm does and a Kd does not"
            )
    return reasons
