import dataclasses

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import spearmanr

from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model import CampaignModel
from paratope.campaigns.campaign_model.antigens import CampaignAntigens
from paratope.campaigns.campaign_model.training import HalfRankNormalTransform, observations
from paratope.campaigns.kernels.terms import TERMS, WITHIN_ANTIGEN
from paratope.core.errors import InputError, ModelError
from paratope.encoders.likelihood import AntibodyLanguage
from paratope.models.bundle import write_bundle
from paratope.models.predictor import Predictor
from paratope.molecules.mutations import apply_mutations, parse_mutations
from paratope.molecules.sequences import Antibody, Antigen, Pair
from small_campaigns import HEAVY as VH
from small_campaigns import LIGHT as VL
from small_campaigns import additive_mutants, bundle_of, exact_campaign
from test_numbering import VHH

ROWS = 60
ANTIGEN = Antigen(("MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ",), "target")
ELSEWHERE = Antigen(("GSGSGSGSGSGSGSGSGSGSGSGSGSGS",))
PLACES = {"H": (29, 52, 98, 101, 104), "L": (27, 49, 91, 93)}  # from 0


@pytest.fixture(scope="module")
def landscape() -> Campaign:
    """Up to three changes at nine places; every change has an effect."""
    places = [(chain, place) for chain, own in PLACES.items() for place in own]
    made = additive_mutants(np.random.default_rng(5), 160, places, 3, 0.8, noise=0.15)
    pairs = [Pair(Antibody(*chains, f"v{n}"), ANTIGEN) for n, chains in enumerate(made)]
    return exact_campaign(pairs, list(made.values()), Pair(Antibody(VH, VL, "parent"), ANTIGEN))


@pytest.fixture(scope="module")
def plate(landscape) -> Campaign:
    return landscape.rows(np.arange(ROWS))


@pytest.fixture(scope="module")
def model(plate) -> CampaignModel:
    return CampaignModel.fit(plate)


@pytest.fixture(scope="module")
def small(landscape) -> CampaignModel:
    return CampaignModel.fit(landscape.rows(np.arange(14)), language=AntibodyLanguage("cpu"))


def test_it_ranks_what_it_has_not_seen_and_intervals_cover_what_they_say(model, landscape):
    rest = landscape.rows(np.arange(ROWS, len(landscape)))
    exact = rest.censoring == 0
    assert spearmanr(model.predict(rest.pairs)[exact], rest.values[exact])[0] > 0.5
    answer = model.predict_latent(rest.pairs)
    low, high = model.interval(answer, 0.9)
    inside = (rest.values >= low) & (rest.values <= high)
    assert 0.75 <= inside[exact].mean() <= 1.0
    narrow_low, narrow_high = model.interval(answer, 0.5)
    assert (narrow_low >= low).all()
    assert (narrow_high <= high).all()


@pytest.mark.parametrize("rows", [8, 24, 96])
def test_bounds_that_know_nothing_leave_out_few_scores(rows):
    random, inside = np.random.default_rng(rows), []
    for _ in range(100):
        scale = HalfRankNormalTransform.of(random.normal(size=rows))
        ends = scale.to_label(np.array([-30.0, 30.0]))
        (low,), (high,) = scale.bounds_within_reach(ends[:1], ends[1:], rows)
        new = random.normal(size=100)
        inside.append(np.mean((new >= low) & (new <= high)))
    assert np.mean(inside) > 0.95  # drawn in like values, 0.86 of 8 rows


def test_a_variant_is_told_alike_in_any_company_as_the_margin_of_the_posterior(
    small, landscape, monkeypatch
):
    pairs = landscape.pairs[10:20]
    together, alone = small.predict_latent(pairs), small.predict_latent(pairs[6:7])
    monkeypatch.setattr("paratope.campaigns.campaign_model.model.BLOCK_ROWS", 7)
    np.testing.assert_allclose(small.predict_latent(pairs).mean, together.mean, atol=1e-5)
    assert together.mean[6] == pytest.approx(alone.mean[0], abs=1e-4)
    assert together.sd[6] == pytest.approx(alone.sd[0], abs=1e-4)
    joint, (mean, sd) = small.posterior(pairs), small.marginals(pairs)
    known = together.domain != "out"
    np.testing.assert_allclose(joint.mean[known], mean[known], atol=1e-5)
    np.testing.assert_allclose(np.diag(joint.covariance)[known], sd[known] ** 2, atol=1e-4)
    np.testing.assert_allclose(joint.covariance, joint.covariance.T, atol=1e-8)


