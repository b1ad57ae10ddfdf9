"""What substitutions did elsewhere as a campaign's prior mean."""

import numpy as np
import pytest

from paratope.campaigns.campaign_bundle import open_campaign
from paratope.campaigns.campaign_model import CampaignModel
from paratope.campaigns.campaign_model.fast_scoring import FastScorer
from paratope.campaigns.kernels.substitution_prior import GENERAL, SLOPE, SubstitutionPrior
from paratope.core.errors import ModelError
from paratope.models.general.substitutions import changes_between, similarity
from paratope.models.predictor import Predictor
from paratope.molecules.sequences import Antibody, Antigen, Pair
from small_campaigns import HEAVY, LIGHT, bundle_of, exact_campaign

TARGET = Antigen(("MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ",), "target")
MUTANT = Antigen(("MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVA",), "mutant")
PARENT = Pair(Antibody(HEAVY, LIGHT, "parent"), TARGET)


def variant(number: int) -> Pair:
    """One to four substitutions of either chain, none of which numbering begins from."""
    random = np.random.default_rng(number)
    chains = [list(HEAVY), list(LIGHT)]
    for _ in range(1 + number % 4):
        chain = chains[int(random.random() < 0.3)]
        place = int(random.integers(25, 90))
        if chain[place] not in "CW":
            chain[place] = str(random.choice(list("ADEFGHIKLMNPQRSTVY")))
    return Pair(Antibody("".join(chains[0]), "".join(chains[1]), f"v{number}"), TARGET)


@pytest.fixture(scope="module")
def elsewhere() -> SubstitutionPrior:
    return SubstitutionPrior.of_general_model()


@pytest.fixture(scope="module")
def campaign():
    """A parent and variants whose values follow nothing."""
    random = np.random.default_rng(1)
    pairs = [PARENT, *map(variant, range(11))]
    return exact_campaign(pairs, [8.0, *(7.5 + random.normal(size=11))], PARENT)


@pytest.fixture(scope="module")
def model(campaign, elsewhere) -> CampaignModel:
    return CampaignModel.fit(campaign, prior=elsewhere)


def score(pair: Pair) -> float:
    """The score s by its definition, and the general model's own explanation of Δ."""
    changes = [each for each in changes_between(PARENT, pair) if each.region]
    alone = sum(similarity(each.before, each.after) for each in changes)
    general = Predictor.load("default").model
    delta = float(general._contributions(changes, None).sum())
    return alone / np.sqrt(max(len(changes), 1)) + GENERAL * delta


def test_the_prior_mean_is_its_formula(model, campaign):
    measured = np.array([score(pair) for pair in campaign.pairs])
    pairs = [variant(number) for number in range(40, 70)]
    features = model.featuriser.features(pairs, None)
    expected = SLOPE * (np.array(list(map(score, pairs))) - measured.mean()) / measured.std()
    np.testing.assert_allclose(model.trained.elsewhere.mean(features), expected, atol=1e-9)
    # a mutation of the antigen is nothing that other antibodies tell of
    mutated = [Pair(pair.antibody, MUTANT) for pair in pairs]
    features = model.featuriser.features(mutated, None)
    np.testing.assert_allclose(model.trained.elsewhere.mean(features), expected, atol=1e-9)


def test_measurements_that_say_nothing_leave_the_prior_mean(elsewhere):
    """Values follow the prior's score: few rows teach a part of it, and the prior the rest."""
    pairs = [PARENT, *map(variant, range(12))]
    follow = exact_campaign(pairs, [score(pair) for pair in pairs], PARENT)
    rest = [variant(number) for number in range(100, 200)]
    truth = np.array(list(map(score, rest)))
    with_prior, without = (
        np.corrcoef(CampaignModel.fit(follow, prior=prior).predict_latent(rest).mean, truth)[0, 1]
        for prior in (elsewhere, None)
    )
    assert with_prior > without + 0.02


def test_values_left_out_are_on_the_scale_of_values(model, campaign):
    target, mean, variance = model.leave_one_out()
    np.testing.assert_allclose(target, model.scale.to_latent(campaign.values), atol=1e-9)
    own = model.predict_latent(campaign.pairs).mean
    assert np.corrcoef(own, target)[0, 1] > 0.5
    assert (variance > 0).all()
    assert np.isfinite(mean).all()


def test_a_model_folder_keeps_it(model):
    opened = open_campaign(bundle_of(model))
    pairs = [variant(number) for number in range(60, 80)]
    np.testing.assert_allclose(
        opened.predict_latent(pairs).mean, model.predict_latent(pairs).mean, atol=1e-12
    )
    document = bundle_of(model).campaign
    document["elsewhere"]["scale"] = -1.0
    with pytest.raises(ModelError, match="prior mean"):
        SubstitutionPrior.from_json(document["elsewhere"])


def test_sums_over_changes_know_it(model):
    chains = [variant(number).antibody.chains for number in range(60, 90)]
    scored = FastScorer(model.fast, TARGET).score(chains)
    known = model.fast.predict_latent([Pair(Antibody(*both), TARGET) for both in chains])
    np.testing.assert_allclose(scored.mean, known.mean, atol=2e-5)


def test_it_has_a_share_of_what_was_fitted(model):
    terms = model.importance().terms
    assert terms["prior_mean"] != 0
    assert sum(terms.values()) == pytest.approx(1, abs=0.01)


def test_variants_that_do_not_differ_have_no_prior_mean(elsewhere):
    mutants = [Pair(PARENT.antibody, antigen) for antigen in (TARGET, MUTANT)]
    model = CampaignModel.fit(exact_campaign(mutants, [8.0, 7.0], PARENT), prior=elsewhere)
    assert model.trained.elsewhere.scale == 0
    assert not model.expected.any()


def test_only_a_general_model_has_scores_of_substitutions():
    with pytest.raises(ModelError, match="no general model"):
        SubstitutionPrior.of_general_model("network")
