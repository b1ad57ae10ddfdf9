"""The next round: candidates, filters, acquisition, diversity, output, clear errors."""

import dataclasses
import itertools
import sys
import types

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein
from scipy.special import expit, logit
from scipy.stats import norm

import small_campaigns
from paratope.campaigns import suggestion as rounds
from paratope.campaigns.campaign import campaign_of
from paratope.campaigns.campaign_bundle import campaign_bundle
from paratope.campaigns.campaign_model import CampaignModel, LatentPrediction
from paratope.campaigns.suggestion import acquisition, parse_filters, suggest, suggestion_frame
from paratope.campaigns.suggestion import candidates as pools
from paratope.campaigns.suggestion.candidates import MeasuredVariants, allowed_positions
from paratope.campaigns.suggestion.filters import leave_out
from paratope.campaigns.suggestion.next_round import (
    MutationCounts,
    Standing,
    _promise_note,
    reason,
)
from paratope.cli.doctor import D13_HEAVY
from paratope.core.errors import InputError, MissingExtraError
from paratope.data.tables import read_table
from paratope.encoders.antiberty import AntibertyEncoder
from paratope.encoders.likelihood import AntibodyLanguage
from paratope.models.predictor import Predictor
from paratope.molecules.liabilities import LIABILITIES, find_liabilities, new_liabilities
from paratope.molecules.mutations import Mutation, mutations_between, parse_mutations, positions_in
from paratope.molecules.numbering import number_chain
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair
from paratope.opening import predictor_of
from small_campaigns import HEAVY, LIGHT, TARGET, WILD_TYPE, SmallCampaignPredictor, small_campaign

WHOLE = Antibody(HEAVY, LIGHT)
FEW = "single:150,neighbour:60,double:60,combinatorial:60,recombination:60"


@pytest.fixture(scope="module")
def predictor() -> SmallCampaignPredictor:
    return SmallCampaignPredictor(small_campaign())


@pytest.fixture(scope="module")
def measured(predictor: SmallCampaignPredictor) -> MeasuredVariants:
    return pools.measured_variants(predictor.campaign)


@pytest.fixture(scope="module")
def found(predictor: SmallCampaignPredictor) -> rounds.NextRound:
    return suggest(predictor, 24, candidates=FEW)


def made(measured: MeasuredVariants, kinds: dict[str, int], **options: object):
    generation = pools.Generation(kinds, **options)
    return pools.generate(measured, generation, lambda pairs: np.zeros(len(pairs)))


def mutant(*changes: str) -> str:
    """The wild type's heavy chain with changes such as ``W99S``."""
    residues = list(HEAVY)
    for change in changes:
        assert residues[int(change[1:-1]) - 1] == change[0]
        residues[int(change[1:-1]) - 1] = change[-1]
    return "".join(residues)


def test_single_mutants_are_all_of_the_regions_and_nothing_measured(measured):
    singles = made(measured, {"single": 100_000}, regions="CDR")
    positions = [*positions_in(WILD_TYPE, "H", ["H1", "H2", "H3"])]
    positions += positions_in(WILD_TYPE, "L", ["L1", "L2", "L3"])
    known = [variant for variant in measured.variants if len(variant.mutations) == 1]
    # no cysteine, not the residue itself, not what was measured
    assert len(singles) == len(positions) * 18 - len(known)
    assert all(len(one.mutations) == 1 and one.mutations[0].after != "C" for one in singles)


def test_by_default_what_was_varied_is_varied_near_what_was_measured(measured):
    """One position never varied before, of a chain that was; three changes from a measured variant;
    two new aromatics. None of it where regions are named, or more is asked for.
    """
    varied = {(m.chain, m.position) for v in measured.variants for m in v.mutations}
    assert {chain for chain, _ in varied} == {"H"}
    everything = dict.fromkeys(rounds.GENERATORS, 150)
    far = ["|".join(v.pair.antibody.chains) for v in measured.variants]
    news, aromatics, distances = [], [], []
    for one in made(measured, everything, max_mutations=6):
        assert {m.chain for m in one.mutations} == {"H"}
        news.append(len({(m.chain, m.position) for m in one.mutations} - varied))
        aromatics.append(sum(m.after in "FWY" and m.before not in "FWY" for m in one.mutations))
        text = "|".join(one.pair.antibody.chains)
        distances.append(min(Levenshtein.distance(text, other) for other in far))
        assert not any("C" in m.after for m in one.mutations)
    assert (max(news), max(aromatics), max(distances)) == (1, 2, 3)
    wide = made(measured, everything, max_mutations=6, regions="CDR", max_changes=6)
    assert {m.chain for one in wide for m in one.mutations} == {"H", "L"}
    none = made(measured, everything, new_positions=0, max_new_aromatics=0)
    assert all((m.chain, m.position) in varied for one in none for m in one.mutations)
    assert not any(m.after in "FWY" and m.before not in "FWY" for o in none for m in o.mutations)


@pytest.mark.parametrize("kind", rounds.GENERATORS)
def test_every_kind_gives_new_different_mutants_within_its_number(kind, measured):
    candidates = made(measured, {kind: 80})
    assert 0 < len(candidates) <= 80
    molecules = {one.pair.residues for one in candidates}
    assert len(molecules) == len(candidates)
    assert not molecules & measured.keys
    for one in candidates:
        parent = measured.parents[one.parent].antibody
        assert mutations_between(parent, one.pair.antibody) == one.mutations
        assert one.origin == kind
        assert len(one.mutations) <= max(len(v.mutations) for v in measured.variants)


