"""Energies of all states with fixed high bits, in Gray-code order: one flip and one coupling row per state."""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["gray_energies"]


@numba.njit(cache=True, parallel=True)
def gray_energies(matrix: np.ndarray, linear: np.ndarray, offset: float, low: int, first: int, step: int) -> np.ndarray:
    """Energies ``(step, 2^low)``: row s has the high bits ``first + s``, column c the low bits c."""
    n = linear.shape[0]
    found = np.empty((step, 1 << low))
    for s in numba.prange(step):
        x = np.zeros(n, dtype=np.int8)
        fields = linear.copy()
        energy = offset
        for i in range(low, n):
            if ((first + s) >> (i - low)) & 1:
                energy += fields[i]
                x[i] = 1
                for j in range(n):
                    fields[j] += matrix[i, j]
        code = 0
        found[s, 0] = energy
        for count in range(1, 1 << low):
            i = 0
            while not (count >> i) & 1:
                i += 1
            sign = 1.0 - 2.0 * x[i]
            energy += sign * fields[i]
            x[i] ^= 1
            code ^= 1 << i
            for j in range(low):  # high fields are not read again
                fields[j] += sign * matrix[i, j]
            found[s, code] = energy
    return found
