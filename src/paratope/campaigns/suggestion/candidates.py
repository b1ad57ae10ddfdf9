"""What was measured, and candidates of the next round made from it: mutants and recombinants."""

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
from rapidfuzz.distance import Levenshtein

from paratope.campaigns.campaign.parents import FAMILY_IDENTITY
from paratope.campaigns.campaign_model import CampaignModel
from paratope.core.errors import InputError, unknown_name
from paratope.molecules.alignment import CONSENSUS
from paratope.molecules.liabilities import new_liabilities
from paratope.molecules.mutations import (
    REGION_NAMES,
    Mutation,
    apply_mutations,
    chain_domain,
    mutations_between,
    parse_regions,
    positions_in,
)
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair, Residues

# An antibody that differs from every parent in more than this share of residues is another one.
MAX_PARENT_DISTANCE = 1.0 - FAMILY_IDENTITY
# Parents whose variants are generated; of more, those with the best measured variants.
MAX_PARENTS = 5
# What can be generated, and how many of it unless told otherwise.
GENERATORS: dict[str, tuple[str, int]] = {
    "single": ("one residue of a parent changed", 2500),
    "recombination": ("mutations of two measured variants together", 1000),
    "neighbour": ("one residue more of the best measured variants changed", 1000),
    "double": ("two of the most promising single mutations", 1000),
    "combinatorial": ("several measured or promising mutations together", 1000),
}
MAX_CANDIDATES, MAX_MUTATIONS = 20_000, 100  # Of a kind, and of a candidate
DEFAULT_REGIONS = "CDR"
AROMATIC = frozenset("FWY")
# Longer lists of changes make a digest instead of an id.
_LONGEST_ID = 60
_BEST_VARIANTS = 12
_TOP_MUTATIONS = 80
# Of them, at one position of the sequence.
_TOP_AT_ONE_POSITION = 5
# Draws for each candidate wanted before a generator gives up.
_PATIENCE = 8
# A mutation, or a variant, of rank r is drawn with a weight of exp(-r / this).
_RANK_SCALE = 15.0
_IMGT_RANGE = re.compile(r"([HL]):(\d+)(?:-(\d+))?")
_IMGT_POSITION = re.compile(r"([HL]):(\d+[A-Z]+)")
_RESIDUE = re.compile(r"([HL]):([A-Z])(\d+)")

