"""Heat-bath sweeps of layered Ising models: many problems that share their couplings and differ in their fields.

Spins of one layer do not interact, so a whole layer is drawn at once from its local fields, and the neighbours' fields are
then mended by the rows of the spins that changed, four rows per pass. Work per sweep and replica: one random number and one
exponential per spin, and one row of length n_{l±1} per changed spin: half of a full matrix product where every spin is
free, and almost none where the anneal is cold. Random numbers are hashes of (replica, sweep, layer, spin), so that nothing
depends on the number of threads.
"""

from __future__ import annotations

import numba
import numpy as np

from annealnet.samplers.kernels.random import next_state, seeded

__all__ = ["anneal_layers"]

#: Indices are unsigned: a signed one may count from the end, and that question keeps loops from becoming vectors.
_1, _2, _3, _FOUR = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
_LIMIT = np.float32(22.0)
_Z = np.float32(1.0 / 256.0)
_UNIT = np.float32(1.0 / 16777216.0)
_ONE, _TWO, _HALF, _SIXTH = np.float32(1.0), np.float32(2.0), np.float32(0.5), np.float32(1.0 / 6.0)


@numba.njit(cache=True, fastmath=True)
def _draw(
    spins: np.ndarray, fields: np.ndarray, begin: np.uint64, size: np.uint64,
    beta: np.float32, key: np.uint64, changes: np.ndarray,
) -> None:  # fmt: skip
    """Draws a layer: P(s = +1) = 1/(1 + exp(−2βf)); ``changes`` becomes new minus old, all float32."""
    first, second = np.uint32(key), np.uint32(key >> np.uint64(32))
    scale = -_TWO * beta
    for j in range(size):
        word = np.uint32(first + np.uint32(np.uint32(j) * np.uint32(0x9E3779B9)))
        word = np.uint32(word ^ np.uint32(word >> np.uint32(16)))
        word = np.uint32(word * np.uint32(0x85EBCA6B)) ^ second
        word = np.uint32(word ^ np.uint32(word >> np.uint32(13)))
        word = np.uint32(word * np.uint32(0xC2B2AE35))
        word = np.uint32(word ^ np.uint32(word >> np.uint32(16)))
        uniform = np.float32(np.int32(np.uint32(word >> np.uint32(8)))) * _UNIT
        # exp(y) as (1 + z + z²/2 + z³/6)²⁵⁶ with z = y/256: within 10⁻³ of itself, without a call
        z = min(max(scale * fields[begin + j], -_LIMIT), _LIMIT) * _Z
        e = _ONE + z * (_ONE + z * (_HALF + z * _SIXTH))
        e = e * e
        e = e * e
        e = e * e
        e = e * e
        e = e * e
        e = e * e
        e = e * e
        e = e * e
        drawn = _ONE if uniform * (_ONE + e) < _ONE else -_ONE
        changes[j] = drawn - spins[begin + j]
        spins[begin + j] = drawn


@numba.njit(cache=True)
def _quench(spins: np.ndarray, fields: np.ndarray, begin: np.uint64, size: np.uint64, changes: np.ndarray) -> bool:
    """Turns every spin of a layer that stands against its field; says whether there was one."""
    turned = False
    for j in range(size):
        against = spins[begin + j] * fields[begin + j] < np.float32(0.0)
        changes[j] = -_TWO * spins[begin + j] if against else np.float32(0.0)
        spins[begin + j] += changes[j]
        turned |= against
    return turned


@numba.njit(cache=True, fastmath=True)
def _mend(
    fields: np.ndarray, begin: np.uint64, size: np.uint64, rows: np.ndarray, place: np.uint64,
    changed: np.ndarray, changes: np.ndarray, count: np.uint64,
) -> None:  # fmt: skip
    """fields += Σ_i changes[i] · rows[i] over the ``count`` rows in ``changed``, four at a time; rows lie flat."""
    k = np.uint64(0)
    while k + _FOUR <= count:
        a, b, c, d = changed[k], changed[k + _1], changed[k + _2], changed[k + _3]
        u, v, w, x = changes[a], changes[b], changes[c], changes[d]
        p, q, r, s = place + a * size, place + b * size, place + c * size, place + d * size
        for j in range(size):
            fields[begin + j] += (u * rows[p + j] + v * rows[q + j]) + (w * rows[r + j] + x * rows[s + j])
        k += _FOUR
    while k < count:
        p, step = place + changed[k] * size, changes[changed[k]]
        for j in range(size):
            fields[begin + j] += step * rows[p + j]
        k += _1


