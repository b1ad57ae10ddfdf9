"""Columns: which line names them, what each is by its name, and what its cells have in common."""

import contextlib
import csv
import datetime
import functools
import importlib.resources
import re
import tomllib
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from paratope.core.errors import InputError, unknown_name
from paratope.core.number_text import is_not_measured
from paratope.molecules.sequences import antigen_doubt, clean_antigen

if TYPE_CHECKING:
    import polars as pl

_FILE = importlib.resources.files("paratope.data.tables") / "columns.toml"
# Canonical name: other names under which it is recognised, likeliest first.
ALIASES: dict[str, tuple[str, ...]] = {
    canonical: tuple(others.split())
    for canonical, others in tomllib.loads(_FILE.read_text("utf-8")).items()
}

# columns that hold a measured number
VALUE_COLUMNS = tuple("pkd kd_M kd_uM kd_nM kd_pM kd dg_kcal_mol ddg_kcal_mol score".split())
# columns that say which molecules a row is about, and all that are read with a measurement
PAIR_COLUMNS = tuple(
    "id heavy light antigen antigen_name format mutations parent parent_heavy parent_light "
    "parent_antigen parent_pkd parent_is epitope".split()
)
MEASURED_COLUMNS = (
    *PAIR_COLUMNS,
    *VALUE_COLUMNS,
    *"binder relation unit value_type assay method temperature date reference complex fold".split(),
)
# "ka", "kon (10^5 /Ms)", "association rate constant"; and "koff", "kdis", "kd (1/s)"
_ON_RATE = re.compile(r"(?:ka|kon|kass|onrate|association(?:rate)?)(?:constant)?[\dmsx]*$")
_OFF_RATE = re.compile(
    r"(?:koff|kdis|kdiss|offrate|dissociationrate)(?:constant)?[\dsx]*$|kd(?:[\dx]*s1?|persecond)$"
)
# a column of how far values scatter, not of values
SPREAD_NAME = re.compile(
    r"(?<![a-z])(?:sd|sem?|std(?:ev|err)?|cv|err|error)(?![a-z])|±|s\.d\.", re.I
)
_AFFINITY_NAME = re.compile(r"(?<![a-z])(?:p|app|log)?_?k_?d(?![a-z])|kd_?app|affinity", re.I)

# Lines in which a header is looked for: titles, comments and metadata may stand above it.
HEAD_LINES = 30
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# From this many known names on, a line is a header wherever it stands.
ENOUGH_NAMES = 2
_MAX_HEADER = 100_000  # characters of a line that are looked at; csv's own limit is above that
_RESIDUES = re.compile(r"[A-Za-z*|:-]{40,}")
_COMMENT = re.compile(r"\s*(#|//|%|\{)")

_DATES = (
    *("%m/%d/%y", "%m/%d/%Y", "%d/%m/%y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%d.%m.%y"),
    *("%d.%m.%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%b-%y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y"),
    *("%b %d, %Y", "%B %d, %Y", "%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M"),
)


def parse_columns(text: str) -> dict[str, str]:
    """A mapping of columns as typed on the command line: ``canonical=yours,canonical=yours``.

    Raises `InputError` if a part has no ``=``, names no known column, or names one twice.

    >>> parse_columns("heavy=VH,antigen=target")
    {'heavy': 'VH', 'antigen': 'target'}
    """
    mapping: dict[str, str] = {}
    for part in filter(str.strip, text.split(",")):
        canonical, equals, name = (piece.strip() for piece in part.partition("="))
        if not (equals and canonical and name):
            raise InputError(
                f"columns: cannot read {part.strip()!r}; expected NAME=YOUR_COLUMN, such as "
                "heavy=VH,antigen=target"
            )
        canonical = _canonical(canonical)
        if canonical in mapping:
            raise InputError(f"columns: {canonical} is given twice")
        mapping[canonical] = name
    return mapping


def match_columns(
    names: Sequence[str],
    columns: Mapping[str, str] | None = None,
    wanted: Iterable[str] | None = None,
) -> dict[str, str]:
    """The user's column for each canonical name that is there.

    `columns`, canonical name to the user's, goes before the aliases; `wanted` are the canonical
    names to look for, all by default. Raises `InputError` if `columns` names a column that is not
    there, or an unknown canonical name.

    >>> match_columns(["VH", "Target sequence", "Kd (nM)", "well"])
    {'heavy': 'VH', 'antigen': 'Target sequence', 'kd_nM': 'Kd (nM)'}
    """
    matched: dict[str, str] = {}
    for canonical, name in (columns or {}).items():
        if name not in names:
            raise InputError(
                f"columns: {canonical}={name}: there is no column {name!r}; columns found: "
                f"{shown_names(names)}"
            )
        matched[_canonical(canonical)] = name
    by_key: dict[str, str] = {}
    apart = {*rate_columns(names), *predicted_columns(names)}
    for name in names:
        if name not in matched.values() and name not in apart:
            by_key.setdefault(_key(name), name)
    for canonical in ALIASES if wanted is None else wanted:
        for name in (canonical, *ALIASES[_canonical(canonical)]):
            if canonical not in matched and _key(name) in by_key:
                matched[canonical] = by_key.pop(_key(name))
    return {canonical: matched[canonical] for canonical in ALIASES if canonical in matched}