ScoreOf = Callable[[Sequence[Pair]], np.ndarray]
# Chain and position in its sequence, from 1.
Position = tuple[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Variant:
    """A measured antibody."""

    name: str
    pair: Pair
    mean: float  # Posterior mean, on the model's own scale
    parent: int  # Index of its parent in `MeasuredVariants.parents`
    mutations: tuple[Mutation, ...]  # Of that parent


@dataclasses.dataclass(frozen=True, slots=True)
class MeasuredVariants:
    """A campaign's measured variants against one antigen."""

    antigen: Antigen  # Against which the next round is to bind
    parents: tuple[Pair, ...]  # Parents with that antigen
    variants: tuple[Variant, ...]  # Parents included, highest `mean` first
    keys: frozenset[Residues]  # Residues of all measured pairs, which are never suggested again
    notes: tuple[str, ...] = ()  # What a user should know of the choice of parents and antigen

    def parent_name(self, index: int) -> str:
        """A parent's name, or its number."""
        return self.parents[index].antibody.name or f"parent{index + 1}"

    @property
    def parent_sentence(self) -> str:
        """Which parents changes are counted from."""
        counts = Counter(variant.parent for variant in self.variants).most_common(MAX_PARENTS)
        names = [f"{self.parent_name(index)} ({count:,} variants)" for index, count in counts]
        sentence = f"Parent{'s' * (len(names) > 1)}: {', '.join(names)}"
        if any(self.parent_name(index) == CONSENSUS for index, _ in counts):
            sentence += (
                "; no id says wild type or parent, so the consensus of the variants stands "
                "in: name yours with --parent ID, or in a column 'parent'"
            )
        return sentence


def measured_variants(model: CampaignModel, parent: str | None = None) -> MeasuredVariants:
    """The variants that a campaign model was fitted on.

    `parent` names the measured antibody or parent to mutate, whose antigen is the one to bind; by
    default the campaign's parents and its most measured antigen. Raises `InputError` if no measured
    antibody has the name.
    """
    campaign = model.campaign
    distinct = list({pair.residues: pair for pair in campaign.pairs}.values())
    given = list(campaign.parents)
    notes: list[str] = []
    if parent is not None:
        named = [pair for pair in (*given, *distinct) if pair.antibody.name == parent]
        if not named:
            names = ", ".join(dict.fromkeys(p.antibody.name for p in (*given, *distinct[:5])))
            raise InputError(
                f"no parent or measured antibody is called {parent!r}; names begin {names}"
            )
        given, antigen = named[:1], named[0].antigen
    else:
        rows = Counter(pair.antigen.chains for pair in campaign.pairs)
        antigens = {pair.antigen.chains: pair.antigen for pair in distinct}
        antigen = antigens[max(rows, key=lambda chains: rows[chains])]
        if len(rows) > 1:
            notes.append(
                f"{len(rows)} antigens were measured; suggested for the one measured most"
                f"{f' ({antigen.name})' if antigen.name else ''}; --parent names an antibody whose "
                "antigen is to be taken instead"
            )
    parents = list({p.antibody.chains: Pair(p.antibody, antigen) for p in given}.values())
    pairs = [pair for pair in distinct if pair.antigen.chains == antigen.chains]
    if parent is not None:  # other antibodies' variants tell nothing about this one's mutations
        pairs = [pair for pair in pairs if nearest_parent(parents, pair.antibody)[1] is not None]
    variants = []
    for pair, mean in zip(pairs, model.marginals(pairs)[0].tolist(), strict=True):
        index, distance = nearest_parent(parents, pair.antibody)
        if distance is None:
            parents.append(pair)
            index = len(parents) - 1
        mutations = mutations_between(parents[index].antibody, pair.antibody)
        variants.append(Variant(pair.antibody.name, pair, mean, index, mutations))
    variants.sort(key=lambda variant: -variant.mean)
    keys = frozenset(pair.residues for pair in distinct)
    return MeasuredVariants(antigen, tuple(parents), tuple(variants), keys, tuple(notes))


def nearest_parent(parents: Sequence[Pair], antibody: Antibody) -> tuple[int, int | None]:
    """Index of the parent from which an antibody differs least, and in how many residues.

    The distance is None for an antibody that is unrelated to every parent.

    >>> parents = [Pair(Antibody("EVQLVESGGG"), Antigen(("MKV",)))]
    >>> nearest_parent(parents, Antibody("EVQAVESGGG")), nearest_parent(parents, Antibody("QQQQQ"))
    ((0, 1), (0, None))
    """
    best: tuple[int, int | None] = (0, None)
    for index, parent in enumerate(parents):
        if (parent.antibody.light is None) != (antibody.light is None):
            continue
        limit = int(MAX_PARENT_DISTANCE * sum(map(len, parent.antibody.chains)))
        limit = limit if best[1] is None else min(limit, best[1] - 1)
        distance = edit_distance(parent.antibody, antibody, limit)
        if distance is not None:
            best = index, distance
    return best


def edit_distance(first: Antibody, second: Antibody, limit: int) -> int | None:
    """Residues in which two antibodies differ (fewest edits); None if more than `limit`."""
    total = 0
    for left, right in zip(first.chains, second.chains, strict=True):
        total += Levenshtein.distance(left, right, score_cutoff=max(limit - total, 0))
        if total > limit:
            return None
    return total


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """An antibody that might be made next."""

    name: str  # From its parent's name and its mutations: the same in every round
    pair: Pair
    parent: int  # Index in `MeasuredVariants.parents`
    mutations: tuple[Mutation, ...]  # Of that parent
    origin: str  # Key of `GENERATORS`, or ``"pool"``
    sources: tuple[str, ...] = ()  # Names of the measured variants it is made from
    row: int = -1  # Index of its row in the user's pool, -1 if generated


@dataclasses.dataclass(frozen=True, slots=True)
class Generation:
    """What to generate."""

    counts: dict[str, int]  # How many at most of each of `GENERATORS`
    # Where mutations may be, as `allowed_positions` reads it; None: at the positions that measured
    # variants mutate, and at `new_positions` others in the CDRs of the chains that they mutate
    regions: str | None = None
    # Positions of a candidate that no measured variant mutates; None: one, and any number in
    # `regions`
    new_positions: int | None = None
    # Residues in which a candidate differs from the nearest measured variant, or its named parent
    max_changes: int = 3
    max_new_aromatics: int = 2  # Of a candidate: F, W and Y where the parent has another residue
    # Of the parent; None: the most that a measured variant has, and at least two
    max_mutations: int | None = None
    excluded: str = "C"  # Residues that no mutation may bring
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_mutations is not None and self.max_mutations < 1:
            raise InputError(f"at least 1 mutation must be allowed, got {self.max_mutations}")
        if self.max_mutations is not None and self.max_mutations > MAX_MUTATIONS:
            raise InputError(
                f"{self.max_mutations} mutations are no longer a variant; at most {MAX_MUTATIONS}"
            )
        if self.max_changes < 1:
            raise InputError(f"at least 1 change must be allowed, got {self.max_changes}")
        for name in ("new_positions", "max_new_aromatics"):
            if (getattr(self, name) or 0) < 0:
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}")


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
        digits = number.lstrip("0")
        if number and not (number.isdecimal() and digits):
            raise InputError(f"{part!r}: expected a number of at least 1 behind the ':'")
        if len(digits) > 9 or int(digits or 0) > MAX_CANDIDATES:
            raise InputError(
                f"{part[:40]!r}: at most {MAX_CANDIDATES:,} of a kind are made, since each is "
                "encoded and judged, which takes about an hour for 100,000"
            )
        counts[name] = int(digits) if number else GENERATORS[name][1]
    if not counts:
        raise InputError(f"no kind of candidates is named; valid names: {', '.join(GENERATORS)}")
    return counts


