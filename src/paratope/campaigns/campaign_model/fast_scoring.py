"""Posterior means of a campaign model's fast form, for millions of variants.

``mean(x) = m + sum_c e(c) + sum_t w_t / s_t sum_j k_t(x, x_j) a_j`` over the variant's changes c,
the terms t that are no sums over changes, and the training variants j. The effects e(c) of all
additive terms are one number a change; within the exponential of the others, all is a sum over
changes, too, so that a block of variants costs a sparse product and exponentials a term. Centring
(see `KernelCenterer`) is linear, so it is done once, to the weights a of the training variants.

A variant of its parent's length is compared with it byte by byte and never numbered.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from paratope.campaigns.campaign_model.model import SAME_ANTIBODY, CampaignModel
from paratope.campaigns.kernels.features import residue_descriptors
from paratope.campaigns.kernels.terms import (
    ADDITIVE,
    KERNELS,
    WITHIN_ANTIGEN,
    Comparison,
    residue_similarity,
    summed_diagonal,
)
from paratope.campaigns.kernels.variants import (
    GAP,
    OTHER_ANTIGEN,
    Site,
    SiteSubstitution,
    antibody_chains,
    antigen_mutations,
    numbered,
)
from paratope.core.errors import ModelError
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair

# Variants whose covariances with the training ones are in memory at once.
_BLOCK = 4096
# Sites at which every antibody has one residue, from which numbering begins: a variant that lacks
# two of them is numbered. (Of 6,000 variants with up to eight changes, 828 of which lack one, every
# one had the numbers of its parent.)
_ANCHORS = frozenset(f"{role}{number}" for role in "HL" for number in (23, 41, 104, 118))
_UNREADABLE = 255
# Kernel of substitutions, its factor of the sites (the other is `residue_similarity`), its scale
_SATURATING = {
    "saturating_substitution": ("same_site_substitution", "same_site", "additive"),
    "saturating_site_context": ("site_context_substitution", "site_context", "by_site"),
}
_RESIDUES = GAP + 1
_CONSTANT = ("parent", "assay", "antigen")
Chains = tuple[str, str | None]


class FastScores(NamedTuple):
    """Of n variants, in one assay against one antigen."""

    mean: np.ndarray  # (n,) latent
    domain: np.ndarray  # (n,) as `LatentPrediction`


class _Changes(NamedTuple):
    """Which of n variants has which change of the scorer's table, by rows."""

    parent: np.ndarray  # (n,)
    row: np.ndarray
    column: np.ndarray


