"""What to expect of a campaign's model: folds that hold out, honest scores, learning curves."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import norm

from paratope.campaigns.adaptation import report as reports
from paratope.campaigns.adaptation import validation
from paratope.campaigns.adaptation.report import RefitPlan, sentences, validate
from paratope.campaigns.adaptation.validation import COVERAGES, KINDS, Point, Score
from paratope.campaigns.campaign import Campaign, campaign_of
from paratope.campaigns.kernels.sum_kernel import Importance
from paratope.core.censoring import Censoring
from paratope.data.datasets import load_dataset
from paratope.data.measurements import Measurement
from paratope.evaluation.baselines import BASELINES
from paratope.molecules.mutations import mutations_between
from paratope.molecules.sequences import Antibody, Antigen, Pair
from small_campaigns import PARENT, variant
from test_numbering import LYSOZYME, VH, VHH

ANTIGEN = Antigen((LYSOZYME,))
LETTERS = "ACDEFGHIKLMNPQRSTVWY"
PLACES = tuple(range(26, 34)) + tuple(range(98, 106))
QUICK = RefitPlan(3, 1, 2, ((20, 1),))


class OneHot:
    """A real small model: the one-hot Gaussian process, with the training values' spread."""

    fast = None

    def __init__(self, campaign: Campaign) -> None:
        self.model = BASELINES["one_hot_gp"]().fit(campaign.measurements())
        self.sd = float(campaign.values.std()) + 1e-6

    def mean(self, pairs):
        return self.model.predict_pkd(pairs)

    def predict(self, pairs, assay):
        del assay
        mean = OneHot.mean(self, pairs)
        reach = np.outer(norm.ppf(0.5 + 0.5 * np.array(COVERAGES)), np.full(len(pairs), self.sd))
        return validation.IntervalPredictions(self.mean(pairs), mean - reach, mean + reach)


class Mean(OneHot):
    """Learns nothing: one value for all."""

    def mean(self, pairs):
        return np.full(len(pairs), self.model.mean)


class UpsideDown(OneHot):
    """Ranks in the wrong order."""

    def mean(self, pairs):
        mean = super().mean(pairs)
        return 2 * mean.mean() - mean


def plate(count: int = 48, seed: int = 0, noise: float = 0.1, mutations: int = 2) -> Campaign:
    """Variants whose places and residues have effects that add up."""
    rng = np.random.default_rng(seed)
    place_effect = dict(zip(PLACES, rng.normal(0, 1, len(PLACES)), strict=True))
    letter_effect = dict(zip(LETTERS, rng.normal(0, 0.5, len(LETTERS)), strict=True))
    rows = []
    for number in range(count):
        changed, value = [], 8.0
        for place in rng.choice(PLACES, mutations, replace=False):
            after = rng.choice([one for one in LETTERS if one != VH[place - 1]])
            changed.append(f"H:{VH[place - 1]}{place}{after}")
            value += place_effect[int(place)] + letter_effect[str(after)]
        pair = Pair(variant(",".join(changed), f"v{number}"), ANTIGEN)
        rows.append(Measurement(pair, value + noise * rng.standard_normal(), assay="spr"))
    return campaign_of([Measurement(Pair(PARENT, ANTIGEN), 8.0, assay="spr"), *rows])


CAMPAIGN = plate()


def test_random_folds_judge_every_row_once_a_round():
    folds = validation.random_folds(CAMPAIGN, 5, 2, seed=0)
    for one in folds.rounds:
        assert sorted(np.concatenate([fold.test for fold in one])) == list(range(len(CAMPAIGN)))
        for fold in one:
            assert not set(fold.train) & set(fold.test)
            assert len(fold.train) + len(fold.test) == len(CAMPAIGN)
    first, second = ([fold.test.tolist() for fold in one] for one in folds.rounds)
    assert first != second