def test_changes_out_of_the_domain_are_unknown(model, plate):
    own, other = plate.pairs[0], plate.pairs[1]
    elsewhere = Pair(own.antibody, ELSEWHERE)
    parent = Pair(other.antibody, ELSEWHERE)
    value, low, high, stronger = model.predict_with_difference([elsewhere, own], parent, 0.9)[1]
    assert value[0] == pytest.approx(0.0)
    assert stronger[0] == pytest.approx(0.5)
    known = model.predict_with_difference([own], other, 0.9)[1]
    assert high[0] - low[0] > 2 * (known.high[0] - known.low[0])
    assert high[1] - low[1] > 2 * (known.high[0] - known.low[0])
    # a change is the difference of what `answer` says of both
    middle = model.predict([elsewhere])[0]
    assert value[1] == pytest.approx(model.predict([own])[0] - middle)
    away = model.predict_with_difference([elsewhere], other, 0.9)[1]
    assert away.value[0] == pytest.approx(middle - model.predict([other])[0])


def test_a_campaign_of_another_language_model_is_refused(small, tmp_path):
    bundle = bundle_of(small)
    bundle.config["encoders"]["antibody"] = "antiberty@9"
    with pytest.raises(ModelError, match=r"'antiberty@9'.*'antiberty@0.1.3'"):
        Predictor.load(write_bundle(bundle, tmp_path / "other"))


def test_scores_come_back_as_scores(landscape, tmp_path):
    scores = landscape.rows(np.flatnonzero(landscape.censoring == 0)[:20])
    scored = dataclasses.replace(scores, values=100 * scores.values - 500, label="score")
    fitted = CampaignModel.fit(scored)
    predictor = Predictor.load(write_bundle(bundle_of(fitted), tmp_path / "scored"))
    frame = predictor.predict(list(scores.pairs), parent=scores.pairs[0].antibody.name or "1")
    assert frame.columns[:3] == ["score", "score_low", "score_high"]
    assert frame["pkd"].is_null().all()
    assert frame["delta_score"][0] == pytest.approx(0.0, abs=1e-6)
    assert spearmanr(frame["score"], scored.values)[0] > 0.7
    with pytest.raises(InputError, match="adapted on scores"):
        predictor.predict_pkd(list(scores.pairs))


def test_scores_of_any_unit_rank_alike(landscape):
    rows = landscape.rows(np.flatnonzero(landscape.censoring == 0)[:24])

    def predicted(factor: float, shift: float) -> np.ndarray:
        campaign = dataclasses.replace(rows, values=factor * rows.values + shift, label="score")
        return CampaignModel.fit(campaign).predict(landscape.pairs[40:60])

    np.testing.assert_allclose(predicted(250.0, -30.0), 250.0 * predicted(1.0, 0.0) - 30.0,
                               rtol=1e-3)  # fmt: skip


def test_another_antigen_or_antibody_is_out_of_domain(model, plate):
    own = plate.pairs[0]
    other_antigen = Pair(own.antibody, ELSEWHERE)
    answer = model.predict_latent([own, other_antigen, Pair(Antibody(VHH), own.antigen)])
    assert answer.domain.tolist() == ["in", "out", "out"]
    assert "another antigen" in answer.note[1]
    assert "another antibody" in answer.note[2]
    low, high = model.interval(answer, 0.9)
    assert (high - low)[1:].min() > (high - low)[0]
    middle = model.to_label(np.zeros(1))[0]
    np.testing.assert_allclose(model.to_label(answer.mean[1:]), middle, atol=1e-6)


def test_other_constructs_of_the_antigen_are_near_and_said(model, plate):
    known = plate.pairs[0]
    (own,) = known.antigen.chains
    constructs = [
        ((own + "GSHHHHHH",), "near", "8 residues more at its ends (a tag"),
        ((own[6:],), "near", "6 residues fewer at its ends"),
        ((own[:8] + "W" + own[9:] + "GSHHHHHH",), "near", "1 residue changed, 8 residues more"),
        ((own[:8] + "W" + own[9:],), "near", "1 residue changed"),
        ((own[:16] + "WWWW" + own[20:],), "out", "another antigen"),  # 88 % identical
        ((own[5:17],), "out", "another antigen"),  # a peptide
        ((own, own[::-1]), "near", "2 chains for 1"),
    ]
    pairs = [Pair(known.antibody, Antigen(chains, "construct")) for chains, _, _ in constructs]
    answer = model.predict_latent([known, *pairs])
    low, high = model.interval(answer, 0.9)
    assert (answer.domain[0], answer.note[0]) == ("in", "")
    for row, (_, domain, note) in enumerate(constructs, start=1):
        assert answer.domain[row] == domain, note
        assert note in answer.note[row]
        if "more" in note or "fewer" in note:
            assert answer.mean[row] == pytest.approx(answer.mean[0])
            assert high[row] - low[row] >= high[0] - low[0]


