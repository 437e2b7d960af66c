"""Constraints as terms of a plain QUBO, with a coefficient that is sufficient, and says why.

Every constraint becomes squares that are 0 for some setting of the auxiliary bits exactly when it holds, and at least 1
for every setting otherwise (all numbers in them are whole). Let D = max E − min E over all 2ⁿ states, bounded by the sum
of the absolute coefficients. With a coefficient λ > D an infeasible state costs at least min E + λ > max E, more than any
feasible one: the ground states are the feasible optima, and feasible states keep their energy. λ is a hundredth above D,
so that it follows the unit of the energy.

A product budget is made exact without enumerating: each count N_f gets a register of ⌈log₂⌉ bits, tied by a square; the
products of register bits get Rosenberg auxiliaries t = ab through 3t + ab − 2at − 2bt (0 iff t = ab, else ≥ 1); what is left
is one linear budget with slack bits. The number of auxiliaries is polynomial in the number of counts and log of their size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dimod
import numpy as np

from annealnet.energy.constraints import Cardinality, Constraint, LinearBudget, ProductBudget
from annealnet.energy.encodings import IntegerEncoding
from annealnet.energy.forms import Energy

__all__ = ["penalised_bqm", "sufficient_penalty"]

Variable = int | str
Linear = dict[Variable, float]


#: λ over the bound on the energy's range.
_MARGIN = 1.01


def sufficient_penalty(energy: Energy) -> float:
    """λ, above max E − min E: 1.01 (Σ |linear| + Σ |couplings|) of the expanded form, or 1 for a constant energy.

    At least eight units in the last place of the energy, offset included.

    Example:
        >>> from annealnet.energy.forms import DenseEnergy
        >>> round(sufficient_penalty(DenseEnergy(np.array([[0.0, -2.0], [0.0, 0.0]]), np.array([1.0, 0.0]))), 9)
        3.03
    """
    linear, offset = energy.expanded_linear()
    bound = float(np.abs(linear).sum() + np.abs(energy.couplings().data).sum() / 2)
    # beside a large offset a smaller λ would be lost in rounding
    return max(_MARGIN * bound or 1.0, 8 * float(np.spacing(abs(offset) + bound)))


class _Penalties:
    """A BQM that grows auxiliary bits."""

    def __init__(self, energy: Energy) -> None:
        self.bqm = energy.to_bqm()
        self.strength = sufficient_penalty(energy)
        self._auxiliaries = 0
        self._products: dict[tuple[Variable, Variable], Variable] = {}

    def fresh(self) -> Variable:
        name = f"aux{self._auxiliaries}"
        self._auxiliaries += 1
        self.bqm.add_linear(name, 0.0)
        return name

    def square(self, terms: Linear, constant: float) -> None:
        """Adds λ (Σ terms + constant)²."""
        items = [(v, c) for v, c in terms.items() if c]
        for k, (v, c) in enumerate(items):
            self.bqm.add_linear(v, self.strength * (c * c + 2 * constant * c))
            for u, d in items[k + 1 :]:
                self.bqm.add_quadratic(v, u, self.strength * 2 * c * d)
        self.bqm.offset += self.strength * constant * constant

    def at_most(self, terms: Linear, constant: float, limit: float) -> None:
        """Σ terms + constant ≤ limit, no term negative, through slack bits for limit − left side."""
        if constant + sum(terms.values()) <= limit:
            return
        slack = IntegerEncoding.binary(0, max(0, round(limit - constant)))
        with_slack = dict(terms)
        for coefficient in slack.coefficients:
            with_slack[self.fresh()] = coefficient
        self.square(with_slack, constant - limit)

    def product(self, a: Variable, b: Variable) -> Variable:
        """A bit held equal to a·b."""
        if a == b:
            return a
        key = (a, b) if str(a) < str(b) else (b, a)
        if key not in self._products:
            t = self.fresh()
            self.bqm.add_linear(t, 3 * self.strength)
            self.bqm.add_quadratic(a, b, self.strength)
            self.bqm.add_quadratic(a, t, -2 * self.strength)
            self.bqm.add_quadratic(b, t, -2 * self.strength)
            self._products[key] = t
        return self._products[key]

    def register(self, terms: Linear, constant: int, low: int, high: int) -> tuple[int, list[tuple[Variable, int]]]:
        """Bits whose sum is held equal to the count: (low, [(bit, coefficient)])."""
        encoding = IntegerEncoding.binary(low, high)
        bits = [(self.fresh(), coefficient) for coefficient in encoding.coefficients]
        tied = dict(terms)
        for bit, coefficient in bits:
            tied[bit] = -coefficient
        self.square(tied, constant - low)
        return low, bits


def _accumulate(into: Linear, items: Iterable[tuple[Variable, float]]) -> None:
    for variable, value in items:
        into[variable] = into.get(variable, 0.0) + value


def _product_budget(penalties: _Penalties, budget: ProductBudget) -> None:
    registers = []
    for count in budget.counts:
        terms: Linear = {}
        _accumulate(terms, zip(count.variables, map(float, count.coefficients), strict=True))
        registers.append(penalties.register(terms, count.constant, count.low, count.high))
    total: Linear = {}
    constant = 0.0
    for term in budget.terms:
        # expand Π (low_f + Σ c b) into products of bits
        expanded: list[tuple[tuple[Variable, ...], float]] = [((), float(term.cost))]
        for f in term.counts:
            low, bits = registers[f]
            grown = [(chosen, value * low) for chosen, value in expanded if low]
            grown += [((*chosen, bit), value * c) for chosen, value in expanded for bit, c in bits]
            expanded = grown
        for chosen, value in expanded:
            if not chosen:
                constant += value
                continue
            bit = chosen[0]
            for other in chosen[1:]:
                bit = penalties.product(bit, other)
            _accumulate(total, [(bit, value)])
    penalties.at_most(total, constant, budget.limit)


def penalised_bqm(energy: Energy, constraints: Sequence[Constraint]) -> dimod.BinaryQuadraticModel:
    """The plain QUBO of an energy under constraints; variables 0 … n−1 and auxiliaries named ``aux…``.

    The minimum over the auxiliaries equals the energy for every feasible state and exceeds every feasible state's energy
    for every infeasible one (argument in the module's docstring).

    Example:
        >>> from annealnet.energy.constraints import OneHot
        >>> from annealnet.energy.forms import DenseEnergy
        >>> model = penalised_bqm(DenseEnergy(np.zeros((2, 2)), np.array([1.0, 2.0])), [OneHot([0, 1])])
        >>> dimod.ExactSolver().sample(model).first.sample
        {0: np.int8(1), 1: np.int8(0)}
    """
    penalties = _Penalties(energy)
    for constraint in constraints:
        if isinstance(constraint, Cardinality):
            penalties.square(dict.fromkeys(constraint.variables, 1.0), -constraint.count)
        elif isinstance(constraint, LinearBudget):
            coefficients = np.asarray(constraint.coefficients, dtype=float)
            penalties.at_most({int(v): float(coefficients[v]) for v in np.flatnonzero(coefficients)}, 0.0, constraint.limit)
        else:
            _product_budget(penalties, constraint)
    return penalties.bqm
