"""One-flip tabu search: always the best move that is not forbidden, even uphill."""

from __future__ import annotations

import numba
import numpy as np

from annealnet.samplers.kernels.random import below, next_state

__all__ = ["tabu_moves"]


@numba.njit(cache=True, inline="always")
def _best_move(deltas: np.ndarray, until: np.ndarray, now: int, energy: float, best: float) -> int:
    """The least flip cost among bits that are free, or that would beat the best energy (aspiration); -1 when there
    is none.
    """
    chosen = -1
    least = np.inf
    for i in range(deltas.shape[0]):
        if deltas[i] < least and (until[i] <= now or energy + deltas[i] < best - 1e-9):
            least = deltas[i]
            chosen = i
    return chosen


@numba.njit(cache=True, parallel=True)
def tabu_moves(
    starts: np.ndarray, columns: np.ndarray, values: np.ndarray,
    states: np.ndarray, deltas: np.ndarray, until: np.ndarray, clocks: np.ndarray,
    best: np.ndarray, energies: np.ndarray, steps: int, tenure: int, random: np.ndarray,
) -> None:  # fmt: skip
    """``steps`` moves of every read; ``energies`` float64 ``(reads, 2)`` are the current and the best one.

    A moved bit stays put for ``tenure`` to 2·``tenure`` moves; ``until`` int64 ``(reads, n)`` and ``clocks`` ``(reads,)``
    count them.
    """
    reads = states.shape[0]
    for r in numba.prange(reads):
        x, d, stream = states[r], deltas[r], random[r]
        for _ in range(steps):
            i = _best_move(d, until[r], clocks[r], energies[r, 0], energies[r, 1])
            clocks[r] += 1
            if i < 0:
                continue
            stream = next_state(stream)
            until[r, i] = clocks[r] + tenure + below(stream, tenure + 1)
            energies[r, 0] += d[i]
            s = np.float32(1 - 2 * x[i])
            for k in range(starts[i], starts[i + 1]):
                j = columns[k]
                d[j] += s * np.float32(1 - 2 * x[j]) * values[k]
            d[i] = -d[i]
            x[i] ^= 1
            if energies[r, 0] < energies[r, 1] - 1e-9:
                energies[r, 1] = energies[r, 0]
                best[r] = x
        random[r] = stream
