"""Absci HER2: trastuzumab variants against HER2, SPR of one laboratory, non-binders included.

The zero-shot binders are listed a second time among the SPR controls with the same value; they
count once. Rows without a Kd are non-binders: their pKd is at most the weakest measured one of the
assay. ``Origin.complex_id`` is the set: ``"zero-shot"`` or ``"spr-control"``.

Where the joined table is not there the two published ones are joined: their CDRs are set into
trastuzumab, of which the zero-shot binders have all but the third.
"""

import dataclasses
from collections.abc import Iterator

from paratope.core.censoring import Censoring
from paratope.core.units import kd_nM_to_pkd
from paratope.data.datasets.dataset import DataFile, Dataset, Outcome, Source, SourceRow
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
    required=False,
    columns=("set", "heavy", "hcdr3", "kd_nM", "binder", "light", "antigen"),
)
ZERO_SHOT = DataFile(
    "absci_her2/zero-shot-binders.csv",
    sha256="c12742bd36ae8881a38cd41e50fd3922cbd885b184531d1151889f5fa610b639",
    url=f"{_COMMIT}/zero-shot-binders.csv",
    required=False,
    columns=("HCDR3", "KD (nM)"),
)
CONTROLS = DataFile(
    "absci_her2/spr-controls.csv",
    sha256="33939f99b489b36e9f893641f3b4013ae4898093875067db31569801b15b2489",
    url=f"{_COMMIT}/spr-controls.csv",
    required=False,
    columns=("HCDR1", "HCDR2", "HCDR3", "KD (nM)", "Binder"),
)
# Trastuzumab (its heavy chain with room for three CDRs), and the extracellular domain of HER2.
_CDRS = {"HCDR1": "GFNIKDTY", "HCDR2": "IYPTNGYT", "Binder": "True"}
_HCDR3 = "SRWGGDGFYAMDY"
_HEAVY = (
    "EVQLVESGGGLVQPGGSLRLSCAAS{HCDR1}IHWVRQAPGKGLEWVAR{HCDR2}"
    "RYADSVKGRFTISADTSKNTAYLQMNSLRAEDTAVYYC{HCDR3}WGQGTLVTVSS"
)
_LIGHT = (
    "DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGSRSGTDFTLTISSLQPEDFATYYCQQHY"
    "TTPPTFGQGTKVEIK"
)
_HER2 = (
    "TQVCTGTDMKLRLPASPETHLDMLRHLYQGCQVVQGNLELTYLPTNASLSFLQDIQEVQGYVLIAHNQVRQVPLQRLRIVRGTQLFEDNYAL"
    "AVLDNGDPLNNTTPVTGASPGGLRELQLRSLTEILKGGVLIQRNPQLCYQDTILWKDIFHKNNQLALTLIDTNRSRACHPCSPMCKGSRCWG"
    "ESSEDCQSLTRTVCAGGCARCKGPLPTDCCHEQCAAGCTGPKHSDCLACLHFNHSGICELHCPALVTYNTDTFESMPNPEGRYTFGASCVTA"
    "CPYNYLSTDVGSCTLVCPLHNQEVTAEDGTQRCEKCSKPCARVCYGLGMEHLREVRAVTSANIQEFAGCKKIFGSLAFLPESFDGDPASNTA"
    "PLQPEQLQVFETLEEITGYLYISAWPDSLPDLSVFQNLQVIRGRILHNGAYSLTLQGLGISWLGLRSLRELGSGLALIHHNTHLCFVHTVPW"
    "DQLFRNPHQALLHTANRPEDECVGEGLACHQLCARGHCWGPGPTQCVNCSQFLRGQECVEECRVLQGLPREYVNARHCLPCHPECQPQNGSV"
    "TCFGPEADQCVACAHYKDPPFCVARCPSGVKPDLSYMPIWKFPDEEGACQPCPINCTHSCVDLDDKGCPAEQRASPLT"
)


def _joined(source: Source) -> Iterator[SourceRow]:
    """Rows of the joined table, from the two published ones: zero-shot binders, then controls."""
    before = 0
    for name, file in (("zero-shot", ZERO_SHOT), ("spr-control", CONTROLS)):
        row = None
        for row in source.rows(file):
            cdrs = _CDRS | row.values
            values = {
                "set": name,
                "heavy": _HEAVY.format(**cdrs),
                "light": _LIGHT,
                "antigen": _HER2,
            }
            values |= {"hcdr3": cdrs["HCDR3"], "kd_nM": cdrs["KD (nM)"], "binder": cdrs["Binder"]}
            yield dataclasses.replace(row, row=before + row.row, values=values)
        before += row.row if row else 0


def _read(source: Source) -> Iterator[Outcome]:
    first_set: dict[tuple[str, str, str], str] = {}
    rows = list(source.rows(JOINED) if source.has(JOINED) else _joined(source))
    trastuzumab = _HEAVY.format(**_CDRS, HCDR3=_HCDR3)
    parent_pkd = next(
        (
            kd_nM_to_pkd(row.positive_number("kd_nM", "nM"))
            for row in rows
            if row["heavy"] == trastuzumab and row.text("kd_nM")
        ),
        None,
    )
    for row in rows:
        first = first_set.setdefault((row["heavy"], row["light"], row["kd_nM"]), row["set"])
        if first != row["set"] and not source.as_published:
            yield f"{row['set']}, repeats a row of {first}", None
            continue
        kd_nM = row.positive_number("kd_nM", "nM") if row.text("kd_nM") else None
        if {"true": True, "false": False}.get(row["binder"].lower()) != (kd_nM is not None):
            raise row.error(
                "binder", f"expected True with a Kd or False without, got {row['binder']!r}"
            )
        antigen = row["antigen"], "HER2"
        is_variant = row["heavy"] != trastuzumab
        pkd = None if kd_nM is None else kd_nM_to_pkd(kd_nM)
        yield (
            f"{row['set']}, {'non-binder' if kd_nM is None else 'measured'}",
            Measurement(
                row.pair((row["heavy"], row["light"], row["hcdr3"]), antigen),
                pkd,
                Censoring.AT_MOST if pkd is None else Censoring.EXACT,
                "absci_her2",
                pkd - parent_pkd if pkd and parent_pkd and is_variant else None,
                row.pair((trastuzumab, _LIGHT, "trastuzumab"), antigen) if is_variant else None,
                conditions=Conditions(method="SPR"),
                origin=Origin("absci_her2", row.row, LICENCE, row["set"], reference=CITATION),
            ),
        )


ABSCI_HER2 = Dataset(
    "absci_her2",
    "Trastuzumab variants against HER2 by SPR; non-binders as bounds",
    LICENCE,
    may_train=True,
    files=(JOINED, ZERO_SHOT, CONTROLS),
    citation=CITATION,
    read=_read,
    bound=bound_non_binders,
)
