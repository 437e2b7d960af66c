"""Partition crossover: where two states differ, each connected piece is taken from whichever state has it better.

Bits in which a and b differ fall into connected components of the coupling graph. Taking a component from b changes E(a)
by an amount that no other component sees, so the best child picks every component on its own: the best of 2^components
children for the price of one pass over the couplings. It is never above either parent. (Whitley, Hains & Howe 2009 for the
travelling salesman, Tinós, Whitley & Chicano 2015 for k-bounded functions; Houdayer 2001 moves the same clusters.)
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["cross"]


@numba.njit(cache=True, parallel=True)
def cross(
    linear: np.ndarray, starts: np.ndarray, columns: np.ndarray, values: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Turns every row of ``first`` int8 ``(pairs, n)`` into the best child of it and the same row of ``second``.

    Components that change nothing are taken from ``second``, so that a search drifts along plateaus.

    Returns:
        float64 ``(pairs,)``: how much energy ``first`` lost, at least 0.
    """
    pairs, n = first.shape
    lost = np.zeros(pairs)
    for p in numba.prange(pairs):
        a, b = first[p], second[p]
        seen = np.zeros(n, dtype=np.bool_)
        members = np.empty(n, dtype=np.int64)
        for root in range(n):
            if seen[root] or a[root] == b[root]:
                continue
            count = 1
            members[0] = root
            seen[root] = True
            head = 0
            change = 0.0
            while head < count:
                i = members[head]
                head += 1
                field = float(linear[i])
                step = 1.0 - 2.0 * a[i]
                for k in range(starts[i], starts[i + 1]):
                    j = columns[k]
                    if a[j] != b[j]:
                        # both flip: half of ½(value at a) is counted from either side
                        field += values[k] * 0.5
                        if not seen[j]:
                            seen[j] = True
                            members[count] = j
                            count += 1
                    elif a[j]:
                        field += values[k]
                change += step * field
            if change <= 1e-6:
                lost[p] -= min(change, 0.0)
                for m in range(count):
                    a[members[m]] = b[members[m]]
    return lost
