"""How fast antibody chains are encoded here: beside the machine's matrix products, and how exactly.

Operations counted are those of matrix products of the chains' own tokens; padding counts as waste.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from paratope.core.errors import EncoderError
from paratope.encoders.antiberty import AntibertyEncoder
from paratope.molecules.sequences import AMINO_ACIDS

Clock = Callable[[], float]
Encode = Callable[[Sequence[str]], list[np.ndarray]]  # Chains to (residues, dim) each
# Sides of the square matrices whose products are the machine's peak.
_SIDES, _PRODUCTS = (1024, 2048), 5


class EncodingSpeed(NamedTuple):
    """One way to encode, over all repeats; medians."""

    name: str
    sequences_per_second: float
    gflops: float  # 1e9 operations a second
    share_of_peak: float
    ratio: float  # Median of the speed against the first way's, repeat by repeat
    drift: float  # Root mean square of the difference from float32, in units of the numbers' own


def chains_like(parents: Sequence[str], count: int) -> list[str]:
    """So many chains of mixed lengths: parents in turn, up to eight residues cut or replaced."""
    random, made = np.random.default_rng(0), []
    for number in range(count):
        parent = parents[number % len(parents)]
        chain = list(parent[: len(parent) - int(random.integers(9))])
        for position in random.choice(len(chain), int(random.integers(1, 9))).tolist():
            chain[position] = AMINO_ACIDS[int(random.integers(len(AMINO_ACIDS)))]
        made.append("".join(chain))
    return made


def matrix_peak(clock: Clock = time.perf_counter) -> float:
    """1e9 operations a second of float32 matrix products: best size and library, median of 5."""
    import torch

    best = 0.0
    for side in _SIDES:
        array = np.random.default_rng(0).standard_normal((side, side), np.float32)
        tensor = torch.from_numpy(array)
        for product in (lambda a=array: a @ a, lambda a=tensor: a @ a):
            product()
            seconds = [_timed(product, clock) for _ in range(_PRODUCTS)]
            best = max(best, 2 * side**3 / statistics.median(seconds) / 1e9)
    return best


def ways_to_encode() -> dict[str, Encode]:
    """What is here, float32 with padding first: each encodes chains on this machine's CPU."""
    import torch

    encoder = AntibertyEncoder("cpu")

    def padded(chains: Sequence[str]) -> list[np.ndarray]:
        units = [encoder.tokenize((chain,)) for chain in chains]
        with torch.inference_mode():
            return [states.numpy() for states in encoder.residue_states(units)]

    ways: dict[str, Encode] = {"float32, padded": padded, "float32": _encode(encoder)}
    try:
        ways["int8"] = _encode(encoder.in_int8())
    except EncoderError:
        pass  # not on this processor
    return ways


def compare_speed(
    ways: Mapping[str, Encode],
    chains: Sequence[str],
    repeats: int = 3,
    clock: Clock = time.perf_counter,
) -> tuple[list[EncodingSpeed], float]:
    """Ways to encode in turns, `repeats` times, with the peak measured between; the first is 1 ×.

    Drift is from the first. `clock` may be `time.process_time` where others use the machine and one
    thread computes. Gives the speeds and the peak in 1e9 operations a second.
    """
    encoder = AntibertyEncoder("cpu")
    lengths = [len(encoder.tokenize((chain,)).ids) for chain in chains]
    operations = encoder.language_model.bert.operations(lengths) / 1e9
    rows = {name: np.concatenate(encode(chains)) for name, encode in ways.items()}  # and warm
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    peaks: list[float] = []
    for _ in range(repeats):
        peaks.append(matrix_peak(clock))
        for name, encode in ways.items():
            seconds[name].append(_timed(lambda encode=encode: encode(chains), clock))
    first, peak = next(iter(ways)), statistics.median(peaks)
    speeds = []
    for name, spent in seconds.items():
        median = statistics.median(spent)
        ratios = [a / b for a, b in zip(seconds[first], spent, strict=True)]
        drift = np.sqrt(np.mean((rows[name] - rows[first]) ** 2) / np.mean(rows[first] ** 2))
        rate, share = len(chains) / median, operations / median / peak
        speed = (rate, operations / median, share, statistics.median(ratios), float(drift))
        speeds.append(EncodingSpeed(name, *speed))
    return speeds, peak


def _encode(encoder: AntibertyEncoder) -> Encode:
    return lambda chains: encoder.encode([(chain,) for chain in chains])


def _timed(run: Callable[[], object], clock: Clock) -> float:
    start = clock()
    run()
    return clock() - start
