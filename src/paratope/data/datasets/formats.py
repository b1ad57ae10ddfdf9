"""Published table formats, and the user's own: importers of whatever table they are given.

AlphaSeq tables hold log10(Kd / nM), lower is stronger, under one of two headers: one row per
antibody, whose antigen is only named (`_ANTIBODY_COLUMNS`), or one per interaction
(`_INTERACTION_COLUMNS`). A row without an affinity was not detected, which in this assay is no
bound, so it is counted and left out.

FLAb-type tables are one assay each: ``heavy,light,fitness``, higher is stronger. What a fitness is
differs from table to table (a negative log Kd, an enrichment), so it is a score; a ``<`` or ``>``
in front is a bound on it. Where the values look like Kd, or another column says that they are, they
are refused until ``--columns`` says what they are. The antigen is not in the table.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.data.datasets.dataset import (
    UNKNOWN_ANTIGEN,
    Dataset,
    Outcome,
    Source,
    has_heavy_domain,
    header_of,
    read_rows,
)
from paratope.data.measurements import Conditions, Measurement, Origin, bound_non_binders
from paratope.data.tables import SheetPath, match_columns, read_table
from paratope.data.tables.columns import VALUE_COLUMNS
from paratope.data.tables.values import read_values, turned_score
from paratope.molecules.sequences import clean_antigen

_ANTIBODY_COLUMNS = ("POI", "Target", "Assay", "Pred_affinity", "HC", "LC")
_INTERACTION_COLUMNS = ("mata_sequence", "matalpha_sequence", "alphaseq_affinity")
_FLAB_COLUMNS = ("heavy", "light", "fitness")
_LICENCE = "none stated"
_SHOWN_ERRORS = 5


def _read_alphaseq(source: Source) -> Iterator[Outcome]:
    path = source.path
    is_interactions = "alphaseq_affinity" in header_of(path)
    columns = _INTERACTION_COLUMNS if is_interactions else _ANTIBODY_COLUMNS
    if is_interactions and source.antigen:
        raise InputError(f"{path} holds its antigens; give none")
    antigens = _alphaseq_antigens(path, source.antigen) if source.antigen else {}
    column = "alphaseq_affinity" if is_interactions else "Pred_affinity"
    table = path.name.split(".")[0]
    targets: set[str] = set()
    for row in read_rows(path, columns):
        target = row.values.get("Target", "")
        targets.add(target)
        log10_kd_nM = row.optional_number(column)
        if log10_kd_nM is None:
            yield "no affinity", None
            continue
        if antigens and target not in antigens:
            yield "target without a sequence", None
            continue
        if is_interactions:
            # the antibody is whichever side holds a heavy domain, Mat-A where both do
            pair = None
            for side, other in (("mata", "matalpha"), ("matalpha", "mata")):
                chain, name = row[f"{side}_sequence"], row.values.get(f"{side}_description", "")
                if pair is None and has_heavy_domain(chain):
                    pair = row.pair((chain, "", name), (row[f"{other}_sequence"], ""))
        else:
            antigen = antigens.get(target, UNKNOWN_ANTIGEN)
            pair = row.pair((row["HC"], row["LC"], row["POI"]), (antigen, target))
        if pair is None:
            yield "not an antibody", None
            continue
        # an assay is one run against one target
        run = f":{target}:{row['Assay']}" if "Target" in row.values else ""
        origin = Origin(table, row.row, _LICENCE, row.values.get("POI", ""))
        conditions = Conditions("scFv", "AlphaSeq")
        assay, pkd = f"{table}{run}", 9.0 - log10_kd_nM
        yield "measured", Measurement(pair, pkd, assay=assay, conditions=conditions, origin=origin)
    if antigens and not targets & set(antigens):
        raise InputError(f"{path}: no row of {sorted(antigens)}; its targets: {sorted(targets)}")
    if not is_interactions and not antigens:
        source.notes.append(
            f"no sequences of the targets {sorted(targets)}; give them as the antigen"
        )


def _alphaseq_antigens(path: Path, text: str) -> dict[str, str]:
    """Residues by target: of the table's only one, or as ``TARGET=RESIDUES,…``."""
    if "=" not in text:
        targets = sorted({row["Target"] for row in read_rows(path, _ANTIBODY_COLUMNS)})
        if len(targets) > 1:
            raise InputError(
                f"{path} has the targets {targets}: give the antigen as TARGET=RESIDUES, several "
                f"separated by commas, got {text!r}"
            )
        return {targets[0]: text}
    antigens: dict[str, str] = {}
    for part in text.split(","):
        name, _, residues = (piece.strip() for piece in part.partition("="))
        if not (name and residues):
            raise InputError(f"expected the antigen as TARGET=RESIDUES, got {part!r}")
        antigens[name] = residues
    return antigens


