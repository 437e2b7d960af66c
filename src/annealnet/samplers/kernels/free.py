"""Metropolis sweeps of unconstrained bits. Per proposal: one number read; per acceptance: one row of couplings.

Both forms keep, per read, one float32 per bit, so that a refused proposal costs one read of a contiguous array:

* dense: the local field f_i = ∂E/∂x_i, so that an acceptance is one contiguous multiply-add of 4n bytes;
* sparse: the flip's cost δ_i = (1 − 2x_i) f_i itself, with the signs s = 1 − 2x beside it; an acceptance touches deg(i)
  numbers.

Bits are swept in order. A flip that costs nothing is taken half the time: were it always taken, the walls between two
domains would all move with the sweep and never meet. A proposal that would be taken with a chance below e⁻²² is refused
without a random number. Energies are expected in units of their own fields (see
:class:`~annealnet.samplers.compiled.CompiledEnergy`), so that thresholds are plain numbers.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from annealnet.samplers.kernels.random import next_state, uniform

__all__ = ["descend_dense", "descend_sparse", "start_dense", "start_sparse", "sweep_dense", "sweep_sparse"]

#: −ln of the smallest chance of acceptance that is still drawn for.
_REFUSED = np.float32(22.0)
#: A flip must gain this much, in units of the fields, to count as a descent (float32 sums are not exact).
_GAIN = np.float32(-2e-6)
#: Most passes of a descent: float32 fields drift, an end is to be certain and not only likely.
_PASSES = 1000


@numba.njit(cache=True, fastmath=True, inline="always")
def _add_row(fields: np.ndarray, row: np.ndarray, step: np.float32) -> None:
    for j in range(fields.shape[0]):
        fields[j] += step * row[j]


@numba.njit(cache=True, parallel=True)
def start_dense(
    matrix: np.ndarray, linear: np.ndarray, states: np.ndarray, fields: np.ndarray, energies: np.ndarray
) -> None:
    """Fields float32 ``(reads, n)`` and energies float64 ``(reads,)`` of states int8 ``(reads, n)``."""
    reads, n = states.shape
    for r in numba.prange(reads):
        x, f = states[r], fields[r]
        f[:] = linear
        for i in range(n):
            if x[i]:
                _add_row(f, matrix[i], np.float32(1.0))
        total = 0.0
        for i in range(n):
            if x[i]:
                total += 0.5 * (float(f[i]) + float(linear[i]))
        energies[r] = total


@numba.njit(cache=True, parallel=True)
def sweep_dense(
    matrix: np.ndarray, states: np.ndarray, fields: np.ndarray, energies: np.ndarray, betas: np.ndarray, random: np.ndarray
) -> None:
    """Sweeps every read, betas ``(reads, sweeps)``, in place."""
    reads, n = states.shape
    for r in numba.prange(reads):
        stream = random[r]
        x, f = states[r], fields[r]
        gained = 0.0
        for k in range(betas.shape[1]):
            beta = np.float32(betas[r, k])
            limit = _REFUSED / beta
            for i in range(n):
                delta = -f[i] if x[i] else f[i]
                if delta >= limit:
                    continue
                if delta >= np.float32(0.0):
                    stream = next_state(stream)
                    if uniform(stream) >= (math.exp(-beta * delta) if delta > np.float32(0.0) else 0.5):
                        continue
                step = np.float32(-1.0) if x[i] else np.float32(1.0)
                x[i] ^= 1
                gained += delta
                _add_row(f, matrix[i], step)
        random[r] = stream
        energies[r] += gained


@numba.njit(cache=True, parallel=True)
def descend_dense(matrix: np.ndarray, states: np.ndarray, fields: np.ndarray, energies: np.ndarray) -> None:
    """Single flips that gain, until there is none."""
    reads, n = states.shape
    for r in numba.prange(reads):
        x, f = states[r], fields[r]
        improved = True
        passes = 0
        while improved and passes < _PASSES:
            improved = False
            passes += 1
            for i in range(n):
                delta = -f[i] if x[i] else f[i]
                if delta < _GAIN:
                    step = np.float32(-1.0) if x[i] else np.float32(1.0)
                    x[i] ^= 1
                    energies[r] += delta
                    _add_row(f, matrix[i], step)
                    improved = True


@numba.njit(cache=True, parallel=True)
def start_sparse(
    linear: np.ndarray, starts: np.ndarray, columns: np.ndarray, values: np.ndarray,
    states: np.ndarray, deltas: np.ndarray, energies: np.ndarray,
) -> None:  # fmt: skip
    """Flip costs float32 ``(reads, n)`` and energies float64 ``(reads,)`` of states int8 ``(reads, n)``."""
    reads, n = states.shape
    for r in numba.prange(reads):
        x, d = states[r], deltas[r]
        total = 0.0
        for i in range(n):
            field = float(linear[i])
            for k in range(starts[i], starts[i + 1]):
                if x[columns[k]]:
                    field += values[k]
            if x[i]:
                total += 0.5 * (field + linear[i])
                field = -field
            d[i] = field
        energies[r] = total


@numba.njit(cache=True, inline="always")
def _flip_sparse(
    i: int, signs: np.ndarray, deltas: np.ndarray, starts: np.ndarray, columns: np.ndarray, values: np.ndarray
) -> None:
    s = signs[i]
    for k in range(starts[i], starts[i + 1]):
        j = columns[k]
        deltas[j] += s * signs[j] * values[k]
    signs[i] = -s
    deltas[i] = -deltas[i]


@numba.njit(cache=True, parallel=True)
def sweep_sparse(
    starts: np.ndarray, columns: np.ndarray, values: np.ndarray,
    states: np.ndarray, deltas: np.ndarray, energies: np.ndarray, betas: np.ndarray, random: np.ndarray,
) -> None:  # fmt: skip
    """Sweeps every read, betas ``(reads, sweeps)``, in place."""
    reads, n = states.shape
    for r in numba.prange(reads):
        stream = random[r]
        d = deltas[r]
        signs = np.empty(n, dtype=np.float32)
        for i in range(n):
            signs[i] = np.float32(1 - 2 * states[r, i])
        gained = 0.0
        for sweep in range(betas.shape[1]):
            beta = np.float32(betas[r, sweep])
            limit = _REFUSED / beta
            for i in range(n):
                delta = d[i]
                if delta >= limit:
                    continue
                if delta >= np.float32(0.0):
                    stream = next_state(stream)
                    if uniform(stream) >= (math.exp(-beta * delta) if delta > np.float32(0.0) else 0.5):
                        continue
                gained += delta
                _flip_sparse(i, signs, d, starts, columns, values)
        for i in range(n):
            states[r, i] = 1 if signs[i] < 0 else 0
        random[r] = stream
        energies[r] += gained


@numba.njit(cache=True, parallel=True)
def descend_sparse(
    starts: np.ndarray, columns: np.ndarray, values: np.ndarray,
    states: np.ndarray, deltas: np.ndarray, energies: np.ndarray,
) -> None:  # fmt: skip
    """Single flips that gain, until there is none."""
    reads, n = states.shape
    for r in numba.prange(reads):
        d = deltas[r]
        signs = np.empty(n, dtype=np.float32)
        for i in range(n):
            signs[i] = np.float32(1 - 2 * states[r, i])
        improved = True
        passes = 0
        while improved and passes < _PASSES:
            improved = False
            passes += 1
            for i in range(n):
                if d[i] < _GAIN:
                    energies[r] += d[i]
                    _flip_sparse(i, signs, d, starts, columns, values)
                    improved = True
        for i in range(n):
            states[r, i] = 1 if signs[i] < 0 else 0