def test_doubles_have_two_and_combinations_more_and_the_most_are_kept(measured):
    sizes = {
        kind: {len(one.mutations) for one in made(measured, {kind: 40}, max_mutations=5)}
        for kind in ("double", "combinatorial")
    }
    assert sizes["double"] == {2}
    assert {5} <= sizes["combinatorial"] <= {3, 4, 5}
    assert len(made(measured, {"combinatorial": 10_000}, max_mutations=4)) == 10_000
    kinds = dict.fromkeys(rounds.GENERATORS, 40)
    assert max(len(one.mutations) for one in made(measured, kinds, max_mutations=1)) == 1
    with pytest.raises(InputError, match="at least 1 mutation"):
        pools.Generation(kinds, max_mutations=0)


def test_children_are_of_their_sources(measured):
    of = {one.name: one for one in measured.variants}
    children = made(measured, {"recombination": 50}, max_mutations=6)
    assert children
    for one in children:
        first, second = (set(of[name].mutations) for name in one.sources)
        assert set(one.mutations) <= first | second
        assert set(one.mutations) not in (first, second)
    for one in made(measured, {"neighbour": 50}, regions="H3"):
        source = of[one.sources[0]].pair.antibody.heavy
        assert Levenshtein.distance(source, one.pair.antibody.heavy) == 1


def test_promising_mutations_are_combined(measured):
    doubles = pools.generate(
        measured,
        pools.Generation({"double": 50}, regions="CDR"),
        lambda pairs: np.array([one.antibody.heavy.count("Y") for one in pairs], float),
    )
    after = [mutation.after for one in doubles for mutation in one.mutations]
    assert np.mean([letter == "Y" for letter in after]) > 0.5


@pytest.mark.parametrize("kind", rounds.GENERATORS)
def test_regions_and_excluded_residues_are_kept_by_every_kind(kind, measured):
    allowed = set(allowed_positions(WILD_TYPE.antibody, "H:107-110"))
    candidates = made(measured, {kind: 60}, regions="H:107-110", excluded="CAR")
    assert candidates
    for one in candidates:
        for mutation in one.mutations:
            assert (mutation.chain, mutation.position) in allowed
            assert mutation.after not in "CAR"


def test_variants_of_every_parent_are_made():
    two = pools.measured_variants(
        SmallCampaignPredictor(small_campaigns.simulated_campaign()).campaign
    )
    assert len(two.parents) > 1
    parents = {one.parent for one in made(two, {"single": 300, "recombination": 100})}
    assert parents == set(range(len(two.parents)))


def test_a_named_antibody_is_mutated(predictor):
    found = suggest(predictor, 5, candidates="single:500", parent="v3")
    base = next(p for p in predictor.campaign.campaign.pairs if p.antibody.name == "v3")
    for one in found.suggestions:
        assert Levenshtein.distance("".join(base.antibody.chains),
                                    "".join(one.candidate.pair.antibody.chains)) == 1  # fmt: skip
        assert one.candidate.name.startswith("v3.")
    with pytest.raises(InputError, match=r"called 'v999'; names begin wt"):
        suggest(predictor, 5, parent="v999")


def test_places_by_region_imgt_number_and_residue():
    antibody = WILD_TYPE.antibody
    h3 = set(allowed_positions(antibody, "H3"))
    assert h3 == {("H", place) for place in positions_in(antibody, "H", ["H3"])}
    assert set(allowed_positions(antibody, "H:105-117")) == h3
    assert allowed_positions(antibody, "H:W99,L:H91") == (("H", 99), ("L", 91))
    label = number_chain(HEAVY).positions[98]
    assert allowed_positions(antibody, f"H:{label}") == (("H", 99),)


@pytest.mark.parametrize(
    ("ask", "given", "message"),
    [
        (allowed_positions, (WHOLE, "H9"), "unknown region 'H9'"),
        (allowed_positions, (WHOLE, "H:A99"), "the parent has W at position 99 of chain H, not A"),
        (allowed_positions, (WHOLE, "H:117-105"), "ends before it begins"),
        (allowed_positions, (WHOLE, "H:foo"), "cannot be read; expected regions such as CDR"),
        (allowed_positions, (WHOLE, "H:900"), "no position of the parent is in them"),
        (allowed_positions, (Antibody(HEAVY), "L3"), "the parent has no light chain"),
        (parse_filters, ("deamination",), "residue 'deamination'; valid names: all, cdr-charge"),
        (parse_filters, ("deamidation", "deamidation"), "both allowed and forbidden"),
        (parse_filters, ("CD",), "unknown liability or residue 'CD'"),
        (
            acquisition.BatchOptions,
            (9, "ei"),
            "unknown acquisition 'ei'; valid names: nei, thompson, ucb",
        ),
        (acquisition.BatchOptions, (9, "ucb", 1.5), "explore must be between 0 and 1"),
        (acquisition.BatchOptions, (0,), "a batch has at least 1"),
        (acquisition.BatchOptions, (9, "ucb", 0.5, 0), "minimal distance is at least 1"),
        (acquisition.BatchOptions, (9, "ucb", 0.5, 1, 0), "at least 1 per position"),
    ],
)
def test_positions_filters_and_options_that_are_none(ask, given, message):
    with pytest.raises(InputError, match=message):
        ask(*given)


