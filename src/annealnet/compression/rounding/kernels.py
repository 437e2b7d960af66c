# mypy: disable-error-code="untyped-decorator"
"""Rows of integers that share one Gram matrix: a row's field stays in the nearest cache, the Gram matrix is read only
where a code changes.

E(c) = (z − w)ᵀ G (z − w) with z_i = s_i (c_i − o_i). With the field f = G (z − w), the best real z_i with all others fixed
is z_i − f_i / G_ii; a visit draws one of the two grid points around it, as heat bath at temperature T does:

    log p(upper) / p(lower) = (G_ii s_i² / T) (2 φ − 1),     φ = place between the two points, 0 … 1 (beyond at the ends)

Each visit also offers one step of the weight together with one of a correlated weight, which is the move that costs least
where inputs are correlated. A change of δ costs one row: f ← f + δ G_i. No penalty, no bits: the whole grid is one move
away.
"""

from __future__ import annotations

import numba
import numpy as np

from annealnet.samplers.kernels.random import next_state, seeded

__all__ = ["anneal_rows", "descend_pairs"]

# Visits are inlined by name: as calls, their many array arguments cost ten times what they do.

#: Logistic noise, drawn by the upper bits of the row's random stream.
_NOISE = np.log((np.arange(4096) + 0.5) / (4096 - np.arange(4096) - 0.5)).astype(np.float32)


@numba.njit(cache=True, fastmath=True)
def _field(gram: np.ndarray, weights: np.ndarray, values: np.ndarray, field: np.ndarray) -> None:
    field[:] = 0
    for i in range(len(values)):
        gap = values[i] - weights[i]
        if gap != 0:
            row = gram[i]
            for j in range(len(values)):
                field[j] += gap * row[j]


@numba.njit(cache=True, fastmath=True)
def _begin(
    gram: np.ndarray, weights: np.ndarray, scale: np.ndarray, zero: np.ndarray, column: np.ndarray, step: int,
    codes: np.ndarray, width: np.ndarray, stiff: np.ndarray, field: np.ndarray,
) -> None:  # fmt: skip
    """Steps s_i, G_ii s_i² and field of one row; also where float32 sums are made anew."""
    n = len(codes)
    values = np.empty(n, dtype=np.float32)
    for i in range(n):
        width[i] = scale[column[i]] * step
        values[i] = scale[column[i]] * (codes[i] - zero[column[i]])
        stiff[i] = gram[i, i] * width[i] * width[i]
    _field(gram, weights, values, field)


