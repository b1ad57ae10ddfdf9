"""The fast form of a campaign's model: what it leaves out, where it is kept, how it is scored."""

import dataclasses

import numpy as np
import pytest

from paratope.campaigns.adaptation import validate
from paratope.campaigns.adaptation.report import card
from paratope.campaigns.adaptation.validation import AssayPredictor, campaign_fitter
from paratope.campaigns.campaign_bundle import open_campaign
from paratope.campaigns.campaign_model import CampaignModel, SparseCampaignModel
from paratope.campaigns.campaign_model.background import BACKGROUND, MOST_CHANGES, background
from paratope.campaigns.campaign_model.fast_scoring import FastScorer
from paratope.campaigns.kernels.terms import ENCODED_TERMS, OFFSETS, TERMS
from paratope.campaigns.kernels.variants import Site, antibody_chains, numbered
from paratope.core.errors import ModelError
from paratope.encoders.likelihood import AntibodyLanguage
from paratope.models.prediction import OUTPUT_COLUMNS
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair
from paratope.opening import predictor_of
from small_campaigns import HEAVY, LIGHT, bundle_of, exact_campaign
from test_numbering import VHH

TARGET = Antigen(("MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ",), "target")
MUTANT = Antigen(("MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVA",), "mutant")
OTHER = Antigen(("GSGSGSGSGSGSGSGSGSGSGSGSGSGS",), "other")
SHORTER = HEAVY[:102] + HEAVY[104:]  # its CDR-H3 lacks two residues


def changed(chain: str, random: np.random.Generator, most: int = 4) -> str:
    """A chain with some residues changed, none of which numbering begins from."""
    residues = list(chain)
    for place in random.choice(np.arange(24, len(chain) - 12), random.integers(1, most + 1), False):
        if residues[place] not in "CW":
            residues[place] = str(random.choice(list("ADEFGHIKLMNPQRSTVY")))
    return "".join(residues)


@pytest.fixture(scope="module")
def campaign():
    """Three parents, two of a length of their own, against two antigens."""
    random = np.random.default_rng(2)
    parents = [
        Pair(Antibody(HEAVY, LIGHT, "first"), TARGET),
        Pair(Antibody(SHORTER, LIGHT, "shorter"), TARGET),
        Pair(Antibody(VHH, None, "single"), MUTANT),
    ]
    pairs, values = [*parents], [8.0, 7.5, 7.0]
    for number in range(33):
        parent = parents[number % 3]
        antibody = Antibody(changed(parent.antibody.heavy, random), parent.antibody.light, "")
        pairs.append(Pair(antibody, (TARGET, MUTANT)[number % 2]))
        values.append(7.5 + random.normal())
    return exact_campaign(pairs, values, *parents)


@pytest.fixture(scope="module")
def model(campaign) -> CampaignModel:
    return CampaignModel.fit(campaign, language=AntibodyLanguage("cpu"))


@pytest.fixture(scope="module")
def library():
    """Variants of all parents; longer, shorter, without cysteines, with an X, of no parent."""
    random = np.random.default_rng(3)
    chains = [(changed(HEAVY, random, 8), LIGHT) for _ in range(40)]
    chains += [(changed(SHORTER, random), changed(LIGHT, random)) for _ in range(20)]
    chains += [(changed(VHH, random), None) for _ in range(20)]
    chains += [(HEAVY[:100] + "GY" + HEAVY[100:], LIGHT), (HEAVY[:101] + HEAVY[102:], LIGHT)]
    chains += [(HEAVY.replace("C", "S"), LIGHT), (HEAVY[:60] + "X" + HEAVY[61:], LIGHT)]
    chains += [(changed(HEAVY, random, 60), LIGHT), (HEAVY, None), (VHH, LIGHT), (HEAVY, LIGHT)]
    return chains


@pytest.mark.parametrize("antigen", [TARGET, MUTANT, OTHER], ids=lambda antigen: antigen.name)
def test_means_as_sums_are_those_of_the_kernel(model, library, antigen):
    fast = model.fast
    scorer = FastScorer(fast, antigen)
    known = fast.predict_latent([Pair(Antibody(*chains), antigen) for chains in library])
    scored = scorer.score(library)
    np.testing.assert_allclose(scored.mean, known.mean, atol=2e-5)
    assert scored.domain.tolist() == known.domain.tolist()
    if antigen is not OTHER:
        assert np.std(known.mean[known.domain != "out"]) > 0.05
    # in any company, and again
    np.testing.assert_allclose(scorer.score(library[50:]).mean, scored.mean[50:], atol=1e-6)


def test_variants_of_a_parents_length_are_not_numbered(model, library):
    scorer = FastScorer(model.fast, TARGET)
    _, numbered = scorer.by_length(library)
    # longer, shorter, without cysteines, another antibody, without a light chain or with one
    assert len(numbered) <= 8
    assert {80, 81, 82, 84} <= set(numbered.tolist())
    assert not set(range(80)) & set(numbered.tolist())


