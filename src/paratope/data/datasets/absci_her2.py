"""Absci HER2: trastuzumab variants against HER2, SPR of one laboratory, non-binders included.

The zero-shot binders are listed a second time among the SPR controls with the same value; they
count once. Rows without a Kd are non-binders: their pKd is at most the weakest measured one of the
assay.
"""

from collections import Counter
from pathlib import Path

from paratope.core.censoring import Censoring
from paratope.core.units import kd_nM_to_pkd
from paratope.data.datasets.dataset import DataFile, Dataset, Imported, require, tally
from paratope.data.datasets.rows import SourceRow, pair_of, read_rows
from paratope.data.measurements import Conditions, Measurement, Origin, bound_non_binders

LICENCE = "BSD-3-Clause-Clear"
CITATION = "Shanehsazzadeh et al. 2023, bioRxiv 2023.01.08.523187 (Absci Corporation)"
_COMMIT = (
    "https://raw.githubusercontent.com/AbSciBio/unlocking-de-novo-antibody-design/"
    "cd2bd4b6932b5301d435555dc22084d407e4b92b"
)
JOINED = DataFile(
    "absci_her2/absci_her2_with_sequences.csv",
    sha256="d11ec0dcc48e6306fe8479d45ec17ef2ff3357be89eebd7e600dbddf75a5f7cb",
    made="zero-shot-binders.csv and spr-controls.csv with the CDRs set into trastuzumab's heavy "
    "chain, its light chain and the HER2 extracellular domain",
)
ZERO_SHOT = DataFile(
    "absci_her2/zero-shot-binders.csv",
    sha256="c12742bd36ae8881a38cd41e50fd3922cbd885b184531d1151889f5fa610b639",
    url=f"{_COMMIT}/zero-shot-binders.csv",
    required=False,
)
CONTROLS = DataFile(
    "absci_her2/spr-controls.csv",
    sha256="33939f99b489b36e9f893641f3b4013ae4898093875067db31569801b15b2489",
    url=f"{_COMMIT}/spr-controls.csv",
    required=False,
)
COLUMNS = ("set", "heavy", "hcdr3", "kd_nM", "binder", "light", "antigen")
ASSAY = "absci_her2"


def import_table(path: Path, *, as_published: bool = False) -> Imported:
    """Measurements of the table with sequences.

    Parameters
    ----------
    path : Path
    as_published : bool
        Keep the rows that repeat a row of the other set.

    Returns
    -------
    Imported
        ``Origin.complex_id`` is the set: ``"zero-shot"`` or ``"spr-control"``.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    measurements: list[Measurement] = []
    counts: Counter[str] = Counter()
    seen: dict[tuple[str, str, str], str] = {}
    for row in read_rows(path, COLUMNS):
        key = (row["heavy"], row["light"], row["kd_nM"])
        if seen.setdefault(key, row["set"]) != row["set"] and not as_published:
            counts[f"{row['set']}, repeats a row of {seen[key]}"] += 1
            continue
        measurement = _row(row)
        fate = "non-binder" if measurement.pkd is None else "measured"
        counts[f"{row['set']}, {fate}"] += 1
        measurements.append(measurement)
    return Imported(tuple(bound_non_binders(measurements)), tally(counts))


def _row(row: SourceRow) -> Measurement:
    binder = {"true": True, "false": False}.get(row["binder"].lower())
    kd_nM = row.optional_number("kd_nM")
    if binder is None or binder != (kd_nM is not None):
        raise row.error(
            "binder", f"expected True with a Kd or False without, got {row['binder']!r}"
        )
    if kd_nM is not None and kd_nM <= 0:
        raise row.error("kd_nM", f"expected a positive number of nM, got {kd_nM}")
    return Measurement(
        pair_of(row, (row["heavy"], row["light"], row["hcdr3"]), (row["antigen"], "HER2")),
        None if kd_nM is None else kd_nM_to_pkd(kd_nM),
        Censoring.AT_MOST if kd_nM is None else Censoring.EXACT,
        ASSAY,
        conditions=Conditions(method="SPR"),
        origin=Origin("absci_her2", row.row, LICENCE, row["set"], reference=CITATION),
    )


def load(root: Path, *, as_published: bool = False) -> Imported:
    """The table under a data root."""
    return import_table(require(root, JOINED), as_published=as_published)


ABSCI_HER2 = Dataset(
    "absci_her2",
    "Trastuzumab variants against HER2 by SPR; non-binders as bounds",
    LICENCE,
    permissive=True,
    may_train=True,
    files=(JOINED, ZERO_SHOT, CONTROLS),
    citation=CITATION,
    load=load,
)
