"""Which domains an antibody chain holds, and what a user's chains amount to."""

import dataclasses
import time

import immunum
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paratope.cli.doctor import LYSOZYME
from paratope.core.errors import InputError
from paratope.molecules import numbering
from paratope.molecules.numbering import (
    MIN_CONFIDENCE,
    SCHEMES,
    find_domains,
    number_chain,
    prepare_antibody,
)
from paratope.molecules.sequences import AMINO_ACIDS, Antibody

VH = (
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKNTAYLQMNSLRAE"
    "DTAVYYCSRWGGDGFYAMDYWGQGTLVTVSS"
)
VK = (
    "DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGSRSGTDFTLTISSLQPEDFATYYCQ"
    "QHYTTPPTFGQGTKVEIK"
)
VL = (  # a lambda chain
    "QSVLTQPPSVSAAPGQKVTISCSGSSSNIGNNYVSWYQQLPGTAPKLLIYDNNKRPSGIPDRFSGSKSGTSATLGITGLQTGDEADYYC"
    "GTWDSSLNPVFGGGTKLTVL"
)
VHH = (  # camel
    "DVQLQASGGGSVQAGGSLRLSCAASGYTIGPYCMGWFRQAPGKEREGVAAINMGGGITYYADSVKGRFTISQDNAKNTVYLLMNSLEPE"
    "DTAIYYCAADSTIYASYYECGHGLSTGGYGYDSWGQGTQVTVSS"
)
CH1 = (
    "ASTKGPSVFPLAPSSKSTSGGTAALGCLVKDYFPEPVTVSWNSGALTSGVHTFPAVLQSSGLYSLSSVVTVPSSSLGTQTYICNVNHKP"
    "SNTKVDKKVEPKSC"
)
HINGE_FC = (
    "DKTHTCPPCPAPELLGGPSVFLFPPKPKDTLMISRTPEVTCVVVDVSHEDPEVKFNWYVDGVEVHNAKTKPREEQYNSTYRVVSVLTVL"
    "HQDWLNGKEYKCKVSNKALPAPIEKTISKAKGQPREPQVYTLPPSRDELTKNQVSLTCLVKGFYPSDIAVEWESNGQPENNYKTTPPVL"
    "DSDGSFFLYSKLTVDKSRWQQGNVFSCSVMHEALHNHYTQKSLSLSPG"
)
CK = (
    "RTVAAPSVFIFPPSDEQLKSGTASVVCLLNNFYPREAKVQWKVDNALQSGNSQESVTEQDSKDSTYSLSSTLTLSKADYEKHKVYACEV"
    "THQGLSSPVTKSFNRGEC"
)
CL = (
    "GQPKAAPSVTLFPPSSEELQANKATLVCLISDFYPGAVTVAWKADSSPVKAGVETTTPSKQSNNKYAASSYLSLTPEQWKSHRSYSCQV"
    "THEGSTVEKTVAPTECS"
)
LINKER = "GGGGSGGGGSGGGGS"
LEADER = "MKYLLPTAAAGLLLLAAQPAMA"

