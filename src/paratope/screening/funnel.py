"""The funnel: how many of the best by a fast score must be scored in full, and what that misses.

All N antibodies have a fast score f; the K best of them, and a random sample, also a full one g. t
is the k-th best g known. Beyond the kept share ``g = a + b f + e``: the slope b is that of all that
are known, the level and the errors e are those of the edge, the kept antibodies of the lowest f. So

    misses = sum over the antibodies not scored in full of P(a + b f + e > t)
    recall = k / (k + misses)

with e drawn from the edge's errors, smoothed by a Gaussian (Silverman's bandwidth). K grows until
the recall is reached. t can only rise as more is known, so the estimate errs to the safe side.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr

# The edge: a third of the kept antibodies, of the lowest fast score, but so many at least and most.
_EDGE_SHARE, _LEAST_EDGE, _MOST_EDGE = 3, 100, 500
_BINS = 4096
# Growth of the kept share in one step.
_LEAST_GROWTH, _MOST_GROWTH = 1.1, 2.0
# Of the kept share that is begun with, as multiples of the top k and at least.
_FIRST, _FIRST_MORE = 1.5, 200


@dataclasses.dataclass(frozen=True, slots=True)
class Recall:
    """How much of the full model's top k a funnel holds, as far as can be told."""

    top: int  # k, or all there are
    scored: int  # Antibodies with a fast score
    kept: int  # The best of them by the fast score, scored in full
    estimate: float  # Expected share of the true top k among those scored in full
    # How many of the kept antibodies at the edge, and of the sampled ones beyond it, are in the top
    edge_rows: int
    edge_hits: int
    sample_rows: int
    sample_hits: int
    correlation: float  # Pearson's, of fast and full scores in the random sample; NaN without one


class FastRanking:
    """Fast scores of all N antibodies against one antigen, in bounded memory.

    The `pool` best are known each; of the others, how many are in which of `_BINS` intervals.
    """

    def __init__(self, pool: int, low: float, high: float) -> None:
        self.pool, self.scored = pool, 0
        self.rows, self.values = np.zeros(0, np.int64), np.zeros(0)
        span = max(high - low, 1e-9 * max(abs(low), abs(high), 1e-9))
        self.edges = np.linspace(low, low + span, _BINS + 1)
        self.counts = np.zeros(_BINS, np.int64)

    def add(self, rows: np.ndarray, values: np.ndarray) -> None:
        """More antibodies, by number and fast score."""
        self.scored += len(rows)
        rows, values = np.append(self.rows, rows), np.append(self.values, values)
        order = np.lexsort((rows, -values))  # equal scores in the library's order
        best, rest = order[: self.pool], order[self.pool :]
        self.rows, self.values = rows[best], values[best]
        index = np.clip(np.searchsorted(self.edges, values[rest], "right") - 1, 0, _BINS - 1)
        self.counts += np.bincount(index, minlength=_BINS)

    @property
    def middles(self) -> np.ndarray:
        """Of the intervals of `counts`."""
        return (self.edges[1:] + self.edges[:-1]) / 2


class Known(NamedTuple):
    """Antibodies with both scores; c of them."""

    row: np.ndarray  # (c,)
    fast: np.ndarray
    full: np.ndarray

    def threshold(self, top: int) -> float:
        """The top-th best full score."""
        return float(np.sort(self.full)[-min(top, len(self.full))])


