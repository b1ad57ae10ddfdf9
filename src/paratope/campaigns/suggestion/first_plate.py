"""The first plate of a campaign: what to measure of a parent before anything is measured.

The plate is to be what all candidates are, in small: a campaign's model settles its scale, its
noise and its weights on what was measured, and a plate of extremes misleads it. Candidates are
chosen one after the other so that the plate's mean in a reproducing kernel Hilbert space stays
closest to that of all (kernel herding, Chen, Welling & Smola 2010; greedy maximum mean discrepancy,
Teymur et al. 2021), which spreads them, too. The kernel is of the campaign's own terms before it
has seen a value. What substitutions did in other antibodies is a gentle preference.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from paratope.campaigns.kernels.features import Featuriser
from paratope.campaigns.kernels.sum_kernel import centred_grams
from paratope.campaigns.kernels.terms import (
    ENCODED_TERMS,
    LANGUAGE_TERMS,
    TERMS,
    WITHIN_ANTIGEN,
    WITHIN_PARENT,
    Scales,
    distances,
)
from paratope.campaigns.kernels.variants import ParentSites
from paratope.campaigns.suggestion.candidates import (
    MAX_CANDIDATES,
    Candidate,
    MeasuredVariants,
    candidate_name,
    generate,
    mutated_position,
)
from paratope.campaigns.suggestion.filters import Filters, leave_out, parse_filters
from paratope.campaigns.suggestion.next_round import (
    MutationCounts,
    NextRound,
    Suggestion,
    SuggestionOptions,
    generation_of,
)
from paratope.core.errors import InputError
from paratope.core.progress import Progress, silent
from paratope.data.tables import TableRow, read_table
from paratope.encoders.likelihood import AntibodyLanguage, LanguageModel
from paratope.models.predictor import Predictor
from paratope.molecules.liabilities import new_liabilities
from paratope.molecules.mutations import Mutation, apply_mutations
from paratope.molecules.sequences import UNKNOWN_ANTIGEN, Pair

KINDS = {"single": 2500, "double": 1000, "combinatorial": 500}  # And how many of each
MAX_MUTATIONS = 3
# Chosen by replays of landscapes (docs/LOG.md): how fast candidates become unlike each other with
# their distance, and how many e-folds a standard deviation of what is expected is worth.
SHARPNESS, PREFERENCE = 2.0, 0.1
# Of more candidates so many are drawn; their covariances are in memory.
MAX_JOINT = 2500
_NO_ANTIGEN = "no antigen is named: only the difference to the parent is expected"


def read_parent(source: Any) -> Pair:
    """The one antibody of a table or FASTA file; raises `InputError` if there are more, or none."""
    table = read_table(source, default_antigen=UNKNOWN_ANTIGEN)
    pairs = {row.pair.residues: row.pair for row in table.rows if row.pair is not None}
    if len(pairs) != 1:
        errors = [row.error for row in table.rows if row.error]
        raise InputError(
            f"{table.source}: a first plate is made of one parent; got {len(pairs)} antibodies"
            + (f" ({errors[0]})" if errors else "")
            + "; give a table of one row: id, heavy, light and, if it is known, antigen"
        )
    return next(iter(pairs.values()))


def first_plate(
    parent: Pair,
    batch: int = 96,
    *,
    predictor: Predictor | None = None,
    language: LanguageModel | None = None,
    progress: Progress = silent,
    **options: Any,
) -> NextRound:
    """Choose what to measure first of a parent.

    Parameters
    ----------
    parent : Pair
        Of an unknown antigen if none is named.
    batch : int
    predictor : Predictor, optional
        General model that says what to expect; by default the one that ships.
    language : LanguageModel, optional
        That reads the parent; by default AntiBERTy.
    progress : callable
    **options
        Of `SuggestionOptions`: ``candidates`` (kinds to generate), ``regions``,
        ``max_mutations`` (3), ``allow``, ``forbid``, ``min_distance``, ``coverage``, ``seed``.

    Raises
    ------
    InputError
        If an option is out of range, or fewer candidates than the batch are left.
    """
    kinds = ",".join(f"{kind}:{count}" for kind, count in KINDS.items())
    options = {"candidates": kinds, "max_mutations": MAX_MUTATIONS, **options}
    wanted = SuggestionOptions(batch, **options)
    if wanted.from_pool:
        raise InputError(
            "a first plate is made of mutants of its parent: --candidates names kinds to generate; "
            "a pool is chosen from once something was measured"
        )
    general = Predictor.load() if predictor is None else predictor
    language = AntibodyLanguage() if language is None else language
    filters = parse_filters(wanted.allow, wanted.forbid)
    measured = MeasuredVariants(parent.antigen, (parent,), (), frozenset({parent.residues}))
    progress("making mutants", 0, 1)
    random = np.random.default_rng(wanted.seed)
    offered = _offered(parent, measured, wanted, filters, random)
    kept, left_out = leave_out(offered, measured, filters)
    if len(kept) < batch:
        raise InputError(
            f"only {len(kept)} candidates are left for a batch of {batch}: {len(offered):,} "
            f"generated; {left_out}. Ask for more --regions or --max-mutations, --allow more, or "
            f"a batch of at most {len(kept)}"
        )
    few = _drawn(kept, max(MAX_JOINT, batch), random)
    progress(f"comparing {len(few):,} candidates", 0, 1)
    expected = general.predict_pkd([candidate.pair for candidate in few], [parent])
    kernel, residues = similarities(parent, [each.pair for each in few], language)
    progress(f"choosing {batch:,} of them", 0, 1)
    chosen = representative_batch(kernel, batch, expected, residues, wanted.min_distance)
    plate = [few[index] for index in chosen]
    rows = [
        TableRow(index, 0, candidate.name, candidate.pair, None, (), None)
        for index, candidate in enumerate(plate)
    ]
    itself = TableRow(len(rows), 0, "parent", parent, None, (), None)
    *predictions, of_parent = general.predict_rows(
        [*rows, itself], parent=parent, coverage=wanted.coverage
    )
    is_named = parent.antigen.chains != UNKNOWN_ANTIGEN.chains
    if not is_named:  # a level is of an antigen
        level = dict.fromkeys(("pkd", "pkd_low", "pkd_high", "kd_nM", "p_strong"))
        predictions = [dataclasses.replace(each, note=_NO_ANTIGEN, **level) for each in predictions]
    regions = MutationCounts(measured)
    suggestions = [
        Suggestion(
            index + 1,
            candidate,
            prediction,
            float("nan"),
            float(prediction.p_stronger or 0.0),
            f"to learn from: {_where(candidate, regions)}; expected Δ {prediction.delta_pkd:+.2f}",
            new_liabilities(parent.antibody, candidate.pair.antibody),
            len(candidate.mutations),
        )
        for index, (candidate, prediction) in enumerate(zip(plate, predictions, strict=True))
    ]
    notes = [] if is_named else [_NO_ANTIGEN]
    if len(few) < len(kept):
        notes.append(f"{len(few):,} of {len(kept):,} candidates were drawn to choose from")
    best = measured.parent_name(0), float(of_parent.pkd or float("nan"))
    return NextRound(
        tuple(suggestions),
        measured,
        "pkd",
        best,
        filters,
        left_out,
        (),
        len(kept),
        None,
        tuple(notes),
    )


def _offered(
    parent: Pair,
    measured: MeasuredVariants,
    wanted: SuggestionOptions,
    filters: Filters,
    random: np.random.Generator,
) -> list[Candidate]:
    """Mutants of the parent; the same in every process, as kinds come in the order named."""
    generation = generation_of(wanted, filters)
    counts = generation.counts
    if wrong := counts.keys() - KINDS.keys():
        raise InputError(
            f"candidates {', '.join(sorted(wrong))}: made of measured variants; a first plate has "
            f"none, only {', '.join(KINDS)}"
        )
    every = {"single": MAX_CANDIDATES}
    only_singles = dataclasses.replace(generation, counts=every)
    singles = generate(measured, only_singles, lambda pairs: np.zeros(len(pairs)))
    clean, _ = leave_out(singles, measured, filters)
    offered = _drawn(singles, counts.get("single", 0), random)
    by_position: dict[tuple[str, int], list[Mutation]] = {}
    for (mutation,) in (single.mutations for single in clean):
        by_position.setdefault(mutated_position(mutation), []).append(mutation)
    positions = sorted(by_position)
    for kind in (kind for kind in counts if kind != "single"):  # mutations drawn together
        most = 2 if kind == "double" else generation.max_mutations or MAX_MUTATIONS
        fewest, most = 2 if kind == "double" else 3, min(most, len(positions))
        made: dict[str, Candidate] = {}
        for _ in range(counts[kind] if fewest <= most else 0):
            size = int(random.integers(fewest, most + 1))
            chosen = np.sort(random.choice(len(positions), size, replace=False))
            choices = [by_position[positions[index]] for index in chosen]
            mutations = tuple(some[random.integers(len(some))] for some in choices)
            name = candidate_name(parent.antibody.name or "parent1", mutations)
            antibody = apply_mutations(parent, mutations).antibody
            pair = Pair(dataclasses.replace(antibody, name=name), parent.antigen)
            made[name] = Candidate(name, pair, 0, mutations, kind)
        offered += made.values()
    return offered


def _drawn(candidates: list[Candidate], count: int, random: np.random.Generator) -> list[Candidate]:
    """At most so many of them, in order."""
    chosen = np.sort(random.permutation(len(candidates))[:count])
    return [candidates[index] for index in chosen]


def similarities(
    parent: Pair, candidates: Sequence[Pair], language: LanguageModel
) -> tuple[np.ndarray, np.ndarray]:
    """Likeness of candidates, (n, n), 1 of each with itself, and their residues, (n, sites).

    ``exp(-SHARPNESS d_ij² / median d²)``, d the distance in the sum of those terms of the kernel
    that encode no variant, in equal shares.
    """
    sites = [ParentSites.of(parent, language)]
    featuriser = Featuriser([parent], sites, [parent.antigen.chains])
    features = featuriser.features(candidates, None)
    absent = {*ENCODED_TERMS, *WITHIN_ANTIGEN, *WITHIN_PARENT, "parent"}
    if not sites[0].embedding:
        absent.update(LANGUAGE_TERMS)
    names = [name for name in TERMS if name not in absent]
    total = np.zeros((len(candidates), len(candidates)))
    for _, gram, _ in centred_grams(features, Scales.of(features, sites), names):
        total += gram
    apart = distances(total, np.diag(total), np.diag(total))
    return np.exp(-SHARPNESS * apart / (float(np.median(apart)) or 1.0)), features.residues


def representative_batch(
    kernel: np.ndarray,
    batch: int,
    expected: np.ndarray,
    residues: np.ndarray,
    min_distance: int = 1,
) -> list[int]:
    """Indices of candidates in order of choice, each at least `min_distance` residues from others.

    The next of t + 1 is the candidate i with the highest ``sum_j w_j k_ij - sum_s k_is / (t + 1)``,
    j all candidates, s those chosen, k the `kernel`: it leaves the least squared maximum mean
    discrepancy, ``|sum_j w_j phi_j - sum_s phi_s / (t + 1)|²``. Weights w, of sum 1, are in
    proportion to ``exp(PREFERENCE z)``, z the standardised `expected`. Raises `InputError` if too
    few are far enough apart.
    """
    weight = np.exp(PREFERENCE * (expected - expected.mean()) / (float(expected.std()) or 1.0))
    mean, of_chosen = kernel @ (weight / weight.sum()), np.zeros(len(kernel))
    is_open, chosen = np.ones(len(kernel), bool), []
    for count in range(batch):
        gain = mean - of_chosen / (count + 1)
        gain[~is_open] = -np.inf
        index = int(np.argmax(gain))
        if not is_open[index]:
            raise InputError(
                f"only {len(chosen)} of a batch of {batch} can be chosen with any two "
                f"{min_distance} residues apart; ask for less of it, or for a smaller batch"
            )
        chosen.append(index)
        is_open &= (residues != residues[index]).sum(1) >= min_distance
        is_open[index] = False
        of_chosen += kernel[index]
    return chosen


def _where(candidate: Candidate, counts: MutationCounts) -> str:
    """What a candidate changes: ``single mutation in H3``, ``3 mutations in H1, L3``."""
    regions = dict.fromkeys(counts.region(candidate.parent, each) for each in candidate.mutations)
    number = len(candidate.mutations)
    what = "single mutation" if number == 1 else f"{number} mutations"
    return f"{what} in {', '.join(regions)}"
