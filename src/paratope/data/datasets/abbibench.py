"""AbBiBench: four single-antigen landscapes of heavy-chain variants with published scores.

The four columns called ``binding_score`` are four different things:

* ``1n8z`` (trastuzumab, HER2): pKd by SPR; the rows are also in Absci HER2;
* ``2fjg`` (G6.31, VEGF-A): an enrichment, so a score;
* ``3gbn_h1`` (CR6261, influenza H1): pKd of a display titration whose weakest bin, exactly 7.0,
  means "not tighter";
* ``aayl49`` (Ab-14, SARS-CoV-2 HR2 peptide): 9 - log10(x) of an x that was already log10(Kd / nM).
  Ranks hold, the scale does not, so it is a score too.

All are higher = stronger. The light chain and antigen are in ``context.csv``; 3gbn_h1's are not
published there: its antigen is one unknown residue and its light chain is left out.
"""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError, unknown_name
from paratope.data.datasets.dataset import (
    UNKNOWN_ANTIGEN,
    DataFile,
    Dataset,
    Outcome,
    Source,
    data_root,
    locate,
    read_rows,
    require,
)
from paratope.data.measurements import Conditions, Measurement, Origin

LICENCE = "CC-BY-4.0"  # stated by the data page; the repository holds no licence file
CITATION = "Zhao et al. 2025, AbBiBench, arXiv 2506.04235"
_COLUMNS = ("mut_heavy_chain_seq", "binding_score")
CONTEXT = DataFile(
    "abbibench/context.csv",
    sha256="42a6d6d094a4b2f8f467a3a9864af3c9c4ed5d60cb712a59bcb63d71bb9766e9",
    made="light chain and antigen of each assay, from the assays' publications and PDB entries",
    columns=("dataset", "light_chain", "antigen"),
)
PUBLISHED = DataFile(
    "abbibench/published_spearman.csv",
    sha256="54419f911edcb662e5cbeb0b9526d6305f10792ffb258c488aab252cc926af22",
    made="Spearman of every score in the score tables with the label",
    required=False,
    columns=("dataset", "model", "score", "n", "spearman_raw"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Assay:
    """One landscape: what its number is, its floor, and the checksums of its two files."""

    name: str
    antigen_name: str
    method: str
    data_sha256: str
    scores_sha256: str
    is_pkd: bool = True  # or a score
    floor_pkd: float | None = None

    @property
    def data(self) -> DataFile:
        """The table of variants."""
        return DataFile(
            f"abbibench/{self.name}_benchmarking_data.csv",
            self.data_sha256,
            made="the assay's heavy chains and labels, columns of the published table",
            columns=_COLUMNS,
        )

    @property
    def scores(self) -> DataFile:
        """The same rows with the published scores."""
        return DataFile(
            f"abbibench/{self.name}_all_model_scores.csv.gz",
            self.scores_sha256,
            made="the same rows joined with the score of every published model",
            required=False,
        )


ASSAYS: dict[str, Assay] = {
    assay.name: assay
    for assay in (
        Assay(
            "1n8z",
            "HER2",
            "SPR",
            data_sha256="b87688a49ba457631db3df30116ace36ba56231cb2db8bb2521f6bcb03858350",
            scores_sha256="230f521ae0e14491e86e8103da53d3d0f5833c358a515d5df8b2d47fb53292aa",
        ),
        Assay(
            "2fjg",
            "VEGF-A",
            "phage display enrichment",
            data_sha256="d160a0077da4e4615006832db09151c7a42981a448c1a7de8e2256033e0b63c9",
            scores_sha256="cbc240779a8f2c95fd9e9cb0bc3436eddf9dc59fe4fcc4c96c8f682fa3321856",
            is_pkd=False,
        ),
        Assay(
            "3gbn_h1",
            "influenza HA H1",
            "yeast display titration",
            data_sha256="0bd9dc38079b6d86be550259972f6354bd31a3eead6355b5aa0982b2ce6939dd",
            scores_sha256="b12bdca708b4770653a2ab24b5459cd030519ee7c7bc8da7bf7767ee3bc53e22",
            floor_pkd=7.0,
        ),
        Assay(
            "aayl49",
            "SARS-CoV-2 HR2 peptide",
            "AlphaSeq",
            data_sha256="4907346cb357abad739cc6d166b23a1e18598aa1a5680900a5238782015ce09f",
            scores_sha256="d370679bd84715334cf87204f9bdeb841d75f45ededb389f8939c66e6ad18d38",
            is_pkd=False,
        ),
    )
}


def _read(source: Source, assay: Assay) -> Iterator[Outcome]:
    require(source.path, assay.data)  # the table is the first to be missed
    context = next((row for row in source.rows(CONTEXT) if row["dataset"] == assay.name), None)
    if context is None:
        path = locate(source.path, CONTEXT)
        raise InputError(f"{path}: no row for the assay {assay.name!r} in column 'dataset'")
    antigen, origin = context["antigen"] or UNKNOWN_ANTIGEN, f"abbibench_{assay.name}"
    for row in source.rows(assay.data):
        value = row.number("binding_score")
        is_floor = value == assay.floor_pkd and not source.as_published
        antibody = (row["mut_heavy_chain_seq"], context["light_chain"], assay.name)
        measurement = Measurement(
            row.pair(antibody, (antigen, assay.antigen_name)),
            pkd=value if assay.is_pkd else None,
            score=None if assay.is_pkd else value,
            censoring=Censoring.AT_MOST if is_floor else Censoring.EXACT,
            assay=f"abbibench:{assay.name}",
            conditions=Conditions(method=assay.method),
            origin=Origin(origin, row.row, LICENCE, assay.name, reference=CITATION),
        )
        fate = "measured" if assay.is_pkd else "score"
        yield f"floor {assay.floor_pkd} as censored" if is_floor else fate, measurement
    if antigen == UNKNOWN_ANTIGEN:
        source.notes.append(f"{assay.name}: antigen and light chain are not in the source")


def abbibench_scores(assay: str, root: Path | None = None) -> pl.DataFrame:
    """Published per-row scores of one of ``ASSAYS``.

    Columns: ``row`` (from 1, that of the measurements' origin), ``heavy``, ``binding_score``, then
    one a published score, named ``model|score``, raw: FoldX dg and the buried surface are lower =
    better. Raises `InputError` if the assay is unknown, the file is missing or damaged.
    """
    if assay not in ASSAYS:
        raise InputError(unknown_name("AbBiBench assay", assay, ASSAYS))
    path = require(Path(root) if root is not None else data_root(), ASSAYS[assay].scores)
    try:
        frame = pl.read_csv(path, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as problem:
        raise InputError(f"{path}: not a readable table: {problem}") from problem
    missing = [name for name in _COLUMNS if name not in frame.columns]
    if missing:
        raise InputError(f"{path}: no column {missing}; columns found: {frame.columns[:8]} …")
    for name in frame.columns:
        if name != _COLUMNS[0] and not frame[name].dtype.is_numeric():
            raise InputError(f"{path}, column {name!r}: expected numbers")
    return frame.rename({_COLUMNS[0]: "heavy"}).with_row_index("row", offset=1)


def published_spearman(root: Path | None = None) -> pl.DataFrame:
    """AbBiBench's own raw Spearman of every score: ``dataset, model, score, n, spearman_raw``."""
    path = require(Path(root) if root is not None else data_root(), PUBLISHED)
    return pl.DataFrame(
        {
            **{name: row[name] for name in ("dataset", "model", "score")},
            "n": int(row.number("n")),
            "spearman_raw": row.number("spearman_raw"),
        }
        for row in read_rows(path, PUBLISHED.columns)
    )


ABBIBENCH: tuple[Dataset, ...] = tuple(
    Dataset(
        f"abbibench_{assay.name}",
        f"AbBiBench {assay.name}: heavy chains against {assay.antigen_name}, "
        + ("pKd" if assay.is_pkd else "score")
        + (f", {assay.floor_pkd} is a floor" if assay.floor_pkd is not None else ""),
        LICENCE,
        read=functools.partial(_read, assay=assay),
        files=(assay.data, CONTEXT, assay.scores, PUBLISHED),
        citation=CITATION,
        may_train=assay.name == "1n8z",
    )
    for assay in ASSAYS.values()
)
