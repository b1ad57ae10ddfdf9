"""The next round: candidates judged, filtered and chosen, each with its prediction and reason."""

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from paratope.campaigns.suggestion.candidates import (
    GENERATORS,
    Candidate,
    Generation,
    generate,
    parse_generators,
)
from paratope.campaigns.suggestion.filters import Filters, LeftOut, leave_out, parse_filters
from paratope.campaigns.suggestion.knowledge import (
    Knowledge,
    distance_between,
    knowledge_of,
    marginals,
    molecule,
)
from paratope.campaigns.suggestion.odds import Odds
from paratope.campaigns.suggestion.pool import Refused, construct_notes, pool_candidates, read_pool
from paratope.campaigns.suggestion.reasons import Coverage, Standing, reason
from paratope.campaigns.suggestion.selection import (
    BASELINE_VARIANTS,
    DEFAULT_ACQUISITION,
    DEFAULT_EXPLORE,
    Choosing,
    Spacing,
    choose_batch,
    enough,
    joint_belief,
    preselect,
)
from paratope.core.errors import InputError
from paratope.data.tables import InputTable, TableRow
from paratope.models.prediction import Prediction
from paratope.molecules.liabilities import Liability, new_liabilities
from paratope.molecules.sequences import Pair

# Standard deviations that count when mutations to combine are ranked.
_PROMISE_AT_FULL_EXPLORE = 4.0


@dataclasses.dataclass(frozen=True, slots=True)
class Suggestion:
    """One antibody to make next.

    Attributes
    ----------
    rank : int
        Order of choice, from 1.
    candidate : Candidate
    prediction : Prediction
    p_beats_best, p_beats_parent : float
        Probability that it will be measured above the best value measured so far, and above its
        parent's (its predicted one, if it was not measured).
    reason : str
    liabilities : tuple of Liability
        That its parent has not.
    distance : int
        Residues in which it differs from the nearest measured variant.
    """

    rank: int
    candidate: Candidate
    prediction: Prediction
    p_beats_best: float
    p_beats_parent: float
    reason: str
    liabilities: tuple[Liability, ...]
    distance: int


@dataclasses.dataclass(frozen=True, slots=True)
class NextRound:
    """What `suggest` gives.

    Attributes
    ----------
    suggestions : tuple of Suggestion
        In order of choice.
    knowledge : Knowledge
    label : {"pkd", "score"}
    best : tuple of (str, float)
        Name and value of the best measured variant.
    filters : Filters
    left_out : LeftOut
    refused : tuple of Refused
        Rows of the pool that are no candidates.
    candidates : int
        From which the batch was chosen.
    pool : InputTable or None
    notes : tuple of str
    """

    suggestions: tuple[Suggestion, ...]
    knowledge: Knowledge
    label: str
    best: tuple[str, float]
    filters: Filters
    left_out: LeftOut
    refused: tuple[Refused, ...]
    candidates: int
    pool: InputTable | None
    notes: tuple[str, ...]


class _Offer(NamedTuple):
    """Candidates before any filter, and where they are from."""

    candidates: list[Candidate]
    refused: list[Refused]
    pool: InputTable | None
    what: str