def allowed_positions(parent: Antibody, text: str = DEFAULT_REGIONS) -> tuple[Position, ...]:
    """Positions of a parent that a list names, in order.

    Names are separated by ``,``: regions as `paratope.molecules.mutations.parse_regions` reads them
    (``CDR``, ``H3``), IMGT numbers and ranges (``H:105-117``, ``H:111A``), or positions of the
    sequence with the residue there (``H:S31``). Those of a light chain are left out where the
    parent has none. Raises `InputError` if a name is none, a residue differs from the parent's, or
    no position is left.

    >>> vhh = ("QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    ...        "TLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS")
    >>> allowed_positions(Antibody(vhh), "H:27-29,H:S31")
    (('H', 26), ('H', 27), ('H', 28), ('H', 31))
    """
    chains = "HL" if parent.light is not None else "H"
    positions: set[Position] = set()
    names = [part.strip() for part in text.split(",") if part.strip()]
    for name in names:
        if ":" in name:
            positions.update(_numbered_positions(parent, chains, name))
    if regions := [name for name in names if ":" not in name]:
        named = parse_regions(",".join(regions))
        for chain in chains:
            some = [name for name in named if REGION_NAMES[name][0] == chain]
            if some:
                positions.update((chain, index) for index in positions_in(parent, chain, some))
    if not positions:
        hint = "; the parent has no light chain" if chains == "H" else ""
        raise InputError(f"regions {text!r}: no position of the parent is in them{hint}")
    return tuple(sorted(positions))