NO_ANTIBODIES = {
    "lysozyme": LYSOZYME,
    "ubiquitin": "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG",
    "HER2 domain I": (
        "TQVCTGTDMKLRLPASPETHLDMLRHLYQGCQVVQGNLELTYLPTNASLSFLQDIQEVQGYVLIAHNQVRQVPLQRLRIVRGTQL"
        "FEDNYALAVLDNGDPLNNTTPVTGASPGGLRELQLRSLTEILKGGVLIQRNPQLCYQDTILWKDIFHKNNQLALTLIDTNRSRAC"
    ),
    "T-cell receptor alpha": (
        "KEVEQNSGPLSVPEGAIASLNCTYSDRGSQSFFWYRQYSGKSPELIMFIYSNGDKEDGRFTAQLNKASQYVSLLIRDSQPSDSATYL"
        "CAVTTDSWGKLQFGAGTQVVVTPDIQNPDPAVYQLRDSKSSDKSVCLFTDFDSQTNVSQSKDSDVYITDKTVLDMRSMDFKSNSAV"
    ),
    "T-cell receptor beta": (
        "NAGVTQTPKFQVLKTGQSMTLQCAQDMNHEYMSWYRQDPGMGLRLIHYSVGAGITDQGEVPNGYNVSRSTTEDFPLRLLSAAPSQTS"
        "VYFCASRPGLAGGRPEQYFGPGTRLLVTVTEDLKNVFPPEVAVFEPSEAEISHTQKATLVCLATGFYPDHVELSWWVNGKEVHSGV"
    ),
    "PD-1, an immunoglobulin fold": (
        "LDSPDRPWNPPTFSPALLVVTEGDNATFTCSFSNTSESFVLNWYRMSPSNQTDKLAAFPEDRSQPGQDCRFRVTQLPNGRDFHMSVV"
        "RARRNDSGTYLCGAISLAPKAQIKESLRAELRVTERRAE"
    ),
    "CD4 domain 1, an immunoglobulin fold": (
        "KKVVLGKKGDTVELTCTASQKKSIQFHWKNSNQIKILGNQGSFLTKGPSKLNDRADSRRSLWDQGNFPLIIKNLKIEDSDTYICEVE"
        "DQKEEVQLLVFGLTANSDTHLLQ"
    ),
    "heavy constant domains": CH1 + HINGE_FC,
    "kappa constant domain": CK,
    "lambda constant domain": CL,
    "X alone": "X" * 120,
    "a linker": LINKER * 8,
}


@pytest.mark.parametrize("name", NO_ANTIBODIES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_domain_in_other_proteins(name: str, scheme: str):
    assert find_domains(NO_ANTIBODIES[name], scheme) == ()


@pytest.mark.parametrize(
    ("residues", "chain"),
    [(VH, "H"), (VHH, "H"), (VK, "K"), (VL, "L")],
    ids=["VH", "VHH", "VK", "VL"],
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_bare_domain_is_found_whole(residues: str, chain: str, scheme: str):
    (domain,) = find_domains(residues, scheme)
    assert domain.chain == chain
    assert (domain.start, domain.end, domain.residues) == (0, len(residues), residues)
    assert domain.is_heavy == (chain == "H")
    assert len(domain.positions) == len(domain.regions) == len(residues)
    assert len(set(domain.positions)) == len(residues)
    assert "".join(domain.region(name) for name in numbering.REGIONS) == residues
    assert list(dict.fromkeys(domain.regions)) == list(numbering.REGIONS)


@pytest.mark.parametrize(
    ("scheme", "chain", "expected"),
    [
        ("imgt", VH, "GFNIKDTY IYPTNGYT SRWGGDGFYAMDY"),
        ("imgt", VK, "QDVNTA SAS QQHYTTPPT"),
        ("kabat", VH, "DTYIH RIYPTNGYTRYADSVKG WGGDGFYAMDY"),
        ("kabat", VK, "RASQDVNTAVA SASFLYS QQHYTTPPT"),
    ],
)
def test_cdrs_of_trastuzumab_as_published(scheme: str, chain: str, expected: str):
    domain = number_chain(chain, scheme)
    assert " ".join(domain.region(f"CDR{n}") for n in "123") == expected


def test_positions_of_trastuzumab_as_published():
    kabat, chothia, imgt = (number_chain(VH, s) for s in ("kabat", "chothia", "imgt"))
    inserted = ("52A", "82A", "82B", "82C", "100A", "100B", "100C")
    for domain, expected in ((kabat, inserted), (chothia, inserted), (imgt, ())):
        assert tuple(p for p in domain.positions if not p.isdigit()) == expected
    cysteines = [p for p, r in zip(imgt.positions, imgt.residues, strict=True) if r == "C"]
    assert cysteines == ["23", "104"]
    assert chothia.region("CDR1") == "GFNIKDT"


SURROUNDED = {
    "constant domains": ("", CH1 + HINGE_FC),
    "CH1": ("", CH1),
    "leader": (LEADER, ""),
    "tag": ("", "HHHHHH"),
    "leader, linker and tag": (LEADER, "GGGSGGGSHHHHHHEPEA"),
}


@pytest.mark.parametrize("name", SURROUNDED)
@pytest.mark.parametrize("residues", [VH, VHH], ids=["VH", "VHH"])
def test_what_surrounds_a_heavy_domain_has_no_effect(name: str, residues: str):
    before, after = SURROUNDED[name]
    (bare,) = find_domains(residues)
    (domain,) = find_domains(before + residues + after)
    start = len(before)
    assert domain == dataclasses.replace(bare, start=start, end=start + len(residues))
    prepared, notes = prepare_antibody(Antibody(before + residues + after, None, "name"))
    assert (prepared, notes) == (Antibody(residues, None, "name"), ())


@pytest.mark.parametrize(("residues", "constant"), [(VK, CK), (VL, CL)], ids=["kappa", "lambda"])
@pytest.mark.parametrize("before", ["", LEADER])
def test_what_surrounds_a_light_domain_has_no_effect(residues: str, constant: str, before: str):
    full = Antibody(LEADER + VH + CH1, before + residues + constant)
    assert prepare_antibody(full) == (Antibody(VH, residues), ())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 12))
