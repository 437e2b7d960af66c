"""Rounding as an energy: one whole number per weight, and one Gram matrix for all rows of a layer.

    E_r(c) = (z − w_r)ᵀ G (z − w_r),      z_i = s_{r,k(i)} (c_i − o_{r,k(i)}),      G = XᵀX + λI

The answers of the layer on its calibration inputs X change by E_r for output r (λ = 0), so every row is a problem of its
own (the quadratic form is AdaRound's, Nagel et al. 2020, eq. 13; the codes here span the whole grid, not a pair of points).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from annealnet.compression.rounding.grids import Grid
from annealnet.energy import DenseEnergy
from annealnet.energy.encodings import IntegerEncoding

__all__ = ["Lattice", "RowEnergy", "lower_bounds", "nearest_codes", "row_energy"]


@dataclass(frozen=True, eq=False)
class Lattice:
    """The points that the rows of a layer may take, and the Gram matrix that measures them.

    Attributes:
        gram: float32 ``(n, n)``, symmetric, positive semidefinite.
        weights: float32 ``(rows, n)``, where the rows would like to be.
        scale: float32 ``(rows, groups)``, steps s.
        zero: float32 ``(rows, groups)``, the code o of the value 0.
        column: int64 ``(n,)``, the group k(i) of each weight.
        grid: which codes there are.

    Raises:
        ValueError: when shapes do not fit or a number is not finite.

    Example:
        >>> one = np.ones((1, 1), dtype=np.float32)
        >>> lattice = Lattice(one, 0.4 * one, 0.5 * one, 0 * one, np.zeros(1, dtype=np.int64), Grid(2))
        >>> lattice.nearest().tolist(), lattice.errors(lattice.nearest()).round(4).tolist()
        ([[1]], [0.01])
    """

    gram: np.ndarray
    weights: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    column: np.ndarray
    grid: Grid

    def __post_init__(self) -> None:
        rows, n = self.weights.shape
        if self.gram.shape != (n, n):
            raise ValueError(f"gram has shape {self.gram.shape}: give ({n}, {n}), one row and column per weight")
        if self.scale.shape != self.zero.shape or len(self.scale) != rows or self.column.shape != (n,):
            raise ValueError(
                f"scale {self.scale.shape} and zero {self.zero.shape} must have one row for each of {rows} rows"
            )
        for name in ("gram", "weights", "scale", "zero"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} holds NaN or infinite values: check the calibration inputs and the weights")

    @property
    def levels(self) -> np.ndarray:
        """Lowest code, highest code and step as int64 ``(3,)``."""
        return np.array([self.grid.low, self.grid.high, self.grid.step], dtype=np.int64)

    def values(self, codes: np.ndarray) -> np.ndarray:
        """z of codes ``(rows, n)``: float32."""
        return np.asarray(self.scale[:, self.column] * (codes.astype(np.float32) - self.zero[:, self.column]))

    def nearest(self) -> np.ndarray:
        """The nearest point for each weight on its own: int16 ``(rows, n)``."""
        return nearest_codes(self.weights, self.scale[:, self.column], self.zero[:, self.column], self.grid)

    def rows(self, chosen: slice) -> Lattice:
        """Some of the rows, on the same Gram matrix."""
        return replace(self, weights=self.weights[chosen], scale=self.scale[chosen], zero=self.zero[chosen])

    def errors(self, codes: np.ndarray) -> np.ndarray:
        """E_r of codes ``(rows, n)``: float64 ``(rows,)``."""
        gaps = self.values(codes) - self.weights
        return np.asarray(np.einsum("ri,ri->r", gaps @ self.gram, gaps, dtype=np.float64))


def nearest_codes(weights: np.ndarray, scale: np.ndarray, zero: np.ndarray, grid: Grid) -> np.ndarray:
    """The nearest code for each weight, given its scale and zero point: int16 of the shape of all three."""
    steps = np.rint((weights / scale + zero - grid.low) / grid.step)
    found = grid.low + grid.step * np.clip(steps, 0, (grid.high - grid.low) // grid.step)
    return np.asarray(found, dtype=np.int16)


def lower_bounds(lattice: Lattice) -> np.ndarray:
    """No code of row r has less than this: float64 ``(rows,)``.

    With D = diag(G) and μ the least eigenvalue of D^{−½} G D^{−½}, G − μD is positive semidefinite, so that
    E_r ≥ μ Σ_i G_ii dist(w_i, grid)². (The continuous relaxation of the box alone gives 0 wherever w lies inside it.)

    Example:
        >>> one = np.ones((1, 1), dtype=np.float32)
        >>> lower_bounds(Lattice(one, 0.4 * one, one, 0 * one, np.zeros(1, dtype=np.int64), Grid(2))).round(3).tolist()
        [0.16]
    """
    diagonal = np.diag(lattice.gram).astype(np.float64)
    alive = diagonal > 0
    root = np.sqrt(diagonal[alive])
    scaled = lattice.gram[np.ix_(alive, alive)].astype(np.float64) / root[:, None] / root
    n = len(root)
    least = float(linalg.eigh(scaled, eigvals_only=True, subset_by_index=[0, 0])[0]) if n else 0.0
    gaps = lattice.values(lattice.nearest()).astype(np.float64) - lattice.weights
    # float32 entries of G are off by a few units in the last place: so is μ, at most n times as much
    return np.asarray(max(0.0, least - 1e-7 * n) * (diagonal * gaps**2).sum(axis=1))


@dataclass(frozen=True, eq=False)
class RowEnergy:
    """One row, or a block of it, as a QUBO: the code of every weight in binary, whole grid, no penalty.

    Attributes:
        energy: over the bits of all weights, one after the other; its value is E_r, offset and all.
        encodings: of each weight's steps above ``low``.
        block: the weights that are free.
        codes: int16 ``(n,)``, the codes of all others.
        grid: which codes there are.
    """

    energy: DenseEnergy
    encodings: tuple[IntegerEncoding, ...]
    block: np.ndarray
    codes: np.ndarray
    grid: Grid

    def decode(self, bits: np.ndarray) -> np.ndarray:
        """Bits ``(num_variables,)`` to codes int16 ``(n,)``."""
        codes = self.codes.copy()
        at = 0
        for i, encoding in zip(self.block, self.encodings, strict=True):
            steps = int(np.dot(bits[at : at + len(encoding.coefficients)], encoding.coefficients))
            codes[i] = self.grid.low + self.grid.step * steps
            at += len(encoding.coefficients)
        return codes


def row_energy(lattice: Lattice, row: int, block: np.ndarray | None = None, codes: np.ndarray | None = None) -> RowEnergy:
    """E_r over the bits of one row; with ``block`` only those weights are free and the others stay at ``codes``.

    Args:
        lattice: the layer.
        row: which output.
        block: indices of the free weights, or None for all.
        codes: int16 ``(n,)``, needed with ``block``.

    Raises:
        ValueError: when the row is not there, or ``codes`` is missing.

    Example:
        >>> one = np.ones((1, 1), dtype=np.float32)
        >>> lattice = Lattice(one, 0.4 * one, 0.5 * one, 0 * one, np.zeros(1, dtype=np.int64), Grid(2))
        >>> row_energy(lattice, 0).energy.num_variables
        2
    """
    if not 0 <= row < len(lattice.weights):
        raise ValueError(f"row={row!r} is not there: the layer has rows 0 … {len(lattice.weights) - 1}")
    n = lattice.weights.shape[1]
    free = np.arange(n) if block is None else np.asarray(block, dtype=np.int64)
    if codes is None:
        if block is not None:
            raise ValueError("codes=None: give the codes of the weights outside the block")
        codes = np.full(n, lattice.grid.low, dtype=np.int16)
    start = codes.copy()
    start[free] = lattice.grid.low
    gram = lattice.gram.astype(np.float64)
    scale, zero = lattice.scale[row, lattice.column].astype(np.float64), lattice.zero[row, lattice.column].astype(np.float64)
    gap = scale * (start - zero) - lattice.weights[row].astype(np.float64)
    encoding = IntegerEncoding.binary(0, (lattice.grid.high - lattice.grid.low) // lattice.grid.step)
    bits = np.asarray(encoding.coefficients, dtype=np.float64)
    lift = np.zeros((n, len(free) * len(bits)))  # z = start + lift · x
    for k, i in enumerate(free):
        lift[i, k * len(bits) : (k + 1) * len(bits)] = scale[i] * lattice.grid.step * bits
    energy = DenseEnergy(lift.T @ gram @ lift, 2 * lift.T @ (gram @ gap), float(gap @ gram @ gap))
    return RowEnergy(energy, (encoding,) * len(free), free, start, lattice.grid)
