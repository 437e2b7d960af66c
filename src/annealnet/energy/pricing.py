"""Budgets as prices: constraints in a plain QUBO without auxiliary bits, for samplers that know nothing else.

    H(x) = E(x) + Σ_j μ_j C_j(x) / limit_j + Σ_g λ_g (Σ_{i∈g} x_i − k_g)²

* C_j is the left side of a product budget, μ_j ≥ 0 its price: what the whole budget is worth, in the unit of E. So bytes and
  nats stand in one range. A minimiser x* of E + Σ μ_j C_j has the least E among all states with C_j(x) ≤ C_j(x*) for every j
  (Everett 1963): it is the constrained optimum of the budgets that it uses, and the price decides how much that is.
* A product of three counts is taken to second order around a reference state r: N₁N₂N₃ − (N₁−r₁)(N₂−r₂)(N₃−r₃), exact
  wherever one of the three stands where it stood in r. *Our reconstruction.*
* λ_g is the least that our bounds prove: turning bit i on changes E + Σ μC by at most hi_i and at least lo_i, whatever the
  other bits are. A set with too few bits on has one off among the k_g of least hi, so some flip costs at most the k_g-th
  smallest hi; one with too many has one on that gains at most the (k_g+1)-th largest −lo. With λ_g above both, every state
  that breaks a cardinality has a flip that lowers H: no ground state, nor any local minimum of single flips, breaks one.
* A linear budget of limit 0 holds all its bits at 0, and one that only forbids all its bits together holds one at 0, the
  dearest to turn on at r, each by a field above −lo_i: no local minimum has it on, and H's minimisers are optima among
  the states that keep it off. Other linear budgets have no term: :mod:`.repair` mends what breaks them.

The penalty of a squared product budget with slack needs no price, but its coefficients span the square of the budget and its
auxiliary bits tie every bit to every other (:mod:`.penalties`); annealers rarely find a feasible state of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import dimod
import numpy as np
from scipy import sparse

from annealnet.energy.constrained import ConstrainedEnergy
from annealnet.energy.constraints import Cardinality, LinearBudget, ProductBudget
from annealnet.energy.forms import SparseEnergy

__all__ = ["coefficient_range", "priced_energy"]

#: λ over the bound that suffices, and the least λ in units of the largest coefficient.
_MARGIN, _LEAST = 1.01, 1e-3
#: Couplings are left out while together they are less than this share of all coefficients.
_NOISE = 1e-6

_Quadratic = tuple[sparse.csr_matrix, np.ndarray]


def priced_energy(model: ConstrainedEnergy, prices: Sequence[float], reference: np.ndarray) -> SparseEnergy:
    """H over the variables of the model, see the module, with its largest coefficient scaled to 1.

    Couplings too small to matter are left out: together they are less than a millionth of the sum of all coefficients.

    Args:
        model: energy and constraints.
        prices: μ_j of each product budget in their order, at least 0, in the unit of the energy per whole budget.
        reference: state ``(n,)`` around which products of three counts are taken; it keeps the constraints.

    Raises:
        ValueError: when there is not one price per product budget, or one is negative or not finite.

    Example:
        >>> from annealnet.energy import AffineCount, DenseEnergy, Term
        >>> budget = ProductBudget((AffineCount(2, (0, 1), (-1, -1)),), (Term(4, (0,)),), 4)
        >>> model = ConstrainedEnergy(DenseEnergy(np.zeros((2, 2)), np.array([1.0, 3.0])), [budget])
        >>> priced_energy(model, [2.0], np.zeros(2)).linear          # removing bit 0 costs 1 and saves 2
        array([-1.,  1.])
    """
    budgets = [constraint for constraint in model.constraints if isinstance(constraint, ProductBudget)]
    if len(prices) != len(budgets) or any(not (np.isfinite(price) and price >= 0) for price in prices):
        raise ValueError(
            f"prices={list(prices)!r} must be one number of at least 0 for each of {len(budgets)} product budgets"
        )
    linear, _ = model.energy_part.expanded_linear()
    couplings = model.energy_part.couplings()
    for budget, price in zip(budgets, prices, strict=True):
        more, own = _cost(budget, reference)
        couplings = couplings + price / max(1, budget.limit) * more
        linear = linear + price / max(1, budget.limit) * own
    couplings = _without_noise(sparse.csr_matrix(couplings), linear)
    fields, rows, cols, values = _penalties(model, couplings, linear, np.asarray(reference))
    kept = sparse.triu(couplings, k=1).tocoo()
    i, j = np.concatenate([kept.row, rows]), np.concatenate([kept.col, cols])
    whole = sparse.coo_matrix((np.concatenate([kept.data, values]), (i, j)), shape=couplings.shape)
    whole = whole.tocsr().tocoo()  # equal pairs added up
    linear = linear + fields
    scale = max(float(np.abs(linear).max(initial=0.0)), float(np.abs(whole.data).max(initial=0.0))) or 1.0
    return SparseEnergy(whole.row, whole.col, whole.data / scale, linear / scale)


def _penalties(
    model: ConstrainedEnergy, couplings: sparse.csr_matrix, linear: np.ndarray, reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fields ``(n,)`` and pairs (rows, cols, values) that hold cardinalities and linear budgets; see the module."""
    least = _LEAST * max(float(np.abs(linear).max(initial=0.0)), float(np.abs(couplings.data).max(initial=0.0)))
    fields, pairs = np.zeros(len(linear)), [np.zeros((3, 0))]
    dear = model.energy_part.flip_deltas(reference)
    for constraint in model.constraints:
        if isinstance(constraint, LinearBudget):
            for bit in _held(constraint, dear, reference):
                gain = -linear[bit] - float(couplings[[bit]].minimum(0).sum())
                fields[bit] += max(least, _MARGIN * gain)
        if isinstance(constraint, Cardinality):
            members = np.sort(np.array(constraint.variables, dtype=np.int64))
            strength = max(least, _MARGIN * _sufficient(couplings[members], linear[members], constraint.count))
            fields[members] += strength * (1 - 2 * constraint.count)
            first, second = np.triu_indices(len(members), 1)
            pairs.append(np.stack([members[first], members[second], np.full(len(first), 2 * strength)]))
    rows, cols, values = np.concatenate(pairs, axis=1)
    return fields, rows.astype(np.int64), cols.astype(np.int64), values


