"""QAOA's angles: where they start, how they grow, how they go from one problem to another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from annealnet.samplers.quantum.landscape import Landscape

__all__ = ["Angles", "field_size"]


def field_size(landscape: Landscape) -> float:
    """Root mean square local field of C: the unit of 1/γ, so that angles suit problems of other sizes and scales too."""
    both = landscape.couplings + landscape.couplings.T
    mean = float(np.mean(landscape.fields**2 + (both**2).sum(axis=1)))
    return float(np.sqrt(mean)) if mean > 0 else 1.0


@dataclass(frozen=True, eq=False)
class Angles:
    """γ and β of p layers e^{iβΣX} e^{−iγC}; both are positive near an anneal.

    Attributes:
        gammas: ``(p,)``, in units of one over the problem's root mean square local field.
        betas: ``(p,)``, radians.

    Raises:
        ValueError: when lengths differ or there are none.

    Example:
        >>> Angles(np.array([0.2, 0.4]), np.array([0.6, 0.2])).interpolated().gammas.round(3).tolist()
        [0.2, 0.3, 0.4]
    """

    gammas: np.ndarray
    betas: np.ndarray

    def __post_init__(self) -> None:
        if np.shape(self.gammas) != np.shape(self.betas) or np.ndim(self.gammas) != 1 or not len(self.gammas):
            raise ValueError("gammas and betas must be two rows of one length, 1 or more")

    @classmethod
    def first(cls) -> Angles:
        """One layer: γ = ½, β = π/8, the optimum of dense random couplings of many spins (Farhi et al. 2022, p = 1)."""
        return cls(np.array([0.5]), np.array([np.pi / 8]))

    @property
    def depth(self) -> int:
        """p."""
        return len(self.gammas)

    def interpolated(self) -> Angles:
        """One layer more, by INTERP: [u₀]ᵢ = ((i−1) uᵢ₋₁ + (p−i+1) uᵢ) / p, i = 1 … p+1 (Zhou et al. 2020, eq. B1)."""
        return Angles(_interp(self.gammas), _interp(self.betas))

    def joined(self) -> np.ndarray:
        """γ then β, ``(2p,)``."""
        return np.concatenate([self.gammas, self.betas])

    @classmethod
    def split(cls, joined: np.ndarray) -> Angles:
        """Undoes :meth:`joined`."""
        half = len(joined) // 2
        return cls(np.asarray(joined[:half]), np.asarray(joined[half:]))


def _interp(values: np.ndarray) -> np.ndarray:
    p = len(values)
    i = np.arange(1, p + 2)
    left = np.concatenate([[0.0], values])
    right = np.concatenate([values, [0.0]])
    return np.asarray(((i - 1) * left + (p - i + 1) * right) / p)


def fourier_basis(depth: int) -> np.ndarray:
    """Matrix from amplitudes (u, v) to angles: γᵢ = Σ_k u_k sin((k−½)(i−½)π/p), βᵢ = Σ_k v_k cos(…).

    Source: Zhou et al. 2020, eq. 8.
    """
    k = np.arange(1, depth + 1) - 0.5
    phase = np.outer(k, k) * np.pi / depth
    basis = np.zeros((2 * depth, 2 * depth))
    basis[:depth, :depth] = np.sin(phase)
    basis[depth:, depth:] = np.cos(phase)
    return basis
