"""The next round: candidates judged, filtered and chosen, each with its prediction and reason."""

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import Ridge

from paratope.campaigns.campaign_model import CampaignModel
from paratope.campaigns.suggestion.acquisition import (
    SDS_AT_FULL_EXPLORE,
    BatchOptions,
    ExceedanceProbability,
    preselect,
    select_batch,
)
from paratope.campaigns.suggestion.candidates import (
    GENERATORS,
    Candidate,
    Generation,
    MeasuredVariants,
    edit_distance,
    generate,
    measured_variants,
    parse_generators,
)
from paratope.campaigns.suggestion.filters import (
    Filters,
    LeftOut,
    Refused,
    construct_notes,
    leave_out,
    parse_filters,
    pool_candidates,
    read_pool,
)
from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.progress import Progress, silent
from paratope.data.tables import InputTable, TableRow
from paratope.models.prediction import Prediction
from paratope.models.predictor import Predictor
from paratope.molecules.liabilities import Liability, new_liabilities
from paratope.molecules.mutations import Mutation, chain_domain
from paratope.molecules.sequences import Pair

# Rows of a pool that are predicted in full; of more, the most promising ones.
MAX_POOL = 5000
# So much more than the median standard deviation is called uncertain, not just unusual.
_UNCERTAIN = 1.1
_NAMED_POSITIONS = 3


@dataclasses.dataclass(frozen=True, slots=True)
class SuggestionOptions(BatchOptions):
    """What to suggest, beside how a batch is chosen."""

    # Kinds to generate (keys of `GENERATORS`, each with how many at most, as
    # ``"single,double:3000"``; ``"all"``), or a pool: a table or FASTA of antibodies
    candidates: Any = "all"
    # Where mutations may be, such as ``"CDR"``, ``"H3,L3"`` or ``"H:105-117"``. By default at the
    # positions that measured variants mutate, and one other of the same chains' CDRs; anywhere in a
    # pool.
    regions: str | None = None
    # Of what is generated, see `paratope.campaigns.suggestion.candidates.Generation`
    new_positions: int | None = None
    max_changes: int = 3
    max_new_aromatics: int = 2
    # Of the parent. By default the most that a measured variant has; any number in a pool.
    max_mutations: int | None = None
    # Name of the parent or measured antibody to mutate; by default the campaign's parents
    parent: str | None = None
    # Liabilities and residues, as `paratope.campaigns.suggestion.filters.parse_filters` reads them
    allow: str = ""
    forbid: str = ""
    coverage: float = 0.9  # Of the predictions' intervals

    @property
    def from_pool(self) -> bool:
        """Whether candidates are a file or a table, rather than kinds to generate."""
        if not isinstance(self.candidates, str):
            return True
        names = {part.strip().partition(":")[0] for part in self.candidates.split(",")}
        looks_like_file = self.candidates == "-" or "." in self.candidates
        return not names & {*GENERATORS, "all"} and (
            looks_like_file or os.path.exists(self.candidates)
        )

    @property
    def read_candidates(self) -> int:
        """How many candidates at most to predict in full: language models read no others."""
        return max(MAX_POOL, self.joint_candidates) if self.from_pool else self.encoded_candidates


@dataclasses.dataclass(frozen=True, slots=True)
class Suggestion:
    """One antibody to make next."""

    rank: int  # Order of choice, from 1
    candidate: Candidate
    prediction: Prediction
    # Probability that it will be measured above the best value measured so far, and above its
    # parent's (its predicted one, if it was not measured)
    p_beats_best: float
    p_beats_parent: float
    reason: str
    liabilities: tuple[Liability, ...]  # That its parent has not
    distance: int  # Residues in which it differs from the nearest measured variant


