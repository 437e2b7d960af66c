"""Energies and constraints as flat arrays for the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from annealnet.energy import (
    Cardinality,
    Constraint,
    DenseEnergy,
    Energy,
    FactoredEnergy,
    LinearBudget,
    SparseEnergy,
    SumEnergy,
)

__all__ = ["CompiledConstraints", "CompiledEnergy", "compile_constraints", "compile_energy"]

#: A matrix is handled as dense when more than this share of it is filled, and it has at most so many variables.
_DENSE_SHARE, _DENSE_LIMIT = 0.25, 20_000


@dataclass(frozen=True)
class CompiledEnergy:
    """linear, couplings (a dense float32 matrix or neighbour lists) and factors by columns, all in units of ``scale``.

    Attributes:
        scale: a power of two near the root mean square local field, so that kernels see numbers near 1 and division by it
            rounds nothing.
        linear: float64 ``(n,)``.
        dense: float32 ``(n, n)`` (float64 before it is in its own units), or None.
        couplings: CSR ``(n, n)``, empty where ``dense`` is used.
        factors: CSC ``(R, n)``, may have no rows.
        weights, shifts: ``(R,)``.
    """

    linear: np.ndarray
    dense: np.ndarray | None
    couplings: sparse.csr_matrix
    factors: sparse.csc_matrix
    weights: np.ndarray
    shifts: np.ndarray
    scale: float = 1.0

    def in_own_units(self) -> CompiledEnergy:
        """The same energy divided by its scale."""
        fields = self.field_scales()
        largest = float(fields.max(initial=0.0))
        if largest == 0.0:
            return self
        # scaled first, so that squares of very small or large numbers stay finite
        typical = largest * float(np.sqrt(np.mean((fields[fields > 0] / largest) ** 2)))
        scale = float(2.0 ** np.clip(np.round(np.log2(typical)), -1000, 1000))
        return CompiledEnergy(
            self.linear / scale, None if self.dense is None else (self.dense / scale).astype(np.float32),
            self.couplings / scale, self.factors, self.weights / scale, self.shifts, self.scale * scale,
        )  # fmt: skip

    def expanded(self) -> CompiledEnergy:
        """The same energy with its squares multiplied out into couplings."""
        if not self.factors.nnz:
            return self
        upper = sparse.triu(self.couplings, k=1).tocoo()
        squares = FactoredEnergy(sparse.csr_matrix(self.factors), self.weights, self.shifts)
        plain = SparseEnergy(upper.row, upper.col, upper.data, self.linear)
        linear = plain.expanded_linear()[0] + squares.expanded_linear()[0]
        couplings = plain.couplings() + squares.couplings()
        return replace(_without_factors(linear, None, sparse.csr_matrix(couplings)), scale=self.scale)

    def field_scales(self) -> np.ndarray:
        """Root mean square of each bit's local field over random states, in units of ``scale``: float64 ``(n,)``."""
        if self.dense is not None:
            squares = np.einsum("ij,ij->i", self.dense, self.dense).astype(np.float64)
            mean = self.linear + 0.5 * self.dense.sum(axis=1)
        else:
            squares = np.asarray(self.couplings.multiply(self.couplings).sum(axis=1)).ravel()
            mean = self.linear + 0.5 * np.asarray(self.couplings.sum(axis=1)).ravel()
        # a factor's level fluctuates with its other bits; (2 c a level)² summed over factors
        entries = self.factors.multiply(self.factors)
        spread = 0.25 * np.asarray(entries.sum(axis=1)).ravel()
        middle = self.shifts + 0.5 * np.asarray(self.factors.sum(axis=1)).ravel()
        gain = 4 * self.weights**2
        squares = squares / 4 + np.asarray(entries.T @ (gain * spread)).ravel()
        mean = mean + 2 * np.asarray(self.factors.T @ (self.weights * middle)).ravel()
        return np.asarray(np.sqrt(squares + mean**2))


def compile_energy(energy: Energy) -> CompiledEnergy:
    """Keeps factors as factors unless the couplings they stand for are cheaper to keep up to date."""
    return _flat(energy).in_own_units()