def test_missing_first_residues(missing: int):
    domain = number_chain(VH[missing:])
    assert domain.residues == VH[missing:]
    assert domain.region("CDR3") == "SRWGGDGFYAMDY"
    assert number_chain(VK[missing:]).region("CDR3") == "QQHYTTPPT"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, len(VH) - 1), max_size=10), st.sampled_from("X" + AMINO_ACIDS))
def test_unknown_and_mutated_residues(places: list[int], letter: str):
    # the conserved cysteines and tryptophans hold the fold together: left alone
    residues = list(VH)
    for place in places:
        if residues[place] not in "CW":
            residues[place] = letter
    (domain,) = find_domains("".join(residues))
    assert domain.chain == "H"
    assert domain.residues in "".join(residues)
    assert len(domain.residues) >= len(VH) - 5


@pytest.mark.parametrize("first", ["heavy", "light"])
@pytest.mark.parametrize("light", [VK, VL], ids=["kappa", "lambda"])
@pytest.mark.parametrize("linker", [LINKER, "XXX", "", "GSTSGSGKPGSGEGSTKG"])
@pytest.mark.parametrize(("before", "after"), [("", ""), (LEADER, "AAAHHHHHH")])
def test_scfv_is_split_in_either_order(first, light, linker, before, after):
    both = (VH, light) if first == "heavy" else (light, VH)
    prepared, notes = prepare_antibody(Antibody(before + linker.join(both) + after))
    assert prepared == Antibody(VH, light)
    assert notes == ("scFv split into heavy and light domains",)


SCFV = VH + LINKER + VK
SWAPPED = "heavy and light chains were swapped: put right"
ONCE = "the same chain is given as heavy and light: read once"
REPEATED = "the heavy domain is repeated as light chain: read once"
FURTHER = "heavy chain: 1 further variable domain left out"
SPLIT = "scFv split into heavy and light domains"


@pytest.mark.parametrize(
    ("given", "prepared", "notes"),
    [
        *((whole, whole, ()) for whole in (Antibody(VH, VK), Antibody(VHH), Antibody(VH, VL))),
        (Antibody(VK + CK, VH + CH1), Antibody(VH, VK), (SWAPPED,)),
        (Antibody(VHH, VHH), Antibody(VHH), (ONCE,)),
        (Antibody(VHH, VHH + "HHHHHH"), Antibody(VHH), (REPEATED,)),
        (Antibody(SCFV, SCFV), Antibody(VH, VK), (ONCE, SPLIT)),
        (Antibody(SCFV, VK), Antibody(VH, VK), ()),
        (Antibody(VHH + LINKER + VHH), Antibody(VHH), (FURTHER,)),
    ],
)
def test_what_chains_amount_to(given: Antibody, prepared: Antibody, notes: tuple[str, ...]):
    assert prepare_antibody(given) == (prepared, notes)