class FastScorer:
    """Scores antibodies by the fast form of a campaign's model, against one antigen.

    Raises `ModelError` for a model with terms that must encode a variant.
    """

    terms = frozenset(
        {*ADDITIVE, *WITHIN_ANTIGEN, *_SATURATING, *_CONSTANT}
        | {"total_likelihood", "residues", "physics"}
    )

    def __init__(self, model: CampaignModel, antigen: Antigen, assay: int = 0) -> None:
        self._model, self._kernel, self._train = model, model.kernel, model.train
        scales, train, kernel = model.trained.scales, model.train, model.kernel
        self._share = {
            name: model.weights[name] / centerer.scale
            for name, centerer in kernel.centerers.items()
        }
        if unknown := self._share.keys() - self.terms:
            raise ModelError(f"terms that must encode variants: {', '.join(sorted(unknown))}")
        reading = model.antigens.read([antigen])[0]
        self._other_antigen, self._replaced = reading.antigen is None, reading.replaced
        self._antigen = reading.antigen or antigen
        featuriser = model.featuriser
        parents = [Pair(parent.antibody, self._antigen) for parent in model.parents]
        itself = featuriser.aligner.align(parents)
        self._of_antigen, self._antigen_cost = self._against_antigen()
        alpha, count = model.process.alpha, len(train)
        reference = np.ones(count, bool) if kernel.reference is None else kernel.reference
        self._weights = alpha - alpha.sum() * reference / reference.sum()
        # a constant of each parent: centring, and the terms that compare no changes
        offset = kernel.mean * alpha.sum() - kernel.column_mean @ alpha
        self._base = np.full(len(parents), offset)
        constants: dict[str, Any] = {
            "assay": train.assay == assay,
            "parent": np.arange(len(parents))[:, None] == train.parent,
            "antigen": self._same_antigen(),
        }
        for name, same in constants.items():
            if name in self._share:
                self._base += self._share[name] * (np.asarray(same, float) @ self._weights)
        # products: what is within the exponential, of a variant without changes and of each change
        changed = train.changes.of_antigen.astype(float)
        apart = (itself.residues[:, None] != train.residues).sum(2)
        self._apart = apart + train.totals(changed)
        self._lengths = {
            name: summed_diagonal(KERNELS[kernel_name], train, scales)
            for name, (kernel_name, *_) in _SATURATING.items()
        }
        # The table: `_RESIDUES` columns for each changed site of each parent
        self._sites: dict[tuple[int, Site, int], int] = {}
        width = np.zeros((0, count), np.float32)
        self._products = {
            n: width for n in (*_SATURATING, "residues", "physics") if n in self._share
        }
        self._between_sites = {n: np.zeros((0, 0)) for n in self._products if n in _SATURATING}
        self._effect, self._unseen = np.zeros(0), np.zeros(0, bool)
        self._elsewhere = np.zeros((0, 2))  # What changes add to the sums of the prior mean
        self._moved = np.zeros((0, train.physics.shape[1]))
        self._of_chains = np.zeros(0, bool)
        self._frames = self._parent_frames()

    def score(self, antibodies: Sequence[Chains]) -> FastScores:
        """Scores of antibodies as their variable domains, heavy and light.

        Chains are taken as `paratope.molecules.numbering.prepare_antibody` gives them, or as long
        as a parent's.
        """
        mean, domain = np.zeros(len(antibodies)), np.full(len(antibodies), "out", "<U4")
        same, rest = self.by_length(antibodies)
        for rows, changes in same:
            mean[rows], domain[rows] = self._scored(changes, np.zeros(len(rows), bool))
        for start in range(0, len(rest), _BLOCK):
            rows = rest[start : start + _BLOCK]
            pairs = [Pair(Antibody(*antibodies[row]), self._antigen) for row in rows.tolist()]
            aligned = self._model.featuriser.aligner.align(pairs)
            columns = np.array([self._column(each) for each in aligned.substitutions], int)
            self._describe()
            single = np.array([pair.antibody.light is None for pair in pairs])
            parents = [parent.antibody.light is None for parent in self._model.parents]
            other = single != np.array(parents)[aligned.parent]
            changes = _Changes(aligned.parent, aligned.row, columns[aligned.column])
            mean[rows], domain[rows] = self._scored(changes, other)
        return FastScores(mean, domain)

    def by_length(
        self, antibodies: Sequence[Chains]
    ) -> tuple[list[tuple[np.ndarray, _Changes]], np.ndarray]:
        """Rows of a parent's lengths with their changes, and the other rows, which need numbers."""
        lengths: dict[tuple[int, int], list[int]] = {}
        for row, (heavy, light) in enumerate(antibodies):
            lengths.setdefault((len(heavy), -1 if light is None else len(light)), []).append(row)
        same, rest = [], [np.zeros(0, int)]
        for shape, members in lengths.items():
            frames = [frame for frame in self._frames if frame.shape == shape]
            rows = np.array(members)
            if not frames:
                rest.append(rows)
                continue
            text = "".join(
                antibodies[row][0] + (antibodies[row][1] or "") for row in members
            ).encode("latin-1", "replace")
            residues = _CODES[np.frombuffer(text, np.uint8)].reshape(len(rows), -1)
            readable, changes = self._compared(residues, frames)
            rest.append(rows[~readable])
            same.append((rows[readable], changes))
        return same, np.sort(np.concatenate(rest))

    def _compared(
        self, residues: np.ndarray, frames: list["_Frame"]
    ) -> tuple[np.ndarray, _Changes]:
        """Which rows, (n,), are surely variants of a parent of their length; and their changes."""
        counts = np.stack([(residues != frame.residues).sum(1) for frame in frames])
        cost = counts + np.array([[self._antigen_cost[frame.parent]] for frame in frames])
        best = cost.argmin(0)
        nearest = counts[best, np.arange(len(residues))]
        limit = np.array([(1 - SAME_ANTIBODY) * len(frame.sites) for frame in frames])
        readable = (nearest <= limit[best]) & (residues != _UNREADABLE).all(1)
        for index, frame in enumerate(frames):
            mine = readable & (best == index)
            broken = residues[:, frame.anchors] != frame.residues[frame.anchors]
            readable &= ~(mine & (broken.sum(1) > 1))
            # farther than half of the way to a parent of another length: is that one nearer?
            doubted = np.flatnonzero(mine & (nearest > frame.alone))
            rows = np.full((len(doubted), self._parent_rows.shape[1]), GAP)
            rows[:, frame.places] = residues[doubted]
            for other in frame.others if len(doubted) else ():
                theirs = (rows != self._parent_rows[other]).sum(1) + self._antigen_cost[other]
                own = cost[index, doubted]
                readable[doubted[(theirs < own) | ((theirs == own) & (other < frame.parent))]] = (
                    False
                )
        kept = np.flatnonzero(readable)
        parts = []
        for index, frame in enumerate(frames):
            members = np.flatnonzero(best[kept] == index)
            inside = residues[kept[members]]
            row, position = np.nonzero(inside != frame.residues)
            after = inside[row, position]
            for at in np.unique(position[frame.site[position] < 0]).tolist():
                before = int(frame.residues[at])
                frame.site[at] = self._site(frame.parent, frame.sites[at], before)
            every = [self._column(each) for each in self._of_antigen[frame.parent]]
            row = np.concatenate([members[row], np.repeat(members, len(every))])
            column = np.concatenate(
                [frame.site[position] * _RESIDUES + after, np.tile(every, len(members))]
            )
            parts.append((row, column.astype(int)))
        self._describe()
        row, column = (np.concatenate(part) for part in zip(*parts, strict=True))
        order = np.argsort(row, kind="stable")
        parent = np.array([frame.parent for frame in frames])[best[kept]]
        return readable, _Changes(parent, row[order], column[order])

    def _scored(self, changes: _Changes, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means and domains; `other` are rows of another format than their parent's."""
        count = len(changes.parent)
        starts = np.searchsorted(changes.row, np.arange(count + 1))
        mean = self._base[changes.parent]
        mean += np.bincount(changes.row, self._effect[changes.column], count)
        changed = np.bincount(changes.row, self._of_chains[changes.column], count)
        if (elsewhere := self._model.trained.elsewhere) is not None:
            each = self._elsewhere[changes.column].T
            sums = [np.bincount(changes.row, values, count) for values in each]
            mean += elsewhere.of_sums(np.stack(sums, 1), changed)
        for first in range(0, count, _BLOCK):
            last = min(first + _BLOCK, count)
            inside = slice(starts[first], starts[last])
            row, column = changes.row[inside] - first, changes.column[inside]
            mean[first:last] += self._of_products(changes.parent[first:last], row, column)
        unseen = np.bincount(changes.row, self._unseen[changes.column], count) > 0
        near = unseen | self._replaced
        domain = np.where(near, "near", "in").astype("<U4")
        out = other | (changed > (1 - SAME_ANTIBODY) * max(len(self._model.featuriser.sites), 1))
        out |= self._other_antigen
        domain[out] = "out"
        return np.where(out, 0.0, mean), domain

    def _of_products(self, parent: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Part in the means of the terms that are no sums over changes, of some variants."""
        from scipy.sparse import csr_array

        scales, count, train = self._model.trained.scales, len(parent), self._train
        shape = count, len(self._effect)
        # entries as they are, by site: sums are the same, to the last bit, in whatever order the
        # sites came into the table
        ends = np.searchsorted(row, np.arange(count + 1))
        has = csr_array((np.ones(len(row), np.float32), column, ends), shape=shape)
        total = np.zeros(count)
        weights = self._weights.astype(np.float32)
        left, right = _pairs(row, count)
        site, after = np.divmod(column, _RESIDUES)
        sites, alike = (site[left], site[right]), residue_similarity()[after[left], after[right]]
        for name, product in self._products.items():
            exponent = has @ product
            if name in _SATURATING:
                own = np.bincount(row[left], alike * self._between_sites[name][sites], count)
                scale = 2 * getattr(scales, _SATURATING[name][2])
                exponent -= (own[:, None] / scale).astype(np.float32)
                exponent -= (self._lengths[name] / scale).astype(np.float32)
            elif name == "physics":
                own = np.asarray(has @ self._moved)
                exponent -= (np.einsum("ij,ij->i", own, own)[:, None] / scales.physics).astype(
                    np.float32
                )
                lengths = np.einsum("ij,ij->i", train.physics, train.physics)
                exponent -= (lengths / scales.physics).astype(np.float32)
            else:
                exponent -= (self._apart / scales.hamming).astype(np.float32)[parent]
            np.minimum(exponent, 0, out=exponent)
            np.exp(exponent, out=exponent)
            total += self._share[name] * (exponent @ weights)
        return total

    def _site(self, parent: int, site: Site, before: int) -> int:
        """A changed site's place in the table; `_describe` follows before it is used."""
        return self._sites.setdefault((parent, site, before), len(self._sites))

    def _column(self, change: SiteSubstitution) -> int:
        return self._site(*change[:3]) * _RESIDUES + change.after

    def _describe(self) -> None:
        """Effects and products of the changes of the sites that are new in the table.

        Site by site, so that a change has the same numbers, to the last bit, in whatever order the
        sites come.
        """
        known = len(self._effect) // _RESIDUES
        new = list(self._sites)[known:]
        if not new:
            return
        parts = [self._described(each) for each in new]
        columns = zip(*(effect for effect, _ in parts), strict=True)
        old = self._effect, self._unseen, self._of_chains, self._moved, self._elsewhere
        self._effect, self._unseen, self._of_chains, self._moved, self._elsewhere = (
            np.concatenate([before, *more]) for before, more in zip(old, columns, strict=True)
        )
        for name, product in self._products.items():
            self._products[name] = np.concatenate([product, *(of[name] for _, of in parts)])
        some = [SiteSubstitution(*each, after=0) for each in self._sites]
        table, scales = self._model.featuriser.described(some), self._model.trained.scales
        for name, before in self._between_sites.items():
            between = np.empty((len(some), len(some)))
            between[:known, :known] = before
            for row in range(known, len(some)):
                one = self._model.featuriser.described(some[row : row + 1])
                values = getattr(Comparison(one, table, scales), _SATURATING[name][1])[0]
                between[row] = between[:, row] = values
            self._between_sites[name] = between

    def _described(
        self, site: tuple[int, Site, int]
    ) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
        """Effect of each change of a site, whether unseen, in a chain, descriptors, sums; products.

        The sums are those of the prior mean.
        """
        model, train, scales = self._model, self._train, self._model.trained.scales
        changes = [SiteSubstitution(*site, after) for after in range(_RESIDUES)]
        table = model.featuriser.described(changes)
        both = Comparison(table, train.changes, scales)
        has, weights = train.has, self._weights
        effect = self._kernel.of_substitutions(both) @ (has.T @ weights)
        for name in WITHIN_ANTIGEN:
            if name in self._share:
                summed = (has @ KERNELS[name.removeprefix("antigen_")](both).T).T
                same = self._same_antigen()[site[0]]
                effect += self._share[name] * ((summed * same) @ weights)
        if "total_likelihood" in self._share:
            pull = float(train.log_odds[:, 0] @ weights)
            effect += self._share["total_likelihood"] * pull * table.likelihood[:, 0]
        unseen = ~np.isin(table.key, list(model.changed_sites))
        descriptors = residue_descriptors()
        moved = descriptors[table.after] - descriptors[table.before]
        products = {}
        for name in self._products:
            if name in _SATURATING:
                kernel, _, scale = _SATURATING[name]
                values = (has @ KERNELS[kernel](both).T).T / getattr(scales, scale)
            elif name == "physics":
                values = 2 * (moved @ train.physics.T) / scales.physics
            else:
                values = -self._moved_apart(changes, both) / scales.hamming
            products[name] = values.astype(np.float32)
        elsewhere = model.trained.elsewhere
        sums = np.zeros((len(changes), 2)) if elsewhere is None else elsewhere.of_changes(table)
        return (effect, unseen, ~table.of_antigen, moved, sums), products

    def _moved_apart(self, new: Sequence[SiteSubstitution], both: Comparison) -> np.ndarray:
        """How many residues more each change is away from each training variant, (u, n)."""
        column = {site: index for index, site in enumerate(self._model.featuriser.sites)}
        shared = both.same_site * (both.a.after[:, None] == both.b.after[None])
        shared = (self._train.has @ (shared * both.b.of_antigen).T).T
        apart = np.zeros((len(new), len(self._train)))
        for row, change in enumerate(new):
            if change.site.of_antigen:
                apart[row] = 1 - 2 * shared[row]
            elif change.site in column:
                theirs = self._train.residues[:, column[change.site]]
                apart[row] = (theirs != change.after) * 1.0 - (theirs != change.before)
        return apart

    def _against_antigen(self) -> tuple[list[list[SiteSubstitution]], list[int]]:
        """Changes of the antigen against each parent's, and what they cost in its choice."""
        changes, cost = [], []
        for index, parent in enumerate(self._model.parents):
            mutations = antigen_mutations(parent.antigen.chains, self._antigen.chains)
            changes.append([SiteSubstitution(index, *each) for each in mutations or ()])
            cost.append(OTHER_ANTIGEN if mutations is None else len(mutations))
        return changes, cost

    def _same_antigen(self) -> np.ndarray:
        """Whether training variants have the antigen that a parent's variant has, (parents, n)."""
        known = {chains: index for index, chains in enumerate(self._model.featuriser.antigens)}
        own = []
        for index, parent in enumerate(self._model.parents):
            of_parent = parent.antigen.chains if self._of_antigen[index] else self._antigen.chains
            own.append(known.get(of_parent, -1))
        theirs = self._train.antigen
        return (np.array(own)[:, None] == theirs) & (theirs >= 0)

    def _parent_frames(self) -> list["_Frame"]:
        """Parents of which variants are known by their length."""
        aligner = self._model.featuriser.aligner
        rows = self._parent_rows = aligner.align(self._model.parents).residues
        places = {site: place for place, site in enumerate(aligner.sites)}
        frames = []
        for index, parent in enumerate(self._model.parents):
            sites, residues, whole = [], [], True
            for role, chain in antibody_chains(parent):
                domain = numbered(chain)
                whole &= (domain.start, domain.end) == (0, len(chain))
                sites += [Site(role, label) for label in domain.labels]
                residues += domain.residues
            shape = _shape(parent)
            if not whole or any(site.label.startswith("n") for site in sites):
                continue
            cost = self._antigen_cost
            others = [
                other
                for other, each in enumerate(self._model.parents)
                if _shape(each) != shape and (each.antibody.light is None) == (shape[1] < 0)
            ]
            way = [(rows[index] != rows[each]).sum() + cost[each] - cost[index] for each in others]
            alone = (int(min(way, default=10**6)) - 1) // 2
            anchors = np.array([i for i, site in enumerate(sites) if site.key in _ANCHORS], int)
            site = np.full(len(sites), -1)
            place = np.array([places[site] for site in sites])
            known = tuple(sites), np.array(residues, np.uint8), place
            frames.append(_Frame(index, shape, *known, others, alone, anchors, site))
        return frames


def _shape(pair: Pair) -> tuple[int, int]:
    """Lengths of its antibody's chains, -1 for none."""
    antibody = pair.antibody
    return len(antibody.heavy), -1 if antibody.light is None else len(antibody.light)


class _Frame(NamedTuple):
    """A parent's residues, with which variants of its lengths are compared."""

    parent: int
    shape: tuple[int, int]  # Lengths of its chains, -1 for none
    sites: tuple[Site, ...]
    residues: np.ndarray  # (sites,) index into `AMINO_ACIDS`
    places: np.ndarray  # Of its sites among those of all parents
    others: list[int]  # Parents of other lengths
    alone: int  # Changes up to which none of these is nearer
    anchors: np.ndarray  # Of sites that numbering begins from
    site: np.ndarray  # (sites,) place in the scorer's table, -1 if it is not there


def _pairs(row: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of all ordered pairs of entries of one row; `row` increases.

    >>> _pairs(np.array([0, 2, 2]), 3)
    (array([0, 1, 1, 2, 2]), array([0, 1, 2, 1, 2]))
    """
    sizes = np.bincount(row, minlength=count)
    of_entry = sizes[row]
    left = np.repeat(np.arange(len(row)), of_entry)
    first = (np.cumsum(sizes) - sizes)[row]
    within = np.arange(len(left)) - np.repeat(np.cumsum(of_entry) - of_entry, of_entry)
    return left, np.repeat(first, of_entry) + within


_CODES = np.full(256, _UNREADABLE, np.uint8)
_CODES[[ord(letter) for letter in AMINO_ACIDS]] = np.arange(len(AMINO_ACIDS))
_CODES[ord("X")] = GAP
