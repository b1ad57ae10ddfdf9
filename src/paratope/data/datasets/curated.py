"""Curated tables of one shape, a line each in ``curated.csv``: structures with a Kd, and campaigns.

All have ``id, heavy, light, antigen``, a value (``pkd``, or a ``score``, higher = stronger) and
``censor``, about that value: ``<`` is at most, ``>`` at least. The line of a table says

* ``assay``: the columns that tell assays apart, of which a row's first that is not empty counts;
  none: the table is one assay;
* ``parent``: the column that names the parent, whose row has ``n_mut`` 0; none: not in the table;
* ``floor_pkd``: the weakest pKd the assay can tell. A weaker fit marked ``<`` is a bound of it;
* ``may_train``: yes, no (the terms of one of its origins were not seen), or benchmark only.

What a row's reader should know (an antigen's sequence that is an approximation, replicates that
disagree) is in words in ``Origin.note``. Values that the collection itself doubts are left out.
"""

import csv
import functools
import importlib.resources
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from paratope.core.censoring import Censoring
from paratope.data.datasets.dataset import (
    UNKNOWN_ANTIGEN,
    DataFile,
    Dataset,
    Outcome,
    Source,
    SourceRow,
    celsius_to_K,
)
from paratope.data.measurements import Conditions, Measurement, Origin, bound_non_binders
from paratope.molecules.sequences import Pair

_TABLES = importlib.resources.files("paratope.data.datasets") / "curated.csv"
_SIGNS = {"=": Censoring.EXACT, "<": Censoring.AT_MOST, ">": Censoring.AT_LEAST}
_UNKNOWN_METHODS = frozenset({"Unknown", "NA", "not stated", "Other"})


class CuratedTable(NamedTuple):
    """A line of ``curated.csv``; see the module."""

    name: str
    path: str
    sha256: str
    licence: str
    may_train: str
    value: str
    assay: str
    parent: str
    floor_pkd: str
    method: str  # of all rows; empty: as each row's column `assay` says
    format: str
    summary: str
    citation: str
    made: str

    @property
    def file(self) -> DataFile:
        """The table, and the columns it must have."""
        parent = (self.parent, "n_mut") if self.parent else ()
        columns = ("id", "heavy", "light", "antigen", self.value, "censor", "assay")
        columns = dict.fromkeys((*columns, *self.assay.split(), *parent))
        return DataFile(self.path, self.sha256, made=self.made, columns=tuple(columns))


def _read(source: Source, table: CuratedTable) -> Iterator[Outcome]:
    rows = list(source.rows(table.file))
    parents = _Parents(rows, table)
    for row in rows:
        published = row.values
        if published.get("suspect") == "1" and not source.as_published:
            yield "not used: suspect value", None
            continue
        pair = _pair_of(row)
        parent, parent_pkd = parents.of(row, pair)
        value, censoring = _value_of(row, table, source.as_published)
        is_pkd = table.value == "pkd"
        pkd, score = (value, None) if is_pkd else (None, value)
        delta_pkd = None if pkd is None or parent_pkd is None else pkd - parent_pkd
        method = table.method or row["assay"]
        celsius = row.optional_number("temperature") if "temperature" in published else None
        yield (
            _fate(row, table, value, censoring),
            Measurement(
                pair,
                pkd=pkd,
                score=score,
                censoring=censoring,
                assay=_assay_of(row, table),
                delta_pkd=delta_pkd,
                parent=parent,
                conditions=Conditions(
                    table.format or ("" if row["light"] else "VHH"),
                    "" if method in _UNKNOWN_METHODS else method,
                    celsius_to_K(celsius),
                ),
                origin=Origin(
                    table.name,
                    row.row,
                    table.licence,
                    published.get("pdb")
                    or published.get("label_id")
                    or published.get("campaign")
                    or table.name,
                    mutations=tuple(published.get("mutations", "").split()),
                    date=published.get("date", ""),
                    reference=published.get("pmid") or table.citation,
                    note=_note(row),
                ),
            ),
        )
    nameless = sum(not row["antigen"] for row in rows)
    if nameless:
        source.notes.append(f"{nameless} rows: the antigen's sequence is not in the source")


