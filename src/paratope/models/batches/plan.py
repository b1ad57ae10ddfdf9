"""Which rows go together in a batch, and in which order the batches come."""

from collections.abc import Iterator

import numpy as np

from paratope.models.batches.examples import Examples

# Rows are sorted by length inside windows of so many batches: little padding, enough chance.
_BATCHES_PER_WINDOW = 8


class BatchPlan:
    """Which rows each batch of each epoch holds: seeded, bucketed by length, resumable.

    The plan of an epoch is a function of the seed and the epoch alone, so a position inside it is
    all the state there is. Iterating gives the batches from that position on and moves it.

    Parameters
    ----------
    examples : Examples
    batch_size : int
        Rows a batch; the last batch of an epoch may be smaller.
    seed : int
    balance : str
        ``"none"``: every row once an epoch. ``"assay"`` or ``"antigen"``: as many rows are drawn,
        with replacement, so that a group of m rows is drawn in proportion to m ** `balance_power`.
    balance_power : float
        0: every group equally often; 1: as often as it has rows.

    Examples
    --------
    >>> from paratope.molecules.sequences import Antibody, Antigen, Pair
    >>> pairs = [Pair(Antibody("EVQL" * n), Antigen(("MKV",))) for n in range(1, 6)]
    >>> plan = BatchPlan(Examples.from_pairs(pairs), batch_size=2, seed=0)
    >>> sorted(int(row) for batch in plan for row in batch), plan.position
    ([0, 1, 2, 3, 4], 3)
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        seed: int = 0,
        balance: str = "none",
        balance_power: float = 0.5,
    ) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.position = 0
        self._antibody_length, self._antigen_length = examples.lengths()
        self._antigen_index = examples.antigen_index
        self._probability = _row_probability(examples, balance, balance_power)

    def batches(self, epoch: int) -> list[np.ndarray]:
        """Rows of every batch of an epoch."""
        random = np.random.default_rng((self.seed, epoch))
        count = len(self._antigen_index)
        if self._probability is None:
            rows = random.permutation(count)
        else:
            rows = random.choice(count, size=count, p=self._probability)
        batches: list[np.ndarray] = []
        window = self.batch_size * _BATCHES_PER_WINDOW
        for start in range(0, count, window):
            part = self._by_length(rows[start : start + window])
            batches += [
                part[first : first + self.batch_size]
                for first in range(0, len(part), self.batch_size)
            ]
        return [batches[index] for index in random.permutation(len(batches))]

    def _by_length(self, rows: np.ndarray) -> np.ndarray:
        keys = (self._antibody_length[rows], self._antigen_index[rows], self._antigen_length[rows])
        return rows[np.lexsort(keys)]

    def __iter__(self) -> Iterator[np.ndarray]:
        for batch in self.batches(self.epoch)[self.position :]:
            self.position += 1
            yield batch

    def __len__(self) -> int:
        return -(-len(self._antigen_index) // self.batch_size)

    def start_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        self.epoch, self.position = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Where the plan is: seed, epoch and batches already given."""
        return {"seed": self.seed, "epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to where another plan of the same examples was."""
        self.seed, self.epoch = int(state["seed"]), int(state["epoch"])
        self.position = int(state["position"])


def batches_by_length(examples: Examples, batch_size: int) -> list[np.ndarray]:
    """Every row once, in batches of similar lengths: for prediction, where order is free."""
    antibody_length, antigen_length = examples.lengths()
    rows = np.lexsort((antibody_length, examples.antigen_index, antigen_length))
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def _row_probability(examples: Examples, balance: str, power: float) -> np.ndarray | None:
    if balance == "none" or not len(examples):
        return None
    group = {"assay": examples.assay, "antigen": examples.antigen_index}[balance]
    size = np.bincount(group).astype(np.float64)[group]
    probability = size ** (power - 1.0)
    return probability / probability.sum()
