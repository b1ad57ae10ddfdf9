"""Merged absolute pKd of several sources (BioMap, MVSF-AB, SKEMPI, SAbDab), with antigen clusters.

For research: a row may train a model that is passed on only if its ``src`` names SKEMPI or SAbDab,
whose terms allow it. Each complex is its own assay (values were merged across papers); the antigen
cluster is kept as ``Origin.fold``.

Swapped chains are put right. A light chain equal to the heavy one is a VHH. One that is a piece of
it is a chain given twice and cut short, which for a single-chain Fv loses a domain, so such rows
are left out. As published, a light chain alone stands in the place of the heavy one.
"""

import re
from collections.abc import Iterator

from paratope.data.datasets.dataset import DataFile, Dataset, Outcome, Source, has_heavy_domain
from paratope.data.measurements import Measurement, Origin

TABLE = DataFile(
    "general/general_pkd_research.csv",
    sha256="6ba56986f057fc1414d4844bab4ac8073b32b2b86362dea762d710d5732482ef",
    made="rows of BioMap, MVSF-AB, SKEMPI v2 and SAbDab with equal residues merged (mean pKd), "
    "antigens clustered by shared 6-mers",
    columns=("src", "vh", "vl", "antigen", "pdb", "pkd", "n", "antigen_cluster"),
)
CITATION = "BioMap and MVSF-AB collections; SKEMPI v2 (Jankauskaite 2019); SAbDab (Dunbar 2014)"
# Sources that give a row its terms, the most permissive first.
_TERMS = {
    "SAbDab+FASTA": "CC-BY-4.0",
    "SKEMPI_ABAG": "SKEMPI-v2",
    "BioMap": "non-commercial",
}
_FC_COMPLEXES = frozenset({"1T83", "3WJJ"})  # Fc with its receptor: no variable domain


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


def _read(source: Source) -> Iterator[Outcome]:
    for row in source.rows(TABLE):
        heavy, light, code = row["vh"], row["vl"], pdb_code(row["pdb"])
        if source.as_published:
            fate, heavy = "as published", heavy or light
        elif code in _FC_COMPLEXES:
            fate = "not an antibody"
        elif not heavy:
            fate = "no heavy chain"
        elif not light:
            fate = "one domain of a single-chain antibody"
        elif light != heavy and light in heavy:
            fate = "one chain given twice, cut short"
        elif has_heavy_domain(heavy):
            fate = "measured, VHH" if light == heavy else "measured"
        elif has_heavy_domain(light):
            fate, heavy, light = "measured, chains swapped", light, heavy
        else:
            fate = "not an antibody"
        if not fate.startswith(("as published", "measured")):
            yield fate, None
            continue
        if (cluster := row.number("antigen_cluster")) % 1:
            raise row.error("antigen_cluster", f"expected a whole number, got {cluster}")
        pair, terms = row.pair((heavy, light, code), (row["antigen"], "")), licence_of(row["src"])
        origin = Origin(
            "general_pkd_research", row.row, terms, code, reference=row["src"], fold=int(cluster)
        )
        yield fate, Measurement(pair, row.number("pkd"), assay=f"general:{code}", origin=origin)


GENERAL = Dataset(
    "general",
    "Merged absolute pKd of four collections with antigen clusters; research, partly trainable",
    "mixed, per row",
    read=_read,
    files=(TABLE,),
    citation=CITATION,
    may_train=True,
)
