"""What to expect of a campaign's model: validated in three ways, beside trivial models, by size."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from paratope.campaigns.adaptation.folds import (
    KINDS,
    Folds,
    Kind,
    random_folds,
    unseen_folds,
    variant_groups,
)
from paratope.campaigns.adaptation.learning_curve import (
    Gain,
    LearningCurve,
    Point,
    curve_sizes,
    fit_curve,
    measure_points,
)
from paratope.campaigns.adaptation.validation import (
    COVERAGES,
    STANDARDS,
    Fit,
    HeldOutRows,
    Ranking,
    Score,
    coverage,
    cross_validate,
)
from paratope.campaigns.campaign import Campaign

# Further measurements whose worth is foretold: a quarter of a plate, a plate, four plates.
MORE = (24, 96, 384)
# Fewer variants than this make every number of a report rough.
_FEW = 20
# Beyond this, a sparse process is fitted to every fold.
_MANY = 5000
# A trivial model that ranks better by less than this is no reason to follow it.
_NOTABLE = 0.02


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is refitted for a report, so that it takes about as long as two fits.

    Attributes
    ----------
    folds, rounds : int
        Of the random folds.
    unseen : int
        Folds by mutation, and by position.
    draws : tuple of (int, int)
        Sizes of the learning curve and how many draws of each.
    """

    folds: int
    rounds: int
    unseen: int
    draws: tuple[tuple[int, int], ...]

    @property
    def fits(self) -> int:
        """Models to be fitted."""
        return self.folds * self.rounds + 2 * self.unseen + sum(count for _, count in self.draws)


def effort_for(variants: int) -> Effort:
    """What a campaign of so many variants is worth.

    >>> [effort_for(variants).fits for variants in (48, 96, 2000, 20000)]
    [23, 17, 10, 8]
    """
    sizes = curve_sizes(variants)
    if variants <= 60:
        return Effort(5, 2, 4, sizes)
    if variants <= 200:
        return Effort(5, 1, 3, tuple((size, min(count, 2)) for size, count in sizes))
    few = tuple((size, 1) for size, _ in sizes)
    if variants <= 600:
        return Effort(4, 1, 2, few)
    # of thousands every fit takes a minute, and half of them are enough to judge by
    return Effort(3, 1, 2, few) if variants <= _MANY else Effort(2, 1, 2, few[:2])


@dataclasses.dataclass(frozen=True)
class Validation:
    """How the model does on one kind of held-out rows.

    Attributes
    ----------
    kind : str
    reason : str
        Why it was not judged; empty if it was.
    train_rows, judged_rows : int
    model : Score or None
    standards : mapping of str to Score
    ahead : mapping of str to (float, float, float)
        Spearman of the model minus that of each standard, with the 95 % interval.
    coverage : mapping of str to float
        Share of exact values inside the intervals, by what these claim, such as ``"90%"``.
    held_out : HeldOutRows or None
    """

    kind: Kind
    reason: str = ""
    train_rows: int = 0
    judged_rows: int = 0
    model: Score | None = None
    standards: Mapping[str, Score] = dataclasses.field(default_factory=dict)
    ahead: Mapping[str, tuple[float, float, float]] = dataclasses.field(default_factory=dict)
    coverage: Mapping[str, float] = dataclasses.field(default_factory=dict)
    held_out: HeldOutRows | None = None

    @property
    def best_standard(self) -> str | None:
        """The trivial model that ranks best."""
        ranked = {name: one.spearman for name, one in self.standards.items()}
        known = {name: value for name, value in ranked.items() if not math.isnan(value)}
        return max(known, key=lambda name: known[name]) if known else None