def test_only_new_liabilities_leave_out_unless_the_parents_are_forbidden(measured):
    singles = made(measured, {"single": 100_000}, excluded="")
    filters = parse_filters()
    kept, left_out = leave_out(singles, measured, filters)
    assert len(kept) + len(left_out.reasons) == len(singles)
    assert find_liabilities(WILD_TYPE.antibody)  # which the parent has, and nothing is lost for it
    for one in kept[::20]:
        new = new_liabilities(WILD_TYPE.antibody, one.pair.antibody)
        assert not {liability.kind for liability in new} & set(filters.liabilities)
        assert one.mutations[0].after != "C"
    assert sum(left_out.counts.values()) >= len(left_out.reasons) > 0
    said = str(left_out)
    assert said.startswith(f"{len(left_out.reasons):,} candidates left out: ")
    assert all(f"{count:,} {kind}" in said for kind, count in left_out.counts.items())
    assert "residue C" in left_out.counts
    some = singles[::10]
    without, _ = leave_out(some, measured, parse_filters(forbid="parental"))
    kinds = {one.kind for c in without for one in find_liabilities(c.pair.antibody)}
    assert not kinds & set(filters.liabilities)
    assert len(without) < len(leave_out(some, measured, filters)[0])


def test_each_filter_is_overridable(measured):
    singles = made(measured, {"single": 100_000}, excluded="")
    _, before = leave_out(singles, measured, parse_filters())
    for kind in before.counts:
        allow = kind.removeprefix("residue ")
        _, after = leave_out(singles, measured, parse_filters(allow=allow))
        assert kind not in after.counts
        assert {name for name in before.counts if name != kind} <= set(after.counts)
    _, none = leave_out(singles, measured, parse_filters(allow="all,C"))
    assert not none.reasons
    _, more = leave_out(singles, measured, parse_filters(forbid="weak-deamidation,K"))
    assert {"weak-deamidation", "residue K"} <= set(more.counts)


@given(st.sets(st.sampled_from(sorted(LIABILITIES))), st.sets(st.sampled_from(AMINO_ACIDS)))
def test_what_is_forbidden_is_in_the_filters(kinds, residues):
    forbidden = parse_filters(forbid=",".join([*kinds, *residues]))
    assert kinds <= set(forbidden.liabilities)
    assert residues <= set(forbidden.residues)
    allowed = parse_filters(allow=",".join([*kinds, *residues]))
    assert not kinds & set(allowed.liabilities)
    assert not residues & set(allowed.residues)


def joint(seed: int = 0, count: int = 60, baseline: int = 6) -> acquisition.JointPosterior:
    """Values over random points of a plane, a few of them measured."""
    random = np.random.default_rng(seed)
    points = random.normal(size=(count + baseline, 2))
    distance = ((points[:, None] - points[None]) ** 2).sum(-1)
    scale = np.exp(0.4 * random.normal(size=count + baseline))
    covariance = scale[:, None] * np.exp(-distance / 2) * scale[None]
    mean = random.multivariate_normal(np.zeros(count + baseline), covariance)
    return acquisition.JointPosterior(mean, covariance, 0.05, count)


def chosen(kind: str, explore: float, seed: int = 0, batch: int = 8) -> list[int]:
    some = joint(seed)
    antibodies = [Antibody(f"{number:04d}") for number in range(some.candidates)]
    options = acquisition.BatchOptions(batch, kind, explore, seed=seed)
    return acquisition.choose_batch(
        some, acquisition.Spacing(antibodies, [set()] * some.candidates, options), options
    )


@pytest.mark.parametrize("kind", rounds.ACQUISITIONS)
def test_more_exploration_gives_lower_means_and_more_uncertainty_and_none_their_order(kind):
    mean = joint().mean[:60]
    assert chosen(kind, 0.0) == np.argsort(-mean, kind="stable")[:8].tolist()
    first = chosen(kind, 0.5, 3)
    assert len(set(first)) == 8
    assert chosen(kind, 0.5, 3) == first
    means, deviations = [], []
    for explore in (0.0, 0.25, 0.5, 0.75, 1.0):
        of_mean, of_deviation = [], []
        for seed in range(6):
            some, rows = joint(seed), chosen(kind, explore, seed)
            of_mean.append(some.mean[rows].mean())
            of_deviation.append(np.sqrt(np.diagonal(some.covariance))[rows].mean())
        means.append(np.mean(of_mean))
        deviations.append(np.mean(of_deviation))
    assert (np.diff(means) <= 1e-9).all(), means
    assert deviations[-1] > deviations[0]
    assert means[-1] < means[0]
    if kind != "thompson":  # whose draws are chance
        assert (np.diff(deviations) >= -1e-9).all(), deviations


def test_expected_improvement_over_a_certain_best_is_its_closed_form():
    some = joint(1)
    mean, sd = some.mean[:60], np.sqrt(np.diagonal(some.covariance))[:60]
    certain = some.covariance.copy()
    certain[60:] = certain[:, 60:] = 0.0
    certain[60:, 60:] = 1e-8 * np.eye(6)
    z = (mean - some.mean[60:].max()) / sd
    improvement = sd * (z * norm.cdf(z) + norm.pdf(z))
    logs = acquisition.acquisition_kind("nei")(some._replace(covariance=certain), 0.5, 0).values()
    clear = improvement > 0.02
    assert np.exp(logs[clear]) == pytest.approx(improvement[clear], rel=0.15)


def test_a_choice_shrinks_what_is_correlated_as_exact_conditioning_does():
    some = joint(2)
    bound = acquisition.UpperConfidenceBound(some, 1.0, 0)
    before = bound.variance.copy()
    for place in (5, 17):
        bound.choose(place)
    cross = some.covariance[:, [5, 17]]
    chosen_ones = some.covariance[np.ix_([5, 17], [5, 17])] + 0.05 * np.eye(2)
    exact = np.diagonal(some.covariance) - (cross @ np.linalg.inv(chosen_ones) * cross).sum(1)
    assert bound.variance == pytest.approx(exact, abs=1e-6)
    assert (bound.variance <= before + 1e-12).all()
    assert bound.variance[5] < 0.1 * before[5]


