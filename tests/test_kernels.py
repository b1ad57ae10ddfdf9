import numpy as np
import pytest

from paratope.campaigns.kernels import (
    ADDITIVE,
    LANGUAGE_TERMS,
    MEANING,
    TERMS,
    WITHIN_PARENT,
    AntibodyLanguage,
    Blend,
    Centring,
    Featuriser,
    ParentSites,
    Scales,
)
from paratope.campaigns.kernels.changes import GAP, Parents, number_of, residue_similarity, sites_of
from paratope.campaigns.kernels.scales import differing
from paratope.molecules.mutations import apply_mutations, parse_mutations
from paratope.molecules.numbering import number_chain
from paratope.molecules.sequences import Antibody, Antigen, Pair

VH = (
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKNTAYLQMNSLRAEDTAVYYC"
    "SRWGGDGFYAMDYWGQGTLVTVSS"
)
VL = (
    "DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGSRSGTDFTLTISSLQPEDFATYYCQQHYTTPP"
    "TFGQGTKVEIK"
)
ANTIGEN = Antigen(("MKTAYIAKQRQISFVKSHFSRQ",))
PARENT = Pair(Antibody(VH, VL), ANTIGEN)
MUTATIONS = (
    "H:S97A", "H:R50A", "H:Y105W", "L:H91A", "H:R50A,L:H91A", "H:Y105W,H:W99F", "L:T94S", "WT",
)  # fmt: skip


def variant(mutations: str) -> Pair:
    return Pair(apply_mutations(PARENT.antibody, parse_mutations(mutations)), ANTIGEN)


