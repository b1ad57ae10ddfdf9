"""AbBiBench: four single-antigen landscapes of heavy-chain variants with published scores.

The four columns called ``binding_score`` are four different things:

* ``1n8z`` (trastuzumab, HER2): pKd by SPR; the rows are also in Absci HER2;
* ``2fjg`` (G6.31, VEGF-A): an enrichment, so a score;
* ``3gbn_h1`` (CR6261, influenza H1): pKd of a display titration whose weakest bin, exactly 7.0,
means "not tighter"; * ``aayl49`` (Ab-14, SARS-CoV-2 HR2 peptide): 9 - log10(x) of an x that was
already log10(Kd / nM). Ranks hold, the
  scale does not, so it is a score too.

All are higher = stronger. The light chain and antigen are in ``context.csv``; 3gbn_h1's are not
published there: its antigen is one unknown residue and its light chain is left out.
"""

import dataclasses
from collections import Counter
from pathlib import Path

import polars as pl

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError, unknown_name
from paratope.data.datasets.dataset import DataFile, Dataset, Imported, data_root, require, tally
from paratope.data.datasets.rows import UNKNOWN_ANTIGEN, SourceRow, pair_of, read_rows
from paratope.data.measurements import Conditions, Measurement, Origin

LICENCE = "CC-BY-4.0"  # stated by the data page; the repository holds no licence file
CITATION = "Zhao et al. 2025, AbBiBench, arXiv 2506.04235"
COLUMNS = ("mut_heavy_chain_seq", "binding_score")
CONTEXT = DataFile(
    "abbibench/context.csv",
    sha256="42a6d6d094a4b2f8f467a3a9864af3c9c4ed5d60cb712a59bcb63d71bb9766e9",
    made="light chain and antigen of each assay, from the assays' publications and PDB entries",
)
PUBLISHED = DataFile(
    "abbibench/published_spearman.csv",
    sha256="54419f911edcb662e5cbeb0b9526d6305f10792ffb258c488aab252cc926af22",
    made="Spearman of every score in the score tables with the label",
    required=False,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Assay:
    """One landscape: what its number is, its floor, and the checksums of its two files."""

    name: str
    antigen_name: str
    is_pkd: bool
    floor_pkd: float | None
    method: str
    data_sha256: str
    scores_sha256: str

    @property
    def data(self) -> DataFile:
        """The table of variants."""
        return DataFile(
            f"abbibench/{self.name}_benchmarking_data.csv",
            self.data_sha256,
            made="the assay's heavy chains and labels, columns of the published table",
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
            "1n8z", "HER2", True, None, "SPR",
            "b87688a49ba457631db3df30116ace36ba56231cb2db8bb2521f6bcb03858350",
            "230f521ae0e14491e86e8103da53d3d0f5833c358a515d5df8b2d47fb53292aa",
        ),
        Assay(
            "2fjg", "VEGF-A", False, None, "phage display enrichment",
            "d160a0077da4e4615006832db09151c7a42981a448c1a7de8e2256033e0b63c9",
            "cbc240779a8f2c95fd9e9cb0bc3436eddf9dc59fe4fcc4c96c8f682fa3321856",
        ),
        Assay(
            "3gbn_h1", "influenza HA H1", True, 7.0, "yeast display titration",
            "0bd9dc38079b6d86be550259972f6354bd31a3eead6355b5aa0982b2ce6939dd",
            "b12bdca708b4770653a2ab24b5459cd030519ee7c7bc8da7bf7767ee3bc53e22",
        ),
        Assay(
            "aayl49", "SARS-CoV-2 HR2 peptide", False, None, "AlphaSeq",
            "4907346cb357abad739cc6d166b23a1e18598aa1a5680900a5238782015ce09f",
            "d370679bd84715334cf87204f9bdeb841d75f45ededb389f8939c66e6ad18d38",
        ),
    )
}  # fmt: skip


def import_assay(path: Path, name: str, context: Path, *, as_published: bool = False) -> Imported:
    """Measurements of one assay.

    Parameters
    ----------
    path : Path
        The assay's table of variants.
    name : str
        One of ``ASSAYS``.
    context : Path
        ``context.csv``.
    as_published : bool
        Keep floors as values.

    Returns
    -------
    Imported
        ``pkd`` for 1n8z and 3gbn_h1, ``score`` for the other two.

    Raises
    ------
    InputError
        If the name is unknown or a file is damaged.
    """
    assay = _assay(name)
    light, antigen = _context_of(context, name)
    measurements: list[Measurement] = []
    counts: Counter[str] = Counter()
    for row in read_rows(path, COLUMNS):
        measurement = _measurement(row, assay, light, antigen, as_published)
        floored = measurement.censoring is Censoring.AT_MOST
        kind = "measured" if assay.is_pkd else "score"
        counts[f"floor {assay.floor_pkd} as censored" if floored else kind] += 1
        measurements.append(measurement)
    notes = []
    if antigen == UNKNOWN_ANTIGEN:
        notes.append(f"{name}: antigen and light chain are not in the source")
    return Imported(tuple(measurements), tally(counts), tuple(notes))