def test_a_difference_in_the_middle_of_a_long_antigen_is_counted():
    random = np.random.default_rng(2)
    long = "".join(random.choice(list("ACDEFGHIKLMNPQRSTVWY"), 600))
    known = CampaignAntigens([Antigen((long,))])
    shorter = long[100:300] + long[305:]
    homologue = "".join("A" if n % 20 == 10 and r != "A" else r for n, r in enumerate(long)) + "GSG"
    other = "".join(random.permutation(list(long)))
    found = known.read([Antigen((one,)) for one in (shorter, homologue, other, long)])
    assert "5 residues changed, 100 residues fewer at its ends" in found[0].note
    assert "3 residues more at its ends" in found[1].note
    changed = int(found[1].note.split(": ")[1].split()[0])
    assert changed == sum(a != b for a, b in zip(long, homologue, strict=False))
    assert found[2].antigen is None
    assert found[3] == (Antigen((long,)), "", False)
    assert CampaignAntigens([]).read([ANTIGEN]) == [(ANTIGEN, "", False)]  # one without takes any


def test_unseen_sites_are_near_and_wider(model, plate):
    parent = plate.parents[0]
    heavy = parent.antibody.heavy
    columns = list(zip(heavy, *(pair.antibody.heavy for pair in plate.pairs), strict=True))
    place = next(n for n in range(5, 110) if len(set(columns[n])) == 1)
    text = f"H:{heavy[place]}{place + 1}{'A' if heavy[place] != 'A' else 'G'}"
    new = Pair(apply_mutations(parent.antibody, parse_mutations(text)), parent.antigen)
    answer = model.predict_latent([parent, new])
    assert answer.domain.tolist() == ["in", "near"]
    low, high = model.interval(answer, 0.9)
    assert high[1] - low[1] > high[0] - low[0]


def test_bounds_are_not_values(landscape):
    """Half the rows told as "at most 7": nearer the truth than 7 itself, or nothing, would be."""
    exact = landscape.rows(np.flatnonzero(landscape.censoring == 0))
    rows, rest = exact.rows(np.arange(40)), exact.rows(np.arange(40, len(exact)))
    limit = float(np.median(rows.values))
    low = rows.values < limit
    told = np.where(low, limit, rows.values)

    as_values = dataclasses.replace(rows, values=told)
    as_bounds = dataclasses.replace(as_values, censoring=np.where(low, -1, 0))
    predicted = [CampaignModel.fit(one).predict(rest.pairs) for one in (as_bounds, as_values)]
    errors = [np.mean((values - rest.values) ** 2) for values in predicted]
    assert errors[0] < errors[1]


def test_assays_with_an_offset_agree(landscape):
    exact = landscape.rows(np.flatnonzero(landscape.censoring == 0)[:60])
    second = (np.arange(60) % 2).astype(int)
    values, names = exact.values + 1.0 * second, ("first", "second")
    shifted = dataclasses.replace(exact, values=values, assay=second, assays=names)
    model = CampaignModel.fit(shifted)
    first = model.to_label(model.predict_latent(exact.pairs, 0).mean)
    other = model.to_label(model.predict_latent(exact.pairs, 1).mean)
    assert 0.6 < np.median(other - first) < 1.4
    assert abs(np.mean(first - exact.values)) < 0.25


OTHER_VH = (
    "QVQLQQSGAELARPGASVKMSCKASGYTFTRYTMHWVKQRPGQGLEWIGYINPSRGYTNYNQKFKDKATLTTDKSSSTAYMQLSSLTSEDSAVYYC"
    "ARYYDDHYCLDYWGQGTTLTVSS"
)


def _single(heavy: str, place: int) -> tuple[str, float]:
    """A single mutant, and an effect that waves along the chain."""
    changed = heavy[:place] + ("A" if heavy[place] != "A" else "G") + heavy[place + 1 :]
    return changed, 1.2 * np.sin(place / 3.0)


