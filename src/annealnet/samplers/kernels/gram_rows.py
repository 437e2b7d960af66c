"""Metropolis sweeps of many rows under one coupling matrix; a row of the matrix is read once for all of them.

A row is a state m, weights s and fields f = Σ_j G_ij s_j m_j (without the diagonal). Turning bit i on costs a_i + s_i f_i,
with a_i the linear part and the diagonal; an accepted flip adds ±s_i G_i to the fields, one vector operation.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from annealnet.samplers.kernels.random import below, next_state, uniform

__all__ = ["descend_rows", "start_rows", "swap_rows", "sweep_rows"]

_REFUSED = np.float32(30.0)
_GAIN = np.float32(-1e-6)
_PASSES = 200


@numba.njit(cache=True, fastmath={"contract", "nsz", "nnan"})
def _add(fields: np.ndarray, row: np.ndarray, step: np.float32) -> None:
    for j in range(fields.shape[0]):
        fields[j] += step * row[j]


@numba.njit(cache=True, parallel=True)
def start_rows(gram: np.ndarray, signs: np.ndarray, states: np.ndarray, fields: np.ndarray) -> None:
    """Fields float32 ``(R, H)`` of states int8 ``(R, H)``; ``gram`` float32 with a zero diagonal."""
    for r in numba.prange(states.shape[0]):
        fields[r] = np.float32(0.0)
        for i in range(states.shape[1]):
            if states[r, i]:
                _add(fields[r], gram[i], signs[r, i])


@numba.njit(cache=True, parallel=True)
def sweep_rows(
    gram: np.ndarray, signs: np.ndarray, alone: np.ndarray, states: np.ndarray, fields: np.ndarray,
    betas: np.ndarray, random: np.ndarray, blocks: int,
) -> None:  # fmt: skip
    """Sweeps all rows in place, betas ``(R, sweeps)``; threads over ``blocks`` blocks of rows."""
    rows, width = states.shape
    for block in numba.prange(blocks):
        first, last = block * rows // blocks, (block + 1) * rows // blocks
        for k in range(betas.shape[1]):
            for i in range(width):
                coupling = gram[i]
                for r in range(first, last):
                    s = signs[r, i]
                    delta = alone[r, i] + s * fields[r, i]
                    step = s
                    if states[r, i]:
                        delta, step = -delta, -s
                    cost = np.float32(betas[r, k]) * delta
                    if cost >= _REFUSED:
                        continue
                    if cost >= np.float32(0.0):
                        random[r] = next_state(random[r])
                        if uniform(random[r]) >= (math.exp(-cost) if cost > np.float32(0.0) else 0.5):
                            continue
                    states[r, i] ^= 1
                    _add(fields[r], coupling, step)


@numba.njit(cache=True, parallel=True)
def swap_rows(
    gram: np.ndarray, signs: np.ndarray, alone: np.ndarray, states: np.ndarray, fields: np.ndarray,
    betas: np.ndarray, random: np.ndarray,
) -> None:  # fmt: skip
    """Sweeps of swaps: a bit that is on goes off, one that is off goes on; every row keeps its number of ones."""
    rows, width = states.shape
    for r in numba.prange(rows):
        stream, f, s, a = random[r], fields[r], signs[r], alone[r]
        for k in range(betas.shape[1]):
            beta = np.float32(betas[r, k])
            # listed anew for every sweep, so that where a chunk of the schedule ends does not change the answer
            on, off = np.flatnonzero(states[r] == 1), np.flatnonzero(states[r] == 0)
            if len(on) == 0 or len(off) == 0:
                break
            for _ in range(width):
                stream = next_state(stream)
                p = below(stream, len(on))
                stream = next_state(stream)
                q = below(stream, len(off))
                i, j = on[p], off[q]
                delta = a[j] + s[j] * f[j] - a[i] - s[i] * f[i] - s[i] * s[j] * gram[i, j]
                cost = beta * delta
                if cost >= _REFUSED:
                    continue
                if cost > np.float32(0.0):
                    stream = next_state(stream)
                    if uniform(stream) >= math.exp(-cost):
                        continue
                states[r, i], states[r, j] = 0, 1
                on[p], off[q] = j, i
                _add(f, gram[i], -s[i])
                _add(f, gram[j], s[j])
        random[r] = stream


@numba.njit(cache=True, parallel=True)
def descend_rows(
    gram: np.ndarray, signs: np.ndarray, alone: np.ndarray, states: np.ndarray, fields: np.ndarray, scale: float
) -> None:
    """Single flips that gain, until there is none."""
    rows, width = states.shape
    for r in numba.prange(rows):
        improved, passes = True, 0
        while improved and passes < _PASSES:
            improved = False
            passes += 1
            for i in range(width):
                s = signs[r, i]
                delta = alone[r, i] + s * fields[r, i]
                if states[r, i]:
                    delta, s = -delta, -s
                if delta < _GAIN * np.float32(scale):
                    states[r, i] ^= 1
                    improved = True
                    _add(fields[r], gram[i], s)