class Beyond(NamedTuple):
    """What full scores to expect of antibodies beyond the kept share."""

    level: float
    slope: float
    centre: float
    errors: np.ndarray
    bandwidth: float

    @classmethod
    def of(cls, known: Known, kept: int, ranking: FastRanking) -> "Beyond":
        """From what is known, of which the `kept` best by the fast score hold the edge."""
        inside = np.isin(known.row, ranking.rows[:kept])
        at = np.flatnonzero(inside)
        edge = at[np.argsort(known.fast[at], kind="stable")[: _edge(kept)]]
        spread = known.fast.std()
        slope = 1.0
        if len(known.fast) > 2 and spread > 0:
            slope = float(np.cov(known.fast, known.full)[0, 1] / known.fast.var(ddof=1))
        slope = float(np.clip(slope, 0.0, 2.0))
        centre, level = float(known.fast[edge].mean()), float(known.full[edge].mean())
        errors = known.full[edge] - level - slope * (known.fast[edge] - centre)
        width = 1.06 * float(errors.std()) * len(errors) ** -0.2
        return cls(level, slope, centre, errors, max(width, 1e-12))

    def above(self, fast: np.ndarray, threshold: float) -> np.ndarray:
        """Probability that the full score is above the threshold."""
        expected = self.level + self.slope * (fast - self.centre)
        answer = np.empty(len(fast))
        for start in range(0, len(fast), 1024):
            block = expected[start : start + 1024, None] + self.errors - threshold
            answer[start : start + 1024] = ndtr(block / self.bandwidth).mean(1)
        return answer


def _edge(kept: int) -> int:
    """How many of the kept antibodies are its edge."""
    return min(_MOST_EDGE, max(kept // _EDGE_SHARE, _LEAST_EDGE))


def first_kept(top: int, scored: int) -> int:
    """The share to begin with."""
    return min(scored, max(int(_FIRST * top), top + _FIRST_MORE))


def assess(ranking: FastRanking, known: Known, kept: int, top: int, sample: np.ndarray) -> Recall:
    """What the kept share holds; `sample` are the rows of the random sample."""
    top = min(top, ranking.scored)
    threshold = known.threshold(top)
    misses = _misses(ranking, known, kept, threshold)[0] if kept < ranking.scored else 0.0
    inside = ranking.rows[:kept]
    edge = np.isin(known.row, inside[-_edge(kept) :])
    drawn = np.isin(known.row, sample)
    beyond = drawn & ~np.isin(known.row, inside)
    correlation = float("nan")
    if drawn.sum() > 2 and known.fast[drawn].std() > 0 and known.full[drawn].std() > 0:
        correlation = float(np.corrcoef(known.fast[drawn], known.full[drawn])[0, 1])
    hits = known.full >= threshold
    return Recall(
        top,
        ranking.scored,
        kept,
        top / (top + float(misses)),
        int(edge.sum()),
        int((edge & hits).sum()),
        int(beyond.sum()),
        int((beyond & hits).sum()),
        correlation,
    )


def next_kept(ranking: FastRanking, known: Known, kept: int, top: int, recall: float) -> int:
    """How many to keep next, so that the recall should be reached; more than the pool: a larger."""
    top = min(top, ranking.scored)
    if kept >= ranking.scored:
        return kept
    misses = _misses(ranking, known, kept, known.threshold(top))
    enough = np.flatnonzero(top / (top + misses) >= recall)
    wanted = kept + int(enough[0]) if len(enough) else int(_MOST_GROWTH * kept)
    if wanted == kept:
        return kept
    least, most = int(np.ceil(_LEAST_GROWTH * kept)), int(np.ceil(_MOST_GROWTH * kept))
    return min(max(wanted, least), most, ranking.scored)


def _misses(ranking: FastRanking, known: Known, kept: int, threshold: float) -> np.ndarray:
    """Expected misses if as many as `kept`, one more, two more … of the pool are kept."""
    beyond = Beyond.of(known, kept, ranking)
    pool = beyond.above(ranking.values[kept:], threshold)
    pool[np.isin(ranking.rows[kept:], known.row)] = 0.0
    rest = float(ranking.counts @ beyond.above(ranking.middles, threshold))
    return np.append(np.cumsum(pool[::-1])[::-1], 0.0) + rest


def sampled(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Keys by which rows are drawn: the `count` lowest of all are a random sample of them.

    The same row has the same key in whatever block it comes (splitmix64, Steele et al. 2014).
    """
    with np.errstate(over="ignore"):
        z = rows.astype(np.uint64) + np.uint64(seed + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        keys = z ^ (z >> np.uint64(31))
    return rows[np.argsort(keys, kind="stable")[:count]]


def report(recall: Recall) -> dict[str, Any]:
    """As plain values, for the manifest."""
    return {**dataclasses.asdict(recall), "kept_share": recall.kept / max(recall.scored, 1)}
