"""What a campaign has measured, seen from one antigen: parents, variants, the best of them."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from paratope.campaigns.campaign.parents import FAMILY_IDENTITY
from paratope.core.errors import InputError
from paratope.molecules.mutations import Mutation, mutations_between
from paratope.molecules.sequences import Antibody, Antigen, Pair

# An antibody that differs from every parent in more than this share of residues is another one.
MAX_PARENT_DISTANCE = 1.0 - FAMILY_IDENTITY
# Parents whose variants are generated; of more, those with the best measured variants.
MAX_PARENTS = 5

Molecule = tuple[tuple[str, ...], tuple[str, ...]]


@dataclasses.dataclass(frozen=True, slots=True)
class Variant:
    """A measured antibody.

    Attributes
    ----------
    name : str
    pair : Pair
    mean : float
        What the model makes of its measurements, on the model's own scale.
    parent : int
        Number of its parent in `Knowledge.parents`.
    mutations : tuple of Mutation
        Of that parent.
    """

    name: str
    pair: Pair
    mean: float
    parent: int
    mutations: tuple[Mutation, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Knowledge:
    """A campaign as the choice of its next round needs it.

    Attributes
    ----------
    antigen : Antigen
        Against which the next round is to bind.
    parents : tuple of Pair
        Parents with that antigen.
    variants : tuple of Variant
        Measured against that antigen, parents included, highest `mean` first.
    measured : frozenset
        Molecules (see `molecule`) that are never suggested again.
    notes : tuple of str
        What a user should know of the choice of parents and antigen.
    """

    antigen: Antigen
    parents: tuple[Pair, ...]
    variants: tuple[Variant, ...]
    measured: frozenset[Molecule]
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> Variant:
        """The measured variant of the highest value, noise taken into account."""
        return self.variants[0]

    def parent_name(self, number: int) -> str:
        """What to call a parent: its name, or its number."""
        return self.parents[number].antibody.name or f"parent{number + 1}"


def molecule(pair: Pair) -> Molecule:
    """What makes two pairs the same: residues, not names.

    >>> one, other = (Pair(Antibody("EVQ", None, n), Antigen(("MKV",))) for n in "ab")
    >>> molecule(one) == molecule(other)
    True
    """
    return pair.antibody.chains, pair.antigen.chains


def knowledge_of(model: Any, parent: str | None = None) -> Knowledge:
    """What a campaign model was fitted on.

    Parameters
    ----------
    model : CampaignModel
    parent : str, optional
        Name of the measured antibody or parent to mutate, whose antigen is the one to bind; by
        default the campaign's parents and its most measured antigen.

    Raises
    ------
    InputError
        If no measured antibody has the name.
    """
    campaign = model.campaign
    distinct = list({molecule(pair): pair for pair in campaign.pairs}.values())
    given = [_as_pair(one, distinct[0].antigen) for one in campaign.parents]
    notes: list[str] = []
    if parent is not None:
        chosen = [pair for pair in (*given, *distinct) if pair.antibody.name == parent]
        if not chosen:
            names = ", ".join(dict.fromkeys(one.antibody.name for one in (*given, *distinct[:5])))
            raise InputError(
                f"no parent or measured antibody is called {parent!r}; names begin {names}"
            )
        given, antigen = chosen[:1], chosen[0].antigen
    else:
        rows = Counter(pair.antigen.chains for pair in campaign.pairs)
        antigens = {pair.antigen.chains: pair.antigen for pair in distinct}
        most = max(rows, key=lambda chains: rows[chains])
        antigen = antigens[most]
        if len(rows) > 1:
            notes.append(
                f"{len(rows)} antigens were measured; suggested for the one measured most"
                f"{f' ({antigen.name})' if antigen.name else ''}; --parent names an antibody whose "
                "antigen is to be taken instead"
            )
    parents = _distinct_parents(given, antigen)
    own = [pair for pair in distinct if pair.antigen.chains == antigen.chains]
    if parent is not None:  # other antibodies' variants tell nothing about this one's mutations
        own = [pair for pair in own if nearest_parent(parents, pair.antibody)[1] is not None]
    means, _ = marginals(model, own)
    variants = []
    for pair, mean in zip(own, means.tolist(), strict=True):
        number, distance = nearest_parent(parents, pair.antibody)
        if distance is None:
            parents.append(pair)
            number = len(parents) - 1
        mutations = mutations_between(parents[number].antibody, pair.antibody)
        variants.append(Variant(pair.antibody.name, pair, mean, number, mutations))
    variants.sort(key=lambda one: -one.mean)
    measured = frozenset(molecule(pair) for pair in distinct)
    return Knowledge(antigen, tuple(parents), tuple(variants), measured, tuple(notes))


def nearest_parent(parents: Sequence[Pair], antibody: Antibody) -> tuple[int, int | None]:
    """The parent from which an antibody differs least.

    Returns
    -------
    number : int
    distance : int or None
        Residues in which they differ; None if it is another antibody than any parent.

    Examples
    --------
    >>> parents = [Pair(Antibody("EVQLVESGGG"), Antigen(("MKV",)))]
    >>> nearest_parent(parents, Antibody("EVQAVESGGG")), nearest_parent(parents, Antibody("QQQQQ"))
    ((0, 1), (0, None))
    """
    best: tuple[int, int | None] = (0, None)
    for number, parent in enumerate(parents):
        if (parent.antibody.light is None) != (antibody.light is None):
            continue
        limit = int(MAX_PARENT_DISTANCE * sum(map(len, parent.antibody.chains)))
        limit = limit if best[1] is None else min(limit, best[1] - 1)
        found = distance_between(parent.antibody, antibody, limit)
        if found is not None:
            best = number, found
    return best


def distance_between(one: Antibody, other: Antibody, limit: int) -> int | None:
    """Residues in which two antibodies differ (fewest edits); None if more than `limit`."""
    total = 0
    for left, right in zip(one.chains, other.chains, strict=True):
        total += Levenshtein.distance(left, right, score_cutoff=max(limit - total, 0))
        if total > limit:
            return None
    return total


def marginals(model: Any, pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean and standard deviation of pairs, (n,) each, on the model's own scale.

    Parameters
    ----------
    model : CampaignModel
    pairs : sequence of Pair
    """
    if not pairs:
        return np.zeros(0), np.zeros(0)
    mean, variance = model.variance(pairs)
    return np.asarray(mean, float), np.sqrt(np.maximum(np.asarray(variance, float), 0.0))


def _as_pair(parent: Pair | Antibody, antigen: Antigen) -> Pair:
    return parent if isinstance(parent, Pair) else Pair(parent, antigen)


def _distinct_parents(given: Iterable[Pair], antigen: Antigen) -> list[Pair]:
    chains = {pair.antibody.chains: Pair(pair.antibody, antigen) for pair in given}
    return list(chains.values())