def suggest(
    predictor: Any,
    batch: int = 96,
    *,
    candidates: Any = "all",
    regions: str | None = None,
    max_mutations: int | None = None,
    parent: str | None = None,
    acquisition: str = DEFAULT_ACQUISITION,
    explore: float = DEFAULT_EXPLORE,
    allow: str = "",
    forbid: str = "",
    min_distance: int = 1,
    max_per_position: int | None = None,
    coverage: float = 0.9,
    seed: int = 0,
) -> NextRound:
    """Choose the antibodies to make next in a campaign.

    Parameters
    ----------
    predictor : Predictor
        A campaign's, as `paratope adapt` makes it.
    batch : int
    candidates : str, path, DataFrame or sequence of Pair
        Kinds to generate (keys of `GENERATORS`, each with how many at most, as
        ``"single,double:3000"``; ``"all"``), or a pool: a table or FASTA of antibodies.
    regions : str, optional
        Where mutations may be, such as ``"CDR"``, ``"H3,L3"`` or ``"H:105-117"``. By default new
        ones in the CDRs and measured ones anywhere; anywhere in a pool.
    max_mutations : int, optional
        Of the parent. By default the most that a measured variant has; any number in a pool.
    parent : str, optional
        Name of the parent or measured antibody to mutate; by default the campaign's parents.
    acquisition : str
        Key of `paratope.campaigns.suggestion.acquisition.ACQUISITIONS`.
    explore : float
        0: the highest expected values; 1: where the model knows least.
    allow, forbid : str
        Liabilities and residues, as `paratope.campaigns.suggestion.filters.parse_filters`.
    min_distance : int
        Residues in which any two of the batch differ at least.
    max_per_position : int, optional
        How many of the batch may be mutated at one position.
    coverage : float
        Of the predictions' intervals.
    seed : int
        The same seed gives the same batch.

    Returns
    -------
    NextRound

    Raises
    ------
    ModelError
        If the model is no campaign's.
    InputError
        If an argument is out of range, or fewer candidates than the batch are left.
    MissingExtraError
        If the extra ``campaign`` is not installed.
    """
    model = predictor.campaign
    choosing = Choosing(batch, acquisition, explore, min_distance, max_per_position, seed)
    filters = parse_filters(allow, forbid)
    knowledge = knowledge_of(model, parent)

    def promise(pairs: Sequence[Pair]) -> np.ndarray:
        mean, deviation = marginals(model, pairs)
        return mean + _PROMISE_AT_FULL_EXPLORE * explore * deviation

    if _is_pool(candidates):
        table = read_pool(candidates, knowledge.antigen)
        found, refused = pool_candidates(table.rows, knowledge, regions, max_mutations)
        offer = _Offer(found, refused, table, f"{len(table.rows):,} in the pool")
    else:
        generation = Generation(
            parse_generators(candidates), regions, max_mutations, filters.residues, seed
        )
        found = generate(knowledge, generation, promise, filters.liabilities)
        offer = _Offer(found, [], None, f"{len(found):,} generated")
    kept, left_out = leave_out(offer.candidates, knowledge, filters)
    _check_enough(batch, kept, offer, left_out, knowledge)
    mean, deviation = marginals(model, [one.pair for one in kept])
    chosen = _choose(model, knowledge, kept, (mean, deviation), choosing)
    suggestions = _described(
        predictor, knowledge, kept, chosen, (mean, deviation), choosing, coverage
    )
    return NextRound(
        tuple(suggestions),
        knowledge,
        model.campaign.label,
        best_measured(model, knowledge),
        filters,
        left_out,
        tuple(offer.refused),
        len(kept),
        offer.pool,
        (*knowledge.notes, *(construct_notes(kept, knowledge) if offer.pool else ())),
    )


def _is_pool(candidates: Any) -> bool:
    """Whether it names a file, or is a table, rather than kinds to generate."""
    if not isinstance(candidates, str):
        return True
    names = {part.strip().partition(":")[0] for part in candidates.split(",")}
    if names & {*GENERATORS, "all"}:
        return False
    return os.path.exists(candidates) or candidates == "-" or "." in candidates


def _check_enough(
    batch: int, kept: list[Candidate], offer: _Offer, left_out: LeftOut, knowledge: Knowledge
) -> None:
    if len(kept) >= batch:
        return
    have = f"only {len(kept):,} candidates are" if kept else "no candidate is"
    told = [offer.what]
    if offer.refused:
        told.append(f"{len(offer.refused):,} of them refused: {_refusals(offer.refused)}")
    if left_out.reasons:
        told.append(str(left_out))
    advice = [f"a batch of at most {len(kept)}"] if kept else []
    if left_out.reasons:
        advice.append(f"--allow {next(iter(left_out.counts)).removeprefix('residue ')}")
    if offer.pool is None:
        advice.append("more regions, mutations or kinds of candidates")
    else:
        advice.append("a larger pool")
    raise InputError(
        f"{have} left for a batch of {batch}: {'; '.join(told)}. Ask for {', or '.join(advice)}"
    )


def _refusals(refused: Sequence[Refused]) -> str:
    counts = Counter(one.reason.split(":")[0] for one in refused)
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common(4))