@dataclasses.dataclass(frozen=True, slots=True)
class NextRound:
    """What `suggest` gives."""

    suggestions: tuple[Suggestion, ...]  # In order of choice
    measured: MeasuredVariants
    label: str  # ``"pkd"`` or ``"score"``
    best: tuple[str, float]  # Name and value of the best measured variant
    filters: Filters
    left_out: LeftOut
    refused: tuple[Refused, ...]  # Rows of the pool that are no candidates
    candidates: int  # From which the batch was chosen
    pool: InputTable | None
    notes: tuple[str, ...]


def suggest(
    predictor: Predictor, batch: int = 96, *, progress: Progress = silent, **options: Any
) -> NextRound:
    """Choose the antibodies to make next in a campaign.

    Parameters
    ----------
    predictor : Predictor
        A campaign's, as `paratope adapt` makes it.
    batch : int
    progress : callable
        Called with the stage under way; none counts its units.
    **options
        Of `SuggestionOptions`: ``candidates``, ``regions``, ``max_mutations``, ``parent``,
        ``acquisition``, ``explore``, ``allow``, ``forbid``, ``min_distance``,
        ``max_per_position``, ``coverage``, ``seed``. The same seed gives the same batch.

    Raises
    ------
    ModelError
        If the model is no campaign's.
    InputError
        If an option is out of range, or fewer candidates than the batch are left.
    MissingExtraError
        If the acquisition is ``nei`` and the extra ``campaign`` is not installed.
    """
    model: CampaignModel = predictor.campaign
    wanted = SuggestionOptions(batch, **options)
    if wanted.from_pool and "explore" not in options:  # it found fewer of a landscape's best
        wanted = dataclasses.replace(wanted, explore=0.0)
    filters = parse_filters(wanted.allow, wanted.forbid, pool=wanted.from_pool)
    progress("reading the plate", 0, 1)
    measured = measured_variants(model, wanted.parent)
    pool, refused = None, []
    if wanted.from_pool:
        progress("reading the pool", 0, 1)
        pool = read_pool(wanted.candidates, measured.antigen)
        offered, refused = pool_candidates(
            pool.rows, measured, wanted.regions, wanted.max_mutations
        )
    else:
        offered = generated(model, measured, wanted, filters, progress)
    kept, left_out = leave_out(offered, measured, filters)
    if len(kept) < batch:
        raise InputError(_too_few(batch, len(kept), len(offered), pool, refused, left_out))
    if pool is not None:
        refused += [
            Refused(offered[index].name, f"left out: {', '.join(reasons)}")
            for index, reasons in left_out.reasons.items()
        ]
    notes, candidates = [*measured.notes], len(kept)
    most = wanted.read_candidates
    if candidates > most and model.fast is not model:
        progress(f"screening {candidates:,} candidates", 0, 1)
        kept = [kept[index] for index in screened(model, kept, wanted.explore, most)]
        notes.append(
            f"{candidates:,} candidates were screened by what the model knows of their changes; "
            f"the {most:,} most promising were read by the language model and predicted in full"
        )
    pairs = [candidate.pair for candidate in kept]
    progress(f"predicting {len(kept):,} candidates", 0, 1)
    marginal = model.marginals(pairs)
    positions = [
        {(candidate.parent, m.chain, m.position) for m in candidate.mutations} for candidate in kept
    ]
    baseline = [variant.pair for variant in measured.variants]
    progress(f"choosing {batch:,} of them", 0, 1)
    chosen = select_batch(model, pairs, marginal, baseline, positions, wanted)
    if len(chosen) < batch:
        asked = f"any two {wanted.min_distance} residues apart"
        if wanted.max_per_position is not None:
            asked += f" and at most {wanted.max_per_position} mutated at one position"
        raise InputError(
            f"only {len(chosen)} of a batch of {batch} can be chosen with {asked}, from "
            f"{min(len(kept), wanted.joint_candidates):,} candidates; ask for less of it, or for a "
            "smaller batch"
        )
    progress("giving reasons", 0, 1)
    suggestions = _describe(predictor, measured, kept, chosen, marginal, wanted)
    best = best_measured(model, measured)
    return NextRound(
        tuple(suggestions),
        measured,
        model.campaign.label,
        best,
        filters,
        left_out,
        tuple(refused),
        candidates,
        pool,
        (
            *notes,
            *(construct_notes(kept, measured) if pool else ()),
            *_promise_note(suggestions, model.campaign.label, best[1]),
        ),
    )