class _Parents:
    """Rows without a mutation, by the parent's name and the assay."""

    def __init__(self, rows: Sequence[SourceRow], table: CuratedTable) -> None:
        self._table = table
        self._rows: dict[tuple[str, str], SourceRow] = {}
        for row in rows if table.parent else ():
            if row["n_mut"] == "0":
                for assay in (_assay_of(row, table), ""):
                    self._rows.setdefault((row[table.parent], assay), row)

    def of(self, row: SourceRow, pair: Pair) -> tuple[Pair | None, float | None]:
        """The parent of a variant and its pKd, if it was measured in the same assay.

        A parent measured against another antigen only is still the parent, without a pKd.
        """
        if not self._rows or row["n_mut"] == "0":
            return None, None
        name = row[self._table.parent]
        if (same := self._rows.get((name, _assay_of(row, self._table)))) is not None:
            is_exact = same["censor"] == "=" and self._table.value == "pkd"
            return _pair_of(same), same.number("pkd") if is_exact else None
        if (other := self._rows.get((name, ""))) is not None:
            return Pair(_pair_of(other).antibody, pair.antigen), None
        return None, None


def _pair_of(row: SourceRow) -> Pair:
    name = row.values.get("antigen_name") or row.values.get("antigen_note", "")
    name = name.split(";")[0].split(" = ")[0]
    antigen = row["antigen"] or UNKNOWN_ANTIGEN
    return row.pair((row["heavy"], row["light"], row["id"]), (antigen, name))


def _value_of(
    row: SourceRow, table: CuratedTable, as_published: bool
) -> tuple[float | None, Censoring]:
    """A row's value, None for a non-binder without one, and what kind of value it is."""
    if row["censor"] not in _SIGNS:
        raise row.error("censor", f"expected =, < or >, got {row['censor']!r}")
    censoring = _SIGNS[row["censor"]]
    if not row[table.value] and censoring is Censoring.AT_MOST:
        return None, censoring
    value = row.number(table.value)
    if as_published:
        return value, Censoring.EXACT
    if censoring is Censoring.AT_MOST and table.floor_pkd:
        value = max(value, float(table.floor_pkd))
    return value, censoring


def _fate(row: SourceRow, table: CuratedTable, value: float | None, censoring: Censoring) -> str:
    if value is None:
        return "non-binder"
    if censoring is not Censoring.EXACT:
        return "censored"
    disagree = row.values.get("conflict") == "1"
    return "score" if table.value == "score" else "measured" + ", in doubt" * disagree


def _assay_of(row: SourceRow, table: CuratedTable) -> str:
    texts = (row.text(column) for column in table.assay.split())
    which = next(filter(None, texts), "")
    return f"{table.name}:{which}" if which else table.name


def _note(row: SourceRow) -> str:
    """What a reader should know about a row, in words; empty if nothing."""
    values, notes = row.values, []
    if values.get("antigen_note"):
        notes.append(f"antigen: {values['antigen_note']}")
    if values.get("conflict") == "1":
        spread = f"from {values['pkd_min']} to {values['pkd_max']}"
        notes.append(f"{values['n']} replicates disagree, pKd {spread}: their median")
    if values.get("antigen_is_ig") == "1":
        notes.append("the antigen is marked as an immunoglobulin")
    if values.get("in_sabdab_saaint") == "1":
        notes.append("sabdab_full or saaint_manual hold the same PDB entry")
    if values.get("suspect") == "1":
        notes.append("the value is suspect")
    return "; ".join(notes)


TABLES: dict[str, CuratedTable] = {
    row["name"]: CuratedTable(**row)
    for row in csv.DictReader(_TABLES.read_text("utf-8").splitlines())
}
CURATED: dict[str, Dataset] = {
    table.name: Dataset(
        table.name,
        table.summary,
        table.licence,
        read=functools.partial(_read, table=table),
        files=(table.file,),
        citation=table.citation,
        may_train=table.may_train == "yes",
        bound=bound_non_binders,
    )
    for table in TABLES.values()
}