@pytest.mark.parametrize(
    ("heavy", "light", "says"),
    [
        (LYSOZYME, VK, "heavy chain: no antibody variable domain in its 129 residues"),
        (LYSOZYME, None, "heavy chain: no antibody variable domain"),
        (VH, LYSOZYME, "light chain: no antibody variable domain.*leave it empty"),
        (VK, None, "heavy chain: this is a kappa light chain"),
        (VL, None, "heavy chain: this is a lambda light chain"),
        (VK, VL, "heavy chain: this is a kappa light chain"),
        (VH, VHH, "light chain: this is another heavy-chain domain"),
        (VH + LINKER + VK, VL, "light-chain domain of its own"),
        ("EVQL", None, "heavy chain: 4 residues, too short"),
        ("E", None, "heavy chain: 1 residue, too short"),
        ("W" * 10_001, None, "heavy chain: 10001 residues, too long"),
        ("X" * 120, None, "heavy chain: no antibody variable domain"),
    ],
)
def test_what_is_no_antibody(heavy: str, light: str | None, says: str):
    with pytest.raises(InputError, match=says):
        prepare_antibody(Antibody(heavy, light))


def test_cdrs_of_a_pair_an_scfv_and_a_single_domain():
    of_pair = numbering.cdrs(Antibody(VH + CH1, VK + CK))
    assert " ".join(of_pair) == "H1 H2 H3 L1 L2 L3"
    assert " ".join(of_pair.values()) == "GFNIKDTY IYPTNGYT SRWGGDGFYAMDY QDVNTA SAS QQHYTTPPT"
    assert numbering.cdrs(Antibody(VK + LINKER + VH)) == of_pair
    of_vhh = {"H1": "GYTIGPYC", "H2": "INMGGGIT", "H3": "AADSTIYASYYECGHGLSTGGYGYDS"}
    assert numbering.cdrs(Antibody(VHH)) == of_vhh


def test_unknown_names_list_the_known_ones():
    with pytest.raises(InputError, match="valid names: chothia, imgt, kabat"):
        find_domains(VH, "anarci")
    with pytest.raises(InputError, match="CDR1, CDR2, CDR3, FR1"):
        number_chain(VH).region("H3")
    with pytest.raises(InputError, match="chain: no antibody variable domain"):
        number_chain(LYSOZYME)


def test_thousands_of_chains_a_second():
    chains = [VH[:55] + a + VH[56:60] + b + VH[61:] for a in AMINO_ACIDS for b in AMINO_ACIDS]
    started = time.perf_counter()
    assert all(len(find_domains(chain)) == 1 for chain in chains)
    # 400 chains; measured 0.1 s on one core, the bound leaves room for a busy machine
    assert time.perf_counter() - started < 2.0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_heavy_chains_are_numbered_as_when_compared_with_light_ones(data_root, scheme: str):
    table = pl.read_csv(data_root / "sabdab" / "sabdab_affinity.csv", infer_schema=False)
    compared = immunum.Annotator(chains=["ig"], scheme=scheme, min_confidence=MIN_CONFIDENCE)
    read = {True: 0, False: 0}
    for whole in {*table["heavy"], *table["light"]} - {None, ""}:
        chain = whole[:150]
        numbered = [each for each in compared.number_domains(chain) if each.error is None]
        domains = find_domains(chain, scheme)
        assert [domain.chain for domain in domains] == [each.chain for each in numbered]
        for domain, each in zip(domains, numbered, strict=True):
            read[domain.is_heavy] += 1
            assert domain.start == each.query_start
            if len(domain.residues) == len(each.numbering):  # no long CDR3 that is read further
                assert dict(zip(domain.positions, domain.residues, strict=True)) == each.numbering
    assert min(read.values()) > 200


def test_public_antibodies_and_antigens(data_root):
    table = pl.read_csv(data_root / "sabdab" / "sabdab_affinity.csv", infer_schema=False)
    without = [h for h in table["heavy"] if h and not any(d.is_heavy for d in find_domains(h))]
    assert without == []
    assert all(find_domains(chain) for chain in table["light"] if chain)
    antigens = {chain for text in table["antigen"] if text for chain in text.split(":")}
    assert sum(bool(find_domains(chain)) for chain in antigens) <= 0.03 * len(antigens)
