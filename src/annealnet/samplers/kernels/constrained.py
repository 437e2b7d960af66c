"""Metropolis annealing that never leaves the feasible states: flips, swaps inside a cardinality, and pairs of these.

A budget's edge is where the optimum lies, and no single flip moves along it: half of the proposals are two moves at once
(remove a channel here, widen a layer there).
"""

from __future__ import annotations

import math

import numba
import numpy as np

from annealnet.samplers.kernels.random import below, next_state, seeded, uniform

__all__ = ["anneal_constrained"]

#: Sweeps at zero temperature after the schedule.
_DESCENTS = 10


@numba.njit(cache=True)  # type: ignore[misc]
def _excess(levels: np.ndarray, term_start: np.ndarray, term_count: np.ndarray, term_cost: np.ndarray,
            budget_start: np.ndarray, limits: np.ndarray) -> float:  # fmt: skip
    """How far the budgets are exceeded, relative to their limits; 0 where all hold."""
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


@numba.njit(cache=True)  # type: ignore[misc]
def _flip(i: int, x: np.ndarray, fields: np.ndarray, squares: np.ndarray, counts: np.ndarray,
          row_start: np.ndarray, row_var: np.ndarray, row_value: np.ndarray,
          factor_start: np.ndarray, factor_row: np.ndarray, factor_value: np.ndarray, factor_weight: np.ndarray,
          count_start: np.ndarray, count_index: np.ndarray, count_value: np.ndarray) -> float:  # fmt: skip
    """Flips a bit, keeps fields, squares and counts, and returns the change of energy."""
    step = 1.0 - 2.0 * x[i]
    delta = step * fields[i]
    for k in range(factor_start[i], factor_start[i + 1]):
        a, f = factor_value[k], factor_row[k]
        delta += factor_weight[f] * a * (2.0 * step * squares[f] + a)
        squares[f] += step * a
    for k in range(row_start[i], row_start[i + 1]):
        fields[row_var[k]] += step * row_value[k]
    for k in range(count_start[i], count_start[i + 1]):
        counts[count_index[k]] += step * count_value[k]
    x[i] ^= 1
    return delta


@numba.njit(cache=True, parallel=True)  # type: ignore[misc]
def anneal_constrained(
    linear: np.ndarray, row_start: np.ndarray, row_var: np.ndarray, row_value: np.ndarray,
    factor_start: np.ndarray, factor_row: np.ndarray, factor_value: np.ndarray, factor_weight: np.ndarray,
    factor_shift: np.ndarray,
    set_of: np.ndarray, set_start: np.ndarray, set_var: np.ndarray,
    count_constant: np.ndarray, count_start: np.ndarray, count_index: np.ndarray, count_value: np.ndarray,
    term_start: np.ndarray, term_count: np.ndarray, term_cost: np.ndarray, budget_start: np.ndarray, limits: np.ndarray,
    states: np.ndarray, betas: np.ndarray, seed: np.uint64, repairs: int, excess_left: np.ndarray,
) -> None:  # fmt: skip
    """Anneals every row of ``states`` int8 ``(reads, n)`` in place and leaves the best feasible state of the read there.

    Starts must keep the cardinalities; budgets are repaired by at most ``repairs`` random moves that never raise the
    excess. ``excess_left`` ``(reads,)`` tells what is left of it: such a read was given up.
    """
    reads, n = states.shape
    for r in numba.prange(reads):
        random = seeded(seed, r)
        x = states[r]
        fields, squares, counts = linear.copy(), factor_shift.copy(), count_constant.copy()
        start = x.copy()
        x[:] = 0
        energy = 0.0
        for i in range(n):
            if start[i]:
                energy += _flip(i, x, fields, squares, counts, row_start, row_var, row_value, factor_start, factor_row,
                                factor_value, factor_weight, count_start, count_index, count_value)  # fmt: skip
        excess = _excess(counts, term_start, term_count, term_cost, budget_start, limits)
        best, best_energy = x.copy(), energy
        chosen = np.empty(4, dtype=np.int64)
        sweeps = betas.shape[0]
        sweep = 0
        while sweep < sweeps + _DESCENTS:
            for _ in range(n if excess == 0.0 else repairs):
                # ---- propose one or two moves
                moves = 0
                random = next_state(random)
                pairs = 2 if uniform(random) < 0.5 else 1
                for _move in range(pairs):
                    random = next_state(random)
                    i = below(random, n)
                    if set_of[i] < 0:
                        chosen[moves] = i
                        moves += 1
                    else:
                        first = set_start[set_of[i]]
                        random = next_state(random)
                        j = set_var[first + below(random, set_start[set_of[i] + 1] - first)]
                        if x[i] != x[j]:
                            chosen[moves] = i
                            chosen[moves + 1] = j
                            moves += 2
                if moves == 0:
                    continue
                delta = 0.0
                for k in range(moves):
                    delta += _flip(chosen[k], x, fields, squares, counts, row_start, row_var, row_value, factor_start,
                                   factor_row, factor_value, factor_weight, count_start, count_index, count_value)  # fmt: skip
                # a bit drawn twice would undo its own swap and break the set
                broken = False
                for k in range(moves):
                    for m in range(k):
                        if chosen[k] == chosen[m]:
                            broken = True
                now = _excess(counts, term_start, term_count, term_cost, budget_start, limits)
                if excess > 0.0:
                    accepted = not broken and now <= excess
                elif broken or now > 0.0:
                    accepted = False
                elif sweep >= sweeps:
                    accepted = delta < 0.0
                else:
                    cost = delta * betas[sweep]
                    random = next_state(random)
                    accepted = cost <= 0.0 or (cost < 30.0 and uniform(random) < math.exp(-cost))
                if accepted:
                    energy += delta
                    if excess > 0.0 and now == 0.0:
                        best[:] = x
                        best_energy = energy
                        excess = 0.0
                        break
                    excess = now
                else:
                    for k in range(moves - 1, -1, -1):
                        _flip(chosen[k], x, fields, squares, counts, row_start, row_var, row_value, factor_start, factor_row,
                              factor_value, factor_weight, count_start, count_index, count_value)  # fmt: skip
            if excess > 0.0:
                break
            if energy < best_energy - 1e-15:
                best[:] = x
                best_energy = energy
            sweep += 1
        excess_left[r] = excess
        x[:] = best