@pytest.fixture(scope="module")
def language(tmp_path_factory) -> AntibodyLanguage:
    return AntibodyLanguage("cpu", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def featuriser(language) -> Featuriser:
    return Featuriser([PARENT], [ParentSites.of(PARENT, language)], [ANTIGEN.chains])


@pytest.fixture(scope="module")
def features(featuriser, language):
    return featuriser.features([variant(text) for text in MUTATIONS], language)


@pytest.fixture(scope="module")
def scales(features, featuriser):
    return Scales.of(features, list(featuriser.parents.sites))


def test_sites_are_imgt_positions():
    sites = dict(sites_of(PARENT))
    domain = number_chain(VH)
    assert sum(site.role == "H" for site in sites) == len(domain.residues)
    ordered = [number_of(site) for site in sites if site.role == "H"]
    assert ordered == sorted(ordered) or "112A" in domain.positions  # 112A stands before 112
    assert {site.role for site in sites} == {"H", "L", "A0"}


def test_changes_are_the_mutations():
    parents = Parents([PARENT], [ParentSites.of(PARENT, None)])
    number, found = parents.changes(variant("H:R50A,L:H91A"))
    assert number == 0
    assert [(one.site.role, one.after) for one in found] == [("H", 0), ("L", 0)]
    assert parents.changes(PARENT) == (0, ())


def test_an_insertion_and_a_deletion_are_changes_of_single_sites():
    parents = Parents([PARENT], [ParentSites.of(PARENT, None)])
    longer = Pair(Antibody(VH.replace("GDGFY", "GDGSFY"), VL), ANTIGEN)
    shorter = Pair(Antibody(VH.replace("GDGFY", "GDFY"), VL), ANTIGEN)
    _, inserted = parents.changes(longer)
    _, deleted = parents.changes(shorter)
    assert any(one.before == GAP for one in inserted)
    assert any(one.after == GAP for one in deleted)
    assert len(inserted) <= 3
    assert len(deleted) <= 3


def test_antigen_mutants_keep_their_parent_and_other_antigens_are_no_mutants():
    parents = Parents([PARENT], [ParentSites.of(PARENT, None)])
    mutant = Pair(PARENT.antibody, Antigen(("MKTAYIAKQRQISFVKSHFSRA",)))
    other = Pair(PARENT.antibody, Antigen(("GGGGGGGGGGGGGGGGGGGGGG",)))
    assert [one.site.label for one in parents.changes(mutant)[1]] == ["22"]
    assert parents.changes(other)[1] == ()


def test_the_nearest_parent_is_taken():
    second = variant("H:R50A,H:Y105W,H:W99F")
    both = Parents([PARENT, second], [ParentSites.of(one, None) for one in (PARENT, second)])
    assert both.changes(variant("H:R50A,H:Y105W,H:W99F,L:T94S"))[0] == 1
    assert both.changes(variant("L:T94S"))[0] == 0


@pytest.mark.parametrize("name", sorted(WITHIN_PARENT))
def test_what_is_learned_of_one_parent_says_nothing_of_another(name, scales):
    second = variant("H:R50A,H:Y105W,H:W99F")
    both = Featuriser(
        (PARENT, second), [ParentSites.of(one, None) for one in (PARENT, second)],
        (PARENT.antigen.chains,),
    )  # fmt: skip
    mutants = both.features(
        [variant("L:H91A"), variant("L:H91A,L:T94S"), variant("H:R50A,H:Y105W,H:W99F,L:H91A")],
        None,
    )
    assert mutants.parent.tolist() == [0, 0, 1]
    gram = TERMS[name](mutants, mutants, scales)
    assert gram[0, 1] > 0
    assert gram[0, 2] == gram[1, 2] == 0
    shared = TERMS[name.removeprefix("parent_")](mutants, mutants, scales)
    assert gram[0, 1] == shared[0, 1]
    assert shared[0, 2] > 0


@pytest.mark.parametrize("name", sorted(TERMS))
def test_every_term_is_a_kernel(name, features, scales):
    """Symmetric, positive semi-definite, and the same whatever stands beside a variant."""
    gram = TERMS[name](features, features, scales)
    assert gram.shape == (len(MUTATIONS),) * 2
    np.testing.assert_allclose(gram, gram.T, atol=1e-6)
    assert np.linalg.eigvalsh(gram).min() > -1e-4 * max(1.0, float(np.abs(gram).max()))


@pytest.mark.parametrize("name", sorted(TERMS))
def test_a_variant_is_compared_alike_in_any_company(name, features, scales, featuriser, language):
    some = featuriser.features([variant(text) for text in MUTATIONS[2:5]], language)
    whole = TERMS[name](features, features, scales)
    np.testing.assert_allclose(
        TERMS[name](some, features, scales), whole[2:5], rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("name", sorted(ADDITIVE))
def test_additive_terms_add_up(name, features, scales):
    """A double mutant is the sum of its changes."""
    gram = TERMS[name](features, features, scales)
    single = [MUTATIONS.index("H:R50A"), MUTATIONS.index("L:H91A")]
    double = MUTATIONS.index("H:R50A,L:H91A")
    np.testing.assert_allclose(gram[double], gram[single].sum(0), atol=1e-5)
    np.testing.assert_allclose(gram[MUTATIONS.index("WT")], 0.0, atol=1e-9)


def test_terms_have_a_meaning_and_language_terms_exist():
    assert set(MEANING) == set(TERMS)
    assert set(LANGUAGE_TERMS) <= set(TERMS)
    assert set(ADDITIVE) <= set(TERMS)


def test_residue_similarity_is_a_similarity():
    similarity = residue_similarity()
    np.testing.assert_allclose(np.diag(similarity), 1.0)
    letters = "ACDEFGHIKLMNPQRSTVWY"
    assert (
        similarity[letters.index("I"), letters.index("V")]
        > similarity[letters.index("I"), letters.index("D")]
    )
    assert np.linalg.eigvalsh(similarity).min() > -1e-9


def test_centring_is_that_of_the_features():
    """Centring a Gram matrix is centring the features behind it."""
    random = np.random.default_rng(0)
    train, new = random.normal(size=(9, 4)), random.normal(size=(5, 4))
    centring = Centring.of(train @ train.T)
    assert centring is not None
    middle = train.mean(0)
    scale = float(np.mean(np.sum((train - middle) ** 2, 1)))
    centred = (train - middle) @ (train - middle).T / scale
    np.testing.assert_allclose(centring.train(train @ train.T), centred, atol=1e-12)
    np.testing.assert_allclose(
        centring.cross(new @ train.T), (new - middle) @ (train - middle).T / scale, atol=1e-12
    )
    means = (new @ train.T).mean(1)
    np.testing.assert_allclose(
        centring.between(new @ new.T, means, means),
        (new - middle) @ (new - middle).T / scale,
        atol=1e-12,
    )


def test_a_term_in_which_all_are_alike_is_left_out():
    assert Centring.of(np.ones((4, 4))) is None


def test_projected_embeddings_keep_distances(features, featuriser, language):
    """Distances of whole chains change by a few per cent alone."""
    pairs = [variant(text) for text in MUTATIONS]
    rows = [
        np.concatenate(list(language.embeddings([pair.antibody.heavy, pair.antibody.light or ""])))
        for pair in pairs
    ]
    true = np.array([[np.sum((a - b) ** 2) for b in rows] for a in rows])
    found = np.array([[np.sum((a - b) ** 2) for b in features.delta] for a in features.delta])
    off = ~np.eye(len(pairs), dtype=bool)
    assert np.median(np.abs(found[off] / true[off] - 1)) < 0.15


def test_a_blend_is_the_sum_of_its_terms(features, featuriser, scales, language):
    """What is computed together is what each term gives by itself."""
    shares = {name: 0.3 + 0.1 * number for number, name in enumerate(TERMS)}
    blend = Blend(shares, scales)
    new = featuriser.features(
        [variant(text) for text in ("H:S97T,L:T94A", "H:R50K", "WT")], language
    )
    a, b = blend.read(new), blend.read(features)
    slow = sum(share * TERMS[name](new, features, scales) for name, share in shares.items())
    largest = float(np.abs(slow).max())  # embeddings are in single precision
    np.testing.assert_allclose(blend.between(a, b), slow, rtol=1e-6, atol=1e-6 * largest)
    own = sum(share * np.diag(TERMS[name](new, new, scales)) for name, share in shares.items())
    np.testing.assert_allclose(blend.own(a), own, rtol=1e-6)
    exact = {name: share for name, share in shares.items() if "embedding" not in name}
    blend = Blend(exact, scales)  # without the terms in single precision
    slow = sum(share * TERMS[name](new, features, scales) for name, share in exact.items())
    np.testing.assert_allclose(
        blend.between(blend.read(new), blend.read(features)), slow, rtol=1e-12
    )


def test_sums_over_changes_are_those_of_the_whole_matrix(features):
    between = np.random.default_rng(0).normal(size=(len(features.changes.key),) * 2)
    dense = features.incidence()
    assert dense.sum() == len(features.row)
    np.testing.assert_allclose(features.summed(between, features), dense @ between @ dense.T)
    np.testing.assert_allclose(features.summed_own(between), np.diag(dense @ between @ dense.T))
    np.testing.assert_allclose(features.totals(between), dense @ between)


def test_residues_that_differ_are_counted_one_by_one(features):
    slow = (features.residues[:, None] != features.residues[None]).sum(-1)
    np.testing.assert_array_equal(differing(features, features), slow)


@pytest.mark.parametrize("name", sorted(TERMS))
def test_a_term_with_itself_is_its_diagonal(name, features, scales):
    diagonal = np.diag(TERMS[name](features, features, scales))
    np.testing.assert_allclose(TERMS[name].own(features, scales), diagonal, rtol=1e-5, atol=1e-6)


def test_many_variants_are_aligned_as_each_by_itself(language):
    """Of several parents, with insertions, unknown residues, other formats and antigen mutants."""
    second = variant("H:R50A,H:Y105W,H:W99F")
    nanobody = Pair(Antibody(VH.replace("TYIH", "SYAM")), ANTIGEN)
    parents = [PARENT, second, nanobody]
    sites = [ParentSites.of(one, None) for one in parents]
    mutant = Antigen((ANTIGEN.chains[0].replace("KQRQ", "KQAQ"),))
    pairs = [
        *(variant(text) for text in MUTATIONS),
        variant("H:R50A,H:Y105W,H:W99F,L:T94S"),
        variant("H:102insAAA"),
        variant("H:D102del"),
        Pair(Antibody(VH.replace("YAMDY", "YXMDY"), VL), ANTIGEN),
        Pair(Antibody(VH), ANTIGEN),
        Pair(Antibody(VH, VL), mutant),
        Pair(Antibody(VH.replace("TNGY", "TAGY"), VL), Antigen(("WWWWWWWWWWWWWWWW",))),
        Pair(Antibody("MKTAYIAKQRQISFVKSHFSRQ", VL), ANTIGEN),
    ]
    featuriser = Featuriser(parents, sites, [ANTIGEN.chains])
    found = featuriser.features(pairs, None)
    slow = Parents(parents, sites)
    for number, pair in enumerate(pairs):
        parent, changes = slow.changes(pair)
        own = found.column[found.row == number]
        told = set(zip(found.changes.key[own], found.changes.before[own], found.changes.after[own],
                       strict=True))  # fmt: skip
        assert found.parent[number] == parent
        assert told == {(f"{c.site.role}{c.site.label}", c.before, c.after) for c in changes}
        residues = dict(sites_of(pair))
        assert found.residues[number].tolist() == [
            residues.get(site, GAP) for site in featuriser.sites
        ]
    assert found.antigen[len(MUTATIONS) + 5] == 0  # a mutant is compared as its parent
    assert found.antigen[len(MUTATIONS) + 6] == -1
