"""Validation reports: how good a campaign's model is on held-out rows, in numbers and words."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from paratope.campaigns.adaptation.validation import (
    COMPARED_BASELINES,
    COVERAGES,
    KINDS,
    Fit,
    Folds,
    Gain,
    HeldOutPredictions,
    Kind,
    LearningCurve,
    Point,
    Ranking,
    Score,
    coverage,
    cross_validate,
    curve_sizes,
    fit_curve,
    measure_points,
    random_folds,
    unseen_folds,
    variant_groups,
)
from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model import Importance
from paratope.core.censoring import Censoring
from paratope.core.errors import InputError, OutputError
from paratope.core.files import plain, write_json
from paratope.core.progress import Progress, silent
from paratope.core.templates import render
from paratope.data.tables import write_table
from paratope.evaluation.figures.campaigns import (
    PositionEffect,
    held_out_predictions,
    learning_curve,
    position_importance,
)
from paratope.evaluation.figures.style import save_figure
from paratope.evaluation.metrics import EvaluationRows
from paratope.molecules.numbering import number_chain

# Further measurements whose worth is foretold: a quarter of a plate, a plate, four plates.
MORE = (24, 96, 384)
# Fewer variants than this make every number of a report rough.
_FEW = 20
# Beyond this, a sparse process is fitted to every fold.
_MANY = 5000
# A trivial model that ranks better by less than this is no reason to follow it.
_NOTABLE = 0.02
BASELINE_NAMES: Mapping[str, str] = {
    "constant": "mean of the assay",
    "one_hot_ridge": "one-hot ridge",
    "one_hot_gp": "one-hot Gaussian process",
    "nearest_neighbour": "nearest neighbours",
    "boosted_kmers": "boosted trees on k-mers",
}
# What these learn of a position is nothing where no training row mutates it.
_ONE_HOT = ("one_hot_ridge", "one_hot_gp")
KIND_NAMES: Mapping[Kind, str] = {
    "random": "variants at random",
    "unseen mutation": "mutations never trained on",
    "unseen position": "positions never trained on",
}
UNITS = {"pkd": "pKd", "score": "score"}
Table = tuple[list[str], list[list[str]]]
FOLDER = "report"
_RELATIONS = {Censoring.AT_MOST: "<", Censoring.EXACT: "", Censoring.AT_LEAST: ">"}
_SHOWN_TERMS = 6
_SHOWN_POSITIONS = 8
_SHOWN_NAMES = 10


@dataclasses.dataclass(frozen=True)
class RefitPlan:
    """How much is refitted for a report, so that it takes about as long as two fits."""

    folds: int  # Of the random folds
    rounds: int  # Of the random folds
    unseen: int  # Folds by mutation, and by position
    # Sizes of the learning curve and how many draws of each
    draws: tuple[tuple[int, int], ...]

    @property
    def fits(self) -> int:
        """Models to be fitted."""
        return self.folds * self.rounds + 2 * self.unseen + sum(count for _, count in self.draws)


def refit_plan(variants: int) -> RefitPlan:
    """Folds and repeats to run, by number of variants.

    >>> [refit_plan(variants).fits for variants in (48, 96, 2000, 20000)]
    [23, 17, 10, 8]
    """
    sizes = curve_sizes(variants)
    if variants <= 60:
        return RefitPlan(5, 2, 4, sizes)
    if variants <= 200:
        return RefitPlan(5, 1, 3, tuple((size, min(count, 2)) for size, count in sizes))
    few = tuple((size, 1) for size, _ in sizes)
    if variants <= 600:
        return RefitPlan(4, 1, 2, few)
    # of thousands every fit takes a minute, and half of them are enough to judge by
    return RefitPlan(3, 1, 2, few) if variants <= _MANY else RefitPlan(2, 1, 2, few[:2])


@dataclasses.dataclass(frozen=True)
class Validation:
    """How the model does on one kind of held-out rows."""

    kind: Kind
    reason: str = ""  # Why it was not judged; empty if it was
    train_rows: int = 0
    judged_rows: int = 0
    model: Score | None = None
    baselines: Mapping[str, Score] = dataclasses.field(default_factory=dict)
    # Spearman of the model minus that of each baseline, with the ends of its 95 % interval
    ahead: Mapping[str, tuple[float, float, float]] = dataclasses.field(default_factory=dict)
    # Share of exact values inside the intervals, by what these claim, such as ``"90%"``
    coverage: Mapping[str, float] = dataclasses.field(default_factory=dict)
    held_out: HeldOutPredictions | None = None
    # The model's fast form, and Spearman of it minus that of the full one, as `ahead`
    fast: Score | None = None
    fast_ahead: tuple[float, float, float] | None = None

    @property
    def best_baseline(self) -> str | None:
        """The trivial model that ranks best."""
        ranked = {name: score.spearman for name, score in self.baselines.items()}
        known = {name: value for name, value in ranked.items() if not math.isnan(value)}
        return max(known, key=lambda name: known[name]) if known else None

    def to_json(self) -> dict[str, Any]:
        """Scores, or the reason why there are none."""
        if self.model is None:
            return {"reason": self.reason}
        return {
            "train_rows": self.train_rows,
            "judged_rows": self.judged_rows,
            "model": self.model,
            "coverage": self.coverage,
            "standards": self.baselines,
            "ahead": self.ahead,
            **({} if self.fast is None else {"fast": self.fast, "fast_ahead": self.fast_ahead}),
        }


@dataclasses.dataclass(frozen=True)
class ValidationReport:
    """What to expect of a campaign's model."""

    variants: int
    rows: int
    label: str
    validations: Mapping[Kind, Validation]  # By kind of held-out rows
    curve: LearningCurve | None
    # In plain words, gravest first; empty where there is nothing to warn of
    warnings: tuple[str, ...]

    @property
    def learned(self) -> bool:
        """Whether the ranking of held-out rows is surely better than chance."""
        model = self.validations["random"].model
        return model is not None and model.low > 0

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not known is None."""
        document = {
            "variants": self.variants,
            "rows": self.rows,
            "label": self.label,
            "learned": self.learned,
            "warnings": self.warnings,
            "validations": {
                kind: validation.to_json() for kind, validation in self.validations.items()
            },
            "learning_curve": self.curve,
        }
        return _rounded(plain(document))


def validate(
    campaign: Campaign,
    fit: Fit,
    *,
    seed: int = 0,
    plan: RefitPlan | None = None,
    progress: Progress = silent,
) -> ValidationReport:
    """Validate how a model is fitted to a campaign.

    Predictions are judged on values on the common scale, which the models learn. `seed` is that of
    folds, draws and intervals; `plan` by default `refit_plan` of the variants; `progress` counts
    the models fitted.
    """
    campaign = campaign.on_common_scale()
    variants = int(variant_groups(campaign.pairs).max()) + 1
    plan = plan or refit_plan(variants)
    folds = random_folds(campaign, plan.folds, plan.rounds, seed)
    reason = folds.reason or ("all values are equal" if np.ptp(campaign.values) == 0 else "")
    planned: dict[Kind, Folds] = {kind: Folds(kind, reason=reason) for kind in KINDS}
    if not reason:
        planned["random"] = folds
        for kind in KINDS[1:]:
            planned[kind] = unseen_folds(campaign, kind, plan.unseen, seed)
    curve_draws = plan.draws if planned["random"].rounds else ()
    total = sum(len(dealt) for of_kind in planned.values() for dealt in of_kind.rounds)
    total += sum(count for _, count in curve_draws)
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress("validating", done, total)

    validations: dict[Kind, Validation] = {
        kind: _validate(campaign, of_kind, fit, seed, advance) for kind, of_kind in planned.items()
    }
    points = measure_points(campaign, fit, curve_draws, seed, advance)
    random = validations["random"]
    curve = None
    if random.model is not None:
        if not math.isnan(random.model.spearman):  # the random folds are one more point
            size = min(round(random.train_rows / len(campaign) * variants), variants - 1)
            rounds = len(planned["random"].rounds)
            points.append(Point(size, random.model.spearman, rounds))
        curve = fit_curve(points, variants, MORE)
    warnings = _warnings(variants, validations)
    return ValidationReport(variants, len(campaign), campaign.label, validations, curve, warnings)


def _validate(
    campaign: Campaign, folds: Folds, fit: Fit, seed: int, advance: Callable[[], None]
) -> Validation:
    if folds.reason:
        return Validation(folds.kind, reason=folds.reason)
    held_out = cross_validate(campaign, folds, fit, advance=advance)
    ranking, fast = Ranking(campaign, held_out, seed), held_out.fast
    baselines = {
        name: held_out.baselines[name]
        for name in COMPARED_BASELINES
        if folds.kind != "unseen position" or name not in _ONE_HOT
    }
    return Validation(
        folds.kind,
        train_rows=folds.train_rows,
        judged_rows=len(np.unique(held_out.row)),
        model=ranking.score(held_out.mean),
        baselines={name: ranking.score(values) for name, values in baselines.items()},
        ahead={name: ranking.ahead(held_out.mean, values) for name, values in baselines.items()},
        coverage=coverage(campaign, held_out),
        held_out=held_out,
        fast=None if fast is None else ranking.score(fast),
        fast_ahead=None if fast is None else ranking.ahead(fast, held_out.mean),
    )


def _warnings(variants: int, validations: Mapping[Kind, Validation]) -> tuple[str, ...]:
    """Where the model learned nothing, ranks worse than a trivial one, or is too sure of itself."""
    random = validations["random"]
    if random.model is None:
        return (f"how good the model is cannot be told: {random.reason}",)
    warnings = []
    value, low, high = random.model.spearman, random.model.low, random.model.high
    if math.isnan(value):
        warnings.append("it has learned nothing: it gives every held-out variant the same value")
    elif not low > 0:
        interval = "" if math.isnan(low) else f" (95 % interval {low:+.2f} to {high:+.2f})"
        warnings.append(
            f"it has probably learned nothing yet: the Spearman correlation with held-out values "
            f"is {value:+.2f}{interval}, no better than chance; measure more variants before "
            "trusting the ranking"
        )
    for kind, validation in validations.items():
        if validation.model is None:
            continue
        where = "held-out variants" if kind == "random" else f"{kind} folds"
        ranks, constant = validation.model.low > 0, validation.baselines["constant"].rmse
        if validation.model.rmse > constant and not math.isnan(validation.model.spearman):
            believed = (
                "believe the ranking, not the values" if ranks else "do not believe its values"
            )
            warnings.append(
                f"its error on {where} (RMSE {validation.model.rmse:.2f}) is no smaller than that "
                f"of the mean of the assay ({constant:.2f}): {believed}"
                f"{' there' * (kind != 'random')}"
            )
        ahead = {
            name: -gap
            for name, (gap, _, high) in validation.ahead.items()
            if high < 0 and gap <= -_NOTABLE
        }
        if "constant" in ahead:  # which ranks nothing
            warnings.append(
                f"on {kind} folds its ranking is surely worse than none (Spearman "
                f"{-ahead.pop('constant'):+.2f}): do not follow it there"
            )
        elif kind != "random" and not ranks and low > 0:
            warnings.append(
                f"on {kind} folds its ranking may be no better than chance (Spearman "
                f"{spearman_text(validation.model)}): do not follow it there"
            )
        if ahead:
            best = max(ahead, key=lambda name: ahead[name])
            more = ", and so do other trivial models" if len(ahead) > 1 else ""
            warnings.append(
                f"on {kind} folds {best.replace('_', ' ')} ranks better (Spearman "
                f"{ahead[best]:+.2f}){more}: its ranking is the one to follow there"
            )
        claimed = COVERAGES[-1]
        share, rows = validation.coverage.get(f"{claimed:.0%}"), validation.judged_rows
        if share is not None and rows >= _FEW:
            slack = 2 * math.sqrt(claimed * (1 - claimed) / rows)
            if share < claimed - 0.05 - slack:
                warnings.append(
                    f"on {kind} folds the {claimed:.0%} intervals cover {share:.0%}: take them for "
                    "too narrow there"
                )
    if variants < _FEW:
        warnings.append(f"{variants} variants: every number of this report is rough")
    return tuple(warnings)


def _rounded(value: Any) -> Any:
    """Numbers to five decimals, or five digits of something small."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if abs(value) < 1e-3 else round(value, 5)