def _held_out(campaign: Campaign, **options) -> tuple[CampaignModel, np.ndarray, np.ndarray]:
    """A model without every fourth row, what it predicts for those, and their values."""
    held = np.arange(1, len(campaign), 4)
    kept = np.setdiff1d(np.arange(len(campaign)), held)
    model = CampaignModel.fit(campaign.rows(kept), **options)
    return model, model.predict([campaign.pairs[row] for row in held]), campaign.values[held]


def _two_parents(noise: tuple[float, float], signs: tuple[int, int]) -> Campaign:
    """Single mutants of two antibodies; the same IMGT sites, effects of given signs."""
    random = np.random.default_rng(3)
    chains = (VH, OTHER_VH)
    parents = tuple(Pair(Antibody(heavy, None, f"p{n}"), ANTIGEN) for n, heavy in enumerate(chains))
    pairs, values = [], []
    for heavy, sd, sign in zip(chains, noise, signs, strict=True):
        for place in range(24, 64):
            changed, effect = _single(heavy, place)
            pairs.append(Pair(Antibody(changed, None, f"v{len(pairs)}"), ANTIGEN))
            values.append(8.0 + sign * effect + random.normal(0, sd))
    return exact_campaign(pairs, values, *parents)


def test_two_parents_may_have_opposite_effects_at_the_same_site():
    model, predicted, measured = _held_out(_two_parents((0.1, 0.1), (1, -1)))
    within = {name: weight for name, weight in model.weights.items() if name.startswith("parent_")}
    assert sum(within.values()) > 0.2
    assert spearmanr(predicted, measured).statistic > 0.6


def test_the_same_change_may_have_opposite_effects_against_two_antigens():
    random = np.random.default_rng(3)
    other = Antigen(("GSHMASMTGGQQMGRGSEFELRRQACGRTRAPPPPPLRSGC",), "other")
    pairs, values = [], []
    for place in range(24, 64):
        changed, effect = _single(VH, place)
        for antigen, sign in ((ANTIGEN, 1), (other, -1)):
            pairs.append(Pair(Antibody(changed, None, f"v{place}"), antigen))
            values.append(8.0 + sign * effect + random.normal(0, 0.1))
    campaign = exact_campaign(pairs, values, Pair(Antibody(VH, None, "parent"), ANTIGEN))
    _, predicted, measured = _held_out(campaign)
    assert spearmanr(predicted, measured).statistic > 0.6
    terms = [name for name in TERMS if name not in WITHIN_ANTIGEN]
    _, without, _ = _held_out(campaign, terms=terms)
    assert np.std(predicted - measured) < 0.7 * np.std(without - measured)


def test_a_noisy_parents_intervals_are_wider():
    campaign = _two_parents((0.1, 1.5), (1, 1))
    model = CampaignModel.fit(campaign)
    first, second = model.process.noise
    assert second > 2 * first
    answer = model.predict_latent(campaign.pairs)
    assert answer.sd[40:].mean() > 1.3 * answer.sd[:40].mean()
    mean, sd = model.marginals(campaign.pairs)
    np.testing.assert_allclose(mean, answer.mean)
    own = np.repeat([first, second], 40)
    np.testing.assert_allclose(sd**2 + own, answer.sd**2)
    assert first < model.noise_variance < second


def test_the_model_learns_the_values_on_the_common_scale(plate):
    """A second assay in another unit, its bounds far below: the labels are those of the report."""
    second = (np.arange(len(plate)) % 2).astype(int)
    values = np.where(second, 100 * plate.values - 500, plate.values)
    censoring = np.where(second & (plate.values < 7.5), -1, 0)
    campaign = dataclasses.replace(plate, values=values, label="score", censoring=censoring)
    campaign = dataclasses.replace(campaign, assay=second, assays=("a", "b"))
    common = campaign.on_common_scale()
    scale = HalfRankNormalTransform.of(common.values)
    observed = observations(campaign, scale, np.zeros(len(plate), int), np.zeros(len(plate)))
    np.testing.assert_allclose(scale.to_label(observed.target), common.values, atol=1e-9)
    exact = censoring == 0
    first, other = (common.values[exact & (second == number)] for number in (0, 1))
    assert (other.mean(), other.std()) == pytest.approx((first.mean(), first.std()))
    part = common.rows(np.arange(10))
    again = observations(part, scale, np.zeros(10, int), np.zeros(10))
    np.testing.assert_allclose(again.target, observed.target[:10])


