"""GPTQ (Frantar et al. 2022): weights are rounded one column after the other, and what is still free makes up for it.

With H = G + damp · mean(diag G) · I and U the upper Cholesky factor of H⁻¹ (H⁻¹ = UᵀU), column i is rounded and every later
column j moves by −(w_i − z_i) U_ij / U_ii. Written from the paper's Algorithm 1, with its blocks and its order of falling
diagonal («act-order»). It is the baseline, and the start, of the annealed rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from annealnet.compression.rounding.lattice import Lattice

__all__ = ["GptqFactor", "gptq_codes", "gptq_factor"]

#: Columns after which the others learn of the errors made, in one matrix product.
_BLOCK = 128


@dataclass(frozen=True, eq=False)
class GptqFactor:
    """What GPTQ needs of a Gram matrix.

    Attributes:
        order: int64 ``(n,)``, columns in the order in which they are rounded.
        upper: float32 ``(n, n)``, U of the columns in that order.
    """

    order: np.ndarray
    upper: np.ndarray


def gptq_factor(lattice: Lattice, damp: float = 0.01) -> GptqFactor:
    """Order and factor of a layer's Gram matrix; scales do not matter to them.

    Args:
        lattice: the layer.
        damp: share of the mean diagonal added to it; raised tenfold until the factor exists.

    Raises:
        ValueError: when ``damp`` is negative.
    """
    if damp < 0:
        raise ValueError(f"damp={damp!r} must not be negative: 0.01 is a good start")
    order = np.argsort(-np.diag(lattice.gram), kind="stable")
    return GptqFactor(order, _factor(lattice.gram[np.ix_(order, order)], damp))


def gptq_codes(lattice: Lattice, damp: float = 0.01, factor: GptqFactor | None = None) -> np.ndarray:
    """Codes int16 ``(rows, n)``.

    Args:
        lattice: the layer.
        damp: see :func:`gptq_factor`.
        factor: of this layer's Gram matrix, where it is known.

    Example:
        >>> from annealnet.compression.rounding.grids import Grid
        >>> gram = np.array([[1.0, 0.9], [0.9, 1.0]], dtype=np.float32)
        >>> zeros, ones = np.zeros((1, 1), dtype=np.float32), np.ones((1, 1), dtype=np.float32)
        >>> weights = np.array([[0.4, 0.4]], dtype=np.float32)
        >>> lattice = Lattice(gram, weights, ones, zeros, np.zeros(2, dtype=np.int64), Grid(2))
        >>> gptq_codes(lattice).tolist()
        [[0, 1]]
    """
    found = gptq_factor(lattice, damp) if factor is None else factor
    order, upper, n = found.order, found.upper, lattice.weights.shape[1]
    wanted = np.ascontiguousarray(lattice.weights[:, order].T, dtype=np.float32)  # columns of the layer, one after the other
    scale, zero = lattice.scale[:, lattice.column[order]].T, lattice.zero[:, lattice.column[order]].T
    top = (lattice.grid.high - lattice.grid.low) // lattice.grid.step
    codes = np.empty_like(wanted)
    for first in range(0, n, _BLOCK):
        last = min(n, first + _BLOCK)
        errors = np.empty((last - first, wanted.shape[1]), dtype=np.float32)
        for i in range(first, last):
            steps = np.clip(np.rint((wanted[i] / scale[i] + zero[i] - lattice.grid.low) / lattice.grid.step), 0, top)
            codes[i] = lattice.grid.low + lattice.grid.step * steps
            errors[i - first] = (wanted[i] - scale[i] * (codes[i] - zero[i])) / upper[i, i]
            wanted[i + 1 : last] -= upper[i, i + 1 : last, None] * errors[i - first]
        wanted[last:] -= upper[first:last, last:].T @ errors
    rounded = np.empty(lattice.weights.shape, dtype=np.int16)
    rounded[:, order] = codes.T
    return rounded


def _factor(gram: np.ndarray, damp: float) -> np.ndarray:
    """U with (G + damp)⁻¹ = UᵀU, float32 upper triangle."""
    matrix = gram.astype(np.float64)
    mean = float(np.diag(matrix).mean())
    if mean <= 0:
        return np.eye(len(matrix), dtype=np.float32)
    share = max(damp, 1e-9)
    while True:
        try:
            damped = matrix + share * mean * np.eye(len(matrix))
            # with rows and columns reversed, damped = A Aᵀ with A upper, so that its inverse is (A⁻¹)ᵀ A⁻¹
            upper = linalg.cholesky(damped[::-1, ::-1], lower=True)[::-1, ::-1]
            inverse = linalg.solve_triangular(upper, np.eye(len(matrix)), lower=False)
            return np.ascontiguousarray(inverse, dtype=np.float32)
        except linalg.LinAlgError:
            share *= 10
