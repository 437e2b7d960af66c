"""Branch and bound on the linearised energy, through HiGHS: a bound and, given time, a proof.

    min Σ_i l_i x_i + Σ_{i<j} J_ij y_ij,   y_ij ≤ x_i, y_ij ≤ x_j  where J_ij < 0,   y_ij ≥ x_i + x_j − 1  where J_ij > 0

with x binary and y ≥ 0 real: at a minimum y_ij = x_i x_j (Fortet 1960; Glover & Woolsey 1974). It pays on sparse energies;
on dense ones the relaxation is weak, and enumeration is the faster proof as far as it goes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from annealnet.energy import Cardinality, ConstrainedEnergy, Constraint, Energy, LinearBudget

__all__ = ["Bounded", "branch_and_bound"]

#: HiGHS keeps rows and whole numbers to 1e-6; relative to the largest coefficient that is how far a proof reaches.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Bounded:
    """What branch and bound found.

    Attributes:
        state: int8 ``(n,)``, or None when the time ended before the first one.
        bound: no state (within the constraints) has less, to ``tolerance``; minus infinity where nothing is known.
        tolerance: how exact the bound is.
    """

    state: np.ndarray | None
    bound: float
    tolerance: float


def branch_and_bound(model: Energy | ConstrainedEnergy, time_limit: float) -> Bounded:
    """Runs HiGHS for at most ``time_limit`` seconds.

    Cardinalities and linear budgets become rows. Product budgets are left out, which keeps the bound a bound; a state that
    breaks one is dropped.

    Example:
        >>> from annealnet.energy import SparseEnergy
        >>> found = branch_and_bound(SparseEnergy([0], [1], [2.0], np.array([-1.0, -1.5])), 10.0)
        >>> found.state, round(found.bound, 6)
        (array([0, 1], dtype=int8), -1.5)
    """
    from scipy.optimize import Bounds, milp

    n = model.num_variables
    constraints = list(model.constraints) if isinstance(model, ConstrainedEnergy) else []
    energy = model.energy_part if isinstance(model, ConstrainedEnergy) else model
    linear, offset = energy.expanded_linear()
    upper = sparse.triu(energy.couplings(), k=1).tocoo()
    size = n + upper.nnz
    whole = np.zeros(size)
    whole[:n] = 1
    costs = np.concatenate([linear, upper.data])
    found = milp(
        costs,
        integrality=whole,
        bounds=Bounds(0, 1),
        constraints=[*_products(upper, n), *_rows(constraints, size)],
        options={"time_limit": time_limit, "mip_rel_gap": 0.0},
    )
    tolerance = _TOLERANCE * max(1e-300, float(np.abs(costs).max(initial=0.0)))
    state = None if found.x is None else np.round(found.x[:n]).astype(np.int8)
    bound = getattr(found, "mip_dual_bound", None)
    if isinstance(model, ConstrainedEnergy) and state is not None and not model.is_feasible(state):
        state = None
    return Bounded(state, -np.inf if bound is None else _rounded_up(float(bound), costs, tolerance) + offset, tolerance)


def _rounded_up(bound: float, costs: np.ndarray, tolerance: float) -> float:
    """Energies of whole coefficients are whole numbers: the next one is a bound as well."""
    whole = bool((costs == np.round(costs)).all())
    return float(np.ceil(bound - tolerance)) if whole and np.isfinite(bound) else bound


def _products(upper: sparse.coo_matrix, n: int) -> list[object]:
    """Rows that hold y at x_i x_j where the cost would pull it away."""
    from scipy.optimize import LinearConstraint

    pulled_up, pulled_down = np.flatnonzero(upper.data < 0), np.flatnonzero(upper.data > 0)
    size = n + upper.nnz
    rows: list[object] = []
    if len(pulled_up):
        k = len(pulled_up)
        ys, ends = np.tile(n + pulled_up, 2), np.concatenate([upper.row[pulled_up], upper.col[pulled_up]])
        place = np.arange(2 * k)
        matrix = sparse.csr_matrix(
            (np.r_[np.ones(2 * k), -np.ones(2 * k)], (np.r_[place, place], np.r_[ys, ends])), shape=(2 * k, size)
        )
        rows.append(LinearConstraint(matrix, ub=0))
    if len(pulled_down):
        k = len(pulled_down)
        place = np.arange(k)
        matrix = sparse.csr_matrix(
            (
                np.r_[np.ones(2 * k), -np.ones(k)],
                (np.r_[place, place, place], np.r_[upper.row[pulled_down], upper.col[pulled_down], n + pulled_down]),
            ),
            shape=(k, size),
        )
        rows.append(LinearConstraint(matrix, ub=1))
    return rows


def _rows(constraints: list[Constraint], size: int) -> list[object]:
    from scipy.optimize import LinearConstraint

    rows: list[object] = []
    for constraint in constraints:
        row = np.zeros((1, size))
        if isinstance(constraint, Cardinality):
            row[0, list(constraint.variables)] = 1
            rows.append(LinearConstraint(sparse.csr_matrix(row), constraint.count, constraint.count))
        elif isinstance(constraint, LinearBudget):
            row[0, : len(constraint.coefficients)] = constraint.coefficients
            rows.append(LinearConstraint(sparse.csr_matrix(row), ub=constraint.limit))
    return rows