def model_table(report: ValidationReport) -> Table:
    """The model on each kind of held-out rows: header and rows."""
    unit = UNITS[report.label]
    header = ["held out", "trained on", "Spearman (95 % interval)", f"RMSE ({unit})"]
    header += [f"{claimed:.0%} intervals cover" for claimed in COVERAGES]
    rows = []
    for kind, validation in report.validations.items():
        if validation.model is not None:
            shares = (validation.coverage.get(f"{claimed:.0%}") for claimed in COVERAGES)
            row = [KIND_NAMES[kind], f"{validation.train_rows} rows"]
            row += [spearman_text(validation.model), number(validation.model.rmse)]
            rows.append(row + ["" if share is None else f"{share:.0%}" for share in shares])
    return header, rows


def baselines_table(report: ValidationReport) -> Table:
    """Spearman and RMSE of the model and of the trivial ones on the same rows."""
    judged: dict[Kind, Validation] = {
        k: validation
        for k, validation in report.validations.items()
        if validation.model is not None
    }
    header = ["Spearman / RMSE", *(KIND_NAMES[kind] for kind in judged)]
    rows = [["this model", *(_pair(validation.model) for validation in judged.values())]]
    if any(validation.fast for validation in judged.values()):
        rows.append(["its fast form", *(_pair(validation.fast) for validation in judged.values())])
    for name in COMPARED_BASELINES:
        pairs = (_pair(validation.baselines.get(name)) for validation in judged.values())
        rows.append([BASELINE_NAMES[name], *pairs])
    return header, rows


