"""The applicability domain: how close a pair is to what a model was trained on.

A model's numbers mean most where it has seen relatives of both molecules. ``in``: the antigen is
known, an antibody with similar CDRs (and a light chain or none alike) was measured against it, and
no region of the antibody is missing. ``near``: an antigen of the same
cluster is known. ``out``: nothing like the antigen was seen.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pydantic

from paratope.core.errors import ModelError
from paratope.core.validation import validated
from paratope.molecules.alignment import align_chains
from paratope.molecules.numbering import cdrs, number_chain
from paratope.molecules.sequences import Antibody, Pair

Domain = Literal["in", "near", "out"]
DOMAINS: tuple[Domain, ...] = ("in", "near", "out")

# Of the shorter chain: the same protein up to mutations and species of one genus; a relative.
SAME_ANTIGEN_IDENTITY = 0.9
NEAR_ANTIGEN_IDENTITY = 0.4
MIN_COVERAGE = 0.5
# Of the longer chain, or residues, that an alignment covers before its identity counts in full: one
# domain of a large protein is the same antigen, a name or a peptide read within it is not.
WHOLE_COVERAGE, WHOLE_RESIDUES = 0.5, 100
# Of the six (VHH: three) CDRs together, 1 - edit distance / longer length.
SAME_FAMILY_IDENTITY = 0.7
MAX_KEPT_ANTIGENS = 2_000  # Asked for, whose closest ones are remembered: servers run for long
_CDR_NAMES = ("H1", "H2", "H3", "L1", "L2", "L3")
_Chain = Annotated[str, pydantic.Field(pattern="^[A-Z]+$")]
_Loop = Annotated[str, pydantic.Field(pattern="^[A-Z]*$")]


@dataclasses.dataclass(frozen=True, slots=True)
class DomainDistance:
    """How close one pair is to the training set."""

    domain: Domain  # {"in", "near", "out"}
    # To the closest training antigen chain, of the shorter one, 0 to 1; less where the alignment
    # is but a fragment of the longer one
    antigen_identity: float
    antibody_identity: float  # Of all CDRs to the closest training antibody, 0 to 1
    # antigen, antibody: index of those closest in the domain's lists; -1 for none
    antigen: int = -1
    antibody: int = -1


class ApplicabilityDomain:
    """The molecules a model was trained on, and how close others are to them.

    `antigens` are the chains of the distinct training antigens, `antibodies` the CDRs of the
    distinct training antibodies, H1 to L3 (empty where there is no light chain), and `partners`
    says by index which antibody was measured against which antigen.
    """

    def __init__(
        self,
        antigens: Sequence[tuple[str, ...]],
        antibodies: Sequence[tuple[str, ...]],
        partners: Iterable[tuple[int, int]],
    ) -> None:
        self.antigens = tuple(tuple(chains) for chains in antigens)
        self.antibodies = tuple(tuple(loops) for loops in antibodies)
        self.partners = tuple(sorted(set(partners)))
        self._texts = ["".join(loops) for loops in self.antibodies]
        self._measured_with: dict[int, set[int]] = defaultdict(set)
        for antibody, antigen in self.partners:
            self._measured_with[antigen].add(antibody)
        self._antigens_of_chain: dict[str, list[int]] = defaultdict(list)
        for index, chains in enumerate(self.antigens):
            for chain in chains:
                self._antigens_of_chain[chain].append(index)
        self._kept_antigens: dict[tuple[str, ...], tuple[float, int, frozenset[int]]] = {}

    @classmethod
    def of_pairs(cls, pairs: Iterable[Pair]) -> "ApplicabilityDomain":
        """The domain of the pairs a model is trained on; antibodies as variable domains."""
        return cls._of_molecules((cdr_loops(pair.antibody), pair.antigen.chains) for pair in pairs)

    @classmethod
    def joined(cls, parts: Sequence["ApplicabilityDomain"]) -> "ApplicabilityDomain":
        """The domain of the union of several training sets."""
        return cls._of_molecules(
            (part.antibodies[antibody], part.antigens[antigen])
            for part in parts
            for antibody, antigen in part.partners
        )

    @classmethod
    def _of_molecules(
        cls, measured: Iterable[tuple[tuple[str, ...], tuple[str, ...]]]
    ) -> "ApplicabilityDomain":
        antigens: dict[tuple[str, ...], int] = {}
        antibodies: dict[tuple[str, ...], int] = {}
        partners = [
            (antibodies.setdefault(loops, len(antibodies)), antigens.setdefault(c, len(antigens)))
            for loops, c in measured
        ]
        return cls(tuple(antigens), tuple(antibodies), partners)

    def judge(self, pairs: Sequence[Pair]) -> list[DomainDistance]:
        """Distance of every pair, in order; antibodies as variable domains."""
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import cdist

        antigens = dict.fromkeys(pair.antigen.chains for pair in pairs)
        kept = self._kept_antigens
        nearest = {chains: kept[chains] for chains in antigens if chains in kept}
        if unknown := [chains for chains in antigens if chains not in nearest]:
            nearest |= self._closest_antigens(unknown)
            newest = list((kept | nearest).items())[-MAX_KEPT_ANTIGENS:]
            self._kept_antigens = dict(newest)  # whole, as other threads may read it
        row_of: dict[str, int] = {}  # one row for variants whose loops are the same
        loops_of: dict[tuple[str, ...], tuple[int, bool]] = {}
        for pair in pairs:
            if (chains := pair.antibody.chains) not in loops_of:
                row = row_of.setdefault("".join(cdr_loops(pair.antibody)), len(row_of))
                loops_of[chains] = row, any(number_chain(chain).missing for chain in chains)
        similarity = np.zeros((len(row_of), len(self._texts)))
        if row_of and self._texts:
            queries, scorer = list(row_of), Levenshtein.normalized_similarity
            similarity = cdist(queries, self._texts, scorer=scorer, dtype=np.float32, workers=-1)
        closest_of = similarity.argmax(axis=1).tolist() if self._texts else [-1] * len(row_of)
        partners: dict[tuple[frozenset[int], bool], list[int]] = {}
        answers = []
        for pair in pairs:
            antigen_identity, antigen, same = nearest[pair.antigen.chains]
            row, is_cut_short = loops_of[pair.antibody.chains]
            to_all, antibody = similarity[row], closest_of[row]
            closest = float(to_all[antibody]) if len(to_all) else 0.0
            is_paired = pair.antibody.light is not None
            if (measured := partners.get((same, is_paired))) is None:
                measured = partners[same, is_paired] = [
                    partner
                    for known in same
                    for partner in self._measured_with[known]
                    if any(self.antibodies[partner][3:]) == is_paired
                ]
            relative = 0.0
            if measured and not is_cut_short:
                relative = float(to_all[measured].max())
            domain: Domain = "near" if antigen_identity >= NEAR_ANTIGEN_IDENTITY else "out"
            if antigen_identity >= SAME_ANTIGEN_IDENTITY and relative >= SAME_FAMILY_IDENTITY:
                domain = "in"
            identities = round(antigen_identity, 3), round(closest, 3)
            answers.append(DomainDistance(domain, *identities, antigen, antibody))
        return answers

    def _closest_antigens(
        self, molecules: Sequence[tuple[str, ...]]
    ) -> dict[tuple[str, ...], tuple[float, int, frozenset[int]]]:
        known = self._antigens_of_chain
        best: dict[str, tuple[float, int, set[int]]] = {
            chain: (1.0, known[chain][0], set(known[chain])) if chain in known else (0.0, -1, set())
            for chains in molecules
            for chain in chains
        }
        new, chains = [chain for chain in best if chain not in known], list(known)
        if new and chains:
            hits = align_chains(new, chains)
            strong = hits.related & (hits.coverage >= MIN_COVERAGE)
            first, second = hits.first[strong], hits.second[strong]
            sizes = np.array([len(chain) for chain in new])[first]
            known_sizes = np.array([len(chain) for chain in chains])[second]
            aligned = hits.coverage[strong] * np.minimum(sizes, known_sizes)
            whole = np.minimum(WHOLE_RESIDUES, WHOLE_COVERAGE * np.maximum(sizes, known_sizes))
            identities = hits.identity[strong] * np.minimum(1.0, aligned / whole)
            order = zip(first, second, identities, strict=True)
            for query, target, identity in order:
                highest, closest, same = best[new[query]]
                if identity >= SAME_ANTIGEN_IDENTITY:
                    same |= set(known[chains[target]])
                if identity > highest:
                    highest, closest = float(identity), known[chains[target]][0]
                best[new[query]] = highest, closest, same
        answers = {}
        for molecule in molecules:
            identity, closest, _ = max((best[chain] for chain in molecule), key=lambda hit: hit[0])
            same = frozenset().union(*(best[chain][2] for chain in molecule))
            answers[molecule] = (identity, closest, same)
        return answers

    def to_json(self) -> dict[str, Any]:
        """As plain lists, for the bundle's ``familiarity.json``."""
        return {
            "cdrs": list(_CDR_NAMES),
            "antigens": [list(chains) for chains in self.antigens],
            "antibodies": [list(loops) for loops in self.antibodies],
            "partners": [list(pair) for pair in self.partners],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ApplicabilityDomain":
        """The inverse of `to_json`; raises `ModelError` if something is missing or out of range."""
        saved = validated(_Saved, data, "familiarity.json", ModelError)
        most = len(saved.antibodies), len(saved.antigens)
        if any(not (0 <= a < most[0] and 0 <= b < most[1]) for a, b in saved.partners):
            raise ModelError("familiarity.json: partners name molecules that it does not list")
        return cls(saved.antigens, saved.antibodies, saved.partners)


class _Saved(pydantic.BaseModel):
    antigens: Annotated[list[tuple[_Chain, ...]], pydantic.FailFast()]
    antibodies: Annotated[list[tuple[_Loop, ...]], pydantic.FailFast()]
    partners: Annotated[list[tuple[int, int]], pydantic.FailFast()]


def cdr_loops(antibody: Antibody) -> tuple[str, ...]:
    """CDRs of an antibody, H1 to L3; empty where there is no light chain."""
    loops = cdrs(antibody)
    return tuple(loops.get(name, "") for name in _CDR_NAMES)