def test_no_fold_parts_a_variant_from_itself():
    """The same variant in two assays, or against two antigens, is on one side of every fold."""
    rows = CAMPAIGN.measurements()
    campaign = campaign_of([*rows, *(dataclasses.replace(row, assay="bli") for row in rows[:40])])
    groups = validation.variant_groups(campaign.pairs)
    for kind in KINDS:
        folds = validation.random_folds(campaign, 4, 1, 0)
        if kind != "random":
            folds = validation.unseen_folds(campaign, kind, 3, 0)
        assert folds.rounds, folds.reason
        for fold in (fold for one in folds.rounds for fold in one):
            assert not set(groups[fold.train]) & set(groups[fold.test])


@pytest.mark.parametrize("kind", KINDS[1:])
def test_what_is_held_out_was_never_trained_on(kind):
    rows = validation.mutations_of(CAMPAIGN)
    folds = validation.unseen_folds(CAMPAIGN, kind, 4, seed=1)
    assert len(folds.rounds) >= 3
    for (fold,) in folds.rounds:
        width = 4 if kind == "unseen mutation" else 3
        trained = {token[:width] for row in fold.train for token in rows[row]}
        assert len(fold.train) >= len(CAMPAIGN) / 4
        for row in fold.test:
            assert any(token[:width] not in trained for token in rows[row])


def test_mutations_are_those_of_the_parent():
    rows = validation.mutations_of(CAMPAIGN)
    (parent,) = CAMPAIGN.parents
    for pair, found in zip(CAMPAIGN.pairs, rows, strict=True):
        real = mutations_between(parent.antibody, pair.antibody)
        assert {token[1:] for token in found} == {(m.chain, m.position, m.after) for m in real}


def test_folds_that_make_no_sense_say_why(data_root):
    few = validation.random_folds(CAMPAIGN.rows(np.arange(5)), 5, 1, 0)
    assert "5 variants cannot be both learned from and judged on" in few.reason
    unrelated = dataclasses.replace(CAMPAIGN, parents=())
    assert "unrelated" in validation.unseen_folds(unrelated, "unseen position", 3, 0).reason
    same = [Measurement(pair, 7.0 + 0.1 * n) for n, pair in enumerate([CAMPAIGN.pairs[0]] * 3)]
    lonely = campaign_of([*same, Measurement(CAMPAIGN.pairs[1], 6.0)])
    assert validation.unseen_folds(lonely, "unseen position", 3, 0).reason
    other = Pair(Antibody(VHH), ANTIGEN)
    assert validation.mutations_of(campaign_of([Measurement(other, 7.0)])) == [frozenset()]
    # in 3gbn_h1 every position is either germline or mature: the two kinds are one
    campaign = campaign_of(load_dataset("abbibench_3gbn_h1", data_root).measurements[:300])
    assert "one way only" in validation.unseen_folds(campaign, "unseen mutation", 3, 0).reason
    assert validation.unseen_folds(campaign, "unseen position", 3, 0).rounds


def test_a_constant_has_no_ranking():
    """The mean of the others is low where a row is high: that must not count as a ranking."""
    folds = validation.random_folds(CAMPAIGN, 10, 2, seed=0)
    held_out = validation.cross_validate(CAMPAIGN, folds, Mean, baselines=("constant",))
    rows = held_out.row
    pooled = validation.assay_spearman(CAMPAIGN.values[rows], held_out.mean, CAMPAIGN.assay[rows])
    assert pooled < -0.3  # what a naive report would say
    found = validation.Ranking(CAMPAIGN, held_out, 0).score(held_out.mean)
    assert np.isnan(found.spearman)
    assert found.rmse == pytest.approx(float(CAMPAIGN.values.std()), rel=0.1)


def test_spearman_is_within_assays():
    x, y = np.array([1.0, 2, 3, 11, 12, 13]), np.array([3.0, 2, 1, 13, 12, 11])
    assert validation.assay_spearman(x, y, np.zeros(6, int)) > 0.4  # the offset alone
    assert validation.assay_spearman(x, y, np.array([0, 0, 0, 1, 1, 1])) == pytest.approx(-1)


