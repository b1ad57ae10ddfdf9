"""A table of measured and predicted values, from any file that has both."""

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.number_text import is_no_binding, is_not_measured
from paratope.core.units import (
    LARGEST,
    dg_kcal_mol_to_pkd,
    flip_censoring,
    parse_bounded_number,
    parse_kd,
)
from paratope.data.tables import as_frame, match_columns, read_frame
from paratope.evaluation.baselines import Families
from paratope.evaluation.metrics import EvaluationRows
from paratope.molecules.sequences import AMINO_ACIDS

Labels = NDArray[Any]

_TRUE = ("true", "y_true", "true_label", "measured", "actual", "experimental", "label")
_PRED = ("pred", "y_pred", "prediction", "predicted", "predicted_pkd", "pred_pkd", "pkd_pred")
_VALUES = ("pkd", "kd_M", "kd_uM", "kd_nM", "kd_pM", "kd", "dg_kcal_mol", "score")
_KD_UNITS = {"kd": "M", "kd_m": "M", "kd_um": "uM", "kd_nm": "nM", "kd_pm": "pM"}
_CENSORING = ("censoring", "relation", "qualifier", "operator", "inequality")
_GROUP = ("group", "antigen_cluster", "cluster", "groups")
_SOURCE = ("source", "src", "dataset", "origin")
_RELATIONS = {
    "<": Censoring.AT_MOST,
    "<=": Censoring.AT_MOST,
    "at_most": Censoring.AT_MOST,
    ">": Censoring.AT_LEAST,
    ">=": Censoring.AT_LEAST,
    "at_least": Censoring.AT_LEAST,
    "": Censoring.EXACT,
    "=": Censoring.EXACT,
    "exact": Censoring.EXACT,
}
# What a folder may hold, likeliest first: a run folder's test rows, a report folder's judged rows.
_FOLDER_FILES = ("test_predictions.csv", "judged_rows.csv", "predictions.csv")
# Of these, the file of a run, and beside it the rows that the run was trained on.
_RUN_PREDICTIONS, _RUN_SPLIT = _FOLDER_FILES[0], "split.csv"
# An antigen column may hold names, which are no sequences.
_CHAINS = re.compile(rf"[{AMINO_ACIDS}X]{{20,}}(?:[|:][{AMINO_ACIDS}X]+)*")
_SPLITS = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation"}


@dataclasses.dataclass(frozen=True, slots=True)
class PredictionTable:
    """Rows that have both values, with what else the table says of them."""

    source: str  # File name
    rows: EvaluationRows  # n rows
    index: NDArray[np.int64]  # (n,) row in the table, from 0
    labels: Mapping[str, Labels]  # (n,) text of ``split``, ``antigen``, ``id``, ``heavy``, ...
    columns: Mapping[str, str]  # Role to column: ``{"measured": "true", "predicted": "pred"}``
    total: int  # Rows of the table
    left_out: Mapping[str, int]  # Why the others are not judged, and how many
    faulty: int = 0  # Of these, rows whose value cannot be read or whose prediction is an error
    # Of a run's predictions: the table of its rows with their parts of the split
    run_split: Path | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, keep: Any) -> "PredictionTable":
        """The rows of a boolean mask or an index array."""
        return dataclasses.replace(
            self,
            rows=self.rows.take(keep),
            index=self.index[keep],
            labels={name: values[keep] for name, values in self.labels.items()},
        )

    def part(self, split: str) -> "PredictionTable | None":
        """Rows of one part of the split, or None if there are none."""
        if "split" not in self.labels or not (keep := self.labels["split"] == split).any():
            return None
        return self.take(keep)

    def antigens(self) -> Labels | None:
        """Antigen of each row, (n,), point mutants counted with it; None without the column.

        Sequences of equal lengths are mutants of one antigen as the baselines see it (`Families`);
        names stay as they are.
        """
        if "antigen" not in self.labels:
            return None
        texts = self.labels["antigen"].tolist()
        family = _antigen_families(tuple(dict.fromkeys(texts)))
        return np.array([family[text] for text in texts], dtype=object)

    def grouping(self) -> tuple[str, Labels]:
        """What intervals resample: the group column, else the antigen, else single rows.

        Of rows of one antigen, as of a campaign, antibodies are resampled.
        """
        labels = self.labels
        if "group" in labels:
            return self.columns.get("group", "group"), labels["group"]
        antigens = self.antigens()
        if antigens is None:
            return "row", np.arange(len(self))
        name = self.columns.get("antigen", "antigen")
        if "heavy" in labels and len(set(antigens.tolist())) == 1:
            light = labels.get("light", np.full(len(self), "")).tolist()
            chains = zip(labels["heavy"].tolist(), light, strict=True)
            antibodies = [f"{heavy}|{light or ''}" for heavy, light in chains]
            if len(set(antibodies)) == 1 and len(set(labels["antigen"].tolist())) > 1:
                return name, labels["antigen"]  # mutants of an antigen against one antibody
            return "antibody", np.array(antibodies)
        return name, antigens


