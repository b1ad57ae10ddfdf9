"""Splits: what stays together, what the proof says, and both against brute force."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from paratope.core.errors import InputError, ParatopeError
from paratope.data import splits
from paratope.data.datasets import load_dataset
from paratope.data.measurements import Measurement, Origin
from paratope.data.splits import antibody_clusters, antigen_clusters, split_measurements
from paratope.data.splits.clusters import align_by_representatives, single_linkage
from paratope.data.splits.split import assign_by_rank, assign_groups, prove
from paratope.molecules import alignment
from paratope.molecules.numbering import cdrs
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair
from small_campaigns import HEAVY
from small_campaigns import LIGHT as VL
from test_numbering import CH1, LINKER

VH = HEAVY.replace("SRWGGDGFYAMDY", "{}")  # but its CDR-H3


def random_chain(rng, length):
    return "".join(rng.choice(list(AMINO_ACIDS), length))


def mutated(rng, chain, share):
    letters = list(chain)
    for place in rng.choice(len(letters), int(round(share * len(letters))), replace=False):
        letters[place] = rng.choice([x for x in AMINO_ACIDS if x != letters[place]])
    return "".join(letters)


@pytest.fixture(scope="module")
def rows():
    """60 pairs: 6 antigen families x 2 antigens x 5 antibodies of 12 CDR-H3 families."""
    rng = np.random.default_rng(5)
    made = []
    for family in range(6):
        antigen = random_chain(rng, 90)
        for version in range(2):
            chain = mutated(rng, antigen, 0.4 * version)
            loop = random_chain(rng, 14)
            for copy in range(5):
                antibody = Antibody(VH.format(mutated(rng, loop, 1 / 14 if copy else 0)), VL)
                origin = Origin(date=f"20{10 + family}-0{version + 1}-01")
                pair = Pair(antibody, Antigen((chain,)))
                made.append(Measurement(pair, float(rng.normal(8, 1)), origin=origin))
    return made


def identity_by_alignment(first, second):
    """Identity of the best global alignment (match 1, mismatch and gap -1), of the shorter."""
    score = np.zeros((len(first) + 1, len(second) + 1), int)
    same = np.zeros_like(score)
    score[:, 0], score[0, :] = -np.arange(len(first) + 1), -np.arange(len(second) + 1)
    for i, a in enumerate(first, start=1):
        for j, b in enumerate(second, start=1):
            score[i, j], same[i, j] = max(
                (score[i - 1, j - 1] + (1 if a == b else -1), same[i - 1, j - 1] + (a == b)),
                (score[i - 1, j] - 1, same[i - 1, j]),
                (score[i, j - 1] - 1, same[i, j - 1]),
            )
    return same[-1, -1] / min(len(first), len(second))


def crossing(split):
    parts = split.assignment
    return [(i, j) for i in range(len(parts)) for j in range(i) if parts[i] != parts[j]]


def linked_equal(first, second):
    return len(set(zip(first, second, strict=True))) == len(set(first)) == len(set(second))


def test_antigen_clusters_find_families_and_keep_strangers_apart():
    rng = np.random.default_rng(0)
    families = [random_chain(rng, length) for length in (80, 150, 300)]
    shares = (0, 0.02, 0.1, 0.4)
    antigens = [Antigen((mutated(rng, chain, share),)) for chain in families for share in shares]
    order = rng.permutation(len(antigens))
    found = antigen_clusters([antigens[i] for i in order])
    assert linked_equal(found, np.repeat(range(3), 4)[order])


def test_fragments_join_their_antigen_however_short():
    rng = np.random.default_rng(1)
    whole, other = random_chain(rng, 200), random_chain(rng, 200)
    parts = ((0, 5), (190, 10), (50, 20), (100, 60), (1, 199))
    fragments = [whole[start : start + length] for start, length in parts]
    for fragment in fragments[:2]:
        labels = antigen_clusters([Antigen((chain,)) for chain in (fragment, other, whole)])
        assert labels.tolist() == [0, 1, 0]
    labels = antigen_clusters([Antigen((chain,)) for chain in (other, whole, *fragments)])
    assert labels.tolist() == [0, 1, 1, 1, 1, 1, 1]


def test_tags_relate_no_antigens():
    rng = np.random.default_rng(5)
    constructs = {
        "His": "{}GGSHHHHHHHH",
        "Myc": "{}EQKLISEEDLNHHHHHH",
        "Avi": "{}GSGLNDIFEAQKIEWHE",
        "foldon": "{}GYIPEAPRDGQAYVRKDGEWVLLSTFLGSGLVPRGSHHHHHH",
        "Strep": "{}SAWSHPQFEKGGGSGGGSGGSAWSHPQFEK",
        "FLAG": "MDYKDHDGDYKDHDIDYKDDDDKLAAANS{}",
    }
    for name, construct in constructs.items():
        first, second, fragment = (random_chain(rng, length) for length in (60, 90, 45))
        tagged = [Antigen((construct.format(chain),)) for chain in (first, second)]
        shared = Antigen((construct.format(""),))
        labels = antigen_clusters([*tagged, shared, Antigen((first,)), Antigen((fragment,))])
        assert labels.tolist() == [0, 1, 2, 0, 3], name
        (stripped,) = splits.strip_tags(tagged[0]).chains
        assert first in stripped
        assert len(stripped) <= len(first) + 6
        # the two, tagged alike, on two sides of a cut are no leak; one of them with and without is
        rows = [Measurement(Pair(Antibody(VH.format("ARD")), antigen), 7.0) for antigen in tagged]
        proof = prove(rows, np.array([0, 1]))
        assert proof["shared_antigens"] == 0
        assert proof["antigen_max_identity_related"] < 0.3
        bare = dataclasses.replace(rows[0], pair=Pair(rows[0].pair.antibody, Antigen((first,))))
        assert prove([rows[0], bare], np.array([0, 1]))["shared_antigens"] == 1


def test_an_antigen_that_is_a_tag_stays_and_one_with_a_tag_inside_is_two_chains():
    rng = np.random.default_rng(6)
    for tag in ("HHHHHH", "EQKLISEEDLN", "DYKDDDDK", "WSHPQFEK"):
        assert splits.strip_tags(Antigen((tag,))) == Antigen((tag,))
    first, second = random_chain(rng, 80), random_chain(rng, 70)
    whole = Antigen((first + "DYKDDDDK" + second, "MKVLAAGIT"), "fusion")
    assert splits.strip_tags(whole) == Antigen((first, second, "MKVLAAGIT"), "fusion")
    untagged = Antigen((first, second))
    assert splits.strip_tags(untagged) is untagged


def test_the_chimera_of_5c0s_joins_no_influenza_with_hiv(data_root):
    rows = load_dataset("sabdab_full", data_root).measurements
    chimera = next(row.pair.antigen for row in rows if row.origin.complex_id == "5c0s")
    stem = chimera.chains[0][chimera.chains[0].index("TYNAELLVLLE") :][:70]
    gp41 = "SGIVQQQNNLLRAIEAQQHLLQLTVWGIKQLQARILAVERYLKDQQ"
    labels = antigen_clusters([Antigen((stem,)), Antigen((gp41,)), chimera])
    assert labels.tolist() == [0, 1, 0]


def test_near_identical_peptides_join_and_any_chain_pair_links():
    peptides = ["NANPNANPNANPNAN", "NANPNANPNVNPNAN", "CQYDLSTRRLKC", "CQYDLSTRALKC", "GWTLMHKEF"]
    labels = antigen_clusters([Antigen((peptide,)) for peptide in peptides])
    assert labels.tolist() == [0, 0, 1, 1, 2]
    rng = np.random.default_rng(2)
    a, b, c = (random_chain(rng, 120) for _ in range(3))
    antigens = [Antigen((a, b)), Antigen((c,)), Antigen((mutated(rng, b, 0.3),)), Antigen((a,))]
    assert antigen_clusters(antigens).tolist() == [0, 1, 0, 0]


def test_identity_and_coverage_are_of_the_shorter_chain():
    rng = np.random.default_rng(3)
    domain = random_chain(rng, 100)
    long = random_chain(rng, 300) + mutated(rng, domain, 0.3) + random_chain(rng, 300)
    half = domain[:45] + random_chain(rng, 55)
    for other, options, label in (
        (long, {}, 0),
        (long, {"identity": 0.8}, 1),
        (half, {"coverage": 0.9}, 1),
        (half, {"coverage": 0.3}, 0),
    ):
        found = antigen_clusters([Antigen((domain,)), Antigen((other,))], **options)
        assert found.tolist() == [0, label], options
    for identity in (0, 1.1, -1):
        with pytest.raises(InputError, match="identity"):
            antigen_clusters([Antigen((domain,))], identity=identity)
        with pytest.raises(InputError, match="identity"):
            antibody_clusters([Antibody(VH.format("ARD"))], identity=identity)


def test_clusters_ignore_the_order_of_rows_and_the_prefilter_for_many(rows, monkeypatch):
    antigens = [row.pair.antigen for row in rows]
    first = antigen_clusters(antigens)
    order = np.random.default_rng(0).permutation(len(antigens))
    assert linked_equal(antigen_clusters([antigens[i] for i in order]), first[order])
    monkeypatch.setattr(alignment, "EXHAUSTIVE_RESIDUES", 0)
    align_by_representatives.cache_clear()
    assert (antigen_clusters(antigens) == first).all()
    align_by_representatives.cache_clear()


def test_search_between_two_lists_names_both_sides_and_needs_mmseqs(monkeypatch, tmp_path):
    rng = np.random.default_rng(4)
    chain, other = random_chain(rng, 100), random_chain(rng, 100)
    hits = alignment.align_chains([other, chain], [mutated(rng, chain, 0.2), "MKVLAAGIT"])
    best = np.argmax(hits.identity * hits.related)
    assert (hits.first[best], hits.second[best]) == (1, 0)
    assert hits.identity[best] == pytest.approx(0.8, abs=0.05)
    nothing = alignment.align_chains(["GS" * 14], ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"])
    assert len(nothing.first) == 0
    monkeypatch.setenv("MMSEQS2_PATH", str(tmp_path / "absent"))
    alignment.mmseqs_binary.cache_clear()
    with pytest.raises(ParatopeError, match="MMSEQS2_PATH"):
        alignment.align_chains(["A" * 60, "C" * 60])
    alignment.mmseqs_binary.cache_clear()


@pytest.mark.parametrize("region", ["cdr3", "cdrs"])
def test_antibody_clusters_equal_brute_force_single_linkage(region):
    rng = np.random.default_rng(6)
    loops = [random_chain(rng, length) for length in (8, 12, 15, 20)]
    loops += [mutated(rng, loop, share) for loop in loops for share in (0.1, 0.2, 0.4)]
    loops += [loop[:-1] for loop in loops[:4]]
    antibodies = [Antibody(VH.format("AR" + loop), VL) for loop in loops]
    keys = ("H3",) if region == "cdr3" else ("H1", "H2", "H3", "L1", "L2", "L3")
    texts = ["".join(cdrs(antibody)[key] for key in keys) for antibody in antibodies]
    threshold = 0.8 if region == "cdr3" else 0.93
    links = [
        (i, j)
        for i, a in enumerate(texts)
        for j, b in enumerate(texts[:i])
        if min(len(a), len(b)) >= 0.8 * max(len(a), len(b))
        and (max(len(a), len(b)) - Levenshtein.distance(a, b)) / min(len(a), len(b)) >= threshold
    ]
    expected = single_linkage(len(texts), np.array(links).T)
    assert len(set(expected)) < len(texts)
    clusters = antibody_clusters(antibodies, region, threshold)
    if region == "cdr3":
        assert linked_equal(clusters, expected)
    else:  # heavy and light are compared apart: never less alike than joined
        assert len(set(clusters)) <= len(set(expected))


def test_a_heavy_chain_alone_and_chains_that_are_no_antibody():
    antibodies = [Antibody(VH.format("ARDYW")), Antibody(VH.format("ARDYW"), VL)]
    assert antibody_clusters(antibodies, "cdrs").tolist() == [0, 0]  # by the heavy chain
    chain = random_chain(np.random.default_rng(7), 100)
    antibodies = [Antibody(chain), Antibody(VH.format("ARDYW")), Antibody(chain[:-1])]
    assert antibody_clusters(antibodies).tolist() == [0, 1, 0]  # by themselves


def pair_of(heavy, antigen, light=VL):
    return Pair(Antibody(heavy, light), Antigen((antigen,)))


def awkward_rows():
    """Pairs of rows that every kind must keep whole, by name, among rows that may go anywhere."""
    rng = np.random.default_rng(8)
    heavy, antigen = VH.format("ARDGYSSGWYFDY"), random_chain(rng, 120)
    parent = pair_of(heavy, antigen)
    mutant = pair_of(VH.format("ARDGYASGWYFDY"), antigen)
    same = {
        "replicates": Pair(Antibody(heavy, VL, "other"), Antigen((antigen,), "name")),
        "constant domains": pair_of(heavy + CH1, antigen),
        "antigen fragment": pair_of(heavy, antigen[20:90]),
        "tags": pair_of(heavy, "M" + antigen + "GSHHHHHH"),
        "scFv": pair_of(VL + LINKER + heavy, antigen, None),
    }
    named = {
        name: [Measurement(parent, 8.0), Measurement(pair, 8.3)] for name, pair in same.items()
    }
    named["reverse mutants"] = [
        Measurement(mutant, delta_pkd=-1.0, parent=parent),
        Measurement(parent, delta_pkd=1.0, parent=mutant),
    ]
    others = [
        Measurement(pair_of(VH.format("AR" + random_chain(rng, 12)), random_chain(rng, 100)), 7.0)
        for _ in range(16)
    ]
    return named, others


@pytest.mark.parametrize("by", splits.KINDS)
@pytest.mark.parametrize("name", awkward_rows()[0])
def test_every_kind_keeps_one_thing_in_one_part(by, name):
    named, others = awkward_rows()
    # dates, labels and mutations that pull the rows apart
    made = [
        dataclasses.replace(row, origin=Origin(date=f"20{10 + index % 20}"))
        for index, row in enumerate([*named[name], *others])
    ]
    labels = [f"lab {index}" for index in range(len(made))] if by == "column" else None
    if by in ("position", "mutations"):  # something to mutate
        for back, row in enumerate(others, start=1):
            heavy, antigen = row.pair.antibody.heavy, row.pair.antigen.chains[0]
            at = len(heavy) - back
            variant = pair_of(heavy[:at] + "A" + heavy[at + 1 :], antigen)
            made.append(Measurement(variant, 7.0, parent=row.pair))
    split = split_measurements(made, by, fractions=(0.5, 0.5), labels=labels)
    assert split.groups[0] == split.groups[1]
    assert split.assignment[0] == split.assignment[1]
    assert split.proof["shared_pairs"] == 0


def test_mutants_are_not_replicates():
    first, second = awkward_rows()[0]["reverse mutants"]
    alone = [Measurement(row.pair, 8.0) for row in (first, second)]
    assert splits.replicate_groups(alone).tolist() == [0, 1]
    assert splits.replicate_groups([first, second]).tolist() == [0, 0]


@given(st.text(AMINO_ACIDS, min_size=21, max_size=60), st.integers(0, 8), st.integers(0, 8))
@hypothesis_settings(max_examples=30, deadline=None)
def test_any_fragment_is_the_same_molecule(chain, start, end):
    fragment = chain[start : len(chain) - end]
    assert splits.same_molecule([(chain,), (fragment,)]).tolist() == [0, 0]


def test_antigen_split_by_brute_force_alignment_of_every_pair(rows):
    split = split_measurements(rows, "antigen", fractions=(0.6, 0.2, 0.2))
    assert set(split.assignment) == {"train", "validation", "test"}
    # unrelated random chains reach at most this in a global alignment; families are built at 0.6
    chains = [row.pair.antigen.chains[0] for row in rows]
    pairs = {(chains[i], chains[j]) for i, j in crossing(split)}
    assert max(identity_by_alignment(a, b) for a, b in pairs) < 0.45
    assert split.proof["antigen_max_identity"] < 0.3
    assert split.proof["shared_antigens"] == split.proof["shared_pairs"] == 0


def test_antibody_proof_equals_brute_force(rows):
    split = split_measurements(rows, "antibody", folds=3)
    loops = [cdrs(row.pair.antibody)["H3"] for row in rows]
    best = 0.0
    for i, j in crossing(split):
        a, b = sorted((loops[i], loops[j]), key=len)
        if len(a) >= 0.8 * len(b):
            best = max(best, (len(b) - Levenshtein.distance(a, b)) / len(a))
    assert split.proof["antibody_max_identity"]["cdr3"] == pytest.approx(best, abs=1e-4)
    assert best < 0.8
    assert split.proof["shared_antibodies"] == 0


def test_both_leaks_neither_antibodies_nor_antigens_and_random_is_shown_to_leak(rows):
    proof = split_measurements(rows, "both", fractions=(0.6, 0.4)).proof
    assert proof["shared_antibodies"] == proof["shared_antigens"] == 0
    assert proof["antigen_max_identity_related"] < 0.3
    assert proof["antibody_max_identity"]["cdr3"] < 0.8
    proof = split_measurements(rows, "random").proof
    assert proof["shared_antigens"] > 0
    assert proof["antigen_max_identity"] == 1.0
    assert any("antigens" in said for said in proof["leaks"])


def landscape():
    """Every single mutant of a stretch of CDR-H3, some double mutants, and the parent."""
    loop = "ARDGYSSGWYFDY"
    antigen = random_chain(np.random.default_rng(9), 100)
    loops = [
        loop[:position] + letter + loop[position + 1 :]
        for position in range(2, 11)
        for letter in "AKDFW"
        if letter != loop[position]
    ]
    loops += [loop[:3] + "W" + loop[4:8] + "K" + loop[9:], loop]
    return [Measurement(pair_of(VH.format(variant), antigen), 8.0) for variant in loops]


@pytest.mark.parametrize("seed", range(3))
def test_position_split_tests_positions_never_mutated_in_training(seed):
    made = landscape()
    split = split_measurements(made, "position", seed=seed)
    chains = [row.pair.antibody.heavy for row in made]
    touched = [{at for at, one in enumerate(chain) if one != chains[-1][at]} for chain in chains]
    trained = set().union(*(touched[row] for row in split.rows("train")))
    for part in ("validation", "test"):
        assert len(split.rows(part))
        assert all(touched[row] - trained for row in split.rows(part))
    assert split.proof["held_positions_mutated_in_train"] == 0
    assert split.proof["positions_held_for_test"] >= 1
    assert split.assignment[-1] == "train"  # the parent


def test_position_folds_share_no_position_and_mutations_train_on_few_and_test_on_many():
    made = landscape()
    positions = splits.mutated_positions(made)
    for i, j in crossing(split_measurements(made, "position", folds=4)):
        assert not positions[i] & positions[j]
    split = split_measurements(made, "mutations", fractions=(0.9, 0.1))
    counts = np.array([len(one) for one in positions])
    assert counts[split.rows("train")].max() < counts[split.rows("test")].min()


def test_mutated_positions_follow_the_given_parent_and_its_insertions():
    parent = pair_of("EVQLVESGG", "MKVLAAGIT", None)
    child = pair_of("EVQLKESGG", "MKVLAGIT", None)
    (found,) = splits.mutated_positions([Measurement(child, delta_pkd=0.0, parent=parent)])
    (role, place), antigen = sorted((role, place) for role, _, place in found)[::-1]
    assert (role, place) == ("heavy", 4)
    assert antigen in (("antigen0", 4), ("antigen0", 5))


def test_date_split_trains_on_the_past_and_dates_must_be_dates(rows):
    split = split_measurements(rows, "date", fractions=(0.5, 0.25, 0.25))
    date = np.array([row.origin.date for row in rows])
    assert max(date[split.rows("train")]) < min(date[split.rows("validation")])
    assert max(date[split.rows("validation")]) < min(date[split.rows("test")])
    old, new = (dataclasses.replace(rows[0], origin=Origin(date=f"{year}-01-01"))
                for year in (1999, 2030))  # fmt: skip
    split = split_measurements([old, *rows[1:], new], "date")
    assert split.assignment[0] == split.assignment[-1] == "test"  # measured twice: new
    wrong = [dataclasses.replace(rows[0], origin=Origin(date="03/17/19")), *rows[1:]]
    with pytest.raises(InputError, match="03/17/19"):
        split_measurements(wrong, "date")
    with pytest.raises(InputError, match="date"):
        split_measurements([dataclasses.replace(row, origin=Origin()) for row in rows], "date")


def test_given_parts_are_kept_and_their_leaks_told_or_are_groups(rows):
    labels = ["train" if place % 2 else "test" for place in range(len(rows))]
    split = split_measurements(rows, "column", labels=labels)
    assert split.assignment.tolist() == labels
    assert split.proof["leaks"]
    folds = [dataclasses.replace(row, origin=Origin(fold=n % 3)) for n, row in enumerate(rows)]
    assert split_measurements(folds, "column").assignment.tolist() == [n % 3 for n in range(60)]
    labels = [str(place // 6) for place in range(len(rows))]
    split = split_measurements(rows, "column", labels=labels, fractions=(0.7, 0.3))
    assert len(set(zip(split.assignment, labels, strict=True))) == len(set(labels))


@given(st.lists(st.integers(1, 30), min_size=30, max_size=60), st.integers(0, 5))
@hypothesis_settings(max_examples=40, deadline=None)
def test_parts_come_close_to_the_wanted_sizes_and_cut_no_group(sizes, seed):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    shares = np.array([0.8, 0.1, 0.1])
    parts = assign_groups(groups, shares, seed)
    assert all(len(set(parts[groups == group])) == 1 for group in range(len(sizes)))
    got = np.bincount(parts, minlength=3)
    assert (np.abs(got - shares * len(groups)) <= max(sizes)).all()
    assert (got > 0).all()
    assert (assign_groups(groups, shares, seed) == parts).all()


def test_ranks_are_cut_between_values():
    rank = np.repeat([0.0, 1.0, 2.0], [50, 1, 1])
    parts = assign_by_rank(np.arange(52), rank, np.array([0.8, 0.1, 0.1]))
    assert Counter(parts.tolist()) == {0: 50, 1: 1, 2: 1}
    with pytest.raises(InputError, match="2 distinct"):
        assign_by_rank(np.arange(51), rank[:51], np.array([0.8, 0.1, 0.1]))


def test_seeds_repeat_and_differ_and_are_in_the_proof(rows):
    first, again, other = (split_measurements(rows, "random", seed=seed) for seed in (1, 1, 2))
    assert (first.assignment == again.assignment).all()
    assert first.proof == again.proof
    assert (first.assignment != other.assignment).any()
    assert first.proof["seed"] == 1
    assert first.proof["input_sha256"] == other.proof["input_sha256"]
    assert first.proof["assignment_sha256"] != other.proof["assignment_sha256"]
    changed = split_measurements([dataclasses.replace(rows[0], pkd=1.0), *rows[1:]], "random")
    assert changed.proof["input_sha256"] != first.proof["input_sha256"]


def test_a_giant_group_and_no_rows_are_told(rows):
    with pytest.raises(InputError, match="no measurements"):
        split_measurements([])
    giant = [row for row in rows if row.pair.antigen == rows[0].pair.antigen] * 30
    split = split_measurements([*giant, *rows], "antigen", fractions=(0.4, 0.3, 0.3))
    assert any("largest group" in note for note in split.proof["notes"])
    assert split.proof["sizes"]["train"] == split.proof["largest_group"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"by": "species"}, "valid names: antibody, antigen, both"),
        ({"fractions": (0.5, 0.4)}, "sum to 1"),
        ({"fractions": (1.0,)}, "two"),
        ({"fractions": (1.2, -0.2)}, "positive"),
        ({"folds": 1}, "at least 2"),
        ({"folds": 3, "fractions": (0.5, 0.5)}, "either"),
        ({"by": "column"}, "label for every row"),
        ({"by": "column", "labels": ["a"]}, "1 labels for 60"),
        ({"by": "column", "labels": ["a"] * 59 + [" "]}, "row 60"),
        ({"labels": ["a"] * 60}, "split by column"),
        ({"by": "antibody", "settings": splits.SplitSettings(region="cdr7")}, "cdr3"),
    ],
)
def test_wrong_requests_say_what_is_right(rows, asked, said):
    with pytest.raises(InputError, match=said):
        split_measurements(rows, **{"by": "random", **asked})


def test_one_antigen_cannot_be_split_by_antigen_and_its_tiers_say_so():
    with pytest.raises(InputError, match=r"1 group\(s\).*split by something else"):
        split_measurements(landscape(), "antigen")
    found = splits.tiers(landscape(), seed=3)
    assert list(found) == ["random", "unseen position"]
    reasons = found["random"].proof["tiers_impossible"]
    assert set(reasons) == {"unseen antibody", "unseen antigen"}
    assert "group" in reasons["unseen antigen"]


def test_skempi_leaks_at_random_and_not_by_antigen(data_root):
    measurements = load_dataset("skempi", data_root).measurements
    found = splits.tiers(measurements)
    assert list(found) == ["random", "unseen position", "unseen antibody", "unseen antigen"]
    random, antigen = found["random"].proof, found["unseen antigen"].proof
    assert random["shared_antigens"] >= 20
    assert random["antigen_max_identity"] == 1.0
    assert antigen["shared_antigens"] == antigen["shared_pairs"] == random["shared_pairs"] == 0
    assert antigen["antigen_max_identity_related"] < 0.3
    assert found["unseen antibody"].proof["shared_antibodies"] == 0
    assert found["unseen position"].proof["held_positions_mutated_in_train"] == 0
    for split in found.values():
        assert split.proof["sizes"]["train"] == pytest.approx(0.8 * len(measurements), rel=0.05)