def _measurement(
    row: SourceRow, assay: Assay, light: str, antigen: str, as_published: bool
) -> Measurement:
    value = row.number("binding_score")
    floored = value == assay.floor_pkd and not as_published
    pair = pair_of(
        row, (row["mut_heavy_chain_seq"], light, assay.name), (antigen, assay.antigen_name)
    )
    return Measurement(
        pair,
        pkd=value if assay.is_pkd else None,
        score=None if assay.is_pkd else value,
        censoring=Censoring.AT_MOST if floored else Censoring.EXACT,
        assay=f"abbibench:{assay.name}",
        conditions=Conditions(method=assay.method),
        origin=Origin(f"abbibench_{assay.name}", row.row, LICENCE, assay.name, reference=CITATION),
    )


def _assay(name: str) -> Assay:
    if name not in ASSAYS:
        raise InputError(unknown_name("AbBiBench assay", name, ASSAYS))
    return ASSAYS[name]


def _context_of(path: Path, name: str) -> tuple[str, str]:
    """Light chain and antigen of an assay; an antigen that is not given is one unknown residue."""
    for row in read_rows(path, ("dataset", "light_chain", "antigen")):
        if row["dataset"] == name:
            return row["light_chain"], row["antigen"] or UNKNOWN_ANTIGEN
    raise InputError(f"{path}: no row for the assay {name!r} in column 'dataset'")


def abbibench_scores(assay: str, root: Path | None = None) -> pl.DataFrame:
    """Published per-row scores of an assay.

    Parameters
    ----------
    assay : str
        One of ``ASSAYS``.
    root : Path, optional
        Folder of public data (default `data_root`).

    Returns
    -------
    polars.DataFrame
        ``row`` (from 1, that of the measurements' origin), ``heavy``, ``binding_score``, then one
        column a published score, named ``model|score``, raw: FoldX dg and the buried surface are
        lower = better.

    Raises
    ------
    InputError
        If the assay is unknown, the file is missing or damaged.
    """
    path = require(Path(root) if root is not None else data_root(), _assay(assay).scores)
    try:
        frame = pl.read_csv(path, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as problem:
        raise InputError(f"{path}: not a readable table: {problem}") from problem
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise InputError(f"{path}: no column {missing}; columns found: {frame.columns[:8]} …")
    numbers = [name for name in frame.columns if name != COLUMNS[0]]
    for name in numbers:
        if not frame[name].dtype.is_numeric():
            raise InputError(f"{path}, column {name!r}: expected numbers")
    return frame.rename({COLUMNS[0]: "heavy"}).with_row_index("row", offset=1)


def published_spearman(root: Path | None = None) -> pl.DataFrame:
    """AbBiBench's own raw Spearman of every score: ``dataset, model, score, n, spearman_raw``."""
    path = require(Path(root) if root is not None else data_root(), PUBLISHED)
    rows = [
        (
            row["dataset"],
            row["model"],
            row["score"],
            int(row.number("n")),
            row.number("spearman_raw"),
        )
        for row in read_rows(path, ("dataset", "model", "score", "n", "spearman_raw"))
    ]
    return pl.DataFrame(rows, ["dataset", "model", "score", "n", "spearman_raw"], orient="row")


def _dataset(assay: Assay) -> Dataset:
    def load(root: Path, *, as_published: bool = False) -> Imported:
        path, context = require(root, assay.data), require(root, CONTEXT)
        return import_assay(path, assay.name, context, as_published=as_published)

    value = "pKd" if assay.is_pkd else "score"
    floor = f", {assay.floor_pkd} is a floor" if assay.floor_pkd is not None else ""
    return Dataset(
        f"abbibench_{assay.name}",
        f"AbBiBench {assay.name}: heavy chains against {assay.antigen_name}, {value}{floor}",
        LICENCE,
        permissive=True,
        may_train=assay.name == "1n8z",
        files=(assay.data, CONTEXT, assay.scores, PUBLISHED),
        citation=CITATION,
        load=load,
    )


ABBIBENCH: tuple[Dataset, ...] = tuple(_dataset(assay) for assay in ASSAYS.values())
