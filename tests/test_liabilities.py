"""Liabilities: each motif is found where it is, its near misses are not."""

import numpy as np
import pytest

from paratope.core.errors import InputError
from paratope.data.tables import read_table
from paratope.molecules import liabilities as rules
from paratope.molecules.liabilities import LIABILITIES, find_liabilities, new_liabilities
from paratope.molecules.mutations import apply_mutations, parse_mutations
from paratope.molecules.numbering import cdrs
from paratope.molecules.sequences import ALPHABET, Antibody
from test_numbering import LYSOZYME, VH, VHH, VK

TRASTUZUMAB = Antibody(VH, VK)


def mutant(text: str, parent: Antibody = TRASTUZUMAB) -> Antibody:
    return apply_mutations(parent, parse_mutations(text, parent))


def gained(text: str, parent: Antibody = TRASTUZUMAB) -> list[str]:
    return [str(one) for one in new_liabilities(parent, mutant(text, parent))]


def lost(text: str, parent: Antibody = TRASTUZUMAB) -> list[str]:
    return [str(one) for one in new_liabilities(mutant(text, parent), parent)]


def test_the_known_ones_of_trastuzumab():
    # N55 and D102 of the heavy chain, N30 of the light (Harris et al. 2001, J. Chromatogr. B 752)
    liabilities = find_liabilities(TRASTUZUMAB)
    found = {(one.kind, one.chain, one.position, one.motif) for one in liabilities}
    assert {
        ("deamidation", "H", 55, "NG"),
        ("isomerisation", "H", 102, "DG"),
        ("weak-deamidation", "L", 30, "NT"),
    } <= found
    assert not {kind for kind, *_ in found} & {"n-glycosylation", "unpaired-cysteine", "cdr-charge"}
    (deamidation,) = [one for one in liabilities if one.motif == "NG"]
    assert deamidation == rules.Liability("deamidation", "H", 55, "62", "CDR2", "NG", "high")
    assert str(deamidation) == "deamidation NG H:62"


@pytest.mark.parametrize(
    ("mutations", "expected"),
    [
        ("H:K76N,H:T78S", ["n-glycosylation NNS H:84"]),
        ("L:Q3N,L:T5S", ["n-glycosylation NMS L:3"]),
        ("L:Q3N,L:M4P,L:T5S", []),  # N-P-S is not glycosylated
        ("H:Y33C", ["unpaired-cysteine C H:38"]),
        ("H:C96S", ["unpaired-cysteine C H:23", "lost-disulfide S H:104"]),
        ("H:C22A,H:C96S", ["lost-disulfide A H:23", "lost-disulfide S H:104"]),
        ("H:T32C,H:Y33C", ["extra-disulfide C H:37", "extra-disulfide C H:38"]),
        ("H:T32G", ["isomerisation DG H:36"]),
        ("H:T32S", ["isomerisation DS H:36"]),
        ("H:T32N,H:Y33S", ["deamidation NS H:37"]),
        ("H:T32N,H:Y33N", ["weak-deamidation NN H:37"]),
        ("H:T32M", ["methionine-oxidation M H:37"]),
        ("H:Y33W", ["tryptophan-oxidation W H:38"]),
        ("H:A40W,H:A49M,H:G8N,H:G9S", []),  # in frameworks
        ("L:S50R,L:A51R,L:S52R,L:Y92R", []),
        ("L:S50R,L:A51R,L:S52R,L:Y92R,L:T93K", ["cdr-charge +3"]),
        ("L:S50E,L:A51E,L:S52D", []),
        ("L:S50E,L:A51E,L:S52D,L:Y92D", ["cdr-charge -6"]),
        ("H:Y52I,H:P53V,H:T54L,H:N55V,H:G56I", ["hydrophobic-patch IIVLV H:56"]),
    ],
)
def test_what_a_mutation_brings(mutations, expected):
    assert gained(mutations) == expected