def _pair(score: Score | None) -> str:
    return f"{correlation(score.spearman)} / {number(score.rmse)}" if score else "–"


def sentences(report: ValidationReport) -> list[str]:
    """What was not judged, how the model stands against trivial ones, what more buys."""
    unjudged, compared, linear = [], [], []
    for kind, validation in report.validations.items():
        if validation.model is None:
            unjudged.append(f"Not judged on {KIND_NAMES[kind]}: {validation.reason}.")
        elif (best := validation.best_baseline) is not None:
            gap, low, high = validation.ahead[best]
            interval = "" if math.isnan(low) else f" ({low:+.2f} to {high:+.2f})"
            compared.append(
                f"Against the best trivial model on {KIND_NAMES[kind]}, {BASELINE_NAMES[best]}: "
                f"Spearman {gap:+.2f}{interval}."
            )
            linear += _linear_model(kind, validation)
    gains = []
    if report.curve is not None:
        gains = gain_sentences(report.curve.gains)
        if report.curve.gains and not report.learned:
            gains.append(
                "That is what they buy in other campaigns; in this one nothing shows yet that they "
                "would."
            )
    fast = []
    if (ahead := report.validations["random"].fast_ahead) is not None:
        gap, low, high = ahead
        interval = "" if math.isnan(low) else f" ({low:+.3f} to {high:+.3f})"
        fast.append(
            f"The fast form, which encodes no variant and which paratope screen begins with, "
            f"against this model on {KIND_NAMES['random']}: Spearman {gap:+.3f}{interval}."
        )
    return unjudged + compared + linear + fast + gains