def generated(
    model: CampaignModel,
    measured: MeasuredVariants,
    options: SuggestionOptions,
    filters: Filters,
    progress: Progress = silent,
) -> list[Candidate]:
    """What the options generate; those with a liability are still among them."""

    def optimistic(pairs: Sequence[Pair]) -> np.ndarray:
        progress(f"ranking {len(pairs):,} single mutants", 0, 1)
        mean, deviation = model.fast.marginals(pairs)
        return mean + SDS_AT_FULL_EXPLORE * options.explore * deviation

    return generate(measured, generation_of(options, filters), optimistic, filters.liabilities)


def generation_of(options: SuggestionOptions, filters: Filters) -> Generation:
    """What to generate by the options."""
    shared = ("regions", "new_positions", "max_changes", "max_new_aromatics", "max_mutations")
    return Generation(
        parse_generators(options.candidates),
        excluded=filters.residues,
        seed=options.seed,
        **{name: getattr(options, name) for name in shared},
    )


def screened(
    model: CampaignModel, candidates: Sequence[Candidate], explore: float, count: int
) -> np.ndarray:
    """Indices of the `count` most promising candidates, of which alone language models read any.

    Half by the model without the terms that encode variants. What those add to means and standard
    deviations of that half is then fitted as a sum over mutations, for the other half.
    """
    pairs = [candidate.pair for candidate in candidates]
    cheap = np.stack(model.fast.marginals(pairs))  # (2, n)
    first = preselect(cheap[0], cheap[1], explore, (count + 1) // 2)
    added = np.stack(model.marginals([pairs[index] for index in first])) - cheap[:, first]
    words = [
        " ".join(f"{m.after} {m.chain}{m.position} {m}" for m in candidate.mutations)
        for candidate in candidates
    ]
    changes = CountVectorizer(token_pattern=r"\S+", lowercase=False).fit_transform(words)
    cheap += Ridge().fit(changes[first], added.T).predict(changes).T
    left = np.setdiff1d(np.arange(len(candidates)), first)
    return np.union1d(
        first, left[preselect(cheap[0, left], cheap[1, left], explore, count - len(first))]
    )


def _too_few(
    batch: int,
    kept: int,
    offered: int,
    pool: InputTable | None,
    refused: Sequence[Refused],
    left_out: LeftOut,
) -> str:
    left = f"only {kept:,} candidates are" if kept else "no candidate is"
    why = [f"{offered:,} generated" if pool is None else f"{len(pool.rows):,} in the pool"]
    advice = [f"a batch of at most {kept}"] if kept else []
    if refused:
        counts = Counter(row.reason.split(":")[0] for row in refused).most_common(4)
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts)
        why.append(f"{len(refused):,} of them refused: {reasons}")
    if left_out.reasons:
        why.append(str(left_out))
        most = next(iter(left_out.counts)).removeprefix("residue ")
        advice.append(f"--allow {most}" if pool is None else f"no --forbid {most}")
    advice.append(
        "more regions, mutations, changes from a measured variant (max_changes in Python) or kinds "
        "of candidates"
        if pool is None
        else "a larger pool"
    )
    return f"{left} left for a batch of {batch}: {'; '.join(why)}. Ask for {', or '.join(advice)}"


