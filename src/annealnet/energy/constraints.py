"""The kinds of constraints, which native samplers keep exactly; :mod:`.penalties` turns them into terms of a plain QUBO."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from annealnet.whole_numbers import whole_number, whole_value

__all__ = [
    "AffineCount",
    "Cardinality",
    "Constraint",
    "LinearBudget",
    "OneHot",
    "ProductBudget",
    "Term",
]


#: Whole numbers that float64 still tells apart: the kernels count in float64.
_EXACT = 2**53


@dataclass(frozen=True, eq=False)
class Cardinality:
    """Exactly ``count`` of ``variables`` are 1.

    Raises:
        ValueError: when a variable is no whole number or named twice, or the count is out of range.

    Example:
        >>> Cardinality([0, 2], 1).holds(np.array([[1, 1, 0], [1, 0, 1]]))
        array([ True, False])
    """

    variables: Sequence[int]
    count: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "variables", tuple(whole_number("variables", value, None) for value in self.variables))
        if len(set(self.variables)) != len(self.variables):
            raise ValueError("variables names one twice: name each once")
        object.__setattr__(self, "count", whole_number("count", self.count, 0, len(self.variables)))

    def holds(self, x: np.ndarray) -> np.ndarray:
        """bool per state ``(reads, n)``."""
        return np.asarray(np.asarray(x)[:, list(self.variables)].sum(axis=1, dtype=np.int64) == self.count)


def OneHot(variables: Sequence[int]) -> Cardinality:
    """Exactly one of ``variables`` is 1.

    Example:
        >>> OneHot([0, 1]).count
        1
    """
    return Cardinality(variables, 1)


@dataclass(frozen=True, eq=False)
class LinearBudget:
    """coefficients·x ≤ limit, with whole, non-negative coefficients.

    Attributes:
        coefficients: ``(n,)`` of any type of numbers; int64 once checked.
        limit: most the sum may be, a whole number.

    Raises:
        ValueError: when a coefficient or the limit is negative, infinite or not whole, or the coefficients' sum is beyond
            2⁵³, where float64 does not count exactly any more.

    Example:
        >>> LinearBudget(np.array([2, 3]), 4).holds(np.array([[1, 0], [1, 1]]))
        array([ True, False])
    """

    coefficients: np.ndarray
    limit: int

    def __post_init__(self) -> None:
        given = np.asarray(self.coefficients, dtype=np.float64)
        if given.ndim != 1 or not np.isfinite(given).all():
            raise ValueError(f"coefficients of shape {given.shape} must be one finite number per variable, shape (n,)")
        if (given < 0).any() or (given != np.round(given)).any():
            raise ValueError("coefficients must be whole and not negative: scale them, or complement the bits")
        if given.sum() >= _EXACT:
            raise ValueError(f"coefficients sum up to {given.sum():.3g}, from 2^53 on sums are not exact: divide them")
        object.__setattr__(self, "coefficients", given.astype(np.int64))
        object.__setattr__(self, "limit", whole_value("limit", self.limit, 0))

    def holds(self, x: np.ndarray) -> np.ndarray:
        """bool per state ``(reads, n)``."""
        return np.asarray(np.asarray(x).astype(np.int64) @ self.coefficients <= self.limit)


@dataclass(frozen=True, eq=False)
class AffineCount:
    """N(x) = constant + Σ_i coefficients_i · x[variables_i], a whole number that is never negative.

    Raises:
        ValueError: when it could become negative, a number is not whole, or a variable is below 0.

    Example:
        >>> AffineCount(3, (0, 1), (-1, -1)).at(np.array([[1, 0], [1, 1]]))
        array([2, 1])
    """

    constant: int
    variables: tuple[int, ...]
    coefficients: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.variables) != len(self.coefficients):
            raise ValueError("variables and coefficients differ in length: give one coefficient per variable")
        object.__setattr__(self, "constant", whole_value("constant", self.constant, None))
        object.__setattr__(
            self, "coefficients", tuple(whole_value("coefficients", value, None) for value in self.coefficients)
        )
        object.__setattr__(self, "variables", tuple(whole_number("variables", value, 0) for value in self.variables))
        if self.low < 0:
            raise ValueError(f"count can become {self.low}: its constant must cover the negative coefficients")

    @property
    def low(self) -> int:
        """Smallest value over all states."""
        return self.constant + sum(c for c in self.coefficients if c < 0)

    @property
    def high(self) -> int:
        """Largest value over all states."""
        return self.constant + sum(c for c in self.coefficients if c > 0)

    def at(self, x: np.ndarray) -> np.ndarray:
        """Its value per state ``(reads, n)``: int64 ``(reads,)``."""
        chosen = np.asarray(x)[:, list(self.variables)].astype(np.int64)
        return np.asarray(self.constant + chosen @ np.array(self.coefficients, dtype=np.int64))


@dataclass(frozen=True)
class Term:
    """cost · Π N_f over one to three counts, named by their places.

    Raises:
        ValueError: when the cost or a place is negative or not whole, or there are not one to three different counts.
    """

    cost: int
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "cost", whole_value("cost", self.cost, 0))
        object.__setattr__(self, "counts", tuple(whole_number("counts", value, 0) for value in self.counts))
        if not 1 <= len(self.counts) <= 3 or len(set(self.counts)) != len(self.counts):
            raise ValueError(f"counts={self.counts!r} of a term must be one to three different counts")


@dataclass(frozen=True, eq=False)
class ProductBudget:
    """Σ_t cost_t Π_{f ∈ t} N_f(x) ≤ limit: a network's exact cost, kept outputs × kept inputs × bits.

    Attributes:
        counts: the affine counts N_f.
        terms: the products.
        limit: most the sum may be, a whole number.

    Raises:
        ValueError: when a term names a count that is not there, the limit is negative or not whole, or the cost could pass
            2⁵³, where float64 does not count exactly any more.

    Example:
        >>> budget = ProductBudget((AffineCount(2, (0,), (-1,)), AffineCount(3, (1,), (-2,))), (Term(1, (0, 1)),), 3)
        >>> budget.holds(np.array([[0, 0], [1, 0], [0, 1]]))
        array([False,  True,  True])
    """

    counts: tuple[AffineCount, ...]
    terms: tuple[Term, ...]
    limit: int

    def __post_init__(self) -> None:
        for term in self.terms:
            if max(term.counts) >= len(self.counts):
                raise ValueError(f"terms name count {max(term.counts)}, there are {len(self.counts)}")
        object.__setattr__(self, "limit", whole_value("limit", self.limit, 0))
        most = sum(term.cost * math.prod(self.counts[f].high for f in term.counts) for term in self.terms)
        if most >= _EXACT:
            raise ValueError(f"terms cost up to {most:.3g}, from 2^53 on sums are not exact: divide the costs and the limit")

    def cost(self, x: np.ndarray) -> np.ndarray:
        """Its left side per state ``(reads, n)``: int64 ``(reads,)``."""
        values = [count.at(x) for count in self.counts]
        total = np.zeros(len(x), dtype=np.int64)
        for term in self.terms:
            product = np.full(len(x), term.cost, dtype=np.int64)
            for f in term.counts:
                product *= values[f]
            total += product
        return total

    def holds(self, x: np.ndarray) -> np.ndarray:
        """bool per state ``(reads, n)``."""
        return np.asarray(self.cost(x) <= self.limit)


Constraint = Cardinality | LinearBudget | ProductBudget