def test_what_a_mutation_takes_away():
    assert lost("H:N55Q") == ["deamidation NG H:62"]
    assert lost("H:D102E") == ["isomerisation DG H:110"]
    assert lost("H:M107L") == ["methionine-oxidation M H:115"]
    # a milder one at the same place is a gain of nothing and a loss of something
    assert lost("H:G56S") == ["deamidation NG H:62"]
    assert gained("H:G56S") == []
    # and the other way round
    assert gained("H:S56G", mutant("H:G56S")) == ["deamidation NG H:62"]
    # a residue put in before it: another place, the same IMGT number
    assert gained("H:8insG") == lost("H:8insG") == []
    # another residue inside the motif: the same site
    assert gained("H:N77Q", mutant("H:K76N,H:T78S")) == []


def test_a_further_charge_is_worse():
    charged = mutant("L:S50R,L:A51R,L:S52R,L:Y92R,L:T93R")
    (liability,) = [one for one in find_liabilities(charged) if one.kind == "cdr-charge"]
    assert (liability.chain, liability.position, liability.motif) == ("", 0, "+3")
    assert gained("L:T94R", charged) == ["cdr-charge +4"]
    assert lost("L:R93S", charged) == ["cdr-charge +3"]


def test_camelid_cysteines_pair_and_what_is_no_antibody_is_refused():
    nanobody = Antibody(VHH)
    kinds = {one.kind for one in find_liabilities(nanobody)}
    assert "extra-disulfide" in kinds
    assert "unpaired-cysteine" not in kinds
    place = VHH.index("YECG") + 3
    assert gained(f"H:C{place}S", nanobody) == ["unpaired-cysteine C H:38"]

    with pytest.raises(InputError, match="no antibody variable domain"):
        find_liabilities(Antibody(LYSOZYME))


def test_filters_are_chosen_by_name_and_every_kind_says_what_it_is_and_where_from():
    for name, kind in LIABILITIES.items():
        assert len(kind.description) > 5, name
        assert any(year in kind.source for year in ("19", "20")), name
        assert rules.select_liabilities(name) == (name,)
    default = tuple(name for name, kind in LIABILITIES.items() if kind.is_default)
    assert rules.select_liabilities() == rules.select_liabilities("") == default
    assert rules.select_liabilities("all") == tuple(LIABILITIES)
    assert rules.select_liabilities("none") == ()
    changed = {*default, "weak-deamidation"} - {"cdr-charge"}
    assert rules.select_liabilities("+weak-deamidation,-cdr-charge") == tuple(
        name for name in LIABILITIES if name in changed
    )
    rest = tuple(name for name in LIABILITIES if name != "deamidation")
    assert rules.select_liabilities("all,-deamidation") == rest
    with pytest.raises(InputError, match="unknown liability 'glyco'; valid names: all, cdr-charge"):
        rules.select_liabilities("glyco")


def test_the_limits_are_what_measured_antibodies_keep_to(data_root):
    table = read_table(data_root / "sabdab" / "sabdab_affinity.csv")
    pairs = {row.pair.antibody.chains: row.pair.antibody for row in table.rows if row.pair}
    charges, peaks = [], []
    for antibody in pairs.values():
        loops = cdrs(antibody)
        residues = "".join(loops.values())
        charges.append(sum(residues.count(one) for one in "KR"))
        charges[-1] -= sum(residues.count(one) for one in "DE")
        windows = [
            np.mean([rules.HYDROPATHY[one] for one in loop[at : at + rules.PATCH_RESIDUES]])
            for loop in loops.values()
            for at in range(len(loop) - rules.PATCH_RESIDUES + 1)
        ]
        peaks.append(max(windows))
    assert len(pairs) > 200
    assert (rules.MIN_CDR_CHARGE, rules.MAX_CDR_CHARGE) == tuple(np.percentile(charges, [5, 95]))
    assert np.mean(np.array(peaks) > rules.MAX_PATCH_HYDROPATHY) == pytest.approx(0.05, abs=0.015)
    assert set(rules.HYDROPATHY) == set(ALPHABET)