def test_a_sparse_models_means_too(campaign):
    sparse = SparseCampaignModel.fit(campaign, language=AntibodyLanguage("cpu"), inducing=16)
    fast = sparse.fast
    assert isinstance(fast, SparseCampaignModel)
    assert not fast.weights.keys() & set(ENCODED_TERMS)
    pairs = campaign.pairs
    chains = [(pair.antibody.heavy, pair.antibody.light) for pair in pairs]
    known = fast.predict_latent([Pair(pair.antibody, MUTANT) for pair in pairs]).mean
    np.testing.assert_allclose(FastScorer(fast, MUTANT).score(chains).mean, known, atol=2e-5)
    again = open_campaign(bundle_of(sparse)).fast
    np.testing.assert_allclose(again.predict_latent(pairs).mean, fast.predict_latent(pairs).mean)


def test_it_is_fitted_without_what_encodes_variants_and_kept_in_the_folder(model, campaign):
    fast = model.fast
    assert fast.language is None
    assert fast.fast is fast
    assert fast.weights.keys() == model.weights.keys() - set(ENCODED_TERMS)
    assert fast.weights["near_site"] != model.weights["near_site"]  # fitted, not cut out
    bundle = bundle_of(model)
    opened = open_campaign(bundle)
    assert opened.fast_fit is not None
    mean = fast.predict_latent(campaign.pairs).mean
    np.testing.assert_allclose(opened.fast.predict_latent(campaign.pairs).mean, mean, atol=1e-6)
    del bundle.campaign["fast"]  # a folder of before
    older = open_campaign(bundle)
    assert older.fast_fit is None
    np.testing.assert_allclose(older.fast.predict_latent(campaign.pairs).mean, mean, atol=0.02)


def test_every_term_is_scored_or_refused(model):
    """A term that is added to the kernel must be added to the sums."""
    scorer = FastScorer(model.fast, TARGET)
    assert not (TERMS.keys() | OFFSETS.keys()) - set(ENCODED_TERMS) - scorer.terms
    with pytest.raises(ModelError, match="terms that must encode variants: .*embedding"):
        FastScorer(model, TARGET)


def test_the_report_judges_both_forms_on_the_same_rows(campaign):
    few = dataclasses.replace(campaign.rows(np.arange(24)), parents=campaign.parents[:1])
    fit = campaign_fitter(AntibodyLanguage("cpu"))
    report = validate(few, lambda part: AssayPredictor(fit(part)))
    random = report.validations["random"]
    assert random.fast is not None
    assert random.model is not None
    assert random.fast_ahead is not None
    gap = random.fast.spearman - random.model.spearman
    assert random.fast_ahead[0] == pytest.approx(gap)
    assert report.to_json()["validations"]["random"]["fast"]["spearman"] == pytest.approx(
        random.fast.spearman, abs=1e-4
    )
    importance = CampaignModel.fit(few).importance()
    text = card("small", few, importance, report, "none")
    assert f"Spearman {random.fast_ahead[0]:+.3f}" in text
    assert "its fast form" in text
    assert AssayPredictor(CampaignModel.fit(few)).fast is None


def test_a_percentile_is_the_share_of_random_natural_variants_below(model):
    model = open_campaign(bundle_of(model))
    random = background(model, TARGET)
    assert len(random) == BACKGROUND
    assert (np.diff(random) >= 0).all()
    assert np.array_equal(background(model, TARGET), random)
    own = [pair for pair in model.campaign.pairs if pair.antigen == TARGET]
    pairs = [*own, dataclasses.replace(own[0], antigen=OTHER)]
    answer = model.predict_pairs(pairs)
    latent = model.predict_latent(pairs).mean
    expected = [(random < value).mean() * 100 for value in latent[:-1]]
    np.testing.assert_allclose(answer.percentile[:-1], expected)
    assert np.ptp(expected) > 20
    assert np.isnan(answer.percentile[-1])  # nothing is known of another antigen
    frame = predictor_of(bundle_of(model)).predict(pairs)
    assert frame.columns[frame.columns.index(OUTPUT_COLUMNS[-1]) + 1] == "percentile"
    assert frame["percentile"].null_count() == 1


def test_random_variants_have_the_residues_of_natural_antibodies(model, monkeypatch):
    scored = []
    score = FastScorer.score
    monkeypatch.setattr(FastScorer, "score", lambda self, a: scored.extend(a) or score(self, a))
    background(model, TARGET)
    chance, drawn = [], []
    for number, parent in enumerate(model.parents):
        logs, mine = model.featuriser.parent_sites[number].log_probability, scored[number::3]
        for chain, (role, text) in enumerate(antibody_chains(parent)):
            for index, label in enumerate(numbered(text).labels):
                odds = np.exp(logs[Site(role, label)].astype(float))
                odds[AMINO_ACIDS.index(text[index])] = 0
                got = [row[chain][index] for row in mine if row[chain][index] != text[index]]
                chance += list(len(got) * odds / odds.sum())
                drawn += [got.count(letter) for letter in AMINO_ACIDS]
    chance, drawn = np.array(chance), np.array(drawn)
    common = chance > 4
    assert common.sum() > 200
    deviations = (drawn - chance)[common] / np.sqrt(chance[common])
    assert np.mean(deviations**2) < 1.3
    whole = "".join(model.parents[0].antibody.chains)
    changes = [sum(map(str.__ne__, whole, "".join(chains))) for chains in scored[::3]]
    assert (min(changes), max(changes)) == (1, MOST_CHANGES)