def test_intervals_of_the_spearman_cover_the_truth():
    inside = 0
    folds = validation.random_folds(CAMPAIGN, 5, 1, seed=0)
    held_out = validation.cross_validate(CAMPAIGN, folds, Mean, baselines=())
    rows = held_out.row
    flat = dataclasses.replace(held_out, centre=np.zeros(len(rows)))
    truth = 6 / np.pi * np.arcsin(0.6 / 2)  # of a bivariate normal
    for seed in range(60):
        rng = np.random.default_rng(seed)
        signal = rng.standard_normal(len(rows))
        other = 0.6 * signal + 0.8 * rng.standard_normal(len(rows))
        changed = dataclasses.replace(CAMPAIGN, values=signal[np.argsort(rows)])
        found = validation.Ranking(changed, flat, seed).score(other)
        inside += found.low <= truth <= found.high
    assert 52 <= inside <= 60


def test_coverage_counts_exact_rows():
    folds = validation.random_folds(CAMPAIGN, 5, 1, seed=0)
    held_out = validation.cross_validate(CAMPAIGN, folds, OneHot, baselines=())
    truth = np.stack([CAMPAIGN.values[held_out.row]] * len(COVERAGES))
    sharp = dataclasses.replace(held_out, low=truth, high=truth)
    assert validation.coverage(CAMPAIGN, sharp) == {"50%": 1.0, "80%": 1.0, "90%": 1.0}
    wide = validation.coverage(CAMPAIGN, held_out)
    assert wide["50%"] <= wide["80%"] <= wide["90%"]
    bounds = dataclasses.replace(CAMPAIGN, censoring=np.full(len(CAMPAIGN), -1))
    assert validation.coverage(bounds, sharp) == {}


def test_sizes_leave_rows_to_judge():
    assert validation.curve_sizes(24) == ((12, 2),)
    assert validation.curve_sizes(9) == ()
    for variants in (24, 96, 384, 2000):
        assert all(8 <= size <= variants / 2 for size, _ in validation.curve_sizes(variants))


def test_a_curve_of_few_points_keeps_to_what_is_known_of_campaigns():
    curve = validation.fit_curve([Point(19, 0.4, 2)], 24, (24, 96))
    assert curve.slope == pytest.approx(validation.DOUBLING_MEAN)
    first, second = curve.gains
    assert 0 < first.low < first.gain < first.high
    assert second.gain > first.gain
    points = [Point(48, 0.1, 4), Point(96, 0.5, 4), Point(300, 0.8, 4)]
    steep = validation.fit_curve(points, 400, (96,))
    assert steep.slope > 1.3 * validation.DOUBLING_MEAN
    assert validation.fit_curve([], 24, (24,)) is None
    short = validation.fit_curve([Point(8, 0.2, 1)], 10, (24, 96))
    assert [gain.more for gain in short.gains] == [24]


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("abbibench_2fjg", (48, 192)), ("abbibench_3gbn_h1", (24, 96)), ("absci_her2", (48, 144))],
)
def test_foretold_gains_hold_on_landscapes(name, sizes, data_root):
    campaign = campaign_of(load_dataset(name, data_root).measurements)
    order = np.random.default_rng(0).permutation(np.flatnonzero(campaign.censoring == 0))
    small, large = campaign.rows(order[: sizes[0]]), campaign.rows(order[: sizes[1]])
    rest = campaign.rows(order[sizes[1] : sizes[1] + 400])
    found = validate(small, OneHot, plan=RefitPlan(5, 1, 0, validation.curve_sizes(sizes[0])))
    (gain,) = validation.fit_curve(found.curve.points, sizes[0], (sizes[1] - sizes[0],)).gains
    told = [OneHot(one).mean(rest.pairs) for one in (small, large)]
    real = [validation.assay_spearman(rest.values, mean, rest.assay) for mean in told]
    noise = 2 / np.sqrt(len(rest))
    assert gain.low - noise <= real[1] - real[0] <= gain.high + noise


@pytest.fixture(scope="module")
def report():
    return validate(CAMPAIGN, OneHot, plan=QUICK)


