"""Candidates of the next round: single and double mutants, combinations, recombinants."""

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np

from paratope.campaigns.suggestion.knowledge import (
    MAX_PARENTS,
    Knowledge,
    Molecule,
    Variant,
    molecule,
)
from paratope.campaigns.suggestion.places import DEFAULT_REGIONS, allowed_places
from paratope.core.errors import InputError, unknown_name
from paratope.molecules.liabilities import new_liabilities
from paratope.molecules.mutations import Mutation, apply_mutations
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Pair

# What can be generated, and how many of it unless told otherwise.
GENERATORS: dict[str, tuple[str, int]] = {
    "single": ("one residue of a parent changed", 2500),
    "neighbour": ("one residue more of the best measured variants changed", 1000),
    "double": ("two of the most promising single mutations", 1000),
    "combinatorial": ("several measured or promising mutations together", 1000),
    "recombination": ("mutations of two measured variants together", 1000),
}
# Longer lists of changes make a digest instead of an id.
_LONGEST_ID = 60
_BEST_VARIANTS = 12
_TOP_MUTATIONS = 80
# Of them, at one place of the sequence.
_TOP_AT_ONE_PLACE = 5
# Draws for each candidate wanted before a generator gives up.
_PATIENCE = 8
# A mutation, or a variant, of rank r is drawn with a weight of exp(-r / this).
_RANK_SCALE = 15.0

ScoreOf = Callable[[Sequence[Pair]], np.ndarray]


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """An antibody that might be made next.

    Attributes
    ----------
    name : str
        From its parent's name and its mutations: the same in every round.
    pair : Pair
    parent : int
        Number in `Knowledge.parents`.
    mutations : tuple of Mutation
        Of that parent.
    origin : str
        Key of `GENERATORS`, or ``"pool"``.
    sources : tuple of str
        Names of the measured variants it is made from.
    row : int
        Number of its row in the user's pool, -1 if generated.
    """

    name: str
    pair: Pair
    parent: int
    mutations: tuple[Mutation, ...]
    origin: str
    sources: tuple[str, ...] = ()
    row: int = -1


@dataclasses.dataclass(frozen=True, slots=True)
class Generation:
    """What to generate.

    Attributes
    ----------
    counts : dict of str to int
        How many at most of each of `GENERATORS`.
    regions : str or None
        Where mutations may be, as `paratope.campaigns.suggestion.places.allowed_places`; None: new
        ones in the CDRs, measured ones anywhere.
    max_mutations : int or None
        Of the parent; None: the most that a measured variant has, and at least two.
    excluded : str
        Residues that no mutation may bring.
    seed : int
    """

    counts: dict[str, int]
    regions: str | None = None
    max_mutations: int | None = None
    excluded: str = "C"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_mutations is not None and self.max_mutations < 1:
            raise InputError(f"at least 1 mutation must be allowed, got {self.max_mutations}")


def parse_generators(text: str) -> dict[str, int]:
    """Kinds of candidates, each with how many at most, of a list.

    Raises `InputError` if a name is no key of `GENERATORS`, or a number is none.

    >>> parse_generators("single,double:3000")
    {'single': 2500, 'double': 3000}
    """
    counts: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition(":")
        if name == "all":
            counts |= {kind: count for kind, (_, count) in GENERATORS.items()}
            continue
        if name not in GENERATORS:
            raise InputError(
                unknown_name("kind of candidates", name, [*GENERATORS, "all"])
                + "; or give the file of a pool"
            )
        if number and not (number.isdecimal() and int(number) > 0):
            raise InputError(f"{part!r}: expected a number of at least 1 behind the ':'")
        counts[name] = int(number) if number else GENERATORS[name][1]
    if not counts:
        raise InputError(f"no kind of candidates is named; valid names: {', '.join(GENERATORS)}")
    return counts


def generate(
    knowledge: Knowledge,
    generation: Generation,
    score_of: ScoreOf,
    forbidden: Collection[str] = (),
) -> list[Candidate]:
    """Candidates that nobody has measured, each once, of the parents with the best variants.

    Parameters
    ----------
    knowledge : Knowledge
    generation : Generation
    score_of : callable
        How promising pairs are; single mutants are asked for, to choose what to combine.
    forbidden : collection of str
        Liabilities: candidates with one do not count towards the numbers asked for, and mutations
        that bring one on their own are not combined with others.

    Raises
    ------
    InputError
        If no place of any parent is in the regions.
    """
    found: dict[Molecule, Candidate] = {}
    parents = list(dict.fromkeys(one.parent for one in knowledge.variants))[:MAX_PARENTS]
    for number in parents or [0]:
        lot = _Lot(knowledge, generation, number, forbidden)
        for candidate in lot.candidates(score_of, 1.0 / max(len(parents), 1)):
            found.setdefault(molecule(candidate.pair), candidate)
    return list(found.values())