def _linear_model(kind: Kind, validation: Validation) -> list[str]:
    """Whether a linear model of residues does as well: whoever knows so may do without this one."""
    ridge = validation.baselines.get("one_hot_ridge")
    if validation.model is None or ridge is None:
        return [f"One-hot models know nothing of {KIND_NAMES[kind]}: not compared there."]
    gap, low, high = validation.ahead["one_hot_ridge"]
    if low > 0 and gap >= _NOTABLE:
        return []
    verb = "does better" if high < 0 else "does as well" if gap < _NOTABLE else "may do as well"
    return [
        f"A linear model (one-hot ridge) {verb} on {KIND_NAMES[kind]}: Spearman "
        f"{correlation(ridge.spearman)}, this model {correlation(validation.model.spearman)}."
    ]


def gain_sentences(gains: Sequence[Gain]) -> list[str]:
    """What more measurements should buy."""
    gained = [
        f"{gain.more} more measurements should buy about {gain.gain:+.2f} Spearman "
        f"(95 %: {gain.low:+.2f} to {gain.high:+.2f})."
        for gain in gains
    ]
    return gained or ["Too few variants to foretell what more would buy."]


def spearman_text(score: Score) -> str:
    """A correlation with its interval."""
    if math.isnan(score.spearman):
        return "none"
    ends = f" ({correlation(score.low)} to {correlation(score.high)})"
    return correlation(score.spearman) + ("" if math.isnan(score.low) else ends)


