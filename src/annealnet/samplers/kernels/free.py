"""Metropolis annealing of unconstrained bits. Per proposal: one field read; per acceptance: one row of couplings.

Dense rows are float32 and contiguous, so that an acceptance streams 4n bytes: the least a local-field update can move.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from annealnet.samplers.kernels.random import next_state, seeded, uniform

__all__ = ["anneal_dense", "anneal_sparse"]


@numba.njit(cache=True, inline="always")
def _accepts(delta: float, beta: float, state: np.uint64) -> bool:
    cost = delta * beta
    return cost <= 0.0 or (cost < 30.0 and uniform(state) < math.exp(-cost))


@numba.njit(cache=True, fastmath=True, inline="always")
def _add_row(fields: np.ndarray, row: np.ndarray, step: np.float32) -> None:
    for j in range(fields.shape[0]):
        fields[j] += step * row[j]


@numba.njit(cache=True, parallel=True)
def anneal_dense(matrix: np.ndarray, linear: np.ndarray, states: np.ndarray, betas: np.ndarray, seed: np.uint64) -> None:
    """Anneals every row of ``states`` int8 ``(reads, n)`` in place; ends with greedy descent."""
    reads, n = states.shape
    for r in numba.prange(reads):
        random = seeded(seed, r)
        x = states[r]
        fields = linear.copy()
        for i in range(n):
            if x[i]:
                _add_row(fields, matrix[i], np.float32(1.0))
        for beta in betas:
            for i in range(n):
                delta = -fields[i] if x[i] else fields[i]
                if delta * beta < 30.0:
                    random = next_state(random)
                    if _accepts(delta, beta, random):
                        step = np.float32(-1.0) if x[i] else np.float32(1.0)
                        x[i] ^= 1
                        _add_row(fields, matrix[i], step)
        improved = True
        rounds = 0
        while improved and rounds < 1000:  # float32 fields drift: an end is certain, not only likely
            improved = False
            rounds += 1
            for i in range(n):
                delta = -fields[i] if x[i] else fields[i]
                if delta < -1e-6 * (1.0 + abs(linear[i])):
                    step = np.float32(-1.0) if x[i] else np.float32(1.0)
                    x[i] ^= 1
                    _add_row(fields, matrix[i], step)
                    improved = True


@numba.njit(cache=True, parallel=True)
def anneal_sparse(
    linear: np.ndarray,
    row_start: np.ndarray,
    row_var: np.ndarray,
    row_value: np.ndarray,
    states: np.ndarray,
    betas: np.ndarray,
    seed: np.uint64,
) -> None:
    """Anneals every row of ``states`` int8 ``(reads, n)`` in place, couplings by neighbour lists; ends in a descent."""
    reads, n = states.shape
    for r in numba.prange(reads):
        random = seeded(seed, r)
        x = states[r]
        fields = linear.copy()
        for i in range(n):
            if x[i]:
                for k in range(row_start[i], row_start[i + 1]):
                    fields[row_var[k]] += row_value[k]
        last = betas.shape[0]
        sweep = 0
        improved = True
        while sweep < last or (improved and sweep < last + 1000):
            improved = False
            for i in range(n):
                step = 1.0 - 2.0 * x[i]
                delta = step * fields[i]
                if sweep < last:
                    random = next_state(random)
                    accepted = _accepts(delta, betas[sweep], random)
                else:
                    accepted = delta < -1e-12
                if accepted:
                    improved = True
                    x[i] ^= 1
                    for k in range(row_start[i], row_start[i + 1]):
                        fields[row_var[k]] += step * row_value[k]
            sweep += 1