@functools.lru_cache(maxsize=16)
def _antigen_families(texts: tuple[str, ...]) -> dict[str, str]:
    """The first text of the family of each distinct antigen."""
    families, first = Families(), {}
    heads: dict[int, str] = {}
    for text in texts:
        if _CHAINS.fullmatch(text):
            family = families.add(tuple(re.split("[|:]", text)))
            first[text] = heads.setdefault(family, text)
        else:
            first[text] = text
    return first


def predictions_file(path: str | Path) -> str | Path:
    """The table behind a path: itself, or the predictions in a run or report folder."""
    target = Path(path)
    if not target.is_dir():
        return path
    for name in _FOLDER_FILES:
        if (target / name).is_file():
            return target / name
    raise InputError(
        f"{path}: a folder without predictions; expected one of {', '.join(_FOLDER_FILES)} in it"
    )


def run_split_of(path: str | Path) -> Path | None:
    """The rows that a run was trained on, with their parts; None of what is no run's table."""
    table = Path(path)
    split = table.parent / _RUN_SPLIT
    return split if table.name == _RUN_PREDICTIONS and split.is_file() else None


def read_predictions(
    source: Any,
    *,
    true: str | None = None,
    pred: str | None = None,
    group: str | None = None,
) -> PredictionTable:
    """Read any table (path, ``"-"``, polars or pandas frame) with measured and predicted values.

    The columns of these and of the `group` that intervals resample are found by their usual names
    where not given; raises `InputError` if one is missing or no row has both values.

    >>> frame = pl.DataFrame({"true": ["7.1", "<5"], "pred": ["7.0", "6.2"]})
    >>> read_predictions(frame).rows.censoring.tolist()
    [0, -1]
    """
    if hasattr(source, "columns"):
        name, frame, run_split = "table", as_frame(source), None
    else:
        table = read_frame(source)
        name, frame = table.source, table.frame
        run_split = run_split_of(source) if isinstance(source, str | Path) else None
    columns = _roles(name, frame, true, pred, group)
    measured, codes, bad_measured = _measured(frame, columns)
    predicted = _numbers(frame, columns["predicted"])
    reasons: Counter[str] = Counter()
    no_measured, no_predicted = ~np.isfinite(measured), ~np.isfinite(predicted)
    huge_measured = _huge(frame, columns["measured"])
    huge_predicted = _huge(frame, columns["predicted"])
    bad_predicted = no_predicted & ~_empty(frame, columns["predicted"])
    if "error" in columns:
        bad_predicted |= no_predicted & ~_empty(frame, columns["error"])
    for reason, mask in (
        ("no measured value", no_measured & ~bad_measured & ~huge_measured),
        ("measured value cannot be read", bad_measured & ~huge_measured),
        (f"measured value is beyond ±{LARGEST:g}", huge_measured),
        ("prediction is an error", ~no_measured & bad_predicted & ~huge_predicted),
        (f"prediction is beyond ±{LARGEST:g}", ~no_measured & huge_predicted),
        ("no prediction", ~no_measured & no_predicted & ~bad_predicted),
    ):
        if count := int(mask.sum()):
            reasons[reason] = count
    keep = ~no_measured & ~no_predicted
    if not keep.any():
        why = "; ".join(f"{count} rows: {reason}" for reason, count in reasons.items())
        raise InputError(
            f"{name}: no row has both a measured value (column {columns['measured']!r}) and a "
            f"predicted one (column {columns['predicted']!r}): {why or 'the table has no rows'}"
        )
    optional = {
        role: _numbers(frame, columns[column])[keep]
        for role, column in (("low", "pkd_low"), ("high", "pkd_high"), ("p_strong", "p_strong"))
        if column in columns
    }
    if not all(np.isfinite(optional.get(end, np.zeros(1))).all() for end in ("low", "high")):
        optional = {role: values for role, values in optional.items() if role == "p_strong"}
        reasons["intervals ignored: some are empty"] = 0
    elif {"low", "high"} <= optional.keys() and (optional["low"] > optional["high"]).any():
        optional = {role: values for role, values in optional.items() if role == "p_strong"}
        reasons["intervals ignored: some end below their beginning"] = 0
    coverage = _numbers(frame, columns["coverage"])[keep] if "coverage" in columns else None
    if not np.isfinite(optional.get("p_strong", np.zeros(1))).all():
        del optional["p_strong"]
    shares = {"p_strong": optional.get("p_strong"), "coverage": coverage}
    for role, values in shares.items():
        if values is None or ((values >= 0) & (values <= 1)).all():
            continue
        reasons[f"column {columns[role]!r} ignored: some values are not between 0 and 1"] = 0
        optional.pop(role, None)
        coverage = None if role == "coverage" else coverage
    rows = EvaluationRows(
        measured[keep], predicted[keep], codes[keep], coverage=coverage, **optional
    )
    return PredictionTable(
        source=name,
        rows=rows,
        index=np.flatnonzero(keep),
        labels=_labels(frame.filter(pl.Series(keep)), columns),
        columns=columns,
        total=frame.height,
        left_out=dict(reasons),
        faulty=int((bad_measured | (~no_measured & bad_predicted)).sum()),
        run_split=run_split,
    )


