"""Variants as arrays that kernels compare: substitutions, aligned residues, embeddings, sums."""

import dataclasses
import functools
import weakref
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from paratope.campaigns.kernels.variants import (
    GAP,
    NO_REGION,
    Aligner,
    ParentSites,
    SiteSubstitution,
    antibody_chains,
    numbered,
)
from paratope.encoders.likelihood import LanguageModel
from paratope.encoders.residue import residue_table
from paratope.molecules.sequences import Pair

# Dimensions that are kept of a site's embedding: a fixed random projection keeps the distances of
# whole chains to a few per cent (Johnson & Lindenstrauss 1984), at an eighth of the size.
PROJECTED = 64
# Added to positions of a light chain, and so on: sites of different chains are no neighbours.
CHAIN_GAP = 1000.0
# Substitutions whose description is kept; chains of one language model, at some 32 kB each.
_REMEMBERED, _REMEMBERED_CHAINS = 50_000, 16_384


@dataclasses.dataclass(frozen=True)
class SubstitutionTable:
    """The distinct substitutions of some variants, u of them."""

    key: np.ndarray  # (u,) site, without the parent: the same IMGT site of two parents is one
    parent: np.ndarray  # (u,)
    position: np.ndarray  # (u,) along all chains, far apart between chains
    # before, after, region: (u,)
    before: np.ndarray
    after: np.ndarray
    region: np.ndarray
    of_antigen: np.ndarray  # (u,)
    # (u, dim) of the parent's residue in its context; zeros without a language model
    embedding: np.ndarray
    profile: np.ndarray  # (u, 20) probability of each residue there; zeros without
    # (u, 3) log-odds of the new residue, entropy of the site, log-probability of the parent's
    # residue
    likelihood: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """Arrays of n variants."""

    changes: SubstitutionTable
    # row, column: Which variant has which substitution of the table
    row: np.ndarray
    column: np.ndarray
    # parent, antigen: (n,) the antigen is -1 where it is not the campaign's
    parent: np.ndarray
    antigen: np.ndarray
    assay: np.ndarray  # (n,) in which they are measured
    residues: np.ndarray  # (n, sites) at the IMGT sites of all parents
    delta: np.ndarray  # Embedding minus the parent's at each antibody site, projected
    # Mean of `delta` over the sites of each region of each chain; no columns without a language
    # model
    regional: np.ndarray
    mean: np.ndarray  # Mean embedding of heavy and light chain
    prior: np.ndarray  # (n,) the general model's pKd; zeros without one

    def __len__(self) -> int:
        return len(self.parent)

    @functools.cached_property
    def has(self) -> Any:
        """(n, u) sparse matrix: 1 where a variant has a substitution."""
        from scipy.sparse import csr_array

        shape = len(self), len(self.changes.after)
        return csr_array((np.ones(len(self.row)), (self.row, self.column)), shape=shape)

    @functools.cached_property
    def physics(self) -> np.ndarray:
        """Sum of the physico-chemical changes of each variant, (n, descriptors)."""
        table = residue_descriptors()
        return self.totals(table[self.changes.after] - table[self.changes.before])

    @functools.cached_property
    def log_odds(self) -> np.ndarray:
        """Sum of the log-odds of the new residues, (n, 1)."""
        return self.totals(self.changes.likelihood[:, :1])

    @property
    def general_model(self) -> np.ndarray:
        """The general model's pKd, (n, 1)."""
        return self.prior[:, None]

    @functools.cached_property
    def remembered(self) -> dict[Any, np.ndarray]:
        """Squared lengths that kernels have computed of these variants."""
        return {}

    def summed(self, between: np.ndarray, other: "Features") -> np.ndarray:
        """``Z B Z'ᵀ``: sum over both variants' substitutions of values `between` two, (n, n')."""
        return (other.has @ (self.has @ between).T).T

    def summed_diagonal(self, between: np.ndarray) -> np.ndarray:
        """The diagonal of `summed` with themselves, (n,)."""
        return np.asarray(self.has.multiply(self.has @ between).sum(1)).ravel()

    def totals(self, values: np.ndarray) -> np.ndarray:
        """Sum over each variant's substitutions of a value of each, (n, …)."""
        return np.asarray(self.has @ values)

    def take(self, rows: np.ndarray) -> "Features":
        """Features of some variants, rows increasing."""
        if len(rows) == len(self):
            return self
        keep = np.isin(self.row, rows)
        names = "parent antigen assay residues delta regional mean prior".split()
        return dataclasses.replace(
            self,
            row=np.searchsorted(rows, self.row[keep]),
            column=self.column[keep],
            **{name: getattr(self, name)[rows] for name in names},
        )


