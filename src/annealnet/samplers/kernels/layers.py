"""Heat-bath sweeps of layered Ising models: many problems that share their couplings and differ in their fields.

Where spins of one layer do not interact, a whole layer is drawn at once from its local fields, and the neighbours' fields
are then mended by the rows of the spins that changed, four rows per pass. Where they do, they are drawn one after another,
and a spin that changed mends its own layer's fields by a row of length n_l first. Work per sweep and replica: one random
number and one exponential per spin, and one row of length n_{l±1} per changed spin: half of a full matrix product where
every spin is free, and almost none where the anneal is cold. Random numbers are hashes of (replica, sweep, layer, spin), so
that nothing depends on the number of threads.
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


@numba.njit(cache=True, fastmath=True, inline="always")
def _drawn(j: np.uint64, first: np.uint32, second: np.uint32, scaled: np.float32) -> np.float32:
    """Spin number j from its hash and −2βf."""
    word = np.uint32(first + np.uint32(np.uint32(j) * np.uint32(0x9E3779B9)))
    word = np.uint32(word ^ np.uint32(word >> np.uint32(16)))
    word = np.uint32(word * np.uint32(0x85EBCA6B)) ^ second
    word = np.uint32(word ^ np.uint32(word >> np.uint32(13)))
    word = np.uint32(word * np.uint32(0xC2B2AE35))
    word = np.uint32(word ^ np.uint32(word >> np.uint32(16)))
    uniform = np.float32(np.int32(np.uint32(word >> np.uint32(8)))) * _UNIT
    # exp(y) as (1 + z + z²/2 + z³/6)²⁵⁶ with z = y/256: within 10⁻³ of itself, without a call
    z = min(max(scaled, -_LIMIT), _LIMIT) * _Z
    e = _ONE + z * (_ONE + z * (_HALF + z * _SIXTH))
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    return _ONE if uniform * (_ONE + e) < _ONE else -_ONE


@numba.njit(cache=True, fastmath=True)
def _draw(
    spins: np.ndarray, fields: np.ndarray, begin: np.uint64, size: np.uint64,
    beta: np.float32, key: np.uint64, changes: np.ndarray,
) -> None:  # fmt: skip
    """Draws a layer: P(s = +1) = 1/(1 + exp(−2βf)); ``changes`` becomes new minus old, all float32."""
    first, second = np.uint32(key), np.uint32(key >> np.uint64(32))
    scale = -_TWO * beta
    for j in range(size):
        drawn = _drawn(j, first, second, scale * fields[begin + j])
        changes[j] = drawn - spins[begin + j]
        spins[begin + j] = drawn


@numba.njit(cache=True, fastmath=True)
def _follow(
    fields: np.ndarray, begin: np.uint64, size: np.uint64, inner: np.ndarray, row: np.uint64, change: np.float32
) -> None:
    """fields += change · the row of ``inner`` that begins at ``row``: a layer's own fields after one spin of it changed."""
    for i in range(size):
        fields[begin + i] += change * inner[row + i]


@numba.njit(cache=True, fastmath=True)
def _draw_coupled(
    spins: np.ndarray, fields: np.ndarray, begin: np.uint64, size: np.uint64, inner: np.ndarray, inside: np.uint64,
    beta: np.float32, key: np.uint64, changes: np.ndarray,
) -> None:  # fmt: skip
    """As :func:`_draw`, spin by spin: each sees what those before it became."""
    first, second = np.uint32(key), np.uint32(key >> np.uint64(32))
    scale = -_TWO * beta
    for j in range(size):
        drawn = _drawn(j, first, second, scale * fields[begin + j])
        changes[j] = drawn - spins[begin + j]
        if changes[j] != np.float32(0.0):
            spins[begin + j] = drawn
            _follow(fields, begin, size, inner, inside + j * size, changes[j])


@numba.njit(cache=True)
def _quench_coupled(
    spins: np.ndarray, fields: np.ndarray, begin: np.uint64, size: np.uint64, inner: np.ndarray, inside: np.uint64,
    changes: np.ndarray,
) -> bool:  # fmt: skip
    """As :func:`_quench`, spin by spin: no turn can raise the energy."""
    turned = False
    for j in range(size):
        changes[j] = np.float32(0.0)
        if spins[begin + j] * fields[begin + j] < np.float32(0.0):
            changes[j] = -_TWO * spins[begin + j]
            spins[begin + j] += changes[j]
            _follow(fields, begin, size, inner, inside + j * size, changes[j])
            turned = True
    return turned


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
    sizes: np.ndarray, ends: np.ndarray, places: np.ndarray, up: np.ndarray, down: np.ndarray, coupled: np.ndarray,
    inside: np.ndarray, inner: np.ndarray, outer: np.ndarray, free: np.ndarray, betas: np.ndarray, quenches: int,
    seed: np.uint64, states: np.ndarray, energies: np.ndarray,
) -> None:  # fmt: skip
    """Anneals every replica in place.

    Args:
        sizes: spins per layer int64 ``(L,)``; ``ends``: first spin of each layer ``(L,)``.
        places: where coupling block l begins in ``up`` and ``down`` int64 ``(L−1,)``.
        up: blocks ``(n_l, n_{l+1})``, flat float32; ``down``: their transposes.
        coupled: which layers have couplings inside, bool ``(L,)``; ``inside``: where their blocks begin in ``inner``
            ``(L,)``; ``inner``: symmetric blocks ``(n_l, n_l)``, flat float32, one unused number for a layer without.
        outer: fields float32 ``(problems, n)``.
        free: which layers move, bool ``(L,)``.
        betas: one inverse temperature per sweep, float32 ``(sweeps,)``.
        quenches: most sweeps at temperature zero at the end.
        states: int8 ``(problems·reads, n)``, reads of a problem side by side; starts in, ends out.
        energies: float64 ``(problems·reads,)``, out: −Σ h s − Σ s J s − ½ Σ s K s.
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
            if coupled[l]:
                for j in range(sizes[l]):
                    _follow(fields, ends[l], sizes[l], inner, inside[l] + j * sizes[l], changes[j])
        stream = seeded(seed, r)
        for sweep in range(betas.shape[0]):
            for l in range(layers):
                if free[l]:
                    stream = next_state(stream)
                    key = stream * np.uint64(0x2545F4914F6CDD1D)
                    if coupled[l]:
                        _draw_coupled(spins, fields, ends[l], sizes[l], inner, inside[l], betas[sweep], key, changes)
                    else:
                        _draw(spins, fields, ends[l], sizes[l], betas[sweep], key, changes)
                    _spread(l, sizes, ends, places, down, up, fields, changes, changed)
        for _ in range(quenches):
            moved = False
            for l in range(layers):
                turned = False
                if free[l] and coupled[l]:
                    turned = _quench_coupled(spins, fields, ends[l], sizes[l], inner, inside[l], changes)
                elif free[l]:
                    turned = _quench(spins, fields, ends[l], sizes[l], changes)
                if turned:
                    moved = True
                    _spread(l, sizes, ends, places, down, up, fields, changes, changed)
            if not moved:
                break
        total = 0.0
        for i in range(n):
            total -= 0.5 * spins[i] * (fields[i] + own[i])
            states[r, i] = np.int8(spins[i])
        energies[r] = total