def rate_columns(names: Sequence[str]) -> tuple[str | None, str | None]:
    """Columns of an on rate and an off rate, of which ``kd`` is one only beside an on rate."""
    on = [name for name in names if _ON_RATE.match(_key(name))]
    off = [name for name in names if _OFF_RATE.match(_key(name))]
    if on and not off:  # a chemist's k is a rate and her K an equilibrium
        off = [name for name in names if _key(name) == "kd" and name.strip()[0] == "k"]
    return next(iter(on), None), next(iter(off), None)


def predicted_columns(names: Collection[str]) -> list[str]:
    """Columns of a table that Paratope predicted which would else be taken for measured ones.

    >>> predicted_columns(["pkd", "pkd_low", "pkd_high", "kd_nM", "domain", "Kd (nM)"])
    ['pkd', 'kd_nM']
    """
    found = []
    for kind, columns in (("pkd", ("pkd", "kd_nM")), ("score", ("score", "pkd", "kd_nM"))):
        if {kind, f"{kind}_low", f"{kind}_high", "domain"} <= set(names):
            found += [name for name in columns if name in names and name not in found]
    return found


def same_meaning(names: Sequence[str], canonical: str, taken: Collection[str]) -> list[str]:
    """Further columns that a canonical one is known by, in the table's order."""
    keys = {_key(name) for name in (canonical, *ALIASES[canonical])}
    apart = {*rate_columns(names), *predicted_columns(names)}

    def is_known(name: str) -> bool:
        first = re.sub(r"(?:_[2-9]|\.[1-9])$", "", name)  # of a name that is there twice
        return _key(name) in keys or (first in names and _key(first) in keys)

    return [n for n in names if is_known(n) and n not in taken and n not in apart]