def _describe(
    predictor: Predictor,
    measured: MeasuredVariants,
    kept: Sequence[Candidate],
    chosen: Sequence[int],
    marginal: tuple[np.ndarray, np.ndarray],
    options: SuggestionOptions,
) -> list[Suggestion]:
    """The chosen candidates with their predictions, probabilities, reasons and liabilities."""
    model: CampaignModel = predictor.campaign
    candidates = [kept[index] for index in chosen]
    ranks = np.empty(len(kept), dtype=int)
    ranks[np.argsort(-marginal[0], kind="stable")] = np.arange(1, len(kept) + 1)
    typical = max(float(np.median(marginal[1])), 1e-12)
    rows = [
        TableRow(index, 0, candidate.name, candidate.pair, None, (), None)
        for index, candidate in enumerate(candidates)
    ]
    predictions = predictor.predict_rows(rows, coverage=options.coverage)
    mean, deviation = (array[chosen] for array in marginal)
    exceedance = ExceedanceProbability(model)
    above_best = exceedance.above_label(mean, deviation, best_measured(model, measured)[1])
    above_parent = {
        parent: exceedance.above_label(mean, deviation, _value_of(model, measured.parents[parent]))
        for parent in {candidate.parent for candidate in candidates}
    }
    counts = MutationCounts(measured)
    suggestions = []
    for index, candidate in enumerate(candidates):
        standing = Standing(int(ranks[chosen[index]]), len(kept), float(deviation[index]) / typical)
        antibody = candidate.pair.antibody
        distance = sum(map(len, antibody.chains))
        for variant in measured.variants:
            other = variant.pair.antibody
            if (other.light is None) == (antibody.light is None):
                nearer = edit_distance(antibody, other, distance)
                distance = distance if nearer is None else nearer
        suggestions.append(
            Suggestion(
                index + 1,
                candidate,
                predictions[index],
                float(above_best[index]),
                float(above_parent[candidate.parent][index]),
                reason(candidate, standing, options.batch, counts),
                new_liabilities(measured.parents[candidate.parent].antibody, antibody),
                distance,
            )
        )
    return suggestions


def _promise_note(suggestions: Sequence[Suggestion], label: str, best: float) -> tuple[str, ...]:
    """A note where more is predicted above the best measured value than is expected to be."""
    values = [getattr(suggestion.prediction, label) for suggestion in suggestions]
    higher = sum(value is not None and value > best for value in values)
    if higher < 1 + sum(suggestion.p_beats_best for suggestion in suggestions):
        return ()
    return (
        f"{higher} of {len(suggestions)} are predicted above the best measured, fewer are expected "
        "to be: the probabilities count what replayed plates lost farther from what was measured, "
        "the predicted values and their intervals do not",
    )


def best_measured(model: CampaignModel, measured: MeasuredVariants) -> tuple[str, float]:
    """Name and value, in the campaign's units, of the best variant measured in the first assay.

    Predictions are on the scale of that assay; bounds from above do not count.
    """
    campaign = model.campaign
    rows = [
        row
        for row, pair in enumerate(campaign.pairs)
        if pair.antigen.chains == measured.antigen.chains
        and campaign.assay[row] == 0
        and campaign.censoring[row] != Censoring.AT_MOST
    ]
    if not rows:
        best = measured.variants[0]
        return best.name, float(model.to_label(np.array([best.mean]))[0])
    row = max(rows, key=lambda index: float(campaign.values[index]))
    return campaign.pairs[row].antibody.name, float(campaign.values[row])


def _value_of(model: CampaignModel, parent: Pair) -> float:
    """A parent's measured value in the campaign's units, or else its predicted one."""
    campaign = model.campaign
    for row, pair in enumerate(campaign.pairs):
        exact = campaign.assay[row] == 0 and campaign.censoring[row] == Censoring.EXACT
        if exact and pair.residues == parent.residues:
            return float(campaign.values[row])
    mean, _ = model.marginals([parent])
    return float(model.to_label(mean)[0])


class Standing(NamedTuple):
    """Where a candidate stands among all of them."""

    rank: int  # By expected value, from 1
    of: int  # Candidates in all
    uncertainty: float  # Its standard deviation as a multiple of the median one