@numba.njit(cache=True, fastmath=True, inline="always")
def _visit_single(
    i: int, gram: np.ndarray, levels: np.ndarray, width: np.ndarray, stiff: np.ndarray, field: np.ndarray, codes: np.ndarray,
    heat: np.float32, noise: np.float32,
) -> bool:  # fmt: skip
    """Heat bath of one code between the two points around its best place, a descent at no heat; whether it changed."""
    low, step = levels[0], levels[2]
    last = (levels[1] - low) // step - 1  # the upper of two neighbouring points is at most the highest
    # in steps above the lowest point
    place = np.float32((codes[i] - low) // step) - field[i] / (gram[i, i] * width[i])
    below = min(max(int(np.floor(place)), 0), last)
    share = place - below
    if heat > 0:
        share += np.float32(0.5) * heat / stiff[i] * noise
    code = low + step * (below + (1 if share > 0.5 else 0))
    if code == codes[i]:
        return False
    move = np.float32((code - codes[i]) // step) * width[i]
    # float32 noise must not make it swing between two equal points
    if heat <= 0 and 2 * move * field[i] + move * move * gram[i, i] >= -1e-5 * stiff[i]:
        return False
    codes[i] = code
    for j in range(len(field)):
        field[j] += move * gram[i, j]
    return True


@numba.njit(cache=True, fastmath=True, inline="always")
def _visit_pair(
    i: int, j: int, sign: int, gram: np.ndarray, levels: np.ndarray, width: np.ndarray, stiff: np.ndarray, field: np.ndarray,
    codes: np.ndarray, threshold: np.float32,
) -> None:  # fmt: skip
    """Moves weight i by a step, and j by the step that makes up for it, where that costs less than ``threshold``."""
    low, high, step = levels[0], levels[1], levels[2]
    other = -sign if gram[i, j] > 0 else sign
    there, then = codes[i] + sign * step, codes[j] + other * step
    if not (low <= there <= high and low <= then <= high and stiff[j] > 0):
        return
    move, second = sign * width[i], other * width[j]
    cost = 2 * (move * field[i] + second * field[j] + move * second * gram[i, j]) + stiff[i] + stiff[j]
    if cost < threshold:
        codes[i] = there
        codes[j] = then
        for k in range(len(field)):
            field[k] += move * gram[i, k] + second * gram[j, k]


@numba.njit(cache=True, parallel=True, fastmath=True)
def anneal_rows(
    gram: np.ndarray,
    weights: np.ndarray,
    scale: np.ndarray,
    zero: np.ndarray,
    column: np.ndarray,
    levels: np.ndarray,
    codes: np.ndarray,
    partners: np.ndarray,
    temperatures: np.ndarray,
    shares: np.ndarray,
    seed: np.uint64,
    first_row: int,
) -> None:
    """Anneals every row, then descends until no single code can be bettered; ``codes`` change in place.

    Args:
        gram: float32 ``(n, n)``, symmetric.
        weights: float32 ``(rows, n)``.
        scale, zero: float32 ``(rows, groups)``: s and o.
        column: int64 ``(n,)``, the group of each weight.
        levels: lowest code, highest code and step, int64 ``(3,)``.
        codes: int16 ``(rows, n)``.
        partners: int32 ``(n, k)``, the weights that each one is moved together with, one of them at a visit.
        temperatures: float32 ``(rows,)``, of the first sweep.
        shares: float32 ``(sweeps,)``, every sweep's temperature in units of the first one's; may be empty.
        seed: of all rows; a row's draws depend on it and the row's number only.
        first_row: number of the first row, where these are some of a layer's.
    """
    rows, n = weights.shape
    many, annealing = np.uint64(partners.shape[1]), len(shares)
    for r in numba.prange(rows):
        state = seeded(seed, first_row + r)
        width = np.empty(n, dtype=np.float32)
        stiff = np.empty(n, dtype=np.float32)
        field = np.empty(n, dtype=np.float32)
        own = codes[r]
        _begin(gram, weights[r], scale[r], zero[r], column, levels[2], own, width, stiff, field)
        for sweep in range(annealing + 50):
            heat = temperatures[r] * shares[sweep] if sweep < annealing else np.float32(0)
            changed = False
            for i in range(n):
                if stiff[i] <= 0:
                    continue
                if heat > 0:
                    state = next_state(state)
                    _visit_single(
                        i, gram, levels, width, stiff, field, own, heat, _NOISE[(state >> np.uint64(40)) & np.uint64(4095)]
                    )
                    state = next_state(state)
                    j = partners[i, ((state >> np.uint64(33)) * many) >> np.uint64(31)]
                    sign = 1 if state & np.uint64(1 << 20) else -1
                    state = next_state(state)
                    # logistic noise on the cost: heat bath between staying and going
                    _visit_pair(
                        i,
                        j,
                        sign,
                        gram,
                        levels,
                        width,
                        stiff,
                        field,
                        own,
                        heat * _NOISE[(state >> np.uint64(40)) & np.uint64(4095)],
                    )
                elif _visit_single(i, gram, levels, width, stiff, field, own, heat, np.float32(0)):
                    changed = True
            if sweep >= annealing and not changed:
                break
            if sweep == annealing - 1 or sweep % 64 == 63:
                _begin(gram, weights[r], scale[r], zero[r], column, levels[2], own, width, stiff, field)


@numba.njit(cache=True, parallel=True, fastmath=True)
def descend_pairs(
    gram: np.ndarray,
    weights: np.ndarray,
    scale: np.ndarray,
    zero: np.ndarray,
    column: np.ndarray,
    levels: np.ndarray,
    codes: np.ndarray,
    rounds: int,
) -> None:
    """Moves two codes of a row by one step each wherever that lowers the error, up to ``rounds`` passes; arguments as
    :func:`anneal_rows`.
    """
    rows, n = weights.shape
    low, high, step = levels[0], levels[1], levels[2]
    for r in numba.prange(rows):
        width = np.empty(n, dtype=np.float32)
        stiff = np.empty(n, dtype=np.float32)
        field = np.empty(n, dtype=np.float32)
        gains = np.empty(n, dtype=np.float32)
        _begin(gram, weights[r], scale[r], zero[r], column, step, codes[r], width, stiff, field)
        for _ in range(rounds):
            changed = False
            for i in range(n):
                if gram[i, i] <= 0:
                    continue
                for sign in (-1, 1):
                    if not low <= codes[r, i] + sign * step <= high:
                        continue
                    move = sign * width[i]
                    own = 2 * move * field[i] + stiff[i]
                    row = gram[i]
                    least = np.float32(0)
                    for j in range(n):
                        slope = field[j] + move * row[j]
                        gains[j] = width[j] * (width[j] * gram[j, j] - 2 * abs(slope))
                        least = min(least, gains[j])
                    # own gain alone belongs to single moves; here the partner must pay for it
                    if own + least >= -1e-4 * stiff[i]:
                        continue
                    best, at = np.float32(0), -1
                    for j in range(n):
                        if j != i and gains[j] < best and gram[j, j] > 0:
                            way = -step if field[j] + move * row[j] > 0 else step
                            if low <= codes[r, j] + way <= high:
                                best, at = gains[j], j
                    if at >= 0 and own + best < -1e-4 * stiff[i]:
                        other = -width[at] if field[at] + move * row[at] > 0 else width[at]
                        codes[r, i] += sign * step
                        codes[r, at] += step if other > 0 else -step
                        second = gram[at]
                        for j in range(n):
                            field[j] += move * row[j] + other * second[j]
                        changed = True
            if not changed:
                break
