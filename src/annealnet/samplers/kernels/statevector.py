"""Quantum states of n qubits as two real rows (real and imaginary parts), bit i of an index being qubit i.

A layer e^{−iθE} · e^{iφΣX} costs as few passes over the state as the caches allow. The first pass turns the phases and
mixes the lowest qubits inside tiles that stay in the nearest cache; each further pass gathers strips of up to five higher
qubits into a small buffer, mixes them there, two qubits per butterfly, and writes them back. Sines come from a polynomial
that vectorises; every amplitude is computed on its own, so that the number of threads changes no bit of the answer.
"""

from __future__ import annotations

import math

import numba
import numpy as np

__all__ = [
    "all_energies",
    "diagonal_overlap",
    "evolve_layers",
    "mixer_overlap",
    "transverse_product",
    "turn_and_mix",
]

#: Lowest qubits mixed in one tile: 2¹¹ amplitudes of 16 bytes, the nearest cache.
_TILE = 11
#: Higher qubits mixed in one strip, and amplitudes side by side in it.
_STRIP, _WIDTH = 5, 64
#: Qubits from which threads pay for their start.
_PARALLEL = 13
_FLAGS = {"contract", "nsz", "nnan", "ninf"}


@numba.njit(cache=True, fastmath={"nnan", "nsz"})
def all_energies(matrix: np.ndarray, linear: np.ndarray, offset: float) -> np.ndarray:
    """Energies float64 ``(2ⁿ,)`` of all states by doubling: two additions per state, in place.

    Args:
        matrix: symmetric couplings ``(n, n)``, zero diagonal.
        linear: ``(n,)``.
        offset: added to all.
    """
    n = linear.shape[0]
    found = np.empty(1 << n)
    found[0] = offset
    for k in range(n):
        half = 1 << k
        above = found[half : 2 * half]
        above[0] = linear[k]
        for j in range(k):
            step = matrix[k, j]
            low, high = above[: 1 << j], above[1 << j : 2 << j]
            for c in range(1 << j):
                high[c] = low[c] + step
        below = found[:half]
        for c in range(half):
            above[c] += below[c]
    return found


@numba.njit(cache=True, fastmath=_FLAGS, inline="always")
def _sine_cosine(turns: float) -> tuple[float, float]:
    """Sine and cosine of 2π·turns: Taylor series of the half angle, exact to 3·10⁻¹⁶, then doubled."""
    a = math.pi * (turns - math.floor(turns + 0.5))
    z = a * a
    s = 1.0 / 121645100408832000.0
    s = 1.0 / 355687428096000.0 - z * s
    s = 1.0 / 1307674368000.0 - z * s
    s = 1.0 / 6227020800.0 - z * s
    s = 1.0 / 39916800.0 - z * s
    s = 1.0 / 362880.0 - z * s
    s = 1.0 / 5040.0 - z * s
    s = 1.0 / 120.0 - z * s
    s = 1.0 / 6.0 - z * s
    s = a - a * z * s
    c = 1.0 / 2432902008176640000.0
    c = 1.0 / 6402373705728000.0 - z * c
    c = 1.0 / 20922789888000.0 - z * c
    c = 1.0 / 87178291200.0 - z * c
    c = 1.0 / 479001600.0 - z * c
    c = 1.0 / 3628800.0 - z * c
    c = 1.0 / 40320.0 - z * c
    c = 1.0 / 720.0 - z * c
    c = 1.0 / 24.0 - z * c
    c = 0.5 - z * c
    c = 1.0 - z * c
    return 2.0 * s * c, 1.0 - 2.0 * s * s


@numba.njit(cache=True, fastmath=_FLAGS)
def _turn(re: np.ndarray, im: np.ndarray, energies: np.ndarray, turns: float) -> None:
    """ψ(x) ← e^{−2πi·turns·E(x)} ψ(x)."""
    for k in range(re.shape[0]):
        s, c = _sine_cosine(turns * energies[k])
        a, x = re[k], im[k]
        re[k] = c * a + s * x
        im[k] = c * x - s * a


@numba.njit(cache=True, fastmath=_FLAGS)
def _mix_one(re: np.ndarray, im: np.ndarray, h: int, c: float, s: float) -> None:
    """One qubit, of stride h."""
    for start in range(0, re.shape[0], 2 * h):
        ra, rb = re[start : start + h], re[start + h : start + 2 * h]
        ia, ib = im[start : start + h], im[start + h : start + 2 * h]
        for k in range(h):
            a, b, x, y = ra[k], rb[k], ia[k], ib[k]
            ra[k] = c * a - s * y
            rb[k] = c * b - s * x
            ia[k] = c * x + s * b
            ib[k] = c * y + s * a


