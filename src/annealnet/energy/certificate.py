"""How good an answer is: proven optimal, bounded, or not known."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from annealnet.energy.constrained import ConstrainedEnergy
from annealnet.energy.forms import DenseEnergy, Energy, FactoredEnergy, SumEnergy

__all__ = ["Certificate", "lower_bound"]


@dataclass(frozen=True)
class Certificate:
    """What is known of an answer.

    Attributes:
        energy: of the answer.
        lower_bound: no state has less; None where nothing is known.
        proven: whether the answer is a proven optimum.
        sampler: who found it.
        seed, reads, seconds: how.

    Example:
        >>> Certificate(-1.0, -3.0, False, "AnnealingSampler", 0, 10, 0.1).describe()
        'not proven: energy -1, lower bound -3, gap 2 (AnnealingSampler, 10 reads, seed 0, 0.10 s)'
    """

    energy: float
    lower_bound: float | None
    proven: bool
    sampler: str
    seed: int | None
    reads: int
    seconds: float

    @property
    def gap(self) -> float | None:
        """Energy above the bound; 0 for a proven optimum, None without a bound."""
        if self.proven:
            return 0.0
        return None if self.lower_bound is None else self.energy - self.lower_bound

    def describe(self) -> str:
        """In words."""
        how = f"({self.sampler}, {self.reads} reads, seed {self.seed}, {self.seconds:.2f} s)"
        if self.proven:
            return f"proven optimal: energy {self.energy:.6g} {how}"
        if self.lower_bound is None:
            return f"no bound: energy {self.energy:.6g} {how}"
        return f"not proven: energy {self.energy:.6g}, lower bound {self.lower_bound:.6g}, gap {self.gap:.6g} {how}"

    def to_document(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Certificate:
        """Reads what :meth:`to_document` gave."""
        return cls(**document)


def lower_bound(model: Energy | ConstrainedEnergy) -> float:
    """A cheap valid lower bound over all states: each bit on its own, each coupling shared by its two bits.

    For J = couplings and l = linear it is offset + Σ_i min(0, l_i + ½ Σ_j min(0, J_ij)). A sum of squares is bounded by its
    linear part instead and, where weights are negative, by the largest value a square can take. Constraints are ignored,
    which only lowers it.

    Example:
        >>> from annealnet.energy.forms import DenseEnergy
        >>> lower_bound(DenseEnergy(np.array([[0.0, -2.0], [0.0, 0.0]]), np.array([0.5, 0.5])))
        -1.0
    """
    energy = model.energy_part if isinstance(model, ConstrainedEnergy) else model
    if isinstance(energy, SumEnergy):
        return sum(lower_bound(part) for part in energy.parts)
    if isinstance(energy, FactoredEnergy):
        low = np.asarray(energy.factors.minimum(0).sum(axis=1)).ravel() + energy.shifts
        high = np.asarray(energy.factors.maximum(0).sum(axis=1)).ravel() + energy.shifts
        squares = np.minimum(energy.weights, 0) * np.maximum(low**2, high**2)
        return energy.offset + float(np.minimum(energy.linear, 0).sum() + squares.sum())
    linear, offset = energy.expanded_linear()
    if isinstance(energy, DenseEnergy):
        share = 0.5 * np.minimum(energy.matrix, 0).sum(axis=1)
    else:
        share = 0.5 * np.asarray(energy.couplings().minimum(0).sum(axis=1)).ravel()
    return offset + float(np.minimum(linear + share, 0).sum())
