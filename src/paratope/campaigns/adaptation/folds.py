"""Which rows of a campaign are held out together: at random, by mutation, by position."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from paratope.campaigns.campaign import Campaign
from paratope.core.errors import InputError
from paratope.molecules.mutations import mutations_between
from paratope.molecules.sequences import Antibody, Pair

Kind = Literal["random", "unseen mutation", "unseen position"]
KINDS: tuple[Kind, ...] = ("random", "unseen mutation", "unseen position")

# Parent, chain, place, and what the residue becomes (not where only places matter).
Token = tuple[Any, ...]
# Fewer rows than this can neither train nor judge anything.
MIN_ROWS = 8
# What must be left to train on when mutations or positions are held out.
_MIN_TRAIN_SHARE = 0.25
_MIN_TEST = 4


@dataclasses.dataclass(frozen=True)
class Fold:
    """Rows to train on and rows to judge on."""

    train: np.ndarray
    test: np.ndarray


@dataclasses.dataclass(frozen=True)
class Folds:
    """All folds of one kind.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    rounds : tuple of tuple of Fold
        In each round a row is judged at most once.
    reason : str
        Why there are none; empty if there are.
    """

    kind: Kind
    rounds: tuple[tuple[Fold, ...], ...] = ()
    reason: str = ""

    @property
    def train_rows(self) -> int:
        """Rows trained on, on average."""
        sizes = [len(fold.train) for one in self.rounds for fold in one]
        return round(float(np.mean(sizes))) if sizes else 0


def variant_groups(pairs: Sequence[Pair]) -> np.ndarray:
    """Rows of the same antibody, whatever the assay or antigen, (n,)."""
    numbers: dict[tuple[str, ...], int] = {}
    return np.array([numbers.setdefault(pair.antibody.chains, len(numbers)) for pair in pairs])


def random_folds(campaign: Campaign, folds: int, rounds: int, seed: int) -> Folds:
    """Variants dealt out at random; all rows of a variant are in one fold.

    Parameters
    ----------
    campaign : Campaign
    folds : int
    rounds : int
        Deals.
    seed : int

    Examples
    --------
    >>> from paratope.campaigns.campaign import campaign_of
    >>> from paratope.data.datasets.simulated import simulate
    >>> campaign = campaign_of(simulate(antibodies=30, antigens=1, seed=1).measurements)
    >>> [len(fold.test) for fold in random_folds(campaign, 5, 1, 0).rounds[0]]
    [6, 6, 6, 6, 6]
    """
    groups = variant_groups(campaign.pairs)
    count = int(groups.max()) + 1
    if count < MIN_ROWS:
        return Folds(
            "random",
            reason=f"{count} variant{'s' * (count != 1)} cannot be both learned from and judged "
            f"on; at least {MIN_ROWS} are needed",
        )
    folds = min(folds, count)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(rounds):
        dealt = np.empty(count, int)
        dealt[rng.permutation(count)] = np.arange(count) % folds
        part = dealt[groups]
        found.append(
            tuple(
                Fold(np.flatnonzero(part != number), np.flatnonzero(part == number))
                for number in range(folds)
            )
        )
    return Folds("random", tuple(found))


def mutations_of(campaign: Campaign) -> list[frozenset[Token]]:
    """Mutations of each row against the parent it differs least from.

    Returns
    -------
    list of frozenset
        (parent, chain, place, what it becomes) for each row; empty for parents and for antibodies
        that are like no parent.
    """
    known: dict[tuple[str, ...], frozenset[Token]] = {}
    for pair in campaign.pairs:
        if pair.antibody.chains not in known:
            known[pair.antibody.chains] = _mutations(pair.antibody, campaign.parents)
    return [known[pair.antibody.chains] for pair in campaign.pairs]


def _mutations(antibody: Antibody, parents: Sequence[Pair]) -> frozenset[Token]:
    best: frozenset[Token] | None = None
    for number, parent in enumerate(parents):
        try:
            changes = mutations_between(parent.antibody, antibody)
        except InputError:  # of another kind: a single domain and a pair
            continue
        found = frozenset((number, one.chain, one.position, one.after) for one in changes)
        if best is None or len(found) < len(best):
            best = found
    return best or frozenset()


def unseen_folds(campaign: Campaign, kind: Kind, folds: int, seed: int) -> Folds:
    """Folds whose judged rows have a mutation, or a mutated position, that no trained row has.

    Mutations (positions) are held out one after the other, in random order, while at least a
    quarter of the rows are left to train on, until a fold's share of the rows is to be judged. Each
    fold begins with those that no fold before it held out.

    Parameters
    ----------
    campaign : Campaign
    kind : {"unseen mutation", "unseen position"}
    folds : int
        At most so many.
    seed : int
    """
    by_position = kind == "unseen position"
    what = "position" if by_position else "mutation"
    rows = mutations_of(campaign)
    places = [frozenset(token[:3] for token in row) for row in rows]
    if not by_position and sum(map(len, rows)) and _count(rows) == _count(places):
        return Folds(kind, reason="each position is mutated in one way only: as for positions")
    rows = places if by_position else rows
    tokens = sorted({token for row in rows for token in row}, key=str)
    if not campaign.parents:
        return Folds(kind, reason="the antibodies are unrelated: no parent whose mutations to tell")
    if len(tokens) < 2:
        return Folds(kind, reason=f"fewer than two {what}s are measured")
    has = np.array([[token in row for token in tokens] for row in rows])
    order = np.random.default_rng(seed).permutation(len(tokens)).tolist()
    found: list[Fold] = []
    used: set[int] = set()
    for _ in range(folds):
        queue = [token for token in order if token not in used]
        if not queue:
            break
        held = _held_out(has, [*queue, *(one for one in order if one in used)], folds)
        if not held or used.issuperset(held):
            break
        used.update(held)
        touched = has[:, held].any(1)
        if touched.sum() >= _MIN_TEST:
            found.append(Fold(np.flatnonzero(~touched), np.flatnonzero(touched)))
    if len(found) < 2:
        return Folds(
            kind,
            reason=f"no {what} can be held out: each is in too many or too few of the "
            f"{len(campaign)} rows",
        )
    return Folds(kind, tuple((fold,) for fold in found))


def _count(rows: Sequence[frozenset[Token]]) -> int:
    return len({token for row in rows for token in row})


def _held_out(has: np.ndarray, queue: Sequence[int], folds: int) -> list[int]:
    """Columns of `has` to hold out in one fold, from the front of the queue."""
    least = max(MIN_ROWS, int(np.ceil(_MIN_TRAIN_SHARE * len(has))))
    wanted = max(_MIN_TEST, len(has) // folds)
    held: list[int] = []
    touched = np.zeros(len(has), bool)
    for token in queue:
        more = touched | has[:, token]
        if (~more).sum() < least:
            continue
        held.append(token)
        touched = more
        if touched.sum() >= wanted:
            break
    return held