def correlation(value: float) -> str:
    """Two decimals; a dash for nothing.

    >>> correlation(0.61), correlation(-0.003), correlation(float("nan"))
    ('0.61', '0.00', '–')
    """
    return "–" if math.isnan(value) else f"{value:z.2f}"


def number(value: float) -> str:
    """Two decimals, or three digits of something small or large; a dash for nothing.

    >>> number(0.5), number(1234.5), number(0.00123), number(float("nan"))
    ('0.50', '1.23e+03', '0.00123', '–')
    """
    if math.isnan(value):
        return "–"
    two_decimals = abs(value) < 1e-15 or 0.01 <= abs(value) < 1000
    return f"{value:.2f}" if two_decimals else f"{value:.3g}"


def card(
    name: str,
    campaign: Campaign,
    importance: Importance,
    report: ValidationReport | None,
    prior: str,
) -> str:
    """The model's card, in Markdown; `prior` names the general model, or is ``"none"``."""
    pairs, parents = campaign.pairs, campaign.parents
    sites = [site for site in importance.sites if site["chain"] in ("H", "L")]
    terms = sorted(importance.terms.items(), key=lambda share: -share[1])[:_SHOWN_TERMS]
    rows = np.bincount(campaign.assay, minlength=len(campaign.assays))
    assays = zip(campaign.assays, rows, strict=True)
    return render(
        "campaigns",
        "card.md",
        name=name,
        campaign=campaign,
        prior=prior,
        report=report,
        number=number,
        unit=UNITS[campaign.label],
        exact=int((campaign.censoring == Censoring.EXACT).sum()),
        antibodies=len({pair.antibody.chains for pair in pairs}),
        assays=_listed(f"{assay} ({count})" for assay, count in assays),
        antigens=_listed(one.name or "unnamed" for one in campaign.antigens) or "none named",
        parents=_listed(one.antibody.name or "unnamed" for one in parents) or "unrelated",
        tables=[] if report is None else [model_table(report), baselines_table(report)],
        sentences=[] if report is None else sentences(report),
        sites=sorted(sites, key=lambda site: -site["spread"])[:_SHOWN_POSITIONS],
        terms=", ".join(f"{term.replace('_', ' ')} {share:.0%}" for term, share in terms),
    )


def _listed(names: Iterable[str]) -> str:
    """The first of some names, each once with how often, and how many more there are.

    >>> _listed(["HER2", "lysozyme", "HER2"])
    'HER2 (2 of this name), lysozyme'
    """
    counts = Counter(names)
    shown = [
        name + f" ({count} of this name)" * (count > 1)
        for name, count in list(counts.items())[:_SHOWN_NAMES]
    ]
    more = len(counts) - len(shown)
    return ", ".join(shown) + f" and {more} more" * (more > 0)


