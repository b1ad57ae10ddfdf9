import numpy as np
import pytest

from paratope.campaigns.kernels import terms
from paratope.campaigns.kernels.features import Featuriser
from paratope.campaigns.kernels.sum_kernel import KernelCenterer, SumKernel
from paratope.campaigns.kernels.terms import TERMS, Pairwise, Scales
from paratope.campaigns.kernels.variants import GAP, Aligner, ParentSites, Site
from paratope.encoders.likelihood import AntibodyLanguage
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
    heavy = [site for site in aligner.sites if site.role == "H"]
    assert sorted(site.label for site in heavy) == sorted(number_chain(VH).positions)
    assert [site.position for site in heavy] == sorted(site.position for site in heavy)
    assert {site.role for site in aligner.sites} == {"H", "L"}


def test_changes_are_the_mutations(aligner):
    number, found = changes(aligner, variant("H:R50A,L:H91A"))
    assert number == 0
    assert [(key[0], after) for key, _, after in found] == [("H", 0), ("L", 0)]
    assert changes(aligner, PARENT) == (0, [])
    # an insertion and a deletion are changes of single sites
    for loop, column in (("GDGSFY", 1), ("GDFY", 2)):
        _, found = changes(aligner, Pair(Antibody(VH.replace("GDGFY", loop), VL), ANTIGEN))
        assert any(change[column] == GAP for change in found)
        assert len(found) <= 3
    # antigen mutants keep their parent, other antigens are no mutants
    for antigen, keys in (("MKTAYIAKQRQISFVKSHFSRA", ["A0:22"]), ("G" * 22, [])):
        _, found = changes(aligner, Pair(PARENT.antibody, Antigen((antigen,))))
        assert [key for key, _, _ in found] == keys
    # another format is compared by its heavy chain
    nanobody = Pair(Antibody(VH.replace("TYIH", "SYIH")), Antigen(("GSGSGSGS",)))
    assert [key for key, _, _ in changes(aligner, nanobody)[1]] == ["H37"]


def test_sites_of_many_antigen_chains_are_told_apart():
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


@pytest.mark.parametrize("name", sorted(terms.WITHIN_PARENT))
def test_what_is_learned_of_one_parent_says_nothing_of_another(name, scales):
    parents = (PARENT, variant("H:R50A,H:Y105W,H:W99F"))
    both = Featuriser(parents, [ParentSites.of(one, None) for one in parents], (ANTIGEN.chains,))
    texts = ("L:H91A", "L:H91A,L:T94S", "H:R50A,H:Y105W,H:W99F,L:H91A")
    mutants = both.features([variant(text) for text in texts], None)
    assert mutants.parent.tolist() == [0, 0, 1]
    gram = TERMS[name].gram(Pairwise(mutants, mutants, scales))
    assert gram[0, 1] > 0
    assert gram[0, 2] == gram[1, 2] == 0
    shared = TERMS[name.removeprefix("parent_")].gram(Pairwise(mutants, mutants, scales))
    assert gram[0, 1] == shared[0, 1]
    assert shared[0, 2] > 0


@pytest.mark.parametrize("name", sorted(TERMS))
def test_every_term_is_a_kernel(name, features, featuriser, language, scales):
    """Symmetric, positive semi-definite, and the same whatever stands beside a variant."""
    gram = TERMS[name].gram(Pairwise(features, features, scales))
    assert gram.shape == (len(MUTATIONS),) * 2
    np.testing.assert_allclose(gram, gram.T, atol=1e-6)
    assert np.linalg.eigvalsh(gram).min() > -1e-4 * max(1.0, float(np.abs(gram).max()))
    some = featuriser.features([variant(text) for text in MUTATIONS[2:5]], language)
    alone = TERMS[name].gram(Pairwise(some, features, scales))
    np.testing.assert_allclose(alone, gram[2:5], rtol=1e-4, atol=1e-3)
    diagonal = TERMS[name].diagonal(features, scales)
    np.testing.assert_allclose(diagonal, np.diag(gram), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(terms.ADDITIVE))
def test_additive_terms_add_up(name, features, scales):
    gram = TERMS[name].gram(Pairwise(features, features, scales))
    single = [MUTATIONS.index("H:R50A"), MUTATIONS.index("L:H91A")]
    double = MUTATIONS.index("H:R50A,L:H91A")
    np.testing.assert_allclose(gram[double], gram[single].sum(0), atol=1e-5)
    np.testing.assert_allclose(gram[MUTATIONS.index("WT")], 0.0, atol=1e-9)