class _Lot:
    """The candidates of one parent."""

    def __init__(
        self,
        knowledge: Knowledge,
        generation: Generation,
        number: int,
        forbidden: Collection[str],
    ) -> None:
        self.knowledge, self.generation, self.number = knowledge, generation, number
        self.parent = knowledge.parents[number]
        self.forbidden = set(forbidden)
        self.parental = [one for one in knowledge.variants if one.parent == number]
        self.places = set(
            allowed_places(self.parent.antibody, generation.regions or DEFAULT_REGIONS)
        )
        most = max((len(one.mutations) for one in self.parental), default=0)
        self.most = generation.max_mutations or max(most, 2)
        self.random = np.random.default_rng([generation.seed, number])
        self.seen = set(knowledge.measured)

    def candidates(self, score_of: ScoreOf, share: float) -> Iterator[Candidate]:
        counts = self.generation.counts
        wanted = {kind: max(1, round(share * count)) for kind, count in counts.items()}
        singles = [self._made((one,), "single") for one in self._single_mutations()]
        every = [one for one in singles if one is not None]
        if "single" in wanted:
            yield from self._new(iter(self._sample(every, wanted["single"])), wanted["single"])
        if "neighbour" in wanted:
            yield from self._new(self._neighbours(), wanted["neighbour"])
        if wanted.keys() & {"double", "combinatorial"}:
            promising = self._promising(every, score_of)
            for kind in ("double", "combinatorial"):
                if kind in wanted:
                    yield from self._new(self._combined(promising, kind), wanted[kind])
        if "recombination" in wanted:
            yield from self._new(self._recombined(), wanted["recombination"])

    def _new(self, made: Iterator[Candidate | None], count: int) -> Iterator[Candidate]:
        """Nothing twice, nothing that was measured; at most `count` without a liability."""
        left, patience = count, _PATIENCE * count
        for candidate in made:
            patience -= 1
            if candidate is not None and molecule(candidate.pair) not in self.seen:
                self.seen.add(molecule(candidate.pair))
                left -= not self._is_liability(candidate.pair.antibody)
                yield candidate
            if left == 0 or patience == 0:
                return

    def _sample(self, some: list[Candidate], count: int) -> list[Candidate]:
        if len(some) <= count:
            return some
        kept = np.sort(self.random.choice(len(some), count, replace=False))
        return [some[place] for place in kept]

    def _made(
        self, mutations: Sequence[Mutation], origin: str, sources: tuple[str, ...] = ()
    ) -> Candidate | None:
        """The parent with mutations; None if they are too many."""
        if not mutations or len(mutations) > self.most:
            return None
        pair = apply_mutations(self.parent, mutations)
        name = candidate_name(self.knowledge.parent_name(self.number), mutations)
        named = dataclasses.replace(pair.antibody, name=name)
        made = Pair(named, pair.antigen)
        return Candidate(name, made, self.number, tuple(mutations), origin, sources)

    def _single_mutations(self) -> list[Mutation]:
        residues = {"H": self.parent.antibody.heavy, "L": self.parent.antibody.light or ""}
        return [
            Mutation(chain, before, place, after)
            for chain, place in sorted(self.places)
            for after in AMINO_ACIDS
            if (before := residues[chain][place - 1]) != after
            and after not in self.generation.excluded
        ]

    def _may_be(self, mutation: Mutation) -> bool:
        """Whether a measured mutation may be used again."""
        if set(mutation.after) & set(self.generation.excluded):
            return False
        if self.generation.regions is None:
            return True
        return (mutation.chain, max(mutation.position, 1)) in self.places

    def _measured_mutations(self) -> list[Mutation]:
        """Mutations of the better half of the measured variants, of the best ones first."""
        better = self.parental[: (len(self.parental) + 1) // 2]
        return [m for m in dict.fromkeys(m for v in better for m in v.mutations) if self._may_be(m)]

    def _promising(self, singles: list[Candidate], score_of: ScoreOf) -> list[Mutation]:
        """The mutations to combine, most promising first: of all single ones and measured ones."""
        made = {one.mutations[0]: one for one in singles}
        for mutation in self._measured_mutations():
            if mutation not in made and (one := self._made((mutation,), "single")):
                made[mutation] = one
        clean = [m for m, one in made.items() if not self._is_liability(one.pair.antibody)]
        if not clean:
            return []
        scores = score_of([made[mutation].pair for mutation in clean])
        taken: list[Mutation] = []
        here: Counter[tuple[str, int]] = Counter()
        for place in np.argsort(-scores, kind="stable"):
            one = clean[place]
            if here[one.chain, one.position] < _TOP_AT_ONE_PLACE:
                here[one.chain, one.position] += 1
                taken.append(one)
        return taken[:_TOP_MUTATIONS]

    def _is_liability(self, antibody: Antibody) -> bool:
        if not self.forbidden:
            return False
        found = new_liabilities(self.parent.antibody, antibody)
        return any(one.kind in self.forbidden for one in found)

    def _neighbours(self) -> Iterator[Candidate | None]:
        """Best variants with one more residue changed; a place already mutated is changed again."""
        best = [one for one in self.parental[:_BEST_VARIANTS] if one.mutations]
        singles = self._single_mutations()
        if not best or not singles:
            return
        weights = _rank_weights(len(best))
        while True:
            variant = best[self.random.choice(len(best), p=weights)]
            mutation = singles[self.random.integers(len(singles))]
            kept = [one for one in variant.mutations if not _clash(one, mutation)]
            if not all(self._may_be(one) for one in kept):
                yield None
                continue
            yield self._made(_ordered([*kept, mutation]), "neighbour", (variant.name,))

    def _combined(self, promising: list[Mutation], kind: str) -> Iterator[Candidate | None]:
        if len(promising) < 2 or self.most < (2 if kind == "double" else 3):
            return
        weights = _rank_weights(len(promising))
        while True:
            size = 2 if kind == "double" else int(self.random.integers(3, self.most + 1))
            # exponential races: the order of a weighted draw without replacement
            order = np.argsort(self.random.exponential(size=len(weights)) / weights)
            taken: list[Mutation] = []
            for place in order:
                if not any(_clash(promising[place], one) for one in taken):
                    taken.append(promising[place])
                if len(taken) == size:
                    break
            yield self._made(_ordered(taken), kind) if len(taken) == size else None

    def _recombined(self) -> Iterator[Candidate | None]:
        """Children of two measured variants: all mutations of both, or about half of them."""
        better = [one for one in self.parental[: max(40, len(self.parental) // 4)] if one.mutations]
        if len(better) < 2:
            return
        weights = _rank_weights(len(better))
        while True:
            first, second = self.random.choice(len(better), 2, replace=False, p=weights)
            yield self._child(better[first], better[second])

    def _child(self, one: Variant, other: Variant) -> Candidate | None:
        share = 1.0 if self.random.random() < 0.5 else 0.6
        taken: list[Mutation] = []
        for mutation in self.random.permutation(len(one.mutations) + len(other.mutations)).tolist():
            source = (*one.mutations, *other.mutations)[mutation]
            if not self._may_be(source) or any(_clash(source, two) for two in taken):
                continue
            if share == 1.0 or self.random.random() < share:
                taken.append(source)
        both = {one.mutations, other.mutations}
        mutations = _ordered(taken)
        if mutations in both:
            return None
        return self._made(mutations, "recombination", (one.name, other.name))


def candidate_name(parent: str, mutations: Sequence[Mutation]) -> str:
    """An id of a parent's name and its mutations, fit for FASTA headers and file names.

    >>> candidate_name("mab", [Mutation("H", "S", 31, "A"), Mutation("L", "Y", 33, "")])
    'mab.HS31A.LY33del'
    """
    parent = re.sub(r"[^\w-]+", "_", parent)
    name = ".".join([parent, *(str(one).replace(":", "") for one in mutations)])
    if len(name) <= _LONGEST_ID:
        return name
    return f"{parent}.{len(mutations)}x{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _clash(one: Mutation, other: Mutation) -> bool:
    """Whether two mutations change the same place."""
    return (
        one.chain == other.chain
        and one.position == other.position
        and bool(one.before) == bool(other.before)
    )


def _ordered(mutations: Sequence[Mutation]) -> tuple[Mutation, ...]:
    return tuple(sorted(mutations, key=lambda one: (one.chain, one.position, not one.before)))


def _rank_weights(count: int) -> np.ndarray:
    weights = np.exp(-np.arange(count) / _RANK_SCALE)
    return weights / weights.sum()