def test_a_report_of_what_can_be_learned(report):
    assert report.learned
    random, unseen = (report.validations[kind].model for kind in ("random", "unseen position"))
    assert random.spearman > max(0.5, unseen.spearman)
    for one in report.validations.values():
        assert set(one.baselines) == set(one.ahead)
        assert set(one.coverage) == {"50%", "80%", "90%"}
        if one.kind != "unseen position":
            assert tuple(one.ahead["one_hot_gp"]) == (0, 0, 0)  # gap, low, high: the same model
    assert report.curve.points[-1].size > report.curve.points[0].size
    again = validate(CAMPAIGN, OneHot, plan=QUICK)
    assert again.to_json() == report.to_json()
    assert validate(CAMPAIGN, OneHot, plan=QUICK, seed=1).to_json() != report.to_json()


def test_a_model_that_learns_nothing_is_said_so():
    rng = np.random.default_rng(3)
    noise = dataclasses.replace(CAMPAIGN, values=rng.permutation(CAMPAIGN.values))
    found = validate(noise, OneHot, plan=QUICK)
    assert not found.learned
    assert "learned nothing yet" in found.warnings[0]
    seen = []
    found = validate(CAMPAIGN, Mean, plan=QUICK, progress=lambda _, *done: seen.append(done))
    assert not found.learned
    assert "same value" in found.warnings[0]
    behind = [text for text in found.warnings if "ranks better" in text]
    assert len(behind) == len(found.validations)  # one sentence for each kind of folds
    assert all(", and so do other trivial models: its ranking" in text for text in behind)
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][0] == seen[-1][1]
    assert len(seen) <= QUICK.fits


def with_scores(report, kind: str, model: Score, ahead: float) -> reports.ValidationReport:
    """The report as if a kind of folds had been judged so, and ridge stood so far behind it."""
    gaps = {**report.validations[kind].ahead, "one_hot_ridge": (ahead, ahead - 0.1, ahead + 0.1)}
    one = dataclasses.replace(report.validations[kind], model=model, ahead=gaps)
    validations = {**report.validations, kind: one}
    warnings = reports._warnings(48, validations)
    return dataclasses.replace(report, validations=validations, warnings=warnings)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_warnings_look_at_every_kind_of_folds(report, kind):
    assert report.warnings == ()
    (chance,) = with_scores(report, kind, Score(0.1, -0.2, 0.4, 0.1), 0.3).warnings
    assert chance.startswith(f"on {kind} folds its ranking may be no better than chance (Spearman")
    assert "0.10 (-0.20 to 0.40)" in chance
    (wrong,) = with_scores(report, kind, Score(0.5, 0.2, 0.7, 99.0), 0.3).warnings
    assert wrong.startswith(f"its error on {kind} folds (RMSE 99.00) is no smaller than that of")
    assert wrong.endswith("believe the ranking, not the values there")


@pytest.mark.parametrize(
    ("ahead", "said"),
    [(-0.2, "does better"), (0.0, "does as well"), (0.05, "may do as well"), (0.3, "")],
)
def test_a_linear_model_that_does_as_well_is_said_in_words(report, ahead, said):
    found = with_scores(report, "random", Score(0.61, 0.5, 0.7, 0.5), ahead)
    linear = [text for text in sentences(found) if "linear model" in text and "random" in text]
    assert len(linear) == bool(said)
    for text in linear:
        assert text.startswith(f"A linear model (one-hot ridge) {said} on variants at random")
        assert text.endswith(", this model 0.61.")


def test_one_hot_models_have_no_number_for_positions_they_cannot_know(report):
    header, rows = reports.baselines_table(report)
    cells = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    for name in ("one-hot ridge", "one-hot Gaussian process"):
        assert cells[name]["positions never trained on"] == "–"
        assert "/" in cells[name]["variants at random"]
    assert "/" in cells["this model"]["positions never trained on"]
    said = "\n".join(sentences(report))
    assert "One-hot models know nothing of positions never trained on" in said


def test_a_ranking_worse_than_none_is_said_and_no_constant_is_recommended():
    found = validate(CAMPAIGN, UpsideDown, plan=QUICK)
    assert any("its ranking is surely worse than none" in text for text in found.warnings)
    assert not any("constant ranks better" in text for text in found.warnings)
    assert any("do not believe its values" in text for text in found.warnings)
    assert "in this one nothing shows yet" in sentences(found)[-1]


