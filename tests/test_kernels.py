import numpy as np
import pytest

from paratope.campaigns.kernels import (
    ADDITIVE,
    LANGUAGE_TERMS,
    MEANING,
    OFFSETS,
    TERMS,
    WITHIN_PARENT,
    AntibodyLanguage,
    Featuriser,
    KernelCenterer,
    Pairwise,
    ParentSites,
    Scales,
    Site,
    SumKernel,
)
from paratope.campaigns.kernels.mutation_kernels import residue_similarity
from paratope.campaigns.kernels.variants import GAP, Aligner
from paratope.molecules.mutations import apply_mutations, parse_mutations
from paratope.molecules.numbering import number_chain
from paratope.molecules.sequences import Antibody, Antigen, Pair
from small_campaigns import HEAVY as VH
from small_campaigns import LIGHT as VL

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
    return Scales.of(features, list(featuriser.parent_sites))


def changes(aligner: Aligner, pair: Pair) -> tuple[int, list[tuple[str, int, int]]]:
    """The nearest parent of one variant, and what it changes there."""
    found = aligner.align([pair])
    own = [found.substitutions[column] for column in found.column]
    assert {one.parent for one in own} <= {int(found.parent[0])}
    return int(found.parent[0]), sorted((one.site.key, one.before, one.after) for one in own)


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    return Aligner([PARENT], [ParentSites.of(PARENT, None)])


def test_sites_are_imgt_positions(aligner):
    domain = number_chain(VH)
    heavy = [site for site in aligner.sites if site.role == "H"]
    assert sorted(site.label for site in heavy) == sorted(domain.positions)
    assert [site.position for site in heavy] == sorted(site.position for site in heavy)
    assert {site.role for site in aligner.sites} == {"H", "L"}


def test_changes_are_the_mutations(aligner):
    number, found = changes(aligner, variant("H:R50A,L:H91A"))
    assert number == 0
    assert [(key[0], after) for key, _, after in found] == [("H", 0), ("L", 0)]
    assert changes(aligner, PARENT) == (0, [])


def test_an_insertion_and_a_deletion_are_changes_of_single_sites(aligner):
    longer = Pair(Antibody(VH.replace("GDGFY", "GDGSFY"), VL), ANTIGEN)
    shorter = Pair(Antibody(VH.replace("GDGFY", "GDFY"), VL), ANTIGEN)
    _, inserted = changes(aligner, longer)
    _, deleted = changes(aligner, shorter)
    assert any(before == GAP for _, before, _ in inserted)
    assert any(after == GAP for _, _, after in deleted)
    assert len(inserted) <= 3
    assert len(deleted) <= 3


def test_antigen_mutants_keep_their_parent_and_other_antigens_are_no_mutants(aligner):
    mutant = Pair(PARENT.antibody, Antigen(("MKTAYIAKQRQISFVKSHFSRA",)))
    other = Pair(PARENT.antibody, Antigen(("GGGGGGGGGGGGGGGGGGGGGG",)))
    assert [key for key, _, _ in changes(aligner, mutant)[1]] == ["A0:22"]
    assert changes(aligner, other)[1] == []


def test_sites_of_many_antigen_chains_are_told_apart():
    """Residue 11 of chain 1, residue 1 of chain 11."""
    antigen = Antigen(("MKTAYIAKQRQISFVKSHFSRQ",) * 12)
    parent = Pair(PARENT.antibody, antigen)
    aligner = Aligner([parent], [ParentSites.of(parent, None)])
    keys = set()
    for chain, place in ((1, 10), (11, 0)):
        mutated = list(antigen.chains)
        mutated[chain] = mutated[chain][:place] + "W" + mutated[chain][place + 1 :]
        ((key, _, _),) = changes(aligner, Pair(parent.antibody, Antigen(tuple(mutated))))[1]
        keys.add(key)
    assert keys == {"A1:11", "A11:1"}