@numba.njit(cache=True)
def _spread(
    layer: int, sizes: np.ndarray, ends: np.ndarray, places: np.ndarray, down: np.ndarray, up: np.ndarray,
    fields: np.ndarray, changes: np.ndarray, changed: np.ndarray,
) -> None:  # fmt: skip
    """Tells the neighbouring layers what changed in this one."""
    count = np.uint64(0)
    for j in range(sizes[layer]):
        changed[count] = j  # overwritten by the next one where this spin stood still: no branch to guess wrong
        count += np.uint64(changes[j] != np.float32(0.0))
    if count == np.uint64(0):
        return
    if layer + 1 < sizes.shape[0]:
        _mend(fields, ends[layer + 1], sizes[layer + 1], up, places[layer], changed, changes, count)
    if layer > 0:
        _mend(fields, ends[layer - 1], sizes[layer - 1], down, places[layer - 1], changed, changes, count)


@numba.njit(cache=True, parallel=True)
def anneal_layers(
    sizes: np.ndarray, ends: np.ndarray, places: np.ndarray, up: np.ndarray, down: np.ndarray, outer: np.ndarray,
    free: np.ndarray, betas: np.ndarray, quenches: int, seed: np.uint64, states: np.ndarray, energies: np.ndarray,
) -> None:  # fmt: skip
    """Anneals every replica in place.

    Args:
        sizes: spins per layer int64 ``(L,)``; ``ends``: first spin of each layer ``(L,)``.
        places: where coupling block l begins in ``up`` and ``down`` int64 ``(L−1,)``.
        up: blocks ``(n_l, n_{l+1})``, flat float32; ``down``: their transposes.
        outer: fields float32 ``(problems, n)``.
        free: which layers move, bool ``(L,)``.
        betas: one inverse temperature per sweep, float32 ``(sweeps,)``.
        quenches: most sweeps at temperature zero at the end.
        states: int8 ``(problems·reads, n)``, reads of a problem side by side; starts in, ends out.
        energies: float64 ``(problems·reads,)``, out: −Σ h s − Σ s J s.
    """
    replicas, n = states.shape
    layers, reads = sizes.shape[0], states.shape[0] // outer.shape[0]
    widest = sizes.max()
    for r in numba.prange(replicas):
        own = outer[r // reads]
        spins, fields = states[r].astype(np.float32), own.copy()
        changes, changed = np.empty(widest, np.float32), np.empty(widest, np.uint64)
        for l in range(layers):
            changes[: sizes[l]] = spins[ends[l] : ends[l] + sizes[l]]
            _spread(l, sizes, ends, places, down, up, fields, changes, changed)
        stream = seeded(seed, r)
        for sweep in range(betas.shape[0]):
            for l in range(layers):
                if free[l]:
                    stream = next_state(stream)
                    key = stream * np.uint64(0x2545F4914F6CDD1D)
                    _draw(spins, fields, ends[l], sizes[l], betas[sweep], key, changes)
                    _spread(l, sizes, ends, places, down, up, fields, changes, changed)
        for _ in range(quenches):
            moved = False
            for l in range(layers):
                if free[l] and _quench(spins, fields, ends[l], sizes[l], changes):
                    moved = True
                    _spread(l, sizes, ends, places, down, up, fields, changes, changed)
            if not moved:
                break
        total = 0.0
        for i in range(n):
            total -= 0.5 * spins[i] * (fields[i] + own[i])
            states[r, i] = np.int8(spins[i])
        energies[r] = total