def test_lazy_choices_are_those_of_valuing_all():
    some = joint(5)
    lazy, full = (acquisition.NoisyExpectedImprovement(some, 0.5, 1) for _ in range(2))
    still_open = np.ones(some.candidates, dtype=bool)
    for _ in range(6):
        place = lazy.best(still_open)
        assert place == int(np.argmax(np.where(still_open, full.values(), -np.inf)))
        still_open[place] = False
        lazy.choose(place)
        full.choose(place)


def test_a_batch_spreads_where_single_choices_would_not():
    mean = np.r_[np.full(10, 1.0), np.full(10, 0.7), 0.0]
    covariance = np.eye(21)
    covariance[:10, :10] = 0.999
    np.fill_diagonal(covariance, 1.0)
    some = acquisition.JointPosterior(mean, covariance, 0.05, 20)
    for kind in ("nei", "ucb"):
        options = acquisition.BatchOptions(6, kind, 0.5)
        antibodies = [Antibody(f"{n:03d}") for n in range(20)]
        rows = acquisition.choose_batch(
            some, acquisition.Spacing(antibodies, [set()] * 20, options), options
        )
        assert sum(row < 10 for row in rows) <= 2, kind


def test_bounds_and_draws_are_those_of_botorch():
    acquisition._botorch()  # imported without its warnings
    from botorch.acquisition import analytic
    from botorch.sampling import IIDNormalSampler

    some = joint(4)
    count = some.candidates
    model = acquisition.index_model(some.mean, some.covariance, np.arange(len(some.mean)))
    X = torch.arange(count, dtype=torch.double)[:, None]
    jitter = 1e-6 * some.covariance.max() * np.eye(len(some.mean))  # which the model adds
    for explore in (0.1, 0.25, 1.0):
        bound = acquisition.UpperConfidenceBound(
            some._replace(covariance=some.covariance + jitter), explore, 0
        )
        with torch.no_grad():
            theirs = analytic.UpperConfidenceBound(model, beta=(4 * explore) ** 2)(
                X[:, None]
            ).numpy()
        assert bound.values() == pytest.approx(theirs, abs=1e-6)
    seed = int(np.random.default_rng(3).integers(2**31))
    with torch.no_grad():
        draw = IIDNormalSampler(torch.Size([1]), seed=seed)(model.posterior(X))[0, :, 0].numpy()
    for explore in (0.25, 0.5):
        expected = some.mean[:count] + 2 * explore * (draw - some.mean[:count])
        assert acquisition.acquisition_kind("thompson")(some, explore, 3).values() == pytest.approx(
            expected
        )


def test_only_noisy_expected_improvement_needs_the_extra(predictor, monkeypatch):
    monkeypatch.setitem(sys.modules, "botorch", None)
    for kind in ("ucb", "thompson"):
        assert suggest(predictor, 2, candidates="single:50", acquisition=kind).suggestions
    with pytest.raises(MissingExtraError, match=r"paratope\[campaign\]"):
        suggest(predictor, 2, candidates="single:50", acquisition="nei")


def test_preselection_keeps_the_best_by_mean_and_by_bound():
    random = np.random.default_rng(0)
    mean, deviation = random.normal(size=500), random.uniform(0.1, 2, size=500)
    kept = set(acquisition.preselect(mean, deviation, 0.5, 100).tolist())
    assert len(kept) == 100
    assert set(np.argsort(-mean)[:30].tolist()) <= kept
    assert set(np.argsort(-(mean + 2 * deviation))[:60].tolist()) <= kept


@pytest.mark.parametrize(("batch", "least", "most"), [(8, 3, None), (10, 1, 2), (6, 3, 2)])
def test_minimal_distance_and_cap_per_position_are_kept(predictor, batch, least, most):
    options = {"min_distance": least, "max_per_position": most, "max_mutations": 4}
    options |= {"regions": "CDR", "max_changes": 4}
    found = suggest(predictor, batch, candidates=FEW, **options)
    texts = ["".join(one.candidate.pair.antibody.chains) for one in found.suggestions]
    pairs = itertools.combinations(texts, 2)
    assert min(itertools.starmap(Levenshtein.distance, pairs)) >= least
    positions = [(m.chain, m.position) for s in found.suggestions for m in s.candidate.mutations]
    assert max(map(positions.count, positions)) <= (most or batch)


def test_the_same_seed_gives_the_same_round(predictor, found):
    again, other = (suggest(predictor, 24, candidates=FEW, seed=seed) for seed in (0, 1))
    assert suggestion_frame(again).equals(suggestion_frame(found))
    assert not suggestion_frame(other)["id"].equals(suggestion_frame(found)["id"])


def test_suggestions_are_better_than_their_candidates_and_explained(found):
    frame = suggestion_frame(found)
    assert frame["rank"].to_list() == list(range(1, 25))
    assert frame["id"].n_unique() == 24
    assert frame["predicted_pkd"].mean() > 8.3  # the wild type has 8.0
    assert (frame["predicted_pkd_low"] < frame["predicted_pkd"]).all()
    assert (frame["predicted_pkd"] < frame["predicted_pkd_high"]).all()
    assert (frame["distance"] >= 1).all()
    for row in frame.iter_rows(named=True):
        assert row["reason"].startswith(("exploit: ", "explore: "))
        assert "highest expected of" in row["reason"]
        own = parse_mutations(row["mutations"], WILD_TYPE)
        assert own == parse_mutations(row["mutations_imgt"], WILD_TYPE)
        assert len(own) == row["mutation_count"]
        assert own == mutations_between(WILD_TYPE.antibody, Antibody(row["heavy"], row["light"]))
    # higher and surer is likelier; the parent is easier to beat than the best
    first = max(found.suggestions, key=lambda one: one.prediction.pkd)
    assert first.p_beats_best > 0.5 * max(one.p_beats_best for one in found.suggestions)
    for one in found.suggestions:
        assert 0.0 < one.p_beats_best < one.p_beats_parent < 1.0
    assert found.best[1] == max(small_campaign().values)