def _numbered_positions(parent: Antibody, chains: str, name: str) -> list[Position]:
    text = name.upper()
    if match := _IMGT_RANGE.fullmatch(text):
        chain, first, last = match[1], int(match[2]), int(match[3] or match[2])
        if last < first:
            raise InputError(f"regions: {name!r} ends before it begins")
        labels = chain_domain(parent, chain).positions if chain in chains else ()
        return [
            (chain, index)
            for index, label in enumerate(labels, start=1)
            if first <= int(label.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")) <= last
        ]
    if match := _IMGT_POSITION.fullmatch(text):
        labels = chain_domain(parent, match[1]).positions if match[1] in chains else ()
        return [(match[1], labels.index(match[2]) + 1)] if match[2] in labels else []
    if match := _RESIDUE.fullmatch(text):
        chain, residue, index = match[1], match[2], int(match[3])
        residues = chain_domain(parent, chain).residues if chain in chains else ""
        present = residues[index - 1 : index] if index else ""
        if present != residue:
            raise InputError(
                f"regions: {name!r}: the parent has {present or 'nothing'} at position {index} of "
                f"chain {chain}, not {residue}"
            )
        return [(chain, index)]
    raise InputError(
        f"regions: {name!r} cannot be read; expected regions such as CDR or H3, IMGT numbers such "
        "as H:105-117 or H:111A, or positions such as H:S31"
    )


def generate(
    measured: MeasuredVariants,
    generation: Generation,
    score_of: ScoreOf,
    forbidden: Collection[str] = (),
) -> list[Candidate]:
    """Candidates that nobody has measured, each once, of the parents with the best variants.

    `score_of` tells how promising single mutants are, to choose what to combine. Candidates with a
    `forbidden` liability do not count towards the numbers asked for, and mutations that bring one
    on their own are not combined with others. Raises `InputError` if no position of any parent is
    in the regions.
    """
    candidates: dict[Residues, Candidate] = {}
    parents = list(dict.fromkeys(variant.parent for variant in measured.variants))[:MAX_PARENTS]
    for parent in parents or [0]:
        generator = _ParentGenerator(measured, generation, parent, forbidden)
        for candidate in generator.candidates(score_of, 1.0 / max(len(parents), 1)):
            candidates.setdefault(candidate.pair.residues, candidate)
    return list(candidates.values())


def mutated_position(mutation: Mutation) -> Position:
    """Chain and position of a mutation; an insertion before the first residue is at the first."""
    return mutation.chain, max(mutation.position, 1)


class _ParentGenerator:
    def __init__(
        self,
        measured: MeasuredVariants,
        generation: Generation,
        parent: int,
        forbidden: Collection[str],
    ) -> None:
        self.index, self.parent = parent, measured.parents[parent]
        self.name = measured.parent_name(parent)
        self.generation, self.forbidden = generation, set(forbidden)
        self.variants = [variant for variant in measured.variants if variant.parent == parent]
        varied = {mutated_position(m) for variant in self.variants for m in variant.mutations}
        allowed = allowed_positions(self.parent.antibody, generation.regions or DEFAULT_REGIONS)
        self.positions = set(allowed)
        self.varied = varied
        self.new_positions = generation.new_positions
        if generation.regions is None and varied:
            chains = {chain for chain, _ in varied}
            self.positions = varied | {place for place in allowed if place[0] in chains}
            self.new_positions = 1 if self.new_positions is None else self.new_positions
        near = [variant.pair.antibody for variant in self.variants]
        if self.name != CONSENSUS:  # a parent that is known is as good as measured
            near.append(self.parent.antibody)
        self.texts = ["|".join(antibody.chains) for antibody in near]
        most = max((len(variant.mutations) for variant in self.variants), default=0)
        self.most = generation.max_mutations or max(most, 2)
        self.random = np.random.default_rng([generation.seed, parent])
        self.seen = set(measured.keys)

    def candidates(self, score_of: ScoreOf, share: float) -> Iterator[Candidate]:
        counts = self.generation.counts
        wanted = {kind: max(1, round(share * count)) for kind, count in counts.items()}
        residues = {"H": self.parent.antibody.heavy, "L": self.parent.antibody.light or ""}
        mutations = [
            Mutation(chain, before, position, after)
            for chain, position in sorted(self.positions)
            for after in AMINO_ACIDS
            if (before := residues[chain][position - 1]) != after
            and after not in self.generation.excluded
        ]
        singles = [self._made((mutation,), "single") for mutation in mutations]
        valid = [single for single in singles if single is not None]
        if count := wanted.get("single"):
            drawn = valid
            if len(valid) > count:
                chosen = np.sort(self.random.choice(len(valid), count, replace=False))
                drawn = [valid[index] for index in chosen]
            yield from self._new(iter(drawn), count)
        if count := wanted.get("neighbour"):
            yield from self._new(self._neighbours(mutations), count)
        if wanted.keys() & {"double", "combinatorial"}:
            promising = self._promising(valid, score_of)
            for kind in ("double", "combinatorial"):
                if kind in wanted:
                    yield from self._new(self._combined(promising, kind), wanted[kind])
        if count := wanted.get("recombination"):
            yield from self._new(self._recombined(), count)

    def _new(self, made: Iterator[Candidate | None], count: int) -> Iterator[Candidate]:
        """Nothing twice, nothing measured or far from all that is; `count` without a liability."""
        left, patience, most = count, _PATIENCE * count, self.generation.max_changes
        for candidate in made:
            patience -= 1
            if candidate is not None and candidate.pair.residues not in self.seen:
                text = "|".join(candidate.pair.antibody.chains)
                if not self.texts or any(
                    Levenshtein.distance(text, other, score_cutoff=most) <= most
                    for other in self.texts
                ):
                    self.seen.add(candidate.pair.residues)
                    left -= not self._is_liability(candidate.pair.antibody)
                    yield candidate
            if left == 0 or patience == 0:
                return

    def _made(
        self, mutations: Sequence[Mutation], origin: str, sources: tuple[str, ...] = ()
    ) -> Candidate | None:
        """The parent with mutations; None if they are none, too many, or too new."""
        if not mutations or len(mutations) > self.most:
            return None
        new = {mutated_position(mutation) for mutation in mutations} - self.varied
        if self.new_positions is not None and len(new) > self.new_positions:
            return None
        aromatic = sum(
            bool(set(m.after) & AROMATIC) and not set(m.before) & AROMATIC for m in mutations
        )
        if aromatic > self.generation.max_new_aromatics:
            return None
        name = candidate_name(self.name, mutations)
        antibody = apply_mutations(self.parent, mutations).antibody
        pair = Pair(dataclasses.replace(antibody, name=name), self.parent.antigen)
        return Candidate(name, pair, self.index, tuple(mutations), origin, sources)

    def _may_be(self, mutation: Mutation) -> bool:
        anywhere = self.generation.regions is None
        return not set(mutation.after) & set(self.generation.excluded) and (
            anywhere or mutated_position(mutation) in self.positions
        )

    def _promising(self, singles: list[Candidate], score_of: ScoreOf) -> list[Mutation]:
        """The mutations to combine, most promising first.

        Of all single ones and of those of the better half of the measured variants; where new
        positions are few, only at the others.
        """
        known = self.new_positions is not None
        made = {
            single.mutations[0]: single
            for single in singles
            if not known or mutated_position(single.mutations[0]) in self.varied
        }
        better = self.variants[: (len(self.variants) + 1) // 2]
        for mutation in (m for variant in better for m in variant.mutations):
            allowed = mutation not in made and self._may_be(mutation)
            if allowed and (single := self._made((mutation,), "single")):
                made[mutation] = single
        clean = [m for m, single in made.items() if not self._is_liability(single.pair.antibody)]
        if not clean:
            return []
        scores = score_of([made[mutation].pair for mutation in clean])
        taken: list[Mutation] = []
        here: Counter[Position] = Counter()
        for index in np.argsort(-scores, kind="stable"):
            mutation = clean[index]
            if here[mutation.chain, mutation.position] < _TOP_AT_ONE_POSITION:
                here[mutation.chain, mutation.position] += 1
                taken.append(mutation)
        return taken[:_TOP_MUTATIONS]

    def _is_liability(self, antibody: Antibody) -> bool:
        return bool(self.forbidden) and any(
            liability.kind in self.forbidden
            for liability in new_liabilities(self.parent.antibody, antibody)
        )

    def _neighbours(self, singles: list[Mutation]) -> Iterator[Candidate | None]:
        """Best variants with one more residue changed; a mutated position is changed again."""
        best = [variant for variant in self.variants[:_BEST_VARIANTS] if variant.mutations]
        if not best or not singles:
            return
        weights = _rank_weights(len(best))
        while True:
            variant = best[self.random.choice(len(best), p=weights)]
            mutation = singles[self.random.integers(len(singles))]
            kept = [other for other in variant.mutations if not _clash(other, mutation)]
            allowed = all(map(self._may_be, kept))
            mutations = _ordered([*kept, mutation]) if allowed else ()
            yield self._made(mutations, "neighbour", (variant.name,))

    def _combined(self, promising: list[Mutation], kind: str) -> Iterator[Candidate | None]:
        if len(promising) < 2 or self.most < (2 if kind == "double" else 3):
            return
        weights = _rank_weights(len(promising))
        while True:
            size = 2 if kind == "double" else int(self.random.integers(3, self.most + 1))
            # the order of exponential variables over their rates is that of a weighted draw
            # without replacement (Efraimidis & Spirakis 2006)
            order = np.argsort(self.random.exponential(size=len(weights)) / weights)
            taken: list[Mutation] = []
            for index in order:
                if not any(_clash(promising[index], other) for other in taken):
                    taken.append(promising[index])
                if len(taken) == size:
                    break
            yield self._made(_ordered(taken) if len(taken) == size else (), kind)

    def _recombined(self) -> Iterator[Candidate | None]:
        """Children of two measured variants: the first, at one to three positions the second."""
        better = [v for v in self.variants[: max(40, len(self.variants) // 4)] if v.mutations]
        if len(better) < 2:
            return
        weights = _rank_weights(len(better))
        while True:
            drawn = self.random.choice(len(better), 2, replace=False, p=weights)
            first, second = (better[index] for index in drawn)
            differing = set(first.mutations) ^ set(second.mutations)
            places = sorted(set(map(mutated_position, differing)))
            most = min(len(places), self.generation.max_changes)
            count = int(self.random.integers(1, most + 1))
            order = self.random.permutation(len(places))[:count]
            exchanged = {places[index] for index in order.tolist()}
            taken = [m for m in first.mutations if mutated_position(m) not in exchanged]
            taken += [m for m in second.mutations if mutated_position(m) in exchanged]
            mutations = _ordered(taken) if all(map(self._may_be, taken)) else ()
            new = mutations not in (first.mutations, second.mutations)
            yield self._made(mutations if new else (), "recombination", (first.name, second.name))


def candidate_name(parent: str, mutations: Sequence[Mutation]) -> str:
    """An id such as ``mab.HS31A.LY33del``, fit for FASTA headers and file names."""
    parent = re.sub(r"[^\w-]+", "_", parent)
    name = ".".join([parent, *(str(mutation).replace(":", "") for mutation in mutations)])
    if len(name) <= _LONGEST_ID:
        return name
    return f"{parent}.{len(mutations)}x{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _clash(first: Mutation, second: Mutation) -> bool:
    return _sequence_order(first) == _sequence_order(second)


def _sequence_order(mutation: Mutation) -> tuple[str, int, bool]:
    return mutation.chain, mutation.position, not mutation.before


def _ordered(mutations: Sequence[Mutation]) -> tuple[Mutation, ...]:
    return tuple(sorted(mutations, key=_sequence_order))


def _rank_weights(count: int) -> np.ndarray:
    weights = np.exp(-np.arange(count) / _RANK_SCALE)
    return weights / weights.sum()
