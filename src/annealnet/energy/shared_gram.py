"""Many rows of bits under one Gram matrix: every output of a layer reads the same features."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from annealnet.energy.forms import DenseEnergy, Energy

__all__ = ["SharedGramEnergy"]


#: Asymmetry, in units of the largest entry, that counts as rounding.
_ROUNDING = 1e-5
#: Rows that are compared at a time, so that no second matrix is made.
_STRIPE = 256


def _asymmetry(matrix: np.ndarray) -> float:
    """max |G − Gᵀ|."""
    stripes = range(0, len(matrix), _STRIPE)
    return max((float(np.abs(matrix[a : a + _STRIPE] - matrix[:, a : a + _STRIPE].T).max()) for a in stripes), default=0.0)


class SharedGramEnergy(Energy):
    """E(m) = Σ_d (u_d ᵀ G u_d + linear_d · m_d) + offset with u_d = signs_d ∘ m_d: D rows of H bits, one H × H matrix.

    The rows do not see each other, so that the least energy is the sum of the rows' least energies.

    Args:
        gram: symmetric ``(H, H)``, kept as it is (float32 or float64); its diagonal counts (u² = signs² m).
        signs: ``(D, H)`` weight of each bit, any real numbers.
        linear: ``(D, H)``.
        offset: constant.

    Raises:
        ValueError: when shapes differ, a number is not finite, or the matrix is not symmetric (beyond 10⁻⁵ of its largest
            entry, which a product in float32 may leave).

    Example:
        >>> energy = SharedGramEnergy(np.eye(2), np.array([[1.0, -2.0]]), np.array([[-3.0, 0.0]]))
        >>> energy.energy(np.array([[1, 0], [1, 1]]))
        array([-2.,  2.])
    """

    def __init__(self, gram: np.ndarray, signs: np.ndarray, linear: np.ndarray, offset: float = 0.0) -> None:
        self.gram, self.signs = np.asarray(gram), np.asarray(signs, dtype=np.float64)
        rows = np.asarray(linear, dtype=np.float64)
        width = self.gram.shape[0]
        if self.gram.shape != (width, width) or self.signs.ndim != 2 or self.signs.shape[1] != width:
            raise ValueError(f"gram has shape {self.gram.shape}, signs {self.signs.shape}: give (H, H) and (D, H)")
        if rows.shape != self.signs.shape:
            raise ValueError(f"linear has shape {rows.shape}: give one number per bit, shape {self.signs.shape}")
        for name, values in (("gram", self.gram), ("signs", self.signs), ("linear", rows), ("offset", np.asarray(offset))):
            if not np.isfinite(values).all():
                raise ValueError(f"{name} holds NaN or infinite values: give finite coefficients")
        if _asymmetry(self.gram) > _ROUNDING * float(np.abs(self.gram).max(initial=0.0)):
            raise ValueError("gram is not symmetric: give (G + G.T) / 2, which has the same energies")
        self.num_variables = rows.size
        self.linear, self.offset = rows.ravel(), float(offset)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and bits per row."""
        return self.signs.shape[0], self.signs.shape[1]

    def quadratic_energy(self, x: np.ndarray) -> np.ndarray:
        """Σ_d u_dᵀ G u_d."""
        weighted = x.reshape(len(x), *self.shape) * self.signs
        return np.asarray(((weighted @ self.gram) * weighted).sum(axis=(1, 2)))

    def couplings(self) -> sparse.csr_matrix:
        """Block-diagonal; built only when asked for."""
        return sparse.csr_matrix(sparse.block_diag([row.couplings() for row in self.rows()]))

    def expanded_linear(self) -> tuple[np.ndarray, float]:
        """See :class:`Energy`."""
        own = self.signs**2 * np.diagonal(self.gram)
        return self.linear + own.ravel(), self.offset

    def rows(self) -> list[DenseEnergy]:
        """Each row as an energy of its own; the offset goes to the first."""
        linear = self.linear.reshape(self.shape)
        return [
            DenseEnergy(np.outer(s, s) * self.gram, row, self.offset if d == 0 else 0.0)
            for d, (s, row) in enumerate(zip(self.signs, linear, strict=True))
        ]