def _roles(
    name: str, frame: pl.DataFrame, true: str | None, pred: str | None, group: str | None
) -> dict[str, str]:
    by_lower = {column.strip().lower(): column for column in reversed(frame.columns)}

    def first(names: tuple[str, ...], *, without: str | None = None) -> str | None:
        columns = (by_lower.get(candidate.lower()) for candidate in names)
        return next((column for column in columns if column and column != without), None)

    for option, given in (("--true", true), ("--pred", pred), ("--group", group)):
        if given is not None and given not in frame.columns:
            raise InputError(
                f"{name}: {option} {given}: there is no such column; columns found: "
                f"{', '.join(frame.columns)}"
            )
    kept = tuple(f"{value}_measured" for value in _VALUES) + ("measured_pkd", "pkd_true")
    predicted = pred or first(_PRED, without=true)
    # beside a prediction called pkd, kd_nM is its twin and not a measurement
    values = _VALUES if predicted else ("kd", "kd_M", "dg_kcal_mol")
    measured = true or first((*_TRUE, *kept, *values), without=predicted)
    predicted = predicted or first(("pkd", "score"), without=measured)
    for role, column, names, option in (
        ("measured", measured, (*_TRUE, "pkd_measured", "kd"), "--true"),
        ("predicted", predicted, (*_PRED, "pkd"), "--pred"),
    ):
        if column is None:
            raise InputError(
                f"{name}: no column of {role} values. Columns found: {', '.join(frame.columns)}. "
                f"Known names: {', '.join(names)}. Name yours with {option} COLUMN"
            )
    roles = {"measured": str(measured), "predicted": str(predicted)}
    wanted = ("id", "heavy", "light", "antigen", "antigen_name", "assay", "split")
    taken = set(roles.values())
    rest = [column for column in frame.columns if column not in taken]
    roles |= match_columns(rest, wanted=(*wanted, "pkd_low", "pkd_high", "p_strong"))
    extra = {"group": group or first(_GROUP), "source": first(_SOURCE)}
    extra |= {"censoring": first(_CENSORING)} | {
        key: first((key,)) for key in ("coverage", "error")
    }
    if extra["error"] and frame.schema[extra["error"]].is_numeric():
        extra["error"] = None  # a column of residuals
    return roles | {role: column for role, column in extra.items() if column}


