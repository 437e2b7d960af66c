"""All states of small energies. The low bits' own energies are tabulated once; the high bits go in Gray-code order, one
coupling row per step, and every state costs two additions and a comparison on numbers in the nearest cache.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["TILE_BITS", "lowest_codes", "tile_energies"]

#: Low bits whose 2¹⁰ energies, as float64, stay in the nearest cache.
TILE_BITS = 10


@numba.njit(cache=True)
def tile_energies(matrix: np.ndarray, linear: np.ndarray, low: int) -> np.ndarray:
    """Energies float64 ``(2^low,)`` of the low bits alone; bit i of the index is variable i."""
    found = np.zeros(1 << low)
    fields = np.empty(low)
    for code in range(1, 1 << low):
        top = 0
        while (code >> (top + 1)) != 0:
            top += 1
        rest = code ^ (1 << top)
        fields[top] = linear[top]
        for j in range(top):
            if (rest >> j) & 1:
                fields[top] += matrix[top, j]
        found[code] = found[rest] + fields[top]
    return found


@numba.njit(cache=True, fastmath={"nnan", "nsz", "reassoc"})
def _spread(sums: np.ndarray, fields: np.ndarray, low: int) -> None:
    """``sums[c] = Σ_i fields[i]·c_i`` for all codes c, by doubling."""
    sums[0] = 0.0
    for k in range(low):
        half = 1 << k
        field = fields[k]
        below, above = sums[:half], sums[half : 2 * half]
        for c in range(half):
            above[c] = below[c] + field


@numba.njit(cache=True, fastmath={"nnan", "nsz", "reassoc"})
def _least(table: np.ndarray, sums: np.ndarray) -> float:
    least = np.inf
    for c in range(len(table)):
        least = min(least, table[c] + sums[c])
    return least


@numba.njit(cache=True)
def _insert(energies: np.ndarray, codes: np.ndarray, energy: float, code: int) -> None:
    """Keeps a sorted list, its last entry falls out."""
    place = len(energies) - 1
    while place > 0 and energies[place - 1] > energy:
        energies[place] = energies[place - 1]
        codes[place] = codes[place - 1]
        place -= 1
    energies[place] = energy
    codes[place] = code


@numba.njit(cache=True, parallel=True)
def lowest_codes(
    matrix: np.ndarray, linear: np.ndarray, table: np.ndarray, low: int, prefix: int, first: int, count: int, keep: int
) -> tuple[np.ndarray, np.ndarray]:
    """The lowest states of the parts ``first`` … ``first + count − 1`` that the ``prefix`` highest bits cut the states into.

    Args:
        matrix, linear: couplings ``(n, n)`` and linear part ``(n,)``, float64.
        table: :func:`tile_energies` of the ``low`` lowest bits.
        low, prefix: numbers of bits.
        first, count: parts, of 2^prefix.
        keep: states kept of each part.

    Returns:
        Energies (without offset) ``(count, keep)``, ascending, infinite where a part has fewer states; and their codes.
    """
    n = linear.shape[0]
    middle = n - prefix - low
    energies = np.full((count, keep), np.inf)
    codes = np.zeros((count, keep), dtype=np.int64)
    for part in numba.prange(count):
        fields = linear.copy()
        sums = np.empty(1 << low)
        base = 0.0
        high = np.int64(0)
        for i in range(prefix):
            if ((first + part) >> i) & 1:
                v = low + middle + i
                base += fields[v]
                high |= np.int64(1) << v
                for j in range(n):
                    fields[j] += matrix[v, j]
        for j in range(low):  # the table has the linear part of the low bits already
            fields[j] -= linear[j]
        for step in range(1 << middle):
            if step > 0:
                i = 0
                while not (step >> i) & 1:
                    i += 1
                v = low + i
                sign = -1.0 if (high >> v) & 1 else 1.0
                base += sign * fields[v]
                high ^= np.int64(1) << v
                for j in range(low + middle):
                    fields[j] += sign * matrix[v, j]
            _spread(sums, fields, low)
            if base + _least(table, sums) < energies[part, keep - 1]:
                for c in range(1 << low):
                    energy = base + table[c] + sums[c]
                    if energy < energies[part, keep - 1]:
                        _insert(energies[part], codes[part], energy, high | c)
    return energies, codes