def test_similar_residues_are_similar():
    assert set(TERMS) >= {*terms.LANGUAGE_TERMS, *terms.ADDITIVE}
    similarity = terms.residue_similarity()
    np.testing.assert_allclose(np.diag(similarity), 1.0)
    isoleucine = dict(zip("ACDEFGHIKLMNPQRSTVWY-", similarity[7], strict=True))
    assert isoleucine["V"] > isoleucine["D"] > isoleucine["-"] == 0
    assert np.linalg.eigvalsh(similarity).min() > -1e-9


def test_centring_is_that_of_the_features():
    train = np.random.default_rng(0).normal(size=(9, 4))
    for reference in (None, np.arange(9) < 6):
        centerer = KernelCenterer.of(train @ train.T, reference)
        rows = train if reference is None else train[reference]
        centred = train - rows.mean(0)
        scale = float(np.mean(np.sum((rows - rows.mean(0)) ** 2, 1)))
        gram = centerer.transform(train @ train.T)
        np.testing.assert_allclose(gram, centred @ centred.T / scale, atol=1e-12)
    assert KernelCenterer.of(np.ones((4, 4))) is None  # where all are alike


def test_projected_embeddings_keep_distances(features, language):
    chains = [variant(text).antibody.chains for text in MUTATIONS]
    rows = np.array([np.concatenate(list(language.embeddings(one))).ravel() for one in chains])
    off = ~np.eye(len(chains), dtype=bool)
    both = rows, features.delta
    true, found = (((one[:, None] - one[None]) ** 2).sum(-1)[off] for one in both)
    assert np.median(np.abs(found / true - 1)) < 0.15


@pytest.mark.parametrize("reference", [None, np.arange(len(MUTATIONS)) % 3 != 0])
def test_the_sum_is_that_of_its_centred_terms(features, featuriser, scales, language, reference):
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
            TERMS[name].gram(Pairwise(*both, scales))
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
    assay, antigen = terms.OFFSETS["assay"].gram(both), terms.OFFSETS["antigen"].gram(both)
    assert assay.tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 1]]
    assert antigen.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    for name, gram in (("assay", assay), ("antigen", antigen)):
        np.testing.assert_array_equal(terms.OFFSETS[name].diagonal(features, scales), np.diag(gram))


def test_sums_over_changes_are_those_of_the_whole_matrix(features):
    between = np.random.default_rng(0).normal(size=(len(features.changes.key),) * 2)
    dense = features.has.toarray()
    assert dense.sum() == len(features.row)
    summed = dense @ between @ dense.T
    np.testing.assert_allclose(features.summed(between, features), summed)
    np.testing.assert_allclose(features.summed_diagonal(between), np.diag(summed))
    np.testing.assert_allclose(features.totals(between), dense @ between)
    slow = (features.residues[:, None] != features.residues[None]).sum(-1)
    np.testing.assert_array_equal(Pairwise(features, features, Scales()).differing(), slow)


def test_many_variants_are_aligned_as_each_by_itself():
    """Of several parents, with insertions, unknown residues, other formats and antigen mutants."""
    nanobody = Pair(Antibody(VH.replace("TYIH", "SYAM")), ANTIGEN)
    parents = [PARENT, variant("H:R50A,H:Y105W,H:W99F"), nanobody]
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
    found = Featuriser(parents, sites, [ANTIGEN.chains]).features(pairs, None)
    aligner = Aligner(parents, sites)
    for number, pair in enumerate(pairs):
        own = found.column[found.row == number]
        columns = (found.changes.key, found.changes.before, found.changes.after)
        told = sorted(zip(*(column[own].tolist() for column in columns), strict=True))
        assert (found.parent[number], told) == changes(aligner, pair)
    others = len(MUTATIONS)
    assert found.parent[[others, others + 4]].tolist() == [1, 2]
    # a mutant is compared as its parent
    assert found.antigen[[others + 5, others + 6]].tolist() == [0, -1]
    unknown, known = found.residues[others + 3], found.residues[MUTATIONS.index("WT")]
    assert ((unknown == GAP) & (known != GAP)).sum() == 1
