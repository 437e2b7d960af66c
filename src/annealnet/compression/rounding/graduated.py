# mypy: disable-error-code="untyped-decorator"
"""Graduated rounding: from the continuous relaxation to the grid, by turning up what rounding by chance would cost.

If every weight goes up or down by chance, so that its mean is m_i, a row's expected error is

    E_κ(m) = (m − w)ᵀ G (m − w) + κ Σ_i G_ii s_i² h_i (1 − h_i)      at κ = 1,      h_i = place of m_i between its two points

At κ = 0 this is the continuous problem, solved by m = w; at κ = 1 no coordinate gains by staying between two points, and on
the grid E_κ is the row's error for every κ. So κ rises slowly from 0 to 1, and means follow: those near a point settle on
it first, and all that are still free make up for them. In one coordinate E_κ is convex for κ ≤ 1, least at

    m_i = c + sign(g) max(0, |g| − κ/2) / (1 − κ),      g = place − c,  c the nearest point to place       (in steps)

with place the best real value for the others as they are. (Our formulation; the relaxation is the multilinear one of
rounding by chance. A temperature, which adds entropy, holds all weights back alike and ends higher.)

Rows in tiles: sixteen or more rows go through a coordinate together, and what a block of columns has moved reaches all other
columns' fields as one matrix product.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["graduate_rows"]

#: Rows of a tile (its field stays in the second cache), and columns of a block (a multiple of 8).
_TILE, _BLOCK = 64, 32


@numba.njit(cache=True, fastmath=True)
def _spread(gram: np.ndarray, first: int, last: int, moves: np.ndarray, begin: int, end: int, field: np.ndarray) -> None:
    """Adds G[j, first:last] · moves to the fields of columns ``begin`` to ``end``: eight moves to a pass over a field."""
    rows = moves.shape[1]
    whole = (last - first) // 8 * 8
    for j in range(begin, end):
        own, row = gram[j], field[j]
        for k in range(0, whole, 8):
            i = first + k
            a, b, c, d = own[i], own[i + 1], own[i + 2], own[i + 3]
            e, f, g, h = own[i + 4], own[i + 5], own[i + 6], own[i + 7]
            for r in range(rows):
                row[r] += (
                    a * moves[k, r] + b * moves[k + 1, r] + c * moves[k + 2, r] + d * moves[k + 3, r]
                    + e * moves[k + 4, r] + f * moves[k + 5, r] + g * moves[k + 6, r] + h * moves[k + 7, r]
                )  # fmt: skip
        for k in range(whole, last - first):
            a = own[first + k]
            for r in range(rows):
                row[r] += a * moves[k, r]


@numba.njit(cache=True, fastmath=True)
def _settle(
    gram: np.ndarray, first: int, last: int, kappa: np.float32, top: np.float32, tile: tuple[np.ndarray, ...],
    moves: np.ndarray,
) -> None:  # fmt: skip
    """One visit of columns ``first`` to ``last``, one after the other; their moves are kept for the other columns."""
    places, field, means, slopes = tile[0], tile[1], tile[2], tile[3]
    half = np.float32(0.5) * kappa
    stretch = np.float32(1) / max(np.float32(1) - kappa, np.float32(1e-6))
    rows = moves.shape[1]
    for i in range(first, last):
        own = gram[i]
        if own[i] <= 0:
            moves[i - first] = 0
            continue
        inverse = np.float32(1) / own[i]
        for r in range(rows):
            place = min(max(places[i, r] + (means[i, r] - inverse * field[i, r]) * slopes[i, r], np.float32(0)), top)
            code = np.rint(place)
            gap = place - code
            rest = min(max(abs(gap) - half, np.float32(0)) * stretch, np.float32(0.5))
            settled = (code + np.copysign(rest, gap) - places[i, r]) / slopes[i, r]
            moves[i - first, r] = settled - means[i, r]
            means[i, r] = settled
        for j in range(first, last):
            a = own[j]
            for r in range(rows):
                field[j, r] += a * moves[i - first, r]


@numba.njit(cache=True, parallel=True, fastmath=True)
def graduate_rows(
    gram: np.ndarray,
    weights: np.ndarray,
    scale: np.ndarray,
    zero: np.ndarray,
    column: np.ndarray,
    levels: np.ndarray,
    codes: np.ndarray,
    shares: np.ndarray,
) -> None:
    """Minimises E_κ for one κ after the other, a sweep each, and writes the points where the means end to ``codes``.

    Args:
        gram, weights, scale, zero, column, levels, codes: as :func:`anneal_rows`.
        shares: float32 ``(sweeps,)``, κ of each sweep, rising from 0 to 1.
    """
    rows, n = weights.shape
    low, high, step = levels[0], levels[1], levels[2]
    top = np.float32((high - low) // step)
    for t in numba.prange((rows + _TILE - 1) // _TILE):
        begin, end = t * _TILE, min(rows, (t + 1) * _TILE)
        many = end - begin
        # in a column's own steps, from the lowest point: place of w, and of the mean relative to w
        places = np.empty((n, many), dtype=np.float32)
        slopes = np.empty((n, many), dtype=np.float32)
        means = np.empty((n, many), dtype=np.float32)
        field = np.zeros((n, many), dtype=np.float32)
        moves = np.empty((_BLOCK, many), dtype=np.float32)
        for i in range(n):
            for r in range(many):
                width = scale[begin + r, column[i]] * step
                slopes[i, r] = np.float32(1) / width
                places[i, r] = weights[begin + r, i] / width + np.float32(zero[begin + r, column[i]] - low) / step
                means[i, r] = (min(max(places[i, r], np.float32(0)), top) - places[i, r]) * width
        tile = (places, field, means, slopes)
        for sweep in range(len(shares)):
            if sweep % 64 == 0:  # float32 sums anew
                field[:] = 0
                for first in range(0, n, _BLOCK):
                    last = min(n, first + _BLOCK)
                    _spread(gram, first, last, means[first:last], 0, n, field)
            for first in range(0, n, _BLOCK):
                last = min(n, first + _BLOCK)
                _settle(gram, first, last, shares[sweep], top, tile, moves)
                _spread(gram, first, last, moves, 0, first, field)
                _spread(gram, first, last, moves, last, n, field)
        for i in range(n):
            for r in range(many):
                place = places[i, r] + means[i, r] * slopes[i, r]
                codes[begin + r, i] = low + step * min(max(int(np.rint(place)), 0), int(top))