class Featuriser:
    """Makes `Features` of pairs, in the frame of a campaign's parents, their sites and antigens."""

    def __init__(
        self,
        parents: Sequence[Pair],
        sites: Sequence[ParentSites],
        antigens: Sequence[tuple[str, ...]],
    ) -> None:
        self.parent_sites, self.antigens = tuple(sites), tuple(antigens)
        self.aligner = Aligner(parents, sites)
        self.sites = self.aligner.sites
        self.roles = ("H", "L") if any(site.role == "L" for site in self.sites) else ("H",)
        self.dim = next((len(row) for parent in sites for row in parent.embedding.values()), 0)
        shape = len(sites), len(self.sites), PROJECTED * bool(self.dim)
        self._parent_rows = np.zeros(shape, np.float32)
        columns = {site: column for column, site in enumerate(self.sites)}
        for rows, parent in zip(self._parent_rows, sites, strict=True):
            for role in self.roles:
                inside = [site for site in parent.embedding if site.role == role]
                if inside:  # the product that `chain_summaries` takes: the same chain differs by 0
                    whole = np.stack([parent.embedding[site] for site in inside])
                    rows[[columns[site] for site in inside]] = whole @ _projection(self.dim)
        self._describe = functools.lru_cache(_REMEMBERED)(self._description)
        regions: dict[tuple[str, int], list[int]] = {}
        for column, site in enumerate(self.sites):
            region = next(parent.region[site] for parent in sites if site in parent.region)
            regions.setdefault((site.role, region), []).append(column)
        self._regions = [np.array(inside) for _, inside in sorted(regions.items())]

    def features(
        self,
        pairs: Sequence[Pair],
        language: LanguageModel | None,
        prior_pkd: np.ndarray | None = None,
        assay: np.ndarray | int = 0,
        embedded: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Features:
        """Features of pairs; embeddings are asked of the language model, or known.

        `embedded` are `Features.delta` and `Features.mean` as half-precision numbers.
        """
        aligned, count = self.aligner.align(pairs), len(pairs)
        delta, mean = embedded or self._embed(pairs, aligned.parent, language)
        delta = delta.astype(np.float32)
        by_site = delta.reshape(count, len(self.sites), delta.shape[1] // len(self.sites))
        index = {chains: antigen for antigen, chains in enumerate(self.antigens)}
        return Features(
            changes=self.described(aligned.substitutions),
            row=aligned.row,
            column=aligned.column,
            parent=aligned.parent,
            antigen=np.array([index.get(chains, -1) for chains in aligned.antigen], int),
            assay=np.broadcast_to(np.asarray(assay, int), (count,)),
            residues=aligned.residues,
            delta=delta,
            regional=np.stack([by_site[:, inside].mean(1) for inside in self._regions], 1),
            mean=mean.astype(np.float32),
            prior=np.zeros(count) if prior_pkd is None else np.asarray(prior_pkd, float),
        )

    def described(self, substitutions: Sequence[SiteSubstitution]) -> SubstitutionTable:
        """What is known of substitutions, in their order."""
        known = [self._describe(change) for change in substitutions]
        return SubstitutionTable(
            key=np.array([change.site.key for change in substitutions], dtype=np.str_),
            parent=np.array([change.parent for change in substitutions], int),
            position=np.array([description.position for description in known], float),
            before=np.array([change.before for change in substitutions], int),
            after=np.array([change.after for change in substitutions], int),
            region=np.array([description.region for description in known], int),
            of_antigen=np.array([change.site.of_antigen for change in substitutions], bool),
            embedding=np.array(
                [description.embedding for description in known], np.float32
            ).reshape(len(known), self.dim),
            profile=np.array([description.profile for description in known], float).reshape(-1, 20),
            likelihood=np.array([description.likelihood for description in known], float).reshape(
                -1, 3
            ),
        )

    def _description(self, substitution: SiteSubstitution) -> "_Description":
        site, parent = substitution.site, self.parent_sites[substitution.parent]
        embedding, profile, likelihood = np.zeros(self.dim, np.float32), np.zeros(20), np.zeros(3)
        if site.of_antigen:
            chain, region = 2 + int(site.role[1:]), NO_REGION
        else:
            near = site
            if site not in parent.residues:  # its closest one
                same = [other for other in parent.residues if other.role == site.role]
                distance = [
                    abs(other.position - site.position) for other in same or parent.residues
                ]
                near = (same or list(parent.residues))[int(np.argmin(distance))]
            chain, region = "HL".index(site.role), parent.region[near]
            if near in parent.embedding:
                table = parent.log_probability[near]
                embedding, profile = parent.embedding[near], np.exp(table)
                likelihood = _likelihood(table, substitution.before, substitution.after)
        position = site.position + CHAIN_GAP * chain
        return _Description(position, region, embedding, profile, likelihood)

    def _embed(
        self, pairs: Sequence[Pair], parent: np.ndarray, language: LanguageModel | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings minus the parent's, (n, sites, PROJECTED), and means, (n, …)."""
        delta = np.zeros((len(pairs), len(self.sites), PROJECTED * bool(self.dim)), np.float16)
        mean = np.zeros((len(pairs), len(self.roles) * self.dim), np.float16)
        if not self.dim or language is None:
            return delta.reshape(len(pairs), -1), mean
        rows: dict[tuple[str, str, int], list[int]] = {}
        for row, (pair, nearest) in enumerate(zip(pairs, parent.tolist(), strict=True)):
            for role, chain in antibody_chains(pair):
                if role in self.roles:
                    rows.setdefault((role, chain, nearest), []).append(row)
        summaries = chain_summaries(language, (chain for _, chain, _ in rows))
        for (role, chain, nearest), members in rows.items():
            summary = summaries[chain]
            columns = self.aligner.columns(role, numbered(chain).labels)
            inside = columns >= 0
            columns, projected = columns[inside], summary.projected[inside]
            theirs = self._parent_rows[nearest][columns]
            both = (projected != 0).any(1) & (theirs != 0).any(1)
            moved = np.where(both[:, None], projected - theirs, 0.0)
            delta[np.array(members)[:, None], columns] = moved.astype(np.float16)
            start = self.roles.index(role) * self.dim
            mean[members, start : start + self.dim] = summary.mean
        return delta.reshape(len(pairs), -1), mean


class _Description(NamedTuple):
    """What is known of one substitution; see `SubstitutionTable`."""

    position: float
    region: int
    embedding: np.ndarray
    profile: np.ndarray
    likelihood: np.ndarray


class ChainSummary(NamedTuple):
    """A variable domain's embedding: residues projected, (residues, PROJECTED); mean, (dim,)."""

    projected: np.ndarray
    mean: np.ndarray


# A campaign is refitted for its report, and a pool is asked about more than once: each chain's
# embedding is read and projected once for as long as its language model is used.
_summaries: "weakref.WeakKeyDictionary[LanguageModel, dict[str, ChainSummary]]" = (
    weakref.WeakKeyDictionary()
)


def chain_summaries(language: LanguageModel, chains: Iterable[str]) -> dict[str, ChainSummary]:
    """Of each distinct chain; the language model is asked for those not remembered."""
    remembered = _summaries.setdefault(language, {})
    wanted = dict.fromkeys(chains)
    summaries = {chain: remembered[chain] for chain in wanted if chain in remembered}
    new = [chain for chain in wanted if chain not in summaries]
    if len(remembered) + len(new) > _REMEMBERED_CHAINS:
        remembered.clear()
    for chain, embedding in zip(new, language.embeddings(new) if new else (), strict=True):
        domain = numbered(chain)
        rows = embedding[domain.start : domain.end]
        summaries[chain] = ChainSummary(rows @ _projection(rows.shape[1]), rows.mean(0))
        if len(remembered) < _REMEMBERED_CHAINS:
            remembered[chain] = summaries[chain]
    return summaries


@functools.cache
def _projection(dim: int) -> np.ndarray:
    """(dim, PROJECTED) orthogonal columns, scaled so that squared lengths are kept on average."""
    random = np.random.default_rng(0).normal(size=(dim, PROJECTED))
    return (np.linalg.qr(random)[0] * np.sqrt(dim / PROJECTED)).astype(np.float32)


@functools.cache
def residue_descriptors() -> np.ndarray:
    """BLOSUM62 rows and physico-chemical descriptors of the 20 residues and of a gap, (21, 31)."""
    return residue_table()[:, 20:].astype(np.float64)


def single_substitutions(sites: ParentSites) -> np.ndarray:
    """Likelihood features of every single substitution of a parent's antibody, (changes, 3)."""
    rows = [
        _likelihood(table, sites.residues[site], after)
        for site, table in sites.log_probability.items()
        for after in range(GAP)
        if after != sites.residues[site]
    ]
    return np.array(rows).reshape(-1, 3)


def _likelihood(table: np.ndarray, before: int, after: int) -> np.ndarray:
    old = float(table[before]) if before < GAP else float(table.mean())
    new = float(table[after]) if after < GAP else float(table.mean())
    return np.array([new - old, -float((np.exp(table) * table).sum()), old])