@dataclasses.dataclass(frozen=True)
class Expectation:
    """What to expect of a campaign's model.

    Attributes
    ----------
    variants, rows : int
    label : str
    validations : mapping of str to Validation
        By kind of held-out rows.
    curve : LearningCurve or None
    warnings : tuple of str
        In plain words, gravest first; empty where there is nothing to warn of.
    """

    variants: int
    rows: int
    label: str
    validations: Mapping[Kind, Validation]
    curve: LearningCurve | None
    warnings: tuple[str, ...]

    @property
    def learned(self) -> bool:
        """Whether the ranking of held-out rows is surely better than chance."""
        model = self.validations["random"].model
        return model is not None and model.low > 0

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not known is None."""
        return {
            "variants": self.variants,
            "rows": self.rows,
            "label": self.label,
            "learned": self.learned,
            "warnings": list(self.warnings),
            "validations": {kind: _validation_json(one) for kind, one in self.validations.items()},
            "learning_curve": None if self.curve is None else _plain(self.curve),
        }


def expect(
    campaign: Campaign,
    fit: Fit,
    *,
    seed: int = 0,
    effort: Effort | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Expectation:
    """Validate how a model is fitted to a campaign.

    Parameters
    ----------
    campaign : Campaign
    fit : callable
        Makes a model of a campaign; called with parts of this one.
    seed : int
        Of folds, draws and intervals.
    effort : Effort, optional
        By default what `effort_for` says.
    progress : callable
        Called with the models fitted so far and those to be fitted.

    Returns
    -------
    Expectation
    """
    campaign = campaign.on_common_scale()
    variants = int(variant_groups(campaign.pairs).max()) + 1
    effort = effort or effort_for(variants)
    planned = _planned_folds(campaign, effort, seed)
    curve_draws = effort.draws if planned["random"].rounds else ()
    total = sum(len(one) for folds in planned.values() for one in folds.rounds)
    total += sum(count for _, count in curve_draws)
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    validations: dict[Kind, Validation] = {
        kind: _validate(campaign, folds, fit, seed, advance) for kind, folds in planned.items()
    }
    points = measure_points(campaign, fit, curve_draws, seed, advance)
    curve = _curve(campaign, variants, points, validations["random"])
    return Expectation(
        variants,
        len(campaign),
        campaign.label,
        validations,
        curve,
        _warnings(campaign, variants, validations),
    )


def _planned_folds(campaign: Campaign, effort: Effort, seed: int) -> dict[Kind, Folds]:
    random = random_folds(campaign, effort.folds, effort.rounds, seed)
    equal = np.ptp(campaign.values) == 0
    reason = random.reason or ("all values are equal" if equal else "")
    if reason:
        return {kind: Folds(kind, reason=reason) for kind in KINDS}
    planned: dict[Kind, Folds] = {"random": random}
    for kind in KINDS[1:]:
        planned[kind] = unseen_folds(campaign, kind, effort.unseen, seed)
    return planned


def _validate(
    campaign: Campaign, folds: Folds, fit: Fit, seed: int, advance: Callable[[], None]
) -> Validation:
    if folds.reason:
        return Validation(folds.kind, reason=folds.reason)
    held_out = cross_validate(campaign, folds, fit, advance=advance)
    ranking = Ranking(campaign, held_out, seed)
    standards = {name: ranking.score(held_out.standards[name]) for name in STANDARDS}
    ahead = {name: ranking.ahead(held_out.mean, held_out.standards[name]) for name in STANDARDS}
    return Validation(
        folds.kind,
        train_rows=folds.train_rows,
        judged_rows=len(np.unique(held_out.row)),
        model=ranking.score(held_out.mean),
        standards=standards,
        ahead=ahead,
        coverage=coverage(campaign, held_out),
        held_out=held_out,
    )


def _curve(
    campaign: Campaign, variants: int, points: list[Point], random: Validation
) -> LearningCurve | None:
    """With the random folds as one more point."""
    if random.model is None:
        return None
    share = random.train_rows / len(campaign)
    rounds = len(np.unique(random.held_out.round)) if random.held_out is not None else 1
    if not math.isnan(random.model.spearman):
        size = min(round(share * variants), variants - 1)
        points = [*points, Point(size, random.model.spearman, rounds)]
    return fit_curve(points, variants, MORE)


def _warnings(
    campaign: Campaign, variants: int, validations: Mapping[Kind, Validation]
) -> tuple[str, ...]:
    random = validations["random"]
    if random.model is None:
        return (f"how good the model is cannot be told: {random.reason}",)
    found = []
    value, low, high = random.model.spearman, random.model.low, random.model.high
    if math.isnan(value):
        found.append("it has learned nothing: it gives every held-out variant the same value")
    elif not low > 0:
        interval = "" if math.isnan(low) else f" (95 % interval {low:+.2f} to {high:+.2f})"
        found.append(
            f"it has probably learned nothing yet: the Spearman correlation with held-out values "
            f"is {value:+.2f}{interval}, no better than chance; measure more variants before "
            "trusting the ranking"
        )
    constant = random.standards["constant"].rmse
    if random.model.rmse > constant and not math.isnan(value):
        ranks = "believe the ranking, not the values" if low > 0 else "do not believe its values"
        found.append(
            f"its error on held-out variants (RMSE {random.model.rmse:.2f}) is no smaller than "
            f"that of the mean of the assay ({constant:.2f}): {ranks}"
        )
    found += _behind(validations)
    if variants < _FEW:
        found.append(f"{variants} variants: every number of this report is rough")
    return tuple(found)


def _behind(validations: Mapping[Kind, Validation]) -> list[str]:
    """Kinds on which a trivial model surely ranks better, or the intervals are too narrow."""
    found = []
    for kind, one in validations.items():
        if one.model is None:
            continue
        ahead = {
            name: -gap
            for name, (gap, _, high) in one.ahead.items()
            if high < 0 and gap <= -_NOTABLE
        }
        if "constant" in ahead:  # which ranks nothing
            found.append(
                f"on {kind} folds its ranking is surely worse than none (Spearman "
                f"{-ahead.pop('constant'):+.2f}): do not follow it there"
            )
        if ahead:
            best = max(ahead, key=lambda name: ahead[name])
            more = ", and so do other trivial models" if len(ahead) > 1 else ""
            found.append(
                f"on {kind} folds {best.replace('_', ' ')} ranks better (Spearman "
                f"{ahead[best]:+.2f}){more}: its ranking is the one to follow there"
            )
        claimed = f"{COVERAGES[-1]:.0%}"
        share, rows = one.coverage.get(claimed), one.judged_rows
        if share is not None and rows >= _FEW:
            slack = 2 * math.sqrt(COVERAGES[-1] * (1 - COVERAGES[-1]) / rows)
            if share < COVERAGES[-1] - 0.05 - slack:
                found.append(
                    f"on {kind} folds the {claimed} intervals cover {share:.0%}: take them for "
                    "too narrow there"
                )
    return found


def _validation_json(one: Validation) -> dict[str, Any]:
    if one.model is None:
        return {"reason": one.reason}
    return {
        "train_rows": one.train_rows,
        "judged_rows": one.judged_rows,
        "model": _plain(one.model),
        "coverage": _plain(dict(one.coverage)),
        "standards": {name: _plain(found) for name, found in one.standards.items()},
        "ahead": {name: _plain(list(found)) for name, found in one.ahead.items()},
    }


def _plain(value: Any) -> Any:
    """Dataclasses as mappings, numbers to five digits, NaN as None."""
    if isinstance(value, Score | Gain | Point | LearningCurve):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value