def test_a_chain_that_is_no_domain_shares_no_site_with_those_that_are(aligner):
    other = Pair(Antibody("MKTAYIAKQRQISFVKSHFSRQ", VL), ANTIGEN)
    _, found = changes(aligner, other)
    inserted = {key for key, before, _ in found if before == GAP}
    assert inserted == {f"Hn{place}" for place in range(1, 23)}
    assert len(found) == len(inserted) + sum(site.role == "H" for site in aligner.sites)
    assert Site("H", "n12").position == 12.0
    unnumbered = Aligner([other], [ParentSites.of(other, None)])
    mutant = Pair(Antibody("MKTAYIAKQRWISFVKSHFSRQ", VL), ANTIGEN)
    assert [key for key, _, _ in changes(unnumbered, mutant)[1]] == ["Hn11"]


def test_the_nearest_parent_is_taken():
    second = variant("H:R50A,H:Y105W,H:W99F")
    both = Aligner([PARENT, second], [ParentSites.of(one, None) for one in (PARENT, second)])
    assert changes(both, variant("H:R50A,H:Y105W,H:W99F,L:T94S"))[0] == 1
    assert changes(both, variant("L:T94S"))[0] == 0


@pytest.mark.parametrize("name", sorted(WITHIN_PARENT))
def test_what_is_learned_of_one_parent_says_nothing_of_another(name, scales):
    second = variant("H:R50A,H:Y105W,H:W99F")
    both = Featuriser(
        (PARENT, second), [ParentSites.of(one, None) for one in (PARENT, second)],
        (PARENT.antigen.chains,),
    )  # fmt: skip
    mutants = both.features(
        [variant("L:H91A"), variant("L:H91A,L:T94S"), variant("H:R50A,H:Y105W,H:W99F,L:H91A")], None
    )
    assert mutants.parent.tolist() == [0, 0, 1]
    gram = TERMS[name](Pairwise(mutants, mutants, scales))
    assert gram[0, 1] > 0
    assert gram[0, 2] == gram[1, 2] == 0
    shared = TERMS[name.removeprefix("parent_")](Pairwise(mutants, mutants, scales))
    assert gram[0, 1] == shared[0, 1]
    assert shared[0, 2] > 0


@pytest.mark.parametrize("name", sorted(TERMS))
def test_every_term_is_a_kernel(name, features, scales):
    """Symmetric, positive semi-definite, and the same whatever stands beside a variant."""
    gram = TERMS[name](Pairwise(features, features, scales))
    assert gram.shape == (len(MUTATIONS),) * 2
    np.testing.assert_allclose(gram, gram.T, atol=1e-6)
    assert np.linalg.eigvalsh(gram).min() > -1e-4 * max(1.0, float(np.abs(gram).max()))


