"""Heat-bath sweeps of layered Ising models: many problems that share their couplings and differ in their fields.

Where spins of one layer do not interact, a whole layer is drawn at once from its local fields, sixteen spins by one
instruction, and the neighbours' fields are then mended by the rows of the spins that changed. Where they do, each draw sees
what those before it became: sixteen spins are drawn, the first that changes turns and mends its own layer's fields by a row
of length n_l, and those behind it are drawn again. Work per sweep and replica: one random number and one exponential per
spin, and one row of length n_{l±1} per changed spin: half of a full matrix product where every spin is free, and almost
none where the anneal is cold. Random numbers are hashes of (replica, sweep, layer, spin), so that nothing depends on the
number of threads. Spins are bits, and layers begin at whole words of them.
"""

from __future__ import annotations

import numba
import numpy as np

from annealnet.samplers.kernels.random import next_state, seeded
from annealnet.samplers.kernels.simd import clipped, floats_of, load, lowest, ones, splat, store, under, word_lanes

__all__ = ["anneal_layers"]

#: Indices are unsigned: a signed one may count from the end, and that question keeps loops from becoming vectors.
_0, _1, _2, _4, _6 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(6)
_16, _32, _48, _63, _64 = np.uint64(16), np.uint64(32), np.uint64(48), np.uint64(63), np.uint64(64)
_BLOCK = np.uint64(0xFFFF)
#: exp(y) is (1 + z + z²/2 + z³/6)²⁵⁶ with z = y/256: within 10⁻³ of itself for |y| ≤ 22, without a call.
_PARTS = np.float32(1.0 / 256.0)
_LIMIT = np.float32(22.0 / 256.0)
_CHANCES = np.float32(16777216.0)
_NONE, _ONE, _TWO, _FOUR = np.float32(0.0), np.float32(1.0), np.float32(2.0), np.float32(4.0)
_HALF, _SIXTH = np.float32(0.5), np.float32(1.0 / 6.0)