def test_reasons_name_what_is_unknown(predictor):
    bold = suggest(predictor, 12, candidates="single:500", explore=1.0, regions="L3,H3")
    reasons = [one.reason for one in bold.suggestions if one.reason.startswith("explore")]
    assert any("never mutated before" in reason for reason in reasons)
    assert any(reason.endswith("position never measured before") for reason in reasons)
    mixed = suggest(predictor, 24, candidates="recombination:60,neighbour:60", explore=0.0)
    said = " ".join(one.reason for one in mixed.suggestions)
    assert "recombination of v" in said
    assert "with one residue changed" in said


def test_what_every_measured_variant_has_is_no_reason(measured):
    counts = MutationCounts(measured)
    seen: dict[tuple[str, int], Mutation] = {}
    for variant in measured.variants:
        if variant.parent == 0:
            for one in variant.mutations:
                seen.setdefault((one.chain, one.position), one)
    together = tuple(seen[position] for position in sorted(seen))
    standing = Standing(50, 100, 2.0)

    def said(mutations: tuple[Mutation, ...]) -> str:
        pair = measured.parents[0]
        return reason(pools.Candidate("c", pair, 0, mutations, "pool", ()), standing, 10, counts)

    assert f"{len(together)} mutations, where half of the measured have at most" in said(together)
    common = max(counts.regions, key=lambda name: counts.regions[name])
    one = next(m for m in together if counts.region(0, m) == common)
    told = said((one,))
    if 2 * counts.regions[common] > counts.variants:
        assert told.startswith("explore: uncertain, a combination unlike those measured;")
    else:
        assert f"region {common} mutated in {counts.regions[common]} of" in told


class Left:
    """A model as far as its left-out rows go: means, and what was measured."""

    noise_variance = 0.1

    def __init__(self, mean: np.ndarray, target: np.ndarray) -> None:
        rows = len(mean)
        self.campaign = types.SimpleNamespace(censoring=np.zeros(rows), pairs=range(rows))
        self.scale, self._target, self._mean = self, target, mean

    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._target, self._mean, np.full(len(self._mean), 0.6)

    def marginals(self, pairs: range) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(len(pairs)), np.full(len(pairs), 0.5**0.5)


def test_promises_shrink_away_from_what_was_measured_but_for_few_rows():
    few = acquisition.ExceedanceProbability(Left(np.zeros(3), np.ones(3)))
    said = few.above(np.array([1.0]), np.array([0.5**0.5]), 0.0)
    assert said == pytest.approx(norm.cdf(1 / np.sqrt(0.6)), abs=1e-5)
    random = np.random.default_rng(0)
    mean = random.normal(size=60)
    target = mean + np.sqrt(0.6) * random.normal(size=60)
    odds, best = acquisition.ExceedanceProbability(Left(mean, target)), target.max()
    near, usual = np.full(3, 0.5**0.5), best - 1.0
    wide = odds.above(np.full(3, usual), near * [1, 3, 9], best)
    normal = 1 - norm.cdf(1.0 / np.sqrt(near**2 * [1, 9, 81] + 0.1))
    assert (wide[1:] < normal[1:]).all()
    assert wide[2] < wide[0]
    at_most, above = odds.above(best + np.array([0.0, 8.0]), near[:2], best)
    assert above < 0.7 < norm.cdf(8.0)
    assert at_most == pytest.approx(expit(odds.calibration(best)[0]))


@pytest.mark.parametrize("ceiling", [False, True])
def test_probabilities_are_what_comes_true(ceiling):
    """Also where values stop at a ceiling that the normal distribution knows nothing of."""
    random = np.random.default_rng(0)
    mean = random.normal(size=4000)
    target = mean + np.sqrt(0.6) * random.normal(size=4000)
    if ceiling:
        target = np.where(target > 0.8, 0.8 + 0.05 * random.random(4000), target)
    odds = acquisition.ExceedanceProbability(Left(mean[:120], target[:120]))
    for value in (0.0, 0.82):
        said = odds.above(mean[120:], np.full(3880, np.sqrt(0.5)), value).mean()
        assert said == pytest.approx((target[120:] > value).mean(), abs=0.07), value


def test_the_calibration_is_the_mode_of_its_posterior():
    """Each row counts once over all thresholds; the priors are about 0 and 1."""
    random = np.random.default_rng(2)
    mean = random.normal(size=30)
    target = np.minimum(0.5 * mean + 0.4 * random.normal(size=30), 0.9)
    intercept, slope = acquisition.ExceedanceProbability(Left(mean, target)).calibration(0.3)
    share = np.mean(target <= 0.3)
    thresholds = np.quantile(target, share + np.array([-0.1, -0.05, 0.0, 0.05]))
    gradient = np.array([intercept / 2.0**2, (slope - 1.0) / 0.5**2])
    for threshold in thresholds:
        p = norm.cdf((mean - threshold) / np.sqrt(0.6))
        error = expit(intercept + slope * logit(p)) - (target > threshold)
        gradient += np.array([error.sum(), (error * logit(p)).sum()]) / len(thresholds)
    assert gradient == pytest.approx([0, 0], abs=1e-3)
    assert (intercept, slope) == pytest.approx((0.0507, 1.0933), abs=2e-3)