def _held(budget: LinearBudget, dear: np.ndarray, reference: np.ndarray) -> list[int]:
    """Bits that are held at 0 for a linear budget."""
    members = np.flatnonzero(budget.coefficients)
    if budget.limit == 0:
        return members.tolist()
    if not (budget.coefficients[members] == 1).all() or budget.limit != len(members) - 1:
        return []
    off = members[reference[members] == 0]
    return [int(off[np.argmax(dear[off])])] if len(off) else []


def coefficient_range(bqm: dimod.BinaryQuadraticModel) -> float:
    """Largest over least coefficient, zeros apart: what a machine must tell apart; 1 where there is none.

    Example:
        >>> coefficient_range(dimod.BinaryQuadraticModel({"a": 1.0, "b": 0.0}, {("a", "b"): -0.25}, 0.0, "BINARY"))
        4.0
    """
    linear, (_, _, quadratic), _ = bqm.to_numpy_vectors()
    sizes = np.abs(np.concatenate([linear, quadratic]))
    sizes = sizes[sizes > 0]
    return float(sizes.max() / sizes.min()) if len(sizes) else 1.0


def _cost(budget: ProductBudget, reference: np.ndarray) -> _Quadratic:
    """Couplings (symmetric, zero diagonal) and linear part of C, second order around the reference, up to a constant."""
    size, n = len(budget.counts), len(reference)
    pairs, single = np.zeros((size, size)), np.zeros(size)
    at = [int(count.at(np.atleast_2d(reference))[0]) for count in budget.counts]
    for term in budget.terms:
        if len(term.counts) == 1:
            single[term.counts[0]] += term.cost
            continue
        for a, b in ((a, b) for a in term.counts for b in term.counts if a != b):
            third = [at[f] for f in term.counts if f not in (a, b)]
            pairs[a, b] += term.cost * (third[0] if third else 1)
        if len(term.counts) == 3:
            for f in term.counts:
                single[f] -= term.cost * np.prod([float(at[g]) for g in term.counts if g != f])
    entries = [
        (f, v, c) for f, count in enumerate(budget.counts) for v, c in zip(count.variables, count.coefficients, strict=True)
    ]
    rows, cols, values = (np.array(part) for part in zip(*entries, strict=True)) if entries else (np.zeros(0, int),) * 3
    counts = sparse.csr_matrix((values.astype(float), (rows, cols)), shape=(size, n))
    constants = np.array([float(count.constant) for count in budget.counts])
    full = sparse.csr_matrix(counts.T @ sparse.csr_matrix(pairs) @ counts)
    linear = counts.T @ (pairs @ constants + single) + full.diagonal() / 2
    full.setdiag(0)
    full.eliminate_zeros()
    return full, np.asarray(linear)


def _without_noise(couplings: sparse.csr_matrix, linear: np.ndarray) -> sparse.csr_matrix:
    """The smallest couplings left out, as many as :data:`_NOISE` allows."""
    upper = sparse.triu(couplings, k=1).tocsr()
    sizes = np.sort(np.abs(upper.data))
    allowed = _NOISE * (float(np.abs(linear).sum()) + float(sizes.sum()))
    dropped = int(np.searchsorted(np.cumsum(sizes), allowed, side="right"))
    if dropped < len(sizes):  # equal ones stay or go together
        upper.data[np.abs(upper.data) < sizes[dropped]] = 0.0
    upper.eliminate_zeros()
    return sparse.csr_matrix(upper + upper.T)


def _sufficient(couplings: sparse.csr_matrix, linear: np.ndarray, count: int) -> float:
    """The bound on λ for a set whose bits have these rows of couplings; see the module."""
    high = np.sort(linear + np.asarray(couplings.maximum(0).sum(axis=1)).ravel())
    gain = np.sort(-linear - np.asarray(couplings.minimum(0).sum(axis=1)).ravel())[::-1]
    missing = high[count - 1] if count > 0 else 0.0
    excess = gain[count] if count < len(linear) else 0.0
    return max(0.0, float(missing), float(excess))
