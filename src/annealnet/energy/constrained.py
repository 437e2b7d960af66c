"""An energy and the constraints its states must keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import dimod
import numpy as np

from annealnet.energy.constraints import Cardinality, Constraint, LinearBudget, ProductBudget
from annealnet.energy.forms import Energy, bits_of
from annealnet.energy.penalties import penalised_bqm, sufficient_penalty

__all__ = ["ConstrainedEnergy"]


@dataclass(frozen=True, eq=False)
class ConstrainedEnergy:
    """An energy over the states that keep every constraint.

    Attributes:
        energy_part: the energy.
        constraints: cardinalities over disjoint variables, and budgets.

    Raises:
        ValueError: when two cardinalities share a variable or a constraint names one that is not there.

    Example:
        >>> from annealnet.energy import DenseEnergy, OneHot
        >>> model = ConstrainedEnergy(DenseEnergy(np.zeros((2, 2)), np.array([1.0, 2.0])), [OneHot([0, 1])])
        >>> model.is_feasible(np.array([1, 1]))
        False
    """

    energy_part: Energy
    constraints: Sequence[Constraint]

    def __post_init__(self) -> None:
        seen: set[int] = set()
        counted: set[int] = set()
        for constraint in self.constraints:
            if isinstance(constraint, Cardinality):
                shared = seen & set(constraint.variables)
                if shared:
                    raise ValueError(f"constraints: variable {min(shared)} is in two cardinalities: make them disjoint")
                seen |= set(constraint.variables)
            if isinstance(constraint, LinearBudget) and len(constraint.coefficients) != self.num_variables:
                raise ValueError(
                    f"constraints: a budget has {len(constraint.coefficients)} coefficients, "
                    f"the energy {self.num_variables} variables: give one each"
                )
            if isinstance(constraint, ProductBudget):
                counted.update(v for count in constraint.counts for v in count.variables)
        outside = sorted(v for v in seen | counted if not 0 <= v < self.num_variables)
        if outside:
            raise ValueError(f"constraints name variable {outside[0]}: there are 0 … {self.num_variables - 1}")

    @property
    def num_variables(self) -> int:
        """n."""
        return self.energy_part.num_variables

    @cached_property
    def penalty(self) -> float:
        """λ, which any infeasible state pays to stand behind every feasible one: in answers, and in :meth:`to_bqm`."""
        return sufficient_penalty(self.energy_part)

    def energy(self, x: np.ndarray) -> np.ndarray:
        """The energy alone, as :meth:`Energy.energy`."""
        return self.energy_part.energy(x)

    def feasible(self, x: np.ndarray) -> np.ndarray:
        """bool per state ``(reads, n)``: every constraint holds.

        Raises:
            ValueError: as :meth:`Energy.energy`.
        """
        states = np.atleast_2d(bits_of(x, self.num_variables))
        good = np.ones(len(states), dtype=bool)
        for constraint in self.constraints:
            good &= constraint.holds(states)
        return good

    def is_feasible(self, x: np.ndarray) -> bool:
        """Whether one state ``(n,)`` keeps every constraint."""
        return bool(self.feasible(x)[0])

    def to_bqm(self) -> dimod.BinaryQuadraticModel:
        """A plain QUBO with the same feasible ground states; see :func:`annealnet.energy.penalties.penalised_bqm`."""
        return penalised_bqm(self.energy_part, self.constraints)