class MutationCounts:
    """How many measured variants mutate each position and each region."""

    def __init__(self, measured: MeasuredVariants) -> None:
        self._parents = [parent.antibody for parent in measured.parents]
        self.variants = len(measured.variants)
        self.positions: Counter[tuple[int, str, int]] = Counter()
        self.regions: Counter[str] = Counter()
        for variant in measured.variants:
            parent, mutations = variant.parent, variant.mutations
            self.positions.update({(parent, m.chain, m.position) for m in mutations})
            self.regions.update({self.region(parent, mutation) for mutation in mutations})
        counts = sorted(len(variant.mutations) for variant in measured.variants)
        self.usual_mutations = counts[len(counts) // 2] if counts else 0

    def region(self, parent: int, mutation: Mutation) -> str:
        """Region of a mutation, as ``H3`` or ``LFR1``."""
        domain = chain_domain(self._parents[parent], mutation.chain)
        region = domain.regions[max(mutation.position, 1) - 1]
        return mutation.chain + region.removeprefix("CDR")

    def unseen(self, candidate: Candidate) -> list[str]:
        """Its positions that no measured variant mutates, by IMGT number."""
        parent = self._parents[candidate.parent]
        return list(
            dict.fromkeys(
                f"{m.chain}:{chain_domain(parent, m.chain).positions[max(m.position, 1) - 1]}"
                for m in candidate.mutations
                if not self.positions[candidate.parent, m.chain, m.position]
            )
        )


def reason(candidate: Candidate, standing: Standing, batch: int, counts: MutationCounts) -> str:
    """One sentence: what it is meant to do, and where it comes from.

    A candidate among the `batch` highest expected values is exploitation.
    """
    parts = []
    if standing.rank <= batch:
        which = "highest" if standing.rank == 1 else f"{_ordinal(standing.rank)} highest"
        parts.append(f"exploit: {which} expected of {standing.of:,}")
        if standing.uncertainty >= _UNCERTAIN:
            parts.append(f"uncertain: {_little_known(candidate, counts)}")
    else:
        why = "uncertain" if standing.uncertainty >= _UNCERTAIN else "unlike those before it"
        rank = f"{_ordinal(standing.rank)} highest expected of {standing.of:,}"
        parts += [f"explore: {why}, {_little_known(candidate, counts)}", rank]
    seen = "never measured" if counts.unseen(candidate) else "measured"
    together = f"{len(candidate.mutations)} promising mutations together"
    provenance = {
        "single": f"single mutation, position {seen} before",
        "neighbour": f"{''.join(candidate.sources)} with one residue changed",
        "double": together,
        "combinatorial": together,
        "recombination": f"recombination of {' and '.join(candidate.sources)}",
    }
    return "; ".join([*parts, *filter(None, [provenance.get(candidate.origin)])])


def _little_known(candidate: Candidate, counts: MutationCounts) -> str:
    """What the campaign knows least of it: positions, a number of mutations, or a region."""
    if unseen := counts.unseen(candidate):
        more = "…" * (len(unseen) > _NAMED_POSITIONS)
        return f"{', '.join(unseen[:_NAMED_POSITIONS])}{more} never mutated before"
    regions = dict.fromkeys(counts.region(candidate.parent, one) for one in candidate.mutations)
    if not regions:
        return "the parent itself"
    usual = counts.usual_mutations
    if len(candidate.mutations) > usual:
        return (
            f"{len(candidate.mutations)} mutations, where half of the measured have at most {usual}"
        )
    rarest = min(regions, key=lambda name: counts.regions[name])
    if 2 * counts.regions[rarest] > counts.variants:  # nothing of it is rare by itself
        return "a combination unlike those measured"
    return f"region {rarest} mutated in {counts.regions[rarest]:,} of {counts.variants:,} measured"


def _ordinal(number: int) -> str:
    """English ordinal.

    >>> [_ordinal(n) for n in (2, 3, 11, 21, 112)]
    ['2nd', '3rd', '11th', '21st', '112th']
    """
    last = 0 if 10 <= number % 100 <= 20 else number % 10
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(last, "th")
    return f"{number:,}{suffix}"