def _text(frame: pl.DataFrame, column: str) -> pl.Series:
    return frame[column].cast(pl.String).fill_null("").str.strip_chars()


def _empty(frame: pl.DataFrame, column: str) -> NDArray[np.bool_]:
    return _text(frame, column).str.to_lowercase().is_in(["", "nan", "na", "null"]).to_numpy()


def _numbers(frame: pl.DataFrame, column: str) -> NDArray[np.float64]:
    values = _text(frame, column).cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    values = np.where(np.abs(values) <= LARGEST, values, np.nan)  # squares stay numbers
    return np.where(np.abs(values) < 1 / LARGEST, 0.0, values)


def _huge(frame: pl.DataFrame, column: str) -> NDArray[np.bool_]:
    values = _text(frame, column).cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    return np.isfinite(values) & (np.abs(values) > LARGEST)


def _measured(
    frame: pl.DataFrame, columns: Mapping[str, str]
) -> tuple[NDArray[np.float64], NDArray[np.int8], NDArray[np.bool_]]:
    """Measured pKd, censoring codes, and which rows hold something that cannot be read.

    What does not bind is at most the weakest value of its assay.
    """
    kind = columns["measured"].lower().removesuffix("_measured")
    texts = _text(frame, columns["measured"])
    relations = _text(frame, columns["censoring"]) if "censoring" in columns else None
    empty = _empty(frame, columns["measured"])
    flips = kind in _KD_UNITS or kind == "dg_kcal_mol"
    values = np.full(len(texts), np.nan) if flips else _numbers(frame, columns["measured"])
    codes = np.zeros(len(texts), dtype=np.int8)
    bad, unbounded = np.zeros((2, len(texts)), dtype=bool)
    for row in np.flatnonzero(~np.isfinite(values) & ~empty):
        text = texts[int(row)]
        if is_no_binding(text, of_kd=kind in _KD_UNITS):
            unbounded[row], codes[row] = True, Censoring.AT_MOST
        elif not is_not_measured(text):
            try:
                values[row], codes[row] = _read_value(text, kind)
            except InputError:
                bad[row] = True
    if relations is not None:
        for row in np.flatnonzero((relations != "").to_numpy()):
            relation = _RELATIONS.get(relations[int(row)].lower())
            if relation is None:
                bad[row], values[row] = True, np.nan
            elif relation != Censoring.EXACT:
                codes[row] = flip_censoring(relation) if flips else relation
    assays = _text(frame, columns["assay"]) if "assay" in columns else pl.Series([""] * len(texts))
    for row in np.flatnonzero(unbounded):
        same = (assays == assays[int(row)]).to_numpy() & (codes != Censoring.AT_LEAST)
        known = values[same & np.isfinite(values)]  # those already bounded do not lower it
        values[row] = known.min() if len(known) else np.nan
        bad[row] = not len(known)
    return values, codes, bad


def _read_value(text: str, kind: str) -> tuple[float, Censoring]:
    if kind in _KD_UNITS:
        pkd, censoring = parse_kd(text, _KD_UNITS[kind])
        assert pkd is not None  # what does not bind is no number, and is not read here
        return pkd, censoring
    value, censoring = parse_bounded_number(text)
    if abs(value) > LARGEST:
        raise InputError(f"beyond ±{LARGEST:g}")
    if kind == "dg_kcal_mol":
        return dg_kcal_mol_to_pkd(value), flip_censoring(censoring)
    return value, censoring


def _labels(frame: pl.DataFrame, columns: Mapping[str, str]) -> dict[str, Labels]:
    roles = ("id", "heavy", "light", "antigen", "assay", "source", "group", "split")
    found = {role: _text(frame, columns[role]).to_numpy() for role in roles if role in columns}
    if "antigen_name" in columns and "antigen" not in found:
        found["antigen"] = _text(frame, columns["antigen_name"]).to_numpy()
    if "split" in found:
        lower = [value.lower() for value in found["split"]]
        found["split"] = np.array([_SPLITS.get(value, value) for value in lower], dtype=object)
    return found
