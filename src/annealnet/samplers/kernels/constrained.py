"""Metropolis annealing with squares, constraints and compound moves; it never leaves the feasible states.

Single flips do not move along a budget's edge, nor exchange two members of a square, and that is where the optimum lies. So
half of the proposals are two moves at once: remove a channel here and widen a layer there, or swap two bits of a square.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from annealnet.samplers.kernels.random import below, next_state, uniform

__all__ = ["start_read", "sweep_read"]


@numba.njit(cache=True)
def _excess(levels: np.ndarray, budgets: Any) -> Any:
    """How far the budgets are exceeded, relative to their limits; 0 where all hold."""
    term_start, term_count, term_cost, budget_start, limits = budgets
    total = 0.0
    for budget in range(limits.shape[0]):
        cost = 0.0
        for term in range(budget_start[budget], budget_start[budget + 1]):
            product = term_cost[term]
            for k in range(term_start[term], term_start[term + 1]):
                product *= levels[term_count[k]]
            cost += product
        if cost > limits[budget]:
            total += (cost - limits[budget]) / max(1.0, limits[budget])
    return total


@numba.njit(cache=True)
def _delta(i: int, x: np.ndarray, fields: np.ndarray, squares: np.ndarray, energy: Any) -> Any:
    """Change of energy if a bit were flipped."""
    _, _, _, factor_start, factor_row, factor_value, factor_weight = energy
    step = 1.0 - 2.0 * x[i]
    delta = step * fields[i]
    for k in range(factor_start[i], factor_start[i + 1]):
        a, f = factor_value[k], factor_row[k]
        delta += factor_weight[f] * a * (2.0 * step * squares[f] + a)
    return delta


@numba.njit(cache=True)
def _flip(
    i: int, x: np.ndarray, fields: np.ndarray, squares: np.ndarray, levels: np.ndarray, energy: Any, counts: Any
) -> None:
    """Flips a bit and keeps fields, squares and counts."""
    row_start, row_var, row_value, factor_start, factor_row, factor_value, _ = energy
    count_start, count_index, count_value = counts
    step = 1.0 - 2.0 * x[i]
    for k in range(factor_start[i], factor_start[i + 1]):
        squares[factor_row[k]] += step * factor_value[k]
    for k in range(row_start[i], row_start[i + 1]):
        fields[row_var[k]] += step * row_value[k]
    for k in range(count_start[i], count_start[i + 1]):
        levels[count_index[k]] += step * count_value[k]
    x[i] ^= 1


@numba.njit(cache=True)
def _propose(x: np.ndarray, sets: Any, energy: Any, members: Any, chosen: np.ndarray, random: Any) -> Any:
    """Draws one or two moves into ``chosen``; returns their number of flips (0: nothing to do) and the stream."""
    set_of, set_start, set_var = sets
    factor_start, factor_row = energy[3], energy[4]
    member_start, member_var = members
    random = next_state(random)
    moves = 2 if uniform(random) < 0.5 else 1
    flips = 0
    i = 0
    for move in range(moves):
        random = next_state(random)
        partners = factor_start[i + 1] - factor_start[i] if move == 1 else 0
        if partners > 0 and uniform(random) < 0.5:  # another bit of a square that the first one is in
            random = next_state(random)
            f = factor_row[factor_start[i] + below(random, partners)]
            random = next_state(random)
            i = member_var[member_start[f] + below(random, member_start[f + 1] - member_start[f])]
        else:
            random = next_state(random)
            i = below(random, x.shape[0])
        chosen[flips] = i
        flips += 1
        if set_of[i] >= 0:
            first = set_start[set_of[i]]
            random = next_state(random)
            j = set_var[first + below(random, set_start[set_of[i] + 1] - first)]
            chosen[flips] = j
            flips += 1
            if x[i] == x[j]:
                return 0, random
    for k in range(flips):  # a bit drawn twice would undo its own swap and break the set
        for m in range(k):
            if chosen[k] == chosen[m]:
                return 0, random
    return flips, random


@numba.njit(cache=True)
def _sweep(
    proposals: int, beta: float, excess: float, x: np.ndarray, state: Any, problem: Any, chosen: np.ndarray, random: Any
) -> Any:  # fmt: skip
    """Proposals at one temperature. While budgets are exceeded only their excess counts, and it never rises.

    Returns the change of energy, the excess left and the stream.
    """
    fields, squares, levels = state
    energy, sets, members, counts, budgets = problem
    total = 0.0
    for _ in range(proposals):
        flips, random = _propose(x, sets, energy, members, chosen, random)
        if flips == 0:
            continue
        random = next_state(random)
        chance = uniform(random)
        if flips == 1 and excess == 0.0:  # most are refused: nothing is moved to find that out
            cost = beta * _delta(chosen[0], x, fields, squares, energy)
            if cost > 0.0 and (cost > 30.0 or chance >= math.exp(-cost)):
                continue
        delta = 0.0
        for k in range(flips):
            delta += _delta(chosen[k], x, fields, squares, energy)
            _flip(chosen[k], x, fields, squares, levels, energy, counts)
        now = _excess(levels, budgets)
        cost = beta * delta
        accepted = (
            now <= excess if excess > 0.0 else now == 0.0 and (cost <= 0.0 or (cost < 30.0 and chance < math.exp(-cost)))
        )
        if accepted:
            total += delta
            if excess > 0.0 and now == 0.0:
                return total, now, random
            excess = now
        else:
            for k in range(flips - 1, -1, -1):
                _flip(chosen[k], x, fields, squares, levels, energy, counts)
    return total, excess, random


@numba.njit(cache=True, nogil=True)
def start_read(
    start: np.ndarray, x: np.ndarray, fields: np.ndarray, squares: np.ndarray, levels: np.ndarray,
    problem: Any, random: Any, repairs: int,
) -> Any:  # fmt: skip
    """Brings one state within its budgets.

    Args:
        start: int8 ``(n,)``; it must keep the cardinalities.
        x: zeros; becomes the state.
        fields, squares, levels: those of the all-zero state; become those of ``x``.
        problem: (energy, sets, members, counts, budgets), each a tuple of flat arrays.
        random: this read's stream.
        repairs: most random moves that may be tried.

    Returns:
        The energy without its constant, what is left of the budgets' excess (above 0 the read is given up), and the stream.
    """
    state = (fields, squares, levels)
    chosen = np.empty(4, dtype=np.int64)
    energy = 0.0
    for i in range(x.shape[0]):
        if start[i]:
            energy += _delta(i, x, fields, squares, problem[0])
            _flip(i, x, fields, squares, levels, problem[0], problem[3])
    excess = _excess(levels, problem[4])
    if excess > 0.0:
        change, excess, random = _sweep(repairs, 0.0, excess, x, state, problem, chosen, random)
        energy += change
    return energy, excess, random


@numba.njit(cache=True, nogil=True)
def sweep_read(
    x: np.ndarray, fields: np.ndarray, squares: np.ndarray, levels: np.ndarray, best: np.ndarray,
    energy: float, best_energy: float, problem: Any, betas: np.ndarray, random: Any,
) -> Any:  # fmt: skip
    """Sweeps one feasible state in place and keeps the best one seen in ``best``; threads may run reads side by side.

    Returns:
        The energy now, the best energy, and the stream.
    """
    state = (fields, squares, levels)
    chosen = np.empty(4, dtype=np.int64)
    for beta in betas:
        change, _, random = _sweep(x.shape[0], beta, 0.0, x, state, problem, chosen, random)
        energy += change
        if energy < best_energy - 1e-15:
            best[:] = x
            best_energy = energy
    return energy, best_energy, random
