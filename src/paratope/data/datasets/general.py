"""Merged absolute pKd of several sources (BioMap, MVSF-AB, SKEMPI, SAbDab), with antigen clusters.

For research: a row may train a model that is passed on only if its ``src`` names SKEMPI or SAbDab,
whose terms allow it. Each complex is its own assay (values were merged across papers); the antigen
cluster is kept as ``Origin.fold``.
"""

import re
from collections import Counter
from pathlib import Path

from paratope.data.datasets.dataset import DataFile, Dataset, Imported, require, tally
from paratope.data.datasets.rows import SourceRow, pair_of, read_rows
from paratope.data.measurements import Measurement, Origin
from paratope.molecules.numbering import find_domains

TABLE = DataFile(
    "general/general_pkd_research.csv",
    sha256="6ba56986f057fc1414d4844bab4ac8073b32b2b86362dea762d710d5732482ef",
    made="rows of BioMap, MVSF-AB, SKEMPI v2 and SAbDab with equal residues merged (mean pKd), "
    "antigens clustered by shared 6-mers",
)
CITATION = "BioMap and MVSF-AB collections; SKEMPI v2 (Jankauskaite 2019); SAbDab (Dunbar 2014)"
COLUMNS = ("src", "vh", "vl", "antigen", "pdb", "pkd", "n", "antigen_cluster")
# Sources that give a row its terms, the most permissive first.
_TERMS = {
    "SAbDab+FASTA": "CC-BY-4.0",
    "SKEMPI_ABAG": "SKEMPI-v2",
    "BioMap": "non-commercial",
}
FC_COMPLEXES = frozenset({"1T83", "3WJJ"})  # Fc fragments with their receptors: no variable domain


def licence_of(src: str) -> str:
    """Terms of a row by the sources that hold it.

    >>> licence_of("BioMap;SKEMPI_ABAG"), licence_of("BioMap"), licence_of("MVSF_abbind")
    ('SKEMPI-v2', 'non-commercial', 'none stated')
    """
    sources = src.split(";")
    return next((terms for name, terms in _TERMS.items() if name in sources), "none stated")


def pdb_code(text: str) -> str:
    """PDB code, put right where a spreadsheet took it for a date.

    >>> pdb_code("4-JAN"), pdb_code("6bck")
    ('4JAN', '6BCK')
    """
    return re.sub(r"^(\d)-([A-Z]{3})$", r"\1\2", text.upper())


def import_table(path: Path, *, as_published: bool = False) -> Imported:
    """Measurements of the merged table.

    Parameters
    ----------
    path : Path
    as_published : bool
        Keep every row, its chains as they stand; a light chain alone is then the heavy one.

    Returns
    -------
    Imported
        Swapped chains are put right. A light chain equal to the heavy one is a VHH. One that is a
        piece of it is a chain given twice and cut short, which for a single-chain Fv loses a
        domain, so such rows are left out.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    measurements: list[Measurement] = []
    counts: Counter[str] = Counter()
    for row in read_rows(path, COLUMNS):
        fate = "as published" if as_published else _fate(row)
        counts[fate] += 1
        if fate.startswith(("as published", "measured")):
            measurements.append(_row(row, fate))
    return Imported(tuple(measurements), tally(counts))


def _fate(row: SourceRow) -> str:
    heavy, light = row["vh"], row["vl"]
    if pdb_code(row["pdb"]) in FC_COMPLEXES:
        return "not an antibody"
    if not heavy:
        return "no heavy chain"
    if not light:
        return "one domain of a single-chain antibody"
    if light != heavy and light in heavy:
        return "one chain given twice, cut short"
    if not _has_heavy_domain(heavy):
        swapped = _has_heavy_domain(light)
        return "measured, chains swapped" if swapped else "not an antibody"
    return "measured, VHH" if light == heavy else "measured"


def _has_heavy_domain(chain: str) -> bool:
    return any(domain.chain == "H" for domain in find_domains(chain))


def _row(row: SourceRow, fate: str) -> Measurement:
    code = pdb_code(row["pdb"])
    cluster = row.number("antigen_cluster")
    if cluster != int(cluster):
        raise row.error("antigen_cluster", f"expected a whole number, got {cluster}")
    heavy, light = row["vh"] or row["vl"], row["vl"]
    if fate == "measured, chains swapped":
        heavy, light = light, heavy
    return Measurement(
        pair_of(row, (heavy, light, code), (row["antigen"], "")),
        row.number("pkd"),
        assay=f"general:{code}",
        origin=Origin(
            "general_pkd_research",
            row.row,
            licence_of(row["src"]),
            code,
            reference=row["src"],
            fold=int(cluster),
        ),
    )


def load(root: Path, *, as_published: bool = False) -> Imported:
    """The merged table under a data root."""
    return import_table(require(root, TABLE), as_published=as_published)


GENERAL = Dataset(
    "general",
    "Merged absolute pKd of four collections with antigen clusters; research, partly trainable",
    "mixed, per row",
    permissive=False,
    may_train=True,
    files=(TABLE,),
    citation=CITATION,
    load=load,
)