def _choose(
    model: Any,
    knowledge: Knowledge,
    kept: Sequence[Candidate],
    marginal: tuple[np.ndarray, np.ndarray],
    choosing: Choosing,
) -> list[int]:
    """Numbers of the candidates chosen, in order."""
    places = preselect(*marginal, choosing.explore, enough(choosing.batch))
    some = [kept[place] for place in places]
    baseline = [one.pair for one in knowledge.variants[:BASELINE_VARIANTS]]
    belief = joint_belief(model, [one.pair for one in some], baseline)
    positions = [{(one.parent, m.chain, m.position) for m in one.mutations} for one in some]
    spacing = Spacing([one.pair.antibody for one in some], positions, choosing)
    chosen = choose_batch(belief, spacing, choosing)
    if len(chosen) < choosing.batch:
        asked = f"any two {choosing.min_distance} residues apart"
        if choosing.max_per_position is not None:
            asked += f" and at most {choosing.max_per_position} mutated at one position"
        raise InputError(
            f"only {len(chosen)} of a batch of {choosing.batch} can be chosen with {asked}, from "
            f"{len(some):,} candidates; ask for less of it, or for a smaller batch"
        )
    return [int(places[place]) for place in chosen]


def _described(
    predictor: Any,
    knowledge: Knowledge,
    kept: Sequence[Candidate],
    chosen: Sequence[int],
    marginal: tuple[np.ndarray, np.ndarray],
    choosing: Choosing,
    coverage: float,
) -> list[Suggestion]:
    """The chosen candidates with their predictions, probabilities, reasons and liabilities."""
    some = [kept[place] for place in chosen]
    mean, deviation = marginal
    ranks = np.empty(len(mean), dtype=int)
    ranks[np.argsort(-mean, kind="stable")] = np.arange(1, len(mean) + 1)
    typical = max(float(np.median(deviation)), 1e-12)
    rows = [
        TableRow(number, 0, one.name, one.pair, None, (), None) for number, one in enumerate(some)
    ]
    predictions = predictor.predict_rows(rows, coverage=coverage)
    model, odds = predictor.campaign, Odds(predictor.campaign)
    places = np.array(chosen)
    best = odds.above_label(mean[places], deviation[places], best_measured(model, knowledge)[1])
    parents = {
        number: odds.above_label(
            mean[places], deviation[places], _parent_value(model, knowledge.parents[number])
        )
        for number in {one.parent for one in some}
    }
    measured = Coverage(knowledge)
    found = []
    for number, candidate in enumerate(some):
        place = chosen[number]
        standing = Standing(int(ranks[place]), len(kept), float(deviation[place]) / typical)
        antibody = candidate.pair.antibody
        found.append(
            Suggestion(
                number + 1,
                candidate,
                predictions[number],
                float(best[number]),
                float(parents[candidate.parent][number]),
                reason(candidate, standing, choosing.batch, measured),
                new_liabilities(knowledge.parents[candidate.parent].antibody, antibody),
                _nearest(candidate, knowledge),
            )
        )
    return found


def best_measured(model: Any, knowledge: Knowledge) -> tuple[str, float]:
    """Name and value, in the campaign's units, of the best measured variant.

    Of the assay on whose scale predictions are; bounds from above do not count.
    """
    campaign = model.campaign
    rows = [
        row
        for row, pair in enumerate(campaign.pairs)
        if pair.antigen.chains == knowledge.antigen.chains
        and campaign.assay[row] == 0
        and campaign.censoring[row] >= 0
    ]
    if not rows:
        best = knowledge.best
        return best.name, float(model.to_label(np.array([best.mean]))[0])
    row = max(rows, key=lambda one: float(campaign.values[one]))
    return campaign.pairs[row].antibody.name, float(campaign.values[row])


def _parent_value(model: Any, parent: Pair) -> float:
    """A parent's measured value in the campaign's units, or else its predicted one."""
    campaign = model.campaign
    for row, pair in enumerate(campaign.pairs):
        if molecule(pair) == molecule(parent) and campaign.assay[row] == 0:
            if campaign.censoring[row] == 0:
                return float(campaign.values[row])
    mean, _ = marginals(model, [parent])
    return float(model.to_label(mean)[0])


def _nearest(candidate: Candidate, knowledge: Knowledge) -> int:
    """Residues in which it differs from the nearest measured variant."""
    antibody = candidate.pair.antibody
    limit = sum(map(len, antibody.chains))
    for variant in knowledge.variants:
        other = variant.pair.antibody
        if (other.light is None) == (antibody.light is None):
            found = distance_between(antibody, other, limit)
            limit = limit if found is None else min(limit, found)
    return limit