def residues_before_names(
    matched: Mapping[str, str], sample: "pl.DataFrame", chosen: Iterable[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """`matched` with columns of residues where others of their names hold none, and notes on it.

    `sample` are rows of the table, `chosen` the canonical names the user gave columns for.
    """
    result, notes = dict(matched), []
    for canonical in ("heavy", "light", "antigen"):
        if canonical not in matched or canonical in set(map(_canonical, chosen)):
            continue
        names = [matched[canonical], *same_meaning(sample.columns, canonical, [*matched.values()])]
        best = max(names, key=lambda name: _residues_share(sample[name]) >= 0.5)
        if best != names[0]:
            result[canonical] = best
            notes.append(
                f"{canonical} is read from column {best!r}; {names[0]!r} holds no residues"
            )
            if canonical == "antigen":
                result.setdefault("antigen_name", names[0])
    return result, notes


def _residues_share(column: "pl.Series") -> float:
    """Share of the filled cells that are surely residues, neither names nor short peptides."""
    texts = column.drop_nulls().to_list() if str(column.dtype) == "String" else []
    texts = [text for text in texts if not is_not_measured(text)]

    def is_sequence(text: str) -> bool:
        with contextlib.suppress(InputError):
            return len(clean_antigen(text)[0].chains[0]) > 12 and not antigen_doubt(text)
        return False

    return sum(map(is_sequence, texts)) / max(1, len(texts))


def missing_column(
    source: str, canonical: str, sample: "pl.DataFrame", matched: Mapping[str, str]
) -> str:
    """Message for a column that is needed and not there, with those it might be."""
    import polars as pl

    names = sample.columns
    rest = [name for name in names if name not in matched.values()]
    name = next((n for n in rest if _residues_share(sample[n]) >= 0.5), "YOUR_COLUMN")
    advice = f"Name yours with --columns {canonical}={name}"
    if canonical == "pkd" and (predicted := predicted_columns(names)):
        return (
            f"{source}: no column of measured values; {' and '.join(map(repr, predicted))} are "
            "predictions of Paratope. Add what was measured as a column 'kd_nM_measured' or "
            "'pkd_measured', or name yours with --columns kd_nM=YOUR_COLUMN"
        )
    if canonical == "pkd":
        numbers = {name: sample[name].cast(pl.Float64, strict=False).drop_nulls() for name in rest}
        # a number of wells or rows is whole
        others = re.compile(f"{_ON_RATE.pattern}|{_OFF_RATE.pattern}")
        likely = [n for n in rest if not (SPREAD_NAME.search(n) or others.match(_key(n)))]
        measured = [n for n in likely if (numbers[n] != numbers[n].round()).any()]
        named = [n for n in likely if _AFFINITY_NAME.search(n)]
        name = next(iter(named or measured), "YOUR_COLUMN")
        advice = (
            f"Name yours with --columns score={name} where higher is stronger (ELISA, "
            f"enrichment), --columns kd_nM={name} or pkd={name} where it is an affinity"
        )
    message = (
        f"{source}: no column for {canonical}. Columns found: {shown_names(names)}. "
        f"Known names for {canonical}: {', '.join((canonical, *ALIASES[canonical]))}. {advice}"
    )
    if any(len(name) >= 40 and name.isalpha() for name in names):
        message += ". The first line looks like data: put a header line above it"
    return message


def shown_names(names: Iterable[str]) -> str:
    """Names for an error message, long ones cut."""
    return ", ".join(name if len(name) <= 30 else name[:30] + "…" for name in names) or "none"


def _canonical(name: str) -> str:
    for canonical in ALIASES:
        if _key(canonical) == _key(name):
            return canonical
    raise InputError(unknown_name("column", name, ALIASES))


@functools.lru_cache(maxsize=4096)
def _key(name: str) -> str:
    """A column's name without case, spaces and punctuation; Greek letters spelt out."""
    plain = name.strip().lower().replace("µ", "u").replace("μ", "u").replace("δ", "d")
    return re.sub(r"[^a-z0-9]", "", plain)


def known_names(fields: Sequence[str], chosen: Collection[str] = ()) -> int:
    """How far a line reads like a header: `chosen` names first, then columns that are known.

    Names that repeat speak against it (headers of groups), residues rule it out.
    """
    names = [field.strip() for field in fields if field.strip()]
    if any(_RESIDUES.fullmatch(name) for name in names):
        return -1000
    repeated = len(names) - len(set(names))
    return 100 * len(set(chosen) & set(names)) + len(match_columns(names)) - repeated


def header_index(rows: Sequence[Sequence[str]], chosen: Collection[str] = ()) -> int:
    """Index of the row that names the columns: known names, or the first that is no comment.

    >>> header_index([["Plate 7"], [], ["id", "VH", "antigen"], ["a", "EVQL", "MKV"]])
    2
    """
    scores = [known_names(row, chosen) for row in rows]
    best = max(scores, default=0)
    if best >= ENOUGH_NAMES:
        return scores.index(best)
    filled = [sum(bool(field.strip()) for field in row) for row in rows]
    fewest = min(2, max(filled, default=0))
    usable = [n for n, row in enumerate(rows) if filled[n] >= fewest and not _COMMENT.match(row[0])]
    without_repeats = [index for index in usable if scores[index] >= 0]
    return next(iter(without_repeats or usable), 0)


def find_header(
    lines: Sequence[str], usual: str, chosen: Collection[str] = (), delimiters: str = ""
) -> tuple[int, str]:
    r"""Index of the header among the first lines of a text file, and the delimiter of its fields.

    `delimiters` are those that may be, all by default; `usual` is taken where nothing tells.

    >>> find_header(["# exported\n", "id;VH;antigen\n", "a;EVQL;MKV\n"], ",")
    (1, ';')
    """
    rows, marks = [], []
    for line in lines:
        split = {
            mark: next(csv.reader([line[:_MAX_HEADER]], delimiter=mark), [])
            for mark in delimiters or DELIMITERS
        }
        merits = {
            mark: (max(known_names(fields, chosen), 0), len(fields), mark == usual)
            for mark, fields in split.items()
        }
        marks.append(max(merits, key=merits.__getitem__))
        rows.append(split[marks[-1]])
    index = header_index(rows, chosen)
    return index, marks[index]


def whole_number(text: str) -> str:
    """A whole number without its point, which gaps in a column give it; other text as it is."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", text.strip())


def id_among(name: str, known: Container[str], suffix: str = "") -> str:
    """An id, with a suffix, as it is written among those known, 1 and 1.0 being the same.

    >>> id_among("1.0", {"1", "2"}), id_among("1", {"1.0"}), id_among("wt", {"1"})
    ('1', '1.0', 'wt')
    """
    whole = whole_number(name)
    spellings = (f"{same}{suffix}" for same in (name, whole, f"{whole}.0"))
    return next((same for same in spellings if same in known), name + suffix)


def iso_date(text: str, form: str = "") -> str:
    """A date as 2024-05-31, of a text in a form of ``strptime`` or of ISO; empty if it is none."""
    with contextlib.suppress(ValueError):
        text, kind = text.strip(), datetime.datetime
        return (kind.strptime(text, form) if form else kind.fromisoformat(text)).date().isoformat()
    return ""


def iso_dates(texts: Sequence[str]) -> tuple[list[str], str]:
    """A column's dates as 2024-05-31, in the one order that fits most; what to say of others."""
    odd = {text for text in texts if not (is_not_measured(text) or iso_date(text))}
    readings = [{text: date for text in odd if (date := iso_date(text, form))} for form in _DATES]
    most = max(map(len, readings))
    best = [reading for reading in readings if len(reading) == most]
    if not most:
        return list(texts), ""
    doubtful = [text for text in best[0] if any(best[0][text] != other.get(text) for other in best)]
    if doubtful:
        hint = "may be month or day first: not read; write dates such as 2024-05-31"
        return ["" if text in odd else text for text in texts], f"{min(doubtful)!r} {hint}"
    return [best[0].get(text, text) for text in texts], ""
