"""The lowest levels of H(s) along an anneal, and the gap that decides how slow it must be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.sparse.linalg import LinearOperator, eigsh

from annealnet.samplers.kernels.statevector import transverse_product
from annealnet.samplers.quantum.controls import Controls
from annealnet.samplers.quantum.landscape import Landscape

__all__ = ["MinimumGap", "lowest_levels", "minimum_gap"]


def lowest_levels(landscape: Landscape, s: float, levels: int = 2, controls: Controls | None = None) -> np.ndarray:
    """The ``levels`` least eigenvalues of H(s), ascending, by Lanczos on products with the state (no matrix is built).

    Args:
        landscape: the problem.
        s: 0 … 1.
        levels: how many, below 2ⁿ.
        controls: A(s) and B(s); None takes 1 − s and s.

    Raises:
        ValueError: when there are fewer levels than asked for.

    Example:
        >>> from annealnet.energy import DenseEnergy
        >>> land = Landscape.of(DenseEnergy(np.zeros((2, 2)), np.array([1.0, 2.0])))
        >>> (lowest_levels(land, 0.0).round(9) + 0.0).tolist()
        [-2.0, 0.0]
    """
    size = 1 << landscape.num_qubits
    if not 1 <= levels <= size:
        raise ValueError(f"levels={levels!r} must lie between 1 and {size}, the number of states")
    transverse, problem = (float(x[0]) for x in (controls or Controls.linear()).at(np.array([s])))
    energies = landscape.energies
    if transverse == 0.0:
        return np.sort(np.partition(problem * energies, levels - 1)[:levels])

    def product(vector: np.ndarray) -> np.ndarray:
        out = np.empty(size)
        transverse_product(np.ascontiguousarray(vector.ravel()), energies, transverse, problem, out)
        return out

    if size <= 64 or levels >= size - 1:
        matrix = np.stack([product(column) for column in np.eye(size)])
        return np.asarray(np.linalg.eigvalsh(matrix)[:levels])
    start = np.random.default_rng(0).random(size) + 0.5  # overlaps with the ground state, whose amplitudes are all positive
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    values = eigsh(operator, k=levels, which="SA", v0=start, return_eigenvectors=False, tol=1e-9, ncv=max(20, 4 * levels))
    return np.sort(values)


@dataclass(frozen=True)
class MinimumGap:
    """Where the anneal is hardest.

    Attributes:
        gap: least distance of the ground level from the first level that does not end in a ground state, in units of the
            largest coefficient.
        s: where.
        degeneracy: of the final ground level.
    """

    gap: float
    s: float
    degeneracy: int


def minimum_gap(landscape: Landscape, points: int = 24, controls: Controls | None = None) -> MinimumGap:
    """Scans H(s) and closes in on the least gap; with a g-fold final ground level, the gap to level g + 1.

    Example:
        >>> from annealnet.energy import DenseEnergy
        >>> gap = minimum_gap(Landscape.of(DenseEnergy(np.zeros((1, 1)), np.array([2.0]))))
        >>> round(gap.gap, 6), round(gap.s, 3)  # one spin: 2 √((1−s)² + s²)
        (1.414214, 0.5)
    """
    degeneracy = len(landscape.ground_states)
    if degeneracy + 1 > 1 << landscape.num_qubits:
        raise ValueError("every state is a ground state: there is no gap")

    def gap(s: float) -> float:
        levels = lowest_levels(landscape, s, degeneracy + 1, controls)
        return float(levels[degeneracy] - levels[0])

    grid = np.linspace(0.0, 1.0, points + 1)[1:]
    values = [gap(float(s)) for s in grid]
    at = int(np.argmin(values))
    low, high = grid[max(0, at - 1)], grid[min(points - 1, at + 1)]
    found = minimize_scalar(gap, bounds=(float(low), float(high)), method="bounded", options={"xatol": 1e-4})
    best, where = min((values[at], float(grid[at])), (float(found.fun), float(found.x)))
    return MinimumGap(best, where, degeneracy)