@numba.njit(cache=True, fastmath=_FLAGS, inline="always")
def _four(
    a: float, b: float, d: float, e: float, x: float, y: float, z: float, w: float, cc: float, ss: float, sc: float
) -> tuple[float, float, float, float, float, float, float, float]:
    """Two qubits at once: real parts a b d e, imaginary parts x y z w of the amplitudes 00 01 10 11."""
    middle, outer, imiddle, iouter = b + d, a + e, y + z, x + w
    return (
        cc * a - ss * e - sc * imiddle, cc * b - ss * d - sc * iouter,
        cc * d - ss * b - sc * iouter, cc * e - ss * a - sc * imiddle,
        cc * x - ss * w + sc * middle, cc * y - ss * z + sc * outer,
        cc * z - ss * y + sc * outer, cc * w - ss * x + sc * middle,
    )  # fmt: skip


@numba.njit(cache=True, fastmath=_FLAGS)
def _mix_lowest_two(re: np.ndarray, im: np.ndarray, cc: float, ss: float, sc: float) -> None:
    for k in range(re.shape[0] // 4):
        j = 4 * k
        a, b, d, e, x, y, z, w = _four(
            re[j], re[j + 1], re[j + 2], re[j + 3], im[j], im[j + 1], im[j + 2], im[j + 3], cc, ss, sc
        )
        re[j], re[j + 1], re[j + 2], re[j + 3] = a, b, d, e
        im[j], im[j + 1], im[j + 2], im[j + 3] = x, y, z, w


@numba.njit(cache=True, fastmath=_FLAGS)
def _mix_two(re: np.ndarray, im: np.ndarray, h: int, cc: float, ss: float, sc: float) -> None:
    """Two neighbouring qubits, of strides h and 2h."""
    for start in range(0, re.shape[0], 4 * h):
        r0, r1 = re[start : start + h], re[start + h : start + 2 * h]
        r2, r3 = re[start + 2 * h : start + 3 * h], re[start + 3 * h : start + 4 * h]
        i0, i1 = im[start : start + h], im[start + h : start + 2 * h]
        i2, i3 = im[start + 2 * h : start + 3 * h], im[start + 3 * h : start + 4 * h]
        for k in range(h):
            a, b, d, e, x, y, z, w = _four(r0[k], r1[k], r2[k], r3[k], i0[k], i1[k], i2[k], i3[k], cc, ss, sc)
            r0[k], r1[k], r2[k], r3[k] = a, b, d, e
            i0[k], i1[k], i2[k], i3[k] = x, y, z, w


@numba.njit(cache=True, fastmath=_FLAGS)
def _mix(re: np.ndarray, im: np.ndarray, first: int, bits: int, c: float, s: float) -> None:
    """``bits`` qubits from the stride ``first`` on."""
    cc, ss, sc = c * c, s * s, s * c
    h, left = first, bits
    if h == 1 and left >= 2:
        _mix_lowest_two(re, im, cc, ss, sc)
        h, left = 4, left - 2
    while left >= 2:
        _mix_two(re, im, h, cc, ss, sc)
        h, left = 4 * h, left - 2
    if left:
        _mix_one(re, im, h, c, s)


@numba.njit(cache=True, fastmath=_FLAGS)
def _strip(state: np.ndarray, low: int, bits: int, strip: int, buffer: np.ndarray, c: float, s: float) -> None:
    """Mixes qubits low … low+bits−1 of one strip of neighbouring amplitudes."""
    width = min(_WIDTH, 1 << low)
    across = (1 << low) // width
    outer, column = strip // across, (strip % across) * width
    base = (outer << (low + bits)) + column
    rows = 1 << bits
    for part in range(2):
        for row in range(rows):
            start = base + (row << low)
            buffer[part, row * width : (row + 1) * width] = state[part, start : start + width]
    _mix(buffer[0, : rows * width], buffer[1, : rows * width], width, bits, c, s)
    for part in range(2):
        for row in range(rows):
            start = base + (row << low)
            state[part, start : start + width] = buffer[part, row * width : (row + 1) * width]


@numba.njit(cache=True, fastmath=_FLAGS)
def _tile(
    state: np.ndarray, energies: np.ndarray, tile: int, low: int, turns: float, c: float, s: float
) -> None:  # fmt: skip
    start, end = tile << low, (tile + 1) << low
    re, im = state[0, start:end], state[1, start:end]
    if turns != 0.0:
        _turn(re, im, energies[start:end], turns)
    if s != 0.0:
        _mix(re, im, 1, low, c, s)


@numba.njit(cache=True, parallel=True)
def _layer_parallel(state: np.ndarray, energies: np.ndarray, turns: float, c: float, s: float) -> None:
    n = 0
    while (1 << n) < energies.shape[0]:
        n += 1
    low = min(n, _TILE)
    for tile in numba.prange(1 << (n - low)):
        _tile(state, energies, tile, low, turns, c, s)
    while low < n and s != 0.0:
        bits = min(_STRIP, n - low)
        size = (1 << bits) * _WIDTH
        for strip in numba.prange((1 << (n - bits)) // _WIDTH):
            buffer = np.empty((2, size), dtype=state.dtype)
            _strip(state, low, bits, strip, buffer, c, s)
        low += bits


@numba.njit(cache=True)
def _layer(state: np.ndarray, energies: np.ndarray, turns: float, c: float, s: float) -> None:
    n = 0
    while (1 << n) < energies.shape[0]:
        n += 1
    low = min(n, _TILE)
    for tile in range(1 << (n - low)):
        _tile(state, energies, tile, low, turns, c, s)
    buffer = np.empty((2, (1 << _STRIP) * _WIDTH), dtype=state.dtype)
    while low < n and s != 0.0:
        bits = min(_STRIP, n - low)
        for strip in range((1 << (n - bits)) // _WIDTH):
            _strip(state, low, bits, strip, buffer, c, s)
        low += bits


def turn_and_mix(state: np.ndarray, energies: np.ndarray, theta: float, phi: float) -> None:
    """ψ ← e^{iφΣX} e^{−iθE} ψ, in place.

    Args:
        state: ``(2, 2ⁿ)``, real and imaginary parts, float64 or float32.
        energies: of all states, float64 ``(2ⁿ,)``.
        theta: angle of the diagonal part, radians per unit of energy.
        phi: angle of the mixing part.
    """
    work = _layer_parallel if energies.shape[0] >= 1 << _PARALLEL and numba.get_num_threads() > 1 else _layer
    work(state, energies, theta / (2 * math.pi), math.cos(phi), math.sin(phi))


def evolve_layers(state: np.ndarray, energies: np.ndarray, thetas: np.ndarray, phis: np.ndarray) -> None:
    """Layer after layer of :func:`turn_and_mix`; angles ``(layers,)``."""
    for theta, phi in zip(thetas, phis, strict=True):
        turn_and_mix(state, energies, float(theta), float(phi))


@numba.njit(cache=True, parallel=True)
def diagonal_overlap(left: np.ndarray, right: np.ndarray, energies: np.ndarray) -> tuple[float, float]:
    """⟨left| E |right⟩, real and imaginary part, summed in blocks of a fixed size, so that threads do not change it."""
    size = energies.shape[0]
    block = min(size, 4096)
    sums = np.zeros((2, size // block))
    for b in numba.prange(size // block):
        real = imaginary = 0.0
        for k in range(b * block, (b + 1) * block):
            real += (left[0, k] * right[0, k] + left[1, k] * right[1, k]) * energies[k]
            imaginary += (left[0, k] * right[1, k] - left[1, k] * right[0, k]) * energies[k]
        sums[0, b], sums[1, b] = real, imaginary
    return sums[0].sum(), sums[1].sum()


@numba.njit(cache=True, parallel=True, fastmath={"contract"})
def mixer_overlap(left: np.ndarray, right: np.ndarray) -> float:
    """Im ⟨left| ΣX |right⟩: what a mixing angle changes."""
    size = left.shape[1]
    block = min(size, 4096)
    sums = np.zeros(size // block)
    for b in numba.prange(size // block):
        total = 0.0
        bit = 1
        while bit < size:
            for k in range(b * block, (b + 1) * block):
                j = k ^ bit
                total += left[0, k] * right[1, j] - left[1, k] * right[0, j]
            bit <<= 1
        sums[b] = total
    return float(sums.sum())


@numba.njit(cache=True, parallel=True, fastmath={"contract"})
def transverse_product(vector: np.ndarray, energies: np.ndarray, transverse: float, problem: float, out: np.ndarray) -> None:
    """out = (problem·E − transverse·ΣX) vector, real ``(2ⁿ,)``."""
    size = energies.shape[0]
    block = min(size, 4096)
    for b in numba.prange(size // block):
        for k in range(b * block, (b + 1) * block):
            out[k] = problem * energies[k] * vector[k]
        bit = 1
        while bit < size:
            for k in range(b * block, (b + 1) * block):
                out[k] -= transverse * vector[k ^ bit]
            bit <<= 1