def test_files_can_be_read_back_and_filled_in(found, tmp_path):
    table, fasta = rounds.write_next_round(found, tmp_path / "next.csv")
    assert fasta.name == "next.fasta"
    from_table, from_fasta = read_table(table).rows, read_table(fasta, default_antigen=TARGET).rows
    suggested = [one.candidate for one in found.suggestions]
    for rows in (from_table, from_fasta):
        assert [row.id for row in rows] == [one.name for one in suggested]
        assert [row.pair.residues for row in rows] == [one.pair.residues for one in suggested]
    # a filled-in plate is a campaign: predictions are no measurements
    campaign = campaign_of(suggestion_frame(found).with_columns(kd_nM=pl.lit(10.0)))
    assert campaign.values == pytest.approx(np.full(24, 8.0))
    chains = {one.pair.antibody.chains for one in suggested}
    assert {pair.antibody.chains for pair in campaign.pairs} == chains


def test_scores_stay_within_reach_of_what_the_reader_showed(monkeypatch):
    campaign = dataclasses.replace(small_campaign(), label="score")
    model = CampaignModel.fit(campaign)
    lowest, highest = campaign.values.min(), campaign.values.max()
    reach = 0.1 * (highest - lowest)
    latent, rows = np.linspace(-9, 9, 37), 37
    carried = LatentPrediction(latent, *np.ones((2, rows)), np.full(rows, "in"), ("",) * rows)
    monkeypatch.setattr(model, "predict_latent", lambda pairs: carried)
    answers = model.predict_pairs([WILD_TYPE] * rows)
    shown = answers.calibrated
    assert (np.diff(shown.value) > 0).all()
    assert (shown.value > lowest - reach).all()
    assert (shown.value < highest + reach).all()
    further = 8 / len(campaign) * (highest - lowest)  # few rows are not all that the reader shows
    assert (shown.low > lowest - further).all()
    assert (shown.low <= shown.value).all()
    assert (shown.high < highest + further).all()
    assert (shown.high >= shown.value).all()
    beyond = latent > model.scale.latent[-1]
    assert beyond.tolist() == ["above all measured scores" in note for note in answers.notes]
    inside = ~beyond & (latent > model.scale.latent[0])
    assert shown.value[inside] == pytest.approx(model.scale.to_label(latent[inside]))


def test_only_promising_candidates_are_encoded(tmp_path, monkeypatch):
    language = AntibodyLanguage("cpu", tmp_path)
    model = CampaignModel.fit(small_campaign(12), language=language)
    assert CampaignModel.fit(small_campaign(12)).fast.fast.language is None
    predictor = predictor_of(campaign_bundle(model, metrics={}, environment={}, card="# Small\n"),
                             "cpu", tmp_path)  # fmt: skip
    read: list[bytes] = []
    remember = AntibertyEncoder._remember_species  # of every chain that is read
    monkeypatch.setattr(
        AntibertyEncoder,
        "_remember_species",
        lambda self, chains, first: (
            read.extend(map(bytes, chains)) or remember(self, chains, first)
        ),
    )
    kinds = "single:200,double:50,recombination:20"
    chosen = suggest(predictor, 4, candidates=kinds)
    assert 0 < len(read) <= acquisition.ENCODED_PER_CHOICE * 4
    assert chosen.candidates > 100
    assert f"the {acquisition.ENCODED_PER_CHOICE * 4} most promising were read" in chosen.notes[-1]
    light = {one.candidate.pair.antibody.light for one in chosen.suggestions}
    assert light == {LIGHT}  # the plate has one


def pool_text() -> str:
    target, other = TARGET.chains[0], "GGGSSTKLMNPQRSTVWYACDEFGHIKLMNP"
    changes = ("W99S", "W99F", "G100A", "F104K", "Y105A", "G101P")
    rows = ["id,heavy,light,antigen,well"]
    rows += [f"p{n},{mutant(c)},{LIGHT},{target},A{n}" for n, c in enumerate(changes)]
    rows += [
        f"known,{HEAVY},{LIGHT},{target},B1",
        f"again,{mutant('W99S')},{LIGHT},{target},B2",
        f"elsewhere,{mutant('W99D')},{LIGHT},{other},B3",
        f"broken,EVQL,{LIGHT},{target},B4",
        f"single,{mutant('W99K')},,{target},B5",
        f"stranger,{D13_HEAVY},{LIGHT},{target},B6",
        f"glycan,{mutant('D102N')},{LIGHT},{target},B7",
    ]
    return "\n".join(rows) + "\n"


def test_rows_of_a_pool_that_do_not_belong_are_refused_with_their_reason(predictor, tmp_path):
    path = tmp_path / "pool.csv"
    path.write_text(pool_text(), encoding="utf-8")
    found = suggest(predictor, 3, candidates=str(path))
    refused = dict(found.refused)
    wells = {f"p{n}": f"A{n}" for n in range(6)}
    reasons = {
        "known": "already measured",
        "again": "the same sequences as 'p0'",
        "elsewhere": "another antigen than the campaign's (target)",
        "single": "no light chain, where the campaign's antibodies have one",
    }
    assert reasons.items() <= refused.items()
    assert "too short" in refused.pop("broken")
    assert refused.pop("stranger").startswith("another antibody: it differs from every parent")
    assert refused.keys() - wells == reasons.keys()
    frame = suggestion_frame(found)
    assert frame["well"].to_list() == [wells[name] for name in frame["id"]]  # own columns stay
    written = rounds.write_next_round(found, tmp_path / "next.csv")
    assert pl.read_csv(written[2])["id"].to_list() == [one.id for one in found.refused]