def test_campaigns_too_small_to_judge_say_so():
    one = validate(CAMPAIGN.rows(np.arange(1)), OneHot)
    assert not one.learned
    (warning,) = one.warnings
    assert "1 variant cannot be both learned from and judged on; at least 8 are needed" in warning
    assert one.to_json()["validations"]["random"] == {"reason": one.validations["random"].reason}
    equal = dataclasses.replace(CAMPAIGN, values=np.full(len(CAMPAIGN), 7.0))
    assert "all values are equal" in validate(equal, OneHot).warnings[0]
    small = validate(CAMPAIGN.rows(np.arange(12)), OneHot)
    assert any("every number of this report is rough" in text for text in small.warnings)


def test_bounds_take_part():
    floor = np.quantile(CAMPAIGN.values, 0.3)
    codes = np.where(CAMPAIGN.values < floor, -1, 0)
    bounded = {"values": np.maximum(CAMPAIGN.values, floor), "censoring": codes}
    censored = dataclasses.replace(CAMPAIGN, **bounded)
    found = validate(censored, OneHot, plan=QUICK)
    assert found.validations["random"].model.spearman > 0.3
    assert censored.measurements()[int(np.argmin(CAMPAIGN.values))].censoring is Censoring.AT_MOST


def test_words_and_tables(report):
    header, rows = reports.model_table(report)
    assert len(rows) == 3
    assert all(len(row) == len(header) for row in rows)
    header, rows = reports.baselines_table(report)
    assert rows[0][0] == "this model"
    assert len(rows) == 1 + len(validation.COMPARED_BASELINES)
    said = sentences(report)
    assert any("24 more measurements should buy about +" in text for text in said)
    assert not any("nothing shows yet" in text for text in said)
    text = reports.card("c", CAMPAIGN, Importance([], {}), report, "none")
    assert "| held out |" in text
    assert "one-hot Gaussian process" in text
    few = validate(CAMPAIGN.rows(np.arange(3)), OneHot)
    text = reports.card("c", CAMPAIGN, Importance([], {}), few, "none")
    assert "**Warning:** How good the model is cannot be told" in text
    assert sentences(few)[0].startswith("Not judged on variants at random: 3 variants")


def test_scores_of_several_assays_are_judged_on_the_labels_that_are_learned():
    """Counts beside ratios, bounds among the counts: one scale for models and report."""
    floor = 1000 * np.quantile(CAMPAIGN.values, 0.6)
    rows = []
    for number, (pair, value) in enumerate(zip(CAMPAIGN.pairs, CAMPAIGN.values, strict=True)):
        row = Measurement(pair, score=value, assay="ratio")
        if number % 2:
            bound = Censoring(-int(1000 * value < floor))
            row = Measurement(pair, score=max(1000 * value, floor), censoring=bound, assay="counts")
        rows.append(row)
    campaign = campaign_of(rows)
    exact = campaign.censoring == Censoring.EXACT
    first, second = (campaign.values[exact & (campaign.assay == index)] for index in (0, 1))
    standard = (campaign.values - second.mean()) / second.std()
    labels = np.where(campaign.assay, first.mean() + first.std() * standard, campaign.values)
    label_of = {pair.antibody.chains: y for pair, y in zip(campaign.pairs, labels, strict=True)}
    learned: list[Campaign] = []

    class Watched(OneHot):
        def __init__(self, part: Campaign) -> None:
            learned.append(part.on_common_scale())  # as a campaign model does
            super().__init__(part)

    found = validate(campaign, Watched, plan=QUICK)
    for part in learned:
        expected = [label_of[pair.antibody.chains] for pair in part.pairs]
        assert part.values == pytest.approx(expected)
    random = found.validations["random"]
    miss = random.held_out.mean - labels[random.held_out.row]
    miss[(campaign.censoring[random.held_out.row] == Censoring.AT_MOST) & (miss < 0)] = 0.0
    assert random.model.rmse == pytest.approx(np.sqrt(np.mean(miss**2)))
    assert found.label == "score"
    assert random.model.spearman > 0.3
