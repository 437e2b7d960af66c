"""From any state to one that keeps every constraint, and downhill from there: the one owner of repairs.

Moves are single flips of bits that no cardinality holds, and swaps inside a cardinality. Sets with too few or too many bits
on are mended first, each by its cheapest flips. Then, while budgets are exceeded, the move is taken that costs least energy
per share of a budget saved, among those that break nothing that holds. *Our reconstruction* (greedy knapsack repair).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from annealnet.energy.constrained import ConstrainedEnergy
from annealnet.energy.constraints import AffineCount, Cardinality, LinearBudget, ProductBudget, Term

__all__ = ["Repair"]


class _Budget:
    """One budget: its cost, and its cost after each of many moves."""

    def __init__(self, budget: ProductBudget, n: int) -> None:
        self.terms, self.limit = budget.terms, budget.limit
        self.constants = np.array([count.constant for count in budget.counts], dtype=np.int64)
        self.rows = np.zeros((len(budget.counts), n), dtype=np.int64)
        for row, count in zip(self.rows, budget.counts, strict=True):
            np.add.at(row, list(count.variables), list(count.coefficients))

    def costs(self, x: np.ndarray, moves: _Moves) -> np.ndarray:
        """int64 ``(1 + moves,)``: now, and after each move."""
        step = self.rows * (1 - 2 * x)
        changes = np.concatenate([np.zeros((len(self.rows), 1), np.int64), moves.of(step)], axis=1)
        counts = (self.constants + self.rows @ x)[:, None] + changes
        total = np.zeros(counts.shape[1], dtype=np.int64)
        for term in self.terms:
            total += term.cost * np.prod(counts[list(term.counts)], axis=0)
        return total


@dataclass(frozen=True, eq=False)
class _Moves:
    """Flips of ``first`` together with ``second`` (−1: alone)."""

    first: np.ndarray
    second: np.ndarray

    def of(self, per_flip: np.ndarray) -> np.ndarray:
        """What a number that adds up over flips ``(…, n)`` is for each move ``(…, moves)``."""
        return per_flip[..., self.first] + np.where(self.second >= 0, per_flip[..., self.second], 0)

    def done(self, x: np.ndarray, move: int) -> np.ndarray:
        """The state after a move."""
        moved = x.copy()
        moved[self.first[move]] ^= 1
        if self.second[move] >= 0:
            moved[self.second[move]] ^= 1
        return moved


class Repair:
    """Mends and improves states of one constrained energy.

    Args:
        model: energy and constraints.

    Example:
        >>> from annealnet.energy import DenseEnergy, OneHot
        >>> costs = DenseEnergy(np.zeros((3, 3)), np.array([-1.0, -3.0, -2.0]))
        >>> repair = Repair(ConstrainedEnergy(costs, [LinearBudget(np.array([1, 1, 2]), 2), OneHot([0, 1])]))
        >>> repair.mended(np.array([1, 1, 1])), repair.improved(np.array([1, 0, 0]))
        (array([0, 1, 0]), array([0, 1, 0]))
    """

    def __init__(self, model: ConstrainedEnergy) -> None:
        self.model = model
        n = model.num_variables
        self._sets = [(np.array(c.variables, np.int64), c.count) for c in model.constraints if isinstance(c, Cardinality)]
        held = np.concatenate([np.empty(0, np.int64), *(members for members, _ in self._sets)])
        self._free = np.setdiff1d(np.arange(n), held)
        self._budgets = [_Budget(_as_product(c), n) for c in model.constraints if not isinstance(c, Cardinality)]
        self._couplings = model.energy_part.couplings()

    def mended(self, x: np.ndarray) -> np.ndarray | None:
        """The state ``(n,)`` with every constraint kept; None where greedy moves do not get there."""
        state = np.asarray(x, dtype=np.int64).copy()
        for members, count in self._sets:
            self._count(state, members, count)
        while True:
            moves, changes = self._moves(state)
            excess = self._excess(state, moves)
            total = excess.sum(axis=0)
            if total[0] <= 0:
                return state
            saved = total[0] - total[1:]
            harmless = ((excess[:, :1] > 0) | (excess[:, 1:] <= 0)).all(axis=0)
            usable = harmless & (saved > 0)
            if not usable.any():
                return None
            price = np.where(usable, changes / np.where(usable, saved, 1.0), np.inf)
            state = moves.done(state, int(np.argmin(price)))

    def improved(self, x: np.ndarray) -> np.ndarray:
        """Downhill by the best move each time, from a state that keeps every constraint, through such states."""
        state = np.asarray(x, dtype=np.int64).copy()
        while True:
            moves, changes = self._moves(state)
            kept = (self._excess(state, moves)[:, 1:] <= 0).all(axis=0)
            usable = np.where(kept, changes, np.inf)
            if not len(usable) or usable.min() >= -1e-12 * self.model.penalty:
                return state
            state = moves.done(state, int(np.argmin(usable)))

    def excess(self, x: np.ndarray) -> list[float]:
        """How far each budget is exceeded, as a share of its limit: 0 where it holds."""
        state = np.asarray(x, dtype=np.int64)
        none = _Moves(np.empty(0, np.int64), np.empty(0, np.int64))
        return [float(value) for value in self._excess(state, none)[:, 0]]

    def _excess(self, x: np.ndarray, moves: _Moves) -> np.ndarray:
        """Share of the limit by which each budget is exceeded now and after each move: ``(budgets, 1 + moves)``."""
        found = [np.maximum(0, b.costs(x, moves) - b.limit) / max(1, b.limit) for b in self._budgets]
        return np.array(found) if found else np.zeros((0, 1 + len(moves.first)))

    def _flips(self, x: np.ndarray) -> np.ndarray:
        return self.model.energy_part.flip_deltas(x)

    def _moves(self, x: np.ndarray) -> tuple[_Moves, np.ndarray]:
        """All moves from a state that keeps the cardinalities, and what each changes the energy by."""
        off, on = [], []
        for members, _ in self._sets:
            lit, dark = members[x[members] == 1], members[x[members] == 0]
            off.append(np.repeat(lit, len(dark)))
            on.append(np.tile(dark, len(lit)))
        alone = np.full(len(self._free), -1)
        moves = _Moves(np.concatenate([self._free, *off]).astype(np.int64), np.concatenate([alone, *on]).astype(np.int64))
        changes = moves.of(self._flips(x))
        swaps = slice(len(self._free), None)
        changes[swaps] -= _entries(self._couplings, moves.first[swaps], moves.second[swaps])  # one goes as the other comes
        return moves, changes

    def _count(self, state: np.ndarray, members: np.ndarray, count: int) -> None:
        """The right number of bits on, by the cheapest flips."""
        while (lit := int(state[members].sum())) != count:
            wrong = members[state[members] == (1 if lit > count else 0)]
            state[wrong[np.argmin(self._flips(state)[wrong])]] ^= 1


def _entries(matrix: sparse.csr_matrix, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    return np.asarray(matrix[rows, cols]).ravel() if len(rows) else np.zeros(0)


def _as_product(constraint: LinearBudget | ProductBudget) -> ProductBudget:
    if isinstance(constraint, ProductBudget):
        return constraint
    held: Sequence[int] = np.flatnonzero(constraint.coefficients).tolist()
    coefficients = tuple(int(constraint.coefficients[v]) for v in held)
    return ProductBudget((AffineCount(0, tuple(held), coefficients),), (Term(1, (0,)),), int(constraint.limit))