def test_a_pool_of_another_construct_of_the_antigen_belongs(predictor):
    (chain,) = TARGET.chains
    tagged = Antigen((chain + "GSHHHHHH",), "tagged")
    pool = [pair(change, antigen=tagged) for change in ("W99S", "W99F", "G100A")]
    pool += [Pair(Antibody(HEAVY, LIGHT, "known"), tagged), Pair(pool[0].antibody, TARGET)]
    found = suggest(predictor, 1, candidates=pool)
    assert {row.reason for row in found.refused} >= {
        "already measured",
        "the same sequences as 'W99S'",
    }
    (note,) = found.notes
    assert "of the pool: antigen differs from the campaign's: 8 residues more at its ends" in note


def test_values_above_the_best_that_the_probabilities_do_not_promise_are_said(predictor, found):
    label = found.label
    lowest = min(getattr(each.prediction, label) for each in found.suggestions)
    unlikely = [dataclasses.replace(each, p_beats_best=0.03) for each in found.suggestions]
    (note,) = _promise_note(unlikely, label, lowest - 0.1)
    assert note.startswith("24 of 24 are predicted above the best measured, fewer are expected")
    likely = [dataclasses.replace(each, p_beats_best=0.99) for each in found.suggestions]
    assert _promise_note(likely, label, lowest - 0.1) == ()
    assert _promise_note(unlikely, label, lowest + 100.0) == ()


def test_a_pool_may_be_fasta_frame_or_pairs(predictor, tmp_path):
    fasta = tmp_path / "pool.fasta"
    changes = ("W99S", "Y105A", "F104K")
    fasta.write_text(
        "".join(f">{c}_H\n{mutant(c, 'G100A')}\n>{c}_L\n{LIGHT}\n" for c in changes), "utf-8"
    )
    pairs = [pair(change, change, "G100A") for change in changes]
    frame = pl.DataFrame({"id": changes, "VH": [p.antibody.heavy for p in pairs],
                          "VL": [LIGHT] * 3})  # fmt: skip
    rounds = [suggest(predictor, 3, candidates=pool) for pool in (fasta, pairs, frame)]
    ids = [[one.candidate.name for one in found.suggestions] for found in rounds]
    assert ids[0] == ids[1] == ids[2]


def pair(name: str, *changes: str, antigen: Antigen = TARGET) -> Pair:
    """A mutant's pair, by its changes called so or otherwise."""
    return Pair(Antibody(mutant(*(changes or (name,))), LIGHT, name), antigen)


def test_regions_and_mutations_limit_a_pool(predictor, tmp_path):
    pairs = [
        pair("outside", "W99S", "N28A"),
        pair("many", "W99S", "G100A", "G101P"),
        pair("good", "W99S", "Y105A"),
    ]
    found = suggest(predictor, 1, candidates=pairs, regions="H3", max_mutations=2)
    assert dict(found.refused) == {
        "outside": "mutated outside H3: H:N28A",
        "many": "3 mutations, more than 2",
    }
    # it is flagged and not filtered
    pool = [pair(change) for change in ("W99M", "Y105C", "G103N")]
    chosen = suggest(predictor, 3, candidates=pool)
    assert {s.candidate.name for s in chosen.suggestions} == {"W99M", "Y105C", "G103N"}
    (flagged,) = [s for s in chosen.suggestions if s.candidate.name == "W99M"]
    assert [one.kind for one in flagged.liabilities] == ["methionine-oxidation"]
    chosen = suggest(predictor, 2, candidates=pool, forbid="methionine-oxidation")
    assert chosen.refused == (("W99M", "left out: methionine-oxidation"),)
    assert tmp_path / "next-refused.csv" in rounds.write_next_round(chosen, tmp_path / "next.csv")


FOREIGN = Antigen(("MKVLAAGGST",))


@pytest.mark.parametrize(
    ("candidates", "options", "message"),
    [
        (
            "single:10",
            {"allow": "all"},
            r"only 10 candidates are left for a batch of 20: 10 generated\. "
            "Ask for a batch of at most 10, or more regions",
        ),
        (
            [pair("W99M")],
            {"batch": 1, "forbid": "methionine-oxidation"},
            r"no candidate is left for a batch of 1: 1 in the pool; 1 candidate left out: "
            r"1 methionine-oxidation\. Ask for no --forbid methionine-oxidation, or a larger pool",
        ),
        ([pair("W99S", antigen=FOREIGN)], {"batch": 1}, "1 of them refused: 1 another antigen"),
        (FEW, {"min_distance": 9}, r"only \d+ of a batch of 20 can be chosen with any two 9"),
        *((text, {}, "kind of candidates") for text in ("sinlge", "")),
        *((text, {}, "at least 1 behind") for text in ("single:0", "double:many")),
    ],
)
def test_candidates_that_are_none_or_too_few(candidates, options, message, predictor):
    with pytest.raises(InputError, match=message):
        suggest(predictor, **{"batch": 20, "candidates": candidates, **options})


def test_the_measured_antigen_is_taken_where_there_are_several():
    campaign = small_campaign()
    other = Antigen(("MKVLAAGGSTMKVLAAGGST",), "other")
    pairs = tuple(Pair(p.antibody, other) if n >= 30 else p for n, p in enumerate(campaign.pairs))
    predictor = SmallCampaignPredictor(dataclasses.replace(campaign, pairs=pairs))
    found = suggest(predictor, 3, candidates="single:100")
    assert {one.candidate.pair.antigen for one in found.suggestions} == {TARGET}
    assert any("2 antigens were measured" in note for note in found.notes)
    chosen = pairs[35].antibody.name
    found = suggest(predictor, 3, candidates="single:100", parent=chosen)
    assert {one.candidate.pair.antigen for one in found.suggestions} == {other}


