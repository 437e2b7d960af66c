"""A random stream per read: xorshift64* seeded by splitmix64, so that answers do not depend on the number of threads."""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["below", "next_state", "seeded", "streams", "uniform"]


@numba.njit(cache=True, inline="always")
def seeded(seed: np.uint64, read: int) -> np.uint64:
    """The stream of one read: splitmix64 of seed and read number; never 0."""
    z = seed + np.uint64(0x9E3779B97F4A7C15) * np.uint64(read + 1)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return z | np.uint64(1)


@numba.njit(cache=True, inline="always")
def next_state(state: np.uint64) -> np.uint64:
    """One step of xorshift64."""
    state ^= state >> np.uint64(12)
    state ^= state << np.uint64(25)
    state ^= state >> np.uint64(27)
    return state


@numba.njit(cache=True, inline="always")
def uniform(state: np.uint64) -> float:
    """The state as a number in [0, 1) (multiplied out, as xorshift64* does)."""
    return ((state * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@numba.njit(cache=True, inline="always")
def below(state: np.uint64, limit: int) -> int:
    """The state as a whole number in [0, limit)."""
    return int(uniform(state) * limit)


@numba.njit(cache=True)
def streams(seed: np.uint64, reads: int) -> np.ndarray:
    """The streams of reads 0 … reads−1: uint64 ``(reads,)``."""
    found = np.empty(reads, dtype=np.uint64)
    for read in range(reads):
        found[read] = seeded(seed, read)
    return found