def _flat(energy: Energy) -> CompiledEnergy:
    n = energy.num_variables
    parts = energy.parts if isinstance(energy, SumEnergy) else [energy]
    if len(parts) == 1 and isinstance(parts[0], DenseEnergy) and n <= _DENSE_LIMIT:
        return _without_factors(parts[0].linear, parts[0].matrix, sparse.csr_matrix((n, n)))
    factored = [p for p in parts if isinstance(p, FactoredEnergy) and not _better_expanded(p)]
    plain = [p for p in parts if not any(p is f for f in factored)]
    linear = np.zeros(n)
    couplings = sparse.csr_matrix((n, n))
    for part in plain:
        linear = linear + part.expanded_linear()[0]
        couplings = couplings + part.couplings()
    for part in factored:
        linear = linear + part.linear
    if not factored:
        if couplings.nnz > _DENSE_SHARE * n * n and n <= _DENSE_LIMIT:
            return _without_factors(linear, couplings.toarray(), sparse.csr_matrix((n, n)))
        return _without_factors(linear, None, sparse.csr_matrix(couplings))
    factors = sparse.csc_matrix(sparse.vstack([part.factors for part in factored]))
    weights = np.concatenate([part.weights for part in factored])
    shifts = np.concatenate([part.shifts for part in factored])
    return CompiledEnergy(linear, None, sparse.csr_matrix(couplings), factors, weights, shifts)


def _better_expanded(energy: FactoredEnergy) -> bool:
    """Whether a proposal reads fewer numbers from a field than from the factors: more factors per bit than bits."""
    return energy.num_variables <= _DENSE_LIMIT and energy.factors.nnz > energy.num_variables**2


def _without_factors(linear: np.ndarray, dense: np.ndarray | None, couplings: sparse.csr_matrix) -> CompiledEnergy:
    none = np.zeros(0)
    return CompiledEnergy(linear, dense, couplings, sparse.csc_matrix((0, len(linear))), none, none)


@dataclass(frozen=True)
class CompiledConstraints:
    """Cardinality sets, and every budget as sums of products of counts; see :mod:`.kernels.constrained`.

    Attributes:
        sets: set of each variable (-1: none), and the sets' members as (start, variables).
        constants: every count's value in the all-zero state.
        counts: per variable the counts it changes, as (start, index, value).
        budgets: terms as (start, counts, cost), and budgets as (start, limit).
    """

    sets: tuple[np.ndarray, np.ndarray, np.ndarray]
    constants: np.ndarray
    counts: tuple[np.ndarray, np.ndarray, np.ndarray]
    budgets: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def compile_constraints(n: int, constraints: Sequence[Constraint]) -> CompiledConstraints:
    """Linear budgets become product budgets of one count."""
    sets = [list(c.variables) for c in constraints if isinstance(c, Cardinality)]
    set_of = np.full(n, -1, dtype=np.int64)
    for number, members in enumerate(sets):
        set_of[members] = number
    constants: list[float] = []
    rows: list[int] = []
    cols: list[int] = []
    values: list[float] = []
    terms: list[tuple[float, list[int]]] = []
    budgets, limits = [0], []
    for constraint in constraints:
        if isinstance(constraint, Cardinality):
            continue
        first = len(constants)
        if isinstance(constraint, LinearBudget):
            coefficients = np.asarray(constraint.coefficients, dtype=float)
            used = np.flatnonzero(coefficients)
            constants.append(0.0)
            rows += [first] * len(used)
            cols += used.tolist()
            values += coefficients[used].tolist()
            terms.append((1.0, [first]))
        else:
            for count in constraint.counts:
                rows += [len(constants)] * len(count.variables)
                cols += list(count.variables)
                values += list(map(float, count.coefficients))
                constants.append(float(count.constant))
            terms += [(float(term.cost), [first + f for f in term.counts]) for term in constraint.terms]
        budgets.append(len(terms))
        limits.append(float(constraint.limit))
    counts = sparse.csc_matrix((values, (rows, cols)), shape=(len(constants), n))
    return CompiledConstraints(
        (
            set_of,
            np.cumsum([0, *map(len, sets)]),
            np.array([v for members in sets for v in members], dtype=np.int64),
        ),
        np.array(constants, dtype=float),
        (counts.indptr.astype(np.int64), counts.indices.astype(np.int64), counts.data.astype(float)),
        (
            np.cumsum([0, *(len(fs) for _, fs in terms)]),
            np.array([f for _, fs in terms for f in fs], dtype=np.int64),
            np.array([cost for cost, _ in terms], dtype=float),
            np.array(budgets, dtype=np.int64),
            np.array(limits, dtype=float),
        ),
    )