@numba.njit(cache=True, inline="always")
def _drawn(z, first, second, at):  # type: ignore[no-untyped-def]
    """Which of the spins at … at + 15 are drawn up: 24 bits of their hashes against 1/(1 + exp(256 z)), z = −2βf/256."""
    golden = np.uint32(0x9E3779B9)
    word = word_lanes() * golden + np.uint32(first + np.uint32(np.uint32(at) * golden))
    word = (word ^ (word >> np.uint32(16))) * np.uint32(0x85EBCA6B) ^ second
    word = (word ^ (word >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    word = (word ^ (word >> np.uint32(16))) >> np.uint32(8)
    z = clipped(z, _LIMIT)
    e = (((z * _SIXTH + _HALF) * z) + _ONE) * z + _ONE
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    return under(floats_of(word) * (e + _ONE), splat(_CHANCES))


@numba.njit(cache=True, inline="always")
def _wanted(fields, at, cold, scale, first, second, spin, old):  # type: ignore[no-untyped-def]
    """What sixteen spins become, as bits: drawn, or, where it is cold, along their fields."""
    own = load(fields, at)
    if cold:
        return under(splat(_NONE), own) | (old & ~under(own, splat(_NONE)))
    return _drawn(own * scale, first, second, spin)


@numba.njit(cache=True)
def _visit(
    bits: np.ndarray, word: np.uint64, fields: np.ndarray, begin: np.uint64, size: np.uint64,
    cold: bool, scale: np.float32, key: np.uint64, changed: np.ndarray, steps: np.ndarray,
) -> np.uint64:  # fmt: skip
    """Draws a layer at once, or turns it along its fields.

    Args:
        bits: spins up, 64 to a word; ``word``: the layer's first.
        fields: local fields; ``begin``: the layer's first, ``size`` of them.
        cold: at temperature zero; else ``scale`` is −2β/256 and ``key`` the hash of the draw.
        changed, steps: out: the spins that changed and what they gained, ±2; four more than ``size`` may be written.

    Returns:
        How many changed.
    """
    first, second = np.uint32(key), np.uint32(key >> _32)
    count, spin = _0, _0
    while spin < size:
        old, new = bits[word], _0
        for block in range(_4):
            at = spin + block * _16
            if at < size:
                now = (old >> (block * _16)) & _BLOCK
                new |= _wanted(fields, begin + at, cold, scale, first, second, at, now) << (block * _16)
        if size - spin < _64:
            new &= (_1 << (size - spin)) - _1
        bits[word] = new
        left, place = old ^ new, count
        while left != _0:  # by fours, the last ones of which may be overwritten: no branch to guess wrong for each
            for k in range(_4):
                j = lowest(left)
                left &= left - _1
                changed[place + k] = spin + j
                steps[place + k] = _FOUR * np.float32(np.int32((new >> (j & _63)) & _1)) - _TWO
            place += _4
        count += ones(old ^ new)
        word += _1
        spin += _64
    return count


@numba.njit(cache=True)
def _visit_coupled(
    bits: np.ndarray, word: np.uint64, fields: np.ndarray, begin: np.uint64, size: np.uint64, width: np.uint64,
    inner: np.ndarray, inside: np.uint64, cold: bool, scale: np.float32, key: np.uint64, changed: np.ndarray,
    steps: np.ndarray,
) -> np.uint64:  # fmt: skip
    """As :func:`_visit`, spin by spin: each sees what those before it became. No cold turn can raise the energy."""
    first, second = np.uint32(key), np.uint32(key >> _32)
    count, spin = _0, _0
    while spin < size:
        own, shift = word + (spin >> _6), spin & _63
        waiting = (_1 << min(_16, size - spin)) - _1
        while waiting != _0:
            old = (bits[own] >> shift) & _BLOCK
            differ = (_wanted(fields, begin + spin, cold, scale, first, second, spin, old) ^ old) & waiting
            if differ == _0:
                break
            j = lowest(differ)
            waiting = (waiting >> (j + _1)) << (j + _1)
            bits[own] ^= _1 << (shift + j)
            changed[count] = spin + j
            steps[count] = _TWO - _FOUR * np.float32(np.int32((old >> j) & _1))
            row, i = inside + changed[count] * width, _0
            while i < width:
                store(fields, begin + i, load(fields, begin + i) + load(inner, row + i) * steps[count])
                i += _16
            count += _1
        spin += _16
    return count


@numba.njit(cache=True)
def _mend(
    fields: np.ndarray, begin: np.uint64, width: np.uint64, rows: np.ndarray, place: np.uint64,
    changed: np.ndarray, steps: np.ndarray, count: np.uint64,
) -> None:  # fmt: skip
    """fields += Σ_k steps[k] · rows[changed[k]]; rows lie flat from ``place`` on, ``width`` a multiple of 16.

    Fields stay in registers while the rows go by, 64 of them, then 32, then 16; narrow ones in two sums, since an addition
    that waits for the one before takes four times as long.
    """
    i = _0
    while i + _64 <= width:
        a, b = load(fields, begin + i), load(fields, begin + i + _16)
        c, d = load(fields, begin + i + _32), load(fields, begin + i + _48)
        for k in range(count):
            row, step = place + changed[k] * width + i, steps[k]
            a, b = a + load(rows, row) * step, b + load(rows, row + _16) * step
            c, d = c + load(rows, row + _32) * step, d + load(rows, row + _48) * step
        store(fields, begin + i, a)
        store(fields, begin + i + _16, b)
        store(fields, begin + i + _32, c)
        store(fields, begin + i + _48, d)
        i += _64
    while i + _32 <= width:
        a, b, c, d = load(fields, begin + i), load(fields, begin + i + _16), splat(_NONE), splat(_NONE)
        for half in range(count >> _1):
            k = half + half
            row, step = place + changed[k] * width + i, steps[k]
            a, b = a + load(rows, row) * step, b + load(rows, row + _16) * step
            row, step = place + changed[k + _1] * width + i, steps[k + _1]
            c, d = c + load(rows, row) * step, d + load(rows, row + _16) * step
        if count & _1:
            row, step = place + changed[count - _1] * width + i, steps[count - _1]
            a, b = a + load(rows, row) * step, b + load(rows, row + _16) * step
        store(fields, begin + i, a + c)
        store(fields, begin + i + _16, b + d)
        i += _32
    while i < width:
        a, b = load(fields, begin + i), splat(_NONE)
        for half in range(count >> _1):
            k = half + half
            a = a + load(rows, place + changed[k] * width + i) * steps[k]
            b = b + load(rows, place + changed[k + _1] * width + i) * steps[k + _1]
        if count & _1:
            a = a + load(rows, place + changed[count - _1] * width + i) * steps[count - _1]
        store(fields, begin + i, a + b)
        i += _16


@numba.njit(cache=True, inline="always")
def _tell(layer, begins, widths, places, up, down, fields, changed, steps, count):  # type: ignore[no-untyped-def]
    """Tells the neighbouring layers what changed in this one."""
    if count > _0 and layer + 1 < widths.shape[0]:
        _mend(fields, begins[layer + 1], widths[layer + 1], up, places[0, layer], changed, steps, count)
    if count > _0 and layer > 0:
        _mend(fields, begins[layer - 1], widths[layer - 1], down, places[1, layer - 1], changed, steps, count)


@numba.njit(cache=True)
def _pack(
    state: np.ndarray, own: np.ndarray, sizes: np.ndarray, begins: np.ndarray, words: np.ndarray,
    fields: np.ndarray, bits: np.ndarray,
) -> None:  # fmt: skip
    """Spreads spins ±1 ``(n,)`` and their outer fields over ``bits`` and ``fields``, every layer to its place."""
    i = _0
    for l in range(sizes.shape[0]):
        for j in range(sizes[l]):
            fields[begins[l] + j] = own[i]
            bits[words[l] + (j >> _6)] |= np.uint64(state[i] > 0) << (j & _63)
            i += _1


@numba.njit(cache=True)
def _unpack(
    fields: np.ndarray, bits: np.ndarray, own: np.ndarray, sizes: np.ndarray, begins: np.ndarray, words: np.ndarray,
    state: np.ndarray,
) -> float:  # fmt: skip
    """Writes the spins ±1 back to ``state`` and gives their energy, −½ Σ s (local field + outer field)."""
    total, i = 0.0, _0
    for l in range(sizes.shape[0]):
        for j in range(sizes[l]):
            is_up = (bits[words[l] + (j >> _6)] >> (j & _63)) & _1
            state[i] = np.int8(2 * np.int8(is_up) - 1)
            total -= 0.5 * state[i] * (fields[begins[l] + j] + own[i])
            i += _1
    return total


@numba.njit(cache=True)
def _list_all(bits: np.ndarray, word: np.uint64, size: np.uint64, changed: np.ndarray, steps: np.ndarray) -> None:
    """Lists every spin of a layer as if it had just become what it is from 0."""
    for j in range(size):
        changed[j] = j
        steps[j] = _TWO * np.float32(np.int32((bits[word + (j >> _6)] >> (j & _63)) & _1)) - _ONE


@numba.njit(cache=True, parallel=True)
def anneal_layers(
    sizes: np.ndarray, up: np.ndarray, down: np.ndarray, places: np.ndarray, coupled: np.ndarray, inside: np.ndarray,
    inner: np.ndarray, outer: np.ndarray, free: np.ndarray, betas: np.ndarray, quenches: int, seed: np.uint64,
    states: np.ndarray, energies: np.ndarray,
) -> None:  # fmt: skip
    """Anneals every replica in place.

    Args:
        sizes: spins per layer uint64 ``(L,)``.
        up: blocks ``(n_l, n_{l+1})`` as of :func:`~annealnet.samplers.kernels.simd.rows_of_lanes`; ``down``: their
            transposes; ``places``: where they begin, uint64 ``(2, L−1)``.
        coupled: which layers have couplings inside, bool ``(L,)``; ``inside``: where their blocks begin in ``inner``
            ``(L,)``; ``inner``: symmetric blocks ``(n_l, n_l)`` in the same form.
        outer: fields float32 ``(problems, n)``.
        free: which layers move, bool ``(L,)``.
        betas: one inverse temperature per sweep, float32 ``(sweeps,)``.
        quenches: most sweeps at temperature zero at the end.
        seed: of all random numbers.
        states: int8 ``(problems·reads, n)``, reads of a problem side by side; starts in, ends out.
        energies: float64 ``(problems·reads,)``, out: −Σ h s − Σ s J s − ½ Σ s K s.
    """
    replicas, layers, reads = states.shape[0], sizes.shape[0], states.shape[0] // outer.shape[0]
    widths = (sizes + np.uint64(15)) >> _4 << _4
    begins, words = np.zeros(layers + 1, np.uint64), np.zeros(layers + 1, np.uint64)
    for l in range(layers):
        begins[l + 1] = begins[l] + widths[l]
        words[l + 1] = words[l] + ((sizes[l] + _63) >> _6)
    room = sizes.max() + _4
    for r in numba.prange(replicas):
        own = outer[r // reads]
        fields, bits = np.zeros(begins[layers], np.float32), np.zeros(words[layers], np.uint64)
        changed, steps = np.empty(room, np.uint64), np.empty(room, np.float32)
        _pack(states[r], own, sizes, begins, words, fields, bits)
        for l in range(layers):
            _list_all(bits, words[l], sizes[l], changed, steps)
            _tell(l, begins, widths, places, up, down, fields, changed, steps, sizes[l])
            if coupled[l]:
                _mend(fields, begins[l], widths[l], inner, inside[l], changed, steps, sizes[l])
        stream, sweep, moved = seeded(seed, r), 0, True
        while moved and sweep < betas.shape[0] + quenches:
            cold = sweep >= betas.shape[0]
            moved = not cold
            scale = _NONE if cold else -_TWO * _PARTS * betas[sweep]
            for l in range(layers):
                if free[l]:
                    stream = next_state(stream)
                    key = stream * np.uint64(0x2545F4914F6CDD1D)
                    if coupled[l]:
                        count = _visit_coupled(
                            bits, words[l], fields, begins[l], sizes[l], widths[l], inner, inside[l], cold, scale, key,
                            changed, steps,
                        )  # fmt: skip
                    else:
                        count = _visit(bits, words[l], fields, begins[l], sizes[l], cold, scale, key, changed, steps)
                    moved |= count > _0
                    _tell(l, begins, widths, places, up, down, fields, changed, steps, count)
            sweep += 1
        energies[r] = _unpack(fields, bits, own, sizes, begins, words, states[r])
