"""Scales and zero points: where a grid lies before its codes are chosen, and where it should lie once they are."""

from __future__ import annotations

import numpy as np

from annealnet.compression.rounding.grids import MAX_BITS, Grid
from annealnet.compression.rounding.lattice import Lattice
from annealnet.compression.rounding.scale_search import projections, rounding_errors
from annealnet.compression.rounding.stored_numbers import storable

__all__ = ["fit_scales", "refit_scales"]


def fit_scales(
    weights: np.ndarray, grid: Grid, moments: np.ndarray, candidates: int, narrowest: float
) -> tuple[np.ndarray, np.ndarray]:
    """Scales and zero points of least Σ_i m_i (w_i − z_i)² under nearest rounding, over clipping factors.

    Args:
        weights: float32 ``(rows, n)``.
        grid: which codes there are, and which weights share a scale.
        moments: float32 ``(n,)``, the weight m of each error.
        candidates: clipping factors tried, evenly spaced.
        narrowest: the smallest one at 2 bits; wider grids clip less and start higher.

    Returns:
        Scales and zero points, float32 ``(rows, groups)``, as they will be stored.

    Example:
        >>> ones = np.ones(2, dtype=np.float32)
        >>> fit_scales(np.array([[0.9, -1.1]], dtype=np.float32), Grid(2), ones, 8, 0.2)[0].round(2).tolist()
        [[1.0]]
    """
    rows, n = weights.shape
    column = grid.column(n).numpy()
    scale, zero = np.ones((rows, grid.groups(n)), dtype=np.float32), np.zeros((rows, grid.groups(n)), dtype=np.float32)
    # clipping pays where steps are wide: from 0.2 at 2 bits to 0.8 at 8
    start = narrowest ** ((MAX_BITS + 1 - max(2, grid.bits)) / (MAX_BITS - 1))
    factors = np.linspace(1.0, start, candidates, dtype=np.float32)
    for k in range(scale.shape[1]):
        own = column == k
        part, m = np.ascontiguousarray(weights[:, own]), np.ascontiguousarray(moments[own])
        if not grid.symmetric:
            scale[:, k], zero[:, k] = _asymmetric(part, m, grid, factors)
        elif grid.bits == 1:  # of all s · sign(w) the least-squares one
            scale[:, k] = storable((np.abs(part) * m).sum(axis=1) / max(float(m.sum()), 1e-30))
        else:
            scale[:, k] = _symmetric(part, m, grid.high, factors)
    return scale, zero


def _symmetric(weights: np.ndarray, moments: np.ndarray, q: int, factors: np.ndarray) -> np.ndarray:
    peak = np.abs(weights).max(axis=1, initial=0.0)
    tried = storable(np.outer(peak / q, factors))
    for _ in range(2):  # the codes' own least-squares scale, then the codes anew
        best = _first_best(weights, moments, tried, q)
        product, square = projections(weights, moments, best, q)
        useful = product > 0  # then some code is not 0, and the squares are positive as well
        fitted = np.where(useful, product / np.where(useful, square, 1), best)
        tried = storable(np.stack([best, fitted], axis=1))
    return _first_best(weights, moments, tried, q)


def _first_best(weights: np.ndarray, moments: np.ndarray, tried: np.ndarray, q: int) -> np.ndarray:
    best = rounding_errors(weights, moments, tried, q).argmin(axis=1)
    return np.take_along_axis(tried, best[:, None], axis=1)[:, 0]


def _asymmetric(weights: np.ndarray, moments: np.ndarray, grid: Grid, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From the range of the weights, 0 within it, clipped by each factor."""
    least, most = weights.min(axis=1, initial=0.0), weights.max(axis=1, initial=0.0)
    best = np.full(len(weights), np.inf)
    scale, zero = np.ones(len(weights), dtype=np.float32), np.zeros(len(weights), dtype=np.float32)
    for factor in factors:
        s = storable((most - least) * factor / (grid.high - grid.low))
        o = np.clip(np.rint(grid.low - factor * least / s), grid.low, grid.high).astype(np.float32)
        codes = np.clip(np.rint(weights / s[:, None] + o[:, None]), grid.low, grid.high)
        errors = (moments * (s[:, None] * (codes - o[:, None]) - weights) ** 2).sum(axis=1)
        better = errors < best
        best, scale, zero = np.where(better, errors, best), np.where(better, s, scale), np.where(better, o, zero)
    return scale, zero


def refit_scales(lattice: Lattice, codes: np.ndarray) -> np.ndarray:
    """The least-squares scales of codes that stay: float32 ``(rows, groups)``, rounded as stored.

    With b_i = c_i − o_i, the error is quadratic in the scales: M s = v with M_kl = Σ_{i ∈ k, j ∈ l} b_i G_ij b_j and
    v_k = Σ_{i ∈ k} b_i (G w)_i. Scales that would turn negative or vanish stay.
    """
    b = codes.astype(np.float64) - lattice.zero[:, lattice.column]
    gram = lattice.gram.astype(np.float64)
    pulled = b * (lattice.weights.astype(np.float64) @ gram)
    groups = lattice.scale.shape[1]
    member = (lattice.column[:, None] == np.arange(groups)).astype(np.float64)
    v = pulled @ member
    matrix = np.stack([((b * member[:, k]) @ gram * b) @ member for k in range(groups)], axis=1)
    strength = 1e-9 * np.trace(matrix, axis1=1, axis2=2)[:, None, None] + 1e-30
    solved = np.linalg.solve(matrix + strength * np.eye(groups), v[:, :, None])[:, :, 0]
    return storable(np.where(np.isfinite(solved) & (solved > 0), solved, lattice.scale))