def _read_flab(source: Source) -> Iterator[Outcome]:
    tables = sorted(source.path.glob("*.csv")) if source.path.is_dir() else [source.path]
    if not tables:
        columns = ", ".join(_FLAB_COLUMNS)
        raise InputError(f"{source.path}: no .csv tables; expected columns {columns}")
    given = dict(source.columns or {})
    kind = next((name for name in VALUE_COLUMNS if name in given), "score")
    heavy, light = (given.get(name, name) for name in ("heavy", "light"))
    value = given.get(kind, "fitness")
    for path in tables:
        rows = list(read_rows(path, (heavy, light, value)))
        names = match_columns(list(rows[0].values), given, ["id"])
        if kind not in given:
            texts = {name: [row.values[name] for row in rows] for name in rows[0].values}
            if doubt := turned_score(texts.pop(value), texts):
                raise InputError(
                    f"{path}, column {value!r}: {doubt}, of which lower is stronger, and a fitness "
                    f"is higher = stronger; say which it is: --columns kd_M={value} (or kd_nM, "
                    f"...), or --columns score={value}"
                )
        for row in rows:
            if not row.text(value):
                yield "no affinity", None
                continue
            if not row[heavy]:
                yield "no heavy chain", None
                continue
            try:
                read = read_values({kind: row[value]}, {kind: value})
            except InputError as problem:
                raise InputError(f"{path}, line {row.line}, {problem}") from problem
            antibody = (row[heavy], row.text(light), row[names["id"]] if "id" in names else "")
            measurement = Measurement(
                row.pair(antibody, (source.antigen or UNKNOWN_ANTIGEN, "")),
                pkd=read.pkd,
                score=read.score,
                censoring=read.censoring,
                assay=path.stem,
                origin=Origin(path.stem, row.row, _LICENCE),
            )
            yield "score" if kind == "score" else "measured", measurement
    if not source.antigen:
        source.notes.append("the antigen is not in the table; give its sequence")


def _read_plain(source: Source) -> Iterator[Outcome]:
    antigens = (clean_antigen(source.antigen, "antigen")[0],) if source.antigen else None
    path = source.path if source.sheet is None else SheetPath(source.path, source.sheet)
    options = {"antigens": antigens, "columns": source.columns, "take": source.take}
    table = read_table(path, require="measured", **options)
    errors = [row.error for row in table.rows if row.error is not None]
    if all(row.measurement is None for row in table.rows):
        raise InputError(f"{source.path}: no row can be read; the first error: {errors[0]}")
    for measurement in (row.measurement for row in table.rows):
        if measurement is None:
            yield "in error", None
            continue
        is_score = measurement.pkd is None and measurement.score is not None
        is_bound = measurement.censoring is not Censoring.EXACT
        origin = dataclasses.replace(measurement.origin, licence="own")
        fate = "censored" if is_bound else "score" if is_score else "measured"
        yield fate, dataclasses.replace(measurement, origin=origin)
    source.notes += [*table.notes, *errors[:_SHOWN_ERRORS]]
    if len(errors) > _SHOWN_ERRORS:
        source.notes.append(f"… and {len(errors) - _SHOWN_ERRORS} more rows in error")


ALPHASEQ = Dataset(
    "alphaseq",
    "Format: AlphaSeq tables, log10(Kd / nM), lower = stronger (give the table)",
    _LICENCE,
    may_train=False,
    files=(),
    read=_read_alphaseq,
    citation="Engelhart et al. 2022, Sci. Data 9:653; A-Alpha Bio's AlphaSeq tables",
)
FLAB = Dataset(
    "flab",
    "Format: FLAb-type tables, heavy, light, fitness, one assay each (give table or folder)",
    _LICENCE,
    may_train=False,
    files=(),
    read=_read_flab,
    citation="Chungyoun et al. 2024, FLAb, bioRxiv 2024.01.13.575504",
    bound=bound_non_binders,
)
PLAIN = Dataset(
    "plain",
    "Format: your own table, columns as `paratope predict` and `train` know them (give the table)",
    "own",
    may_train=True,
    files=(),
    citation="",
    read=_read_plain,
)