def test_replicates_that_scatter_have_more_noise(plate):
    sd = np.full(len(plate), np.nan)
    sd[:4] = [0.05, 0.05, 0.05, 1.5]
    replicates = np.ones(len(plate), int)
    replicates[:4] = 3
    campaign = dataclasses.replace(plate, replicates=replicates, noise_sd=sd)
    scale, parent = HalfRankNormalTransform.of(plate.values), np.zeros(len(plate), int)
    share = observations(campaign, scale, parent, np.zeros(len(parent))).noise_share
    assert share[4] == 1.0
    assert share[0] < 0.5
    assert share[3] > share[0]


def test_importance_finds_the_sites_that_matter_and_shares_out_the_fitted_values(model, plate):
    found = model.importance()
    assert set(found.terms) == set(model.weights)
    assert sum(found.terms.values()) == pytest.approx(1.0, abs=0.02)
    keys = {f"{one['chain']}{one['imgt']}" for one in found.sites}
    assert keys == set(model.train.changes.key.tolist())
    assert any(one["spread"] > 0.05 for one in found.sites)
    second = (np.arange(len(plate)) % 2).astype(int)
    two = dataclasses.replace(plate, assay=second, assays=("a", "b"))
    shares = CampaignModel.fit(two).importance().terms
    assert abs(shares["assay"]) < 0.1
    assert sum(shares.values()) == pytest.approx(1.0, abs=0.02)
    shifted = dataclasses.replace(two, values=plate.values + 5.0 * second)
    assert CampaignModel.fit(shifted).importance().terms["assay"] > 0.5


def test_a_general_model_has_a_learned_weight(landscape):
    class Truth:
        def predict_pkd(self, pairs, parents):
            return np.array([values[pair] for pair in pairs])

    exact = landscape.rows(np.flatnonzero(landscape.censoring == 0))
    values = dict(zip(exact.pairs, exact.values, strict=True))
    some = exact.rows(np.arange(20))
    rest = exact.rows(np.arange(20, 60))
    knowing = CampaignModel.fit(some, prior=Truth()).predict(rest.pairs)
    alone = CampaignModel.fit(some).predict(rest.pairs)
    assert spearmanr(knowing, rest.values)[0] > spearmanr(alone, rest.values)[0] + 0.05
    misled = Truth()
    misled.predict_pkd = lambda *asked: -Truth().predict_pkd(*asked)  # the sign is learned
    reversed_ = CampaignModel.fit(some, prior=misled).predict(rest.pairs)
    np.testing.assert_allclose(reversed_, knowing, atol=0.05)


def test_weights_are_found_on_some_rows_when_there_are_many(landscape, monkeypatch):
    monkeypatch.setattr("paratope.campaigns.campaign_model.model.FITTING_ROWS", 30)
    model = CampaignModel.fit(landscape)
    assert len(model.train) == len(landscape)
    exact = landscape.censoring == 0
    assert spearmanr(model.predict(landscape.pairs)[exact], landscape.values[exact])[0] > 0.6


def test_a_difference_is_that_of_the_joint_posterior_and_its_answer_the_plain_one(small, landscape):
    pairs, parent = landscape.pairs[:9], landscape.pairs[3]
    answer, change = small.predict_with_difference(pairs, parent, 0.9)
    joint = small.posterior(pairs)
    mean, covariance = joint.mean, joint.covariance
    label = small.to_label(mean)
    np.testing.assert_allclose(change.value, label - label[3], atol=1e-5)
    variance = np.diag(covariance) + covariance[3, 3] - 2 * covariance[:, 3]
    other = np.arange(9) != 3
    slow = ndtr((mean - mean[3])[other] / np.sqrt(variance[other]))
    np.testing.assert_allclose(change.p_stronger[other], slow, atol=1e-4)
    assert ((change.low <= change.value) & (change.value <= change.high)).all()
    width = change.high - change.low
    assert width[3] < 0.1 * width[other].min()  # to itself there is none
    assert change.p_stronger[3] == pytest.approx(0.5, abs=0.01)
    plain = small.predict_latent(pairs)
    np.testing.assert_allclose(answer.mean, plain.mean, atol=1e-5)
    np.testing.assert_allclose(answer.sd, plain.sd, atol=1e-5)
    assert (answer.domain.tolist(), answer.note) == (plain.domain.tolist(), plain.note)
    nothing, empty = small.predict_with_difference([], parent, 0.9)
    assert len(nothing.mean) == len(empty.value) == 0