def write_report(
    campaign: Campaign, importance: Importance, report: ValidationReport | None, folder: Path
) -> list[Path]:
    """Write figures and tables into ``report/`` of a model's folder, and return their paths."""
    target = folder / FOLDER
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    written = []
    if positions := position_effects(campaign, importance):
        written = [target / "positions.png"]
        save_figure(position_importance(positions, UNITS[campaign.label]), written[0])
    if report is None:
        return written
    unit = UNITS[campaign.label]
    paths = [*written, target / "expectation.json"]
    write_json(paths[-1], report.to_json(), indent=1)
    random = report.validations["random"].held_out
    if random is not None:
        first = random.round == 0
        rows, mean = random.row[first], random.mean[first]
        low, high = random.low[-1][first], random.high[-1][first]
        values, censoring = campaign.values[rows], campaign.censoring[rows]
        assays = campaign.assay_names[rows].tolist()
        columns = {
            "id": [campaign.pairs[row].antibody.name for row in rows],
            "assay": assays,
            "measured": values,
            "relation": [_RELATIONS[Censoring(code)] for code in censoring],
            **{"predicted": mean, "low": low, "high": high},
        }
        paths.append(target / "held_out.csv")
        write_table(pl.DataFrame(columns), paths[-1])
        claimed = COVERAGES[-1]
        judged = EvaluationRows(values, mean, censoring, low=low, high=high, coverage=claimed)
        figure = held_out_predictions(judged, unit, assays if len(campaign.assays) > 1 else None)
        paths.append(target / "held_out.png")
        save_figure(figure, paths[-1])
    if report.curve is not None:
        paths.append(target / "learning_curve.png")
        save_figure(learning_curve(**curve_of(report)), paths[-1])
    return paths


def curve_of(report: ValidationReport) -> dict[str, Any]:
    """What `paratope.evaluation.figures.learning_curve` draws."""
    curve = report.curve
    assert curve is not None
    smallest = min(point.size for point in curve.points)
    sizes = np.unique(np.geomspace(smallest, 4 * curve.variants, 80).round().astype(int))
    line = dict(zip(("spearman", "low", "high"), curve.spearman(sizes), strict=True))
    random = report.validations["random"]
    ranked = [(BASELINE_NAMES[name], score.spearman) for name, score in random.baselines.items()]
    ranked = [(name, spearman) for name, spearman in ranked if np.isfinite(spearman)]
    best = dict(sorted(ranked, key=lambda item: -item[1])[:3])
    return {
        "sizes": [point.size for point in curve.points],
        "spearman": [point.spearman for point in curve.points],
        "line": {"variants": sizes.tolist(), **{k: v.tolist() for k, v in line.items()}},
        "variants": curve.variants,
        "trained": round(random.train_rows / report.rows * curve.variants),
        "standards": best,
    }


def position_effects(campaign: Campaign, importance: Importance) -> list[PositionEffect]:
    """What was learned of every position of the first parent's varied chains."""
    known = {(site["chain"], site["imgt"]): site for site in importance.sites}
    effects = []
    for chain in ("H", "L"):
        parents = [parent for parent in campaign.parents if chain == "H" or parent.antibody.light]
        if not parents or not any(role == chain for role, _ in known):
            continue
        antibody = parents[0].antibody
        try:
            domain = number_chain(antibody.heavy if chain == "H" else antibody.light or "")
        except InputError:  # a chain that is no antibody domain has no such numbers
            continue
        for position, region in zip(domain.positions, domain.regions, strict=True):
            site = known.get((chain, position), {"spread": 0.0, "effect": 0.0, "changes": 0})
            values = (site[name] for name in ("spread", "effect", "changes"))
            effects.append(PositionEffect(chain, position, region, *values))
    return effects