@pytest.mark.parametrize("name", sorted(TERMS))
def test_a_variant_is_compared_alike_in_any_company(name, features, scales, featuriser, language):
    some = featuriser.features([variant(text) for text in MUTATIONS[2:5]], language)
    whole = TERMS[name](Pairwise(features, features, scales))
    np.testing.assert_allclose(
        TERMS[name](Pairwise(some, features, scales)), whole[2:5], rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("name", sorted(ADDITIVE))
def test_additive_terms_add_up(name, features, scales):
    """A double mutant is the sum of its changes."""
    gram = TERMS[name](Pairwise(features, features, scales))
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
    train = np.random.default_rng(0).normal(size=(9, 4))
    for reference in (None, np.arange(9) < 6):
        centerer = KernelCenterer.of(train @ train.T, reference)
        rows = train if reference is None else train[reference]
        centred = train - rows.mean(0)
        scale = float(np.mean(np.sum((rows - rows.mean(0)) ** 2, 1)))
        gram = centerer.transform(train @ train.T)
        np.testing.assert_allclose(gram, centred @ centred.T / scale, atol=1e-12)


def test_a_term_in_which_all_are_alike_is_left_out():
    assert KernelCenterer.of(np.ones((4, 4))) is None


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


@pytest.mark.parametrize("reference", [None, np.arange(len(MUTATIONS)) % 3 != 0])
def test_the_sum_is_that_of_its_centred_terms(features, featuriser, scales, language, reference):
    """What is computed together is what each term gives by itself, centred by itself."""
    rows = np.arange(len(features)) if reference is None else np.flatnonzero(reference)
    weights = {name: 0.3 + 0.1 * number for number, name in enumerate(TERMS)}
    kernel = SumKernel(features, scales, weights, reference)
    weights = {name: weights[name] for name in kernel.centerers}
    assert set(weights) >= {"same_site_substitution", "residues", "embedding", "physics"}
    assert "parent" not in weights  # all have the same
    texts = ("H:S97T,L:T94A", "H:R50K", "WT", "H:Y105W")
    new = featuriser.features([variant(text) for text in texts], language)
    train, cross, prior = np.zeros((8, 8)), np.zeros((4, 8)), np.zeros((4, 4))
    for name, weight in weights.items():
        own, mixed, gram = (
            TERMS[name](Pairwise(*both, scales))
            for both in ((new, new), (new, features), (features, features))
        )
        middle, column = gram[np.ix_(rows, rows)].mean(), gram[rows].mean(0)
        mean = mixed[:, rows].mean(1)
        share = weight / (np.diag(gram)[rows].mean() - middle)
        train += share * (gram - column - column[:, None] + middle)
        cross += share * (mixed - mean[:, None] - column + middle)
        prior += share * (own - mean[:, None] - mean + middle)
    compared = kernel.compare(new)
    np.testing.assert_allclose(kernel.covariance, train, atol=1e-5)
    np.testing.assert_allclose(compared.cross, cross, atol=1e-5)
    np.testing.assert_allclose(compared.variance, np.diag(prior), atol=1e-5)
    np.testing.assert_allclose(kernel.between(compared, compared), prior, atol=1e-5)


def test_offsets_tell_assays_and_antigens_apart(featuriser, scales):
    other = Pair(PARENT.antibody, Antigen(("GGGGGGGGGGGGGGGGGGGGGG",)))
    pairs = [PARENT, variant("H:S97A"), other]
    features = featuriser.features(pairs, None, assay=np.array([0, 1, 1]))
    both = Pairwise(features, features, scales)
    assay, antigen = OFFSETS["assay"](both), OFFSETS["antigen"](both)
    assert assay.tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 1]]
    assert antigen.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    for name, gram in (("assay", assay), ("antigen", antigen)):
        np.testing.assert_array_equal(OFFSETS[name].diagonal(features, scales), np.diag(gram))


def test_sums_over_changes_are_those_of_the_whole_matrix(features):
    between = np.random.default_rng(0).normal(size=(len(features.changes.key),) * 2)
    dense = features.has.toarray()
    assert dense.sum() == len(features.row)
    np.testing.assert_allclose(features.summed(between, features), dense @ between @ dense.T)
    np.testing.assert_allclose(
        features.summed_diagonal(between), np.diag(dense @ between @ dense.T)
    )
    np.testing.assert_allclose(features.totals(between), dense @ between)


def test_residues_that_differ_are_counted_one_by_one(features):
    slow = (features.residues[:, None] != features.residues[None]).sum(-1)
    np.testing.assert_array_equal(Pairwise(features, features, Scales()).differing(), slow)


@pytest.mark.parametrize("name", sorted(TERMS))
def test_a_term_with_itself_is_its_diagonal(name, features, scales):
    diagonal = np.diag(TERMS[name](Pairwise(features, features, scales)))
    np.testing.assert_allclose(
        TERMS[name].diagonal(features, scales), diagonal, rtol=1e-5, atol=1e-6
    )


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
    aligner = Aligner(parents, sites)
    for number, pair in enumerate(pairs):
        own = found.column[found.row == number]
        columns = (found.changes.key, found.changes.before, found.changes.after)
        told = sorted(zip(*(column[own].tolist() for column in columns), strict=True))
        assert (found.parent[number], told) == changes(aligner, pair)
    wild, nanobody_parent = len(MUTATIONS) + 4, 2
    assert found.parent[len(MUTATIONS)] == 1
    assert found.parent[wild] == nanobody_parent
    assert found.antigen[len(MUTATIONS) + 5] == 0  # a mutant is compared as its parent
    assert found.antigen[len(MUTATIONS) + 6] == -1
    unknown = found.residues[len(MUTATIONS) + 3]
    assert ((unknown == GAP) & (found.residues[MUTATIONS.index("WT")] != GAP)).sum() == 1


def test_a_variant_of_another_format_is_compared_by_its_heavy_chain(aligner):
    nanobody = Pair(Antibody(VH.replace("TYIH", "SYIH")), Antigen(("GSGSGSGS",)))
    assert [key for key, _, _ in changes(aligner, nanobody)[1]] == ["H37"]