SINGLES = ("--candidates", "single:250,recombination:50")


def test_a_plate_as_table_and_fasta(campaign_folder, tmp_path, run_paratope):
    target = tmp_path / "next.csv"
    done = run_paratope("suggest", campaign_folder, "--batch", 12, *SINGLES, "-o", target, code=0)
    frame = pl.read_csv(target)
    assert frame["rank"].to_list() == list(range(1, 13))
    for row in frame.iter_rows(named=True):
        assert (row["heavy"], row["light"]) == small_campaigns.variant(row["mutations_imgt"]).chains
        assert row["predicted_pkd_low"] < row["predicted_pkd"] < row["predicted_pkd_high"]
        assert 0 < row["p_beats_best"] < 1
        assert row["predicted_kd_nM"] == pytest.approx(10 ** (9 - row["predicted_pkd"]), rel=0.01)
    fasta = read_table(tmp_path / "next.fasta", default_antigen=TARGET)
    assert [row.id for row in fasta.rows] == frame["id"].to_list()
    assert "candidates left out: " in done.err
    assert "Filters: n-glycosylation" in done.err
    assert "12 chosen of " in done.err
    assert "reads at most the 48 most promising" in " ".join(done.err.split())
    assert f"Written: {target}" in done.err


def test_predictions_are_those_of_predict(campaign_folder, tmp_path, run_paratope):
    target, again = tmp_path / "next.csv", tmp_path / "predicted.csv"
    run_paratope("suggest", campaign_folder, "-b", 6, *SINGLES, "-o", target)
    assert run_paratope("predict", target, "--model", campaign_folder, "-o", again).code == 0
    suggested, predicted = pl.read_csv(target), pl.read_csv(again)
    for name in ("pkd", "pkd_low", "pkd_high"):
        assert suggested[f"predicted_{name}"].to_list() == predicted[name].to_list()


def test_on_the_screen(campaign_folder, run_paratope):
    done = run_paratope("suggest", campaign_folder, "-b", 5, *SINGLES, "--explore", 0, code=0)
    assert "exploit: highest expected of" in " ".join(done.out.split())
    piped = run_paratope("suggest", campaign_folder, "-b", 5, *SINGLES, "--explore", 0, "-o", "-")
    assert pl.read_csv(piped.out.encode()).height == 5


def test_options_reach_the_choice(campaign_folder, tmp_path, run_paratope):
    target = tmp_path / "next.csv"
    options = ("--candidates", "double:200", "--regions", "H:105-117", "--max-mutations", 2)
    options += ("--allow", "C,unpaired-cysteine,extra-disulfide", "--forbid", "A,G")
    options += ("--acquisition", "nei", "--explore", 0.5, "--min-distance", 2, "--seed", 4)
    done = run_paratope("suggest", campaign_folder, "-b", 8, *options, "-o", target, code=0)
    assert "residues A, G" in done.err
    frame = pl.read_csv(target)
    assert set(frame["mutation_count"]) == {2}
    for text in frame["mutations_imgt"]:
        for one in text.split(","):
            assert 105 <= int("".join(c for c in one.split(":")[1] if c.isdigit())) <= 117
            assert one[-1] not in "AG"


def test_refused_rows_are_reported_and_leave_3(campaign_folder, tmp_path, run_paratope):
    pool, target = tmp_path / "pool.csv", tmp_path / "next.csv"
    pool.write_text(pool_text(), encoding="utf-8")
    done = run_paratope(
        "suggest", campaign_folder, "-b", 3, "--candidates", pool, "-o", target, code=3
    )
    refused = pl.read_csv(tmp_path / "next-refused.csv")
    assert f"{refused.height} rows of the pool refused" in done.err
    reasons = dict(refused.select("id", "reason").iter_rows())
    assert reasons["elsewhere"].startswith("another antigen than the campaign's")
    assert pl.read_csv(target).height == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--candidates", "no-such-pool.csv"), "no-such-pool.csv"),
        (("--parent", "nobody"), "no parent or measured antibody is called 'nobody'"),
        (("-o", "next.docx"), "next.docx"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, message, campaign_folder, run_paratope):
    done = run_paratope("suggest", campaign_folder, *arguments, code=2)
    assert message in done.err
    assert "Traceback" not in done.err


def test_a_model_of_no_campaign(tiny_run, run_paratope):
    done = run_paratope("suggest", tiny_run.folder, code=2)
    assert "paratope adapt measurements.csv -o my-campaign" in done.err


@pytest.mark.parametrize("light", [True, False])
def test_campaigns_of_every_shape(light, tmp_path):
    """Paired and single domains, two backgrounds, loops of several lengths; scores, called so."""
    campaign = dataclasses.replace(
        small_campaigns.simulated_campaign(40, light_chains=light), label="score"
    )
    predictor = Predictor.load(small_campaigns.write_campaign(tmp_path / "campaign", campaign))
    found = suggest(predictor, 6, candidates="single:100,recombination:100,neighbour:100")
    frame = suggestion_frame(found)
    assert {"predicted_score", "predicted_note"} <= set(frame.columns)
    assert not [name for name in frame.columns if "pkd" in name or "kd" in name]
    for one in found.suggestions:
        assert (one.prediction.score is None, one.prediction.pkd) == (False, None)
        assert (one.candidate.pair.antibody.light is None) is not light
