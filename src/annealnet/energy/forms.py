"""Quadratic energies over bits in the form their structure has: dense, sparse, sums of squares, and sums of these.

Every form gives the energy of states, the change of every single flip, and the plain QUBO. None builds an n × n matrix that
its structure does not need.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import dimod
import numpy as np
from scipy import sparse

__all__ = ["DenseEnergy", "Energy", "FactoredEnergy", "SparseEnergy", "SumEnergy", "bits_of", "from_bqm"]


def _finite(name: str, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinite values: give finite coefficients")
    return values


def bits_of(x: np.ndarray, size: int) -> np.ndarray:
    """States ``(…, size)`` as they are, once they are known to be of 0 and 1.

    Raises:
        ValueError: when the last dimension is another, or a value is neither 0 nor 1.

    Example:
        >>> bits_of(np.array([1, -1]), 2)
        Traceback (most recent call last):
        ...
        ValueError: x holds -1: give bits of 0 and 1; (x + 1) // 2 makes bits of spins
    """
    states = np.asarray(x)
    if states.shape[-1:] != (size,):
        raise ValueError(f"x has shape {states.shape}, the energy has {size} variables: give (reads, n)")
    if states.dtype != bool:
        other = (states != 0) & (states != 1)
        if other.any():
            raise ValueError(f"x holds {states[other].flat[0]}: give bits of 0 and 1; (x + 1) // 2 makes bits of spins")
    return states


def _vector(name: str, values: object, size: int) -> np.ndarray:
    vector = np.zeros(size) if values is None else np.array(values, dtype=np.float64)
    if vector.shape != (size,):
        raise ValueError(f"{name} has shape {vector.shape}: give one number per variable, shape ({size},)")
    return _finite(name, vector)


class Energy(ABC):
    """E(x) over x ∈ {0, 1}ⁿ.

    Attributes:
        num_variables: n.
        linear: float64 ``(n,)`` coefficients of the single bits.
        offset: constant part.
    """

    num_variables: int
    linear: np.ndarray
    offset: float

    @abstractmethod
    def quadratic_energy(self, x: np.ndarray) -> np.ndarray:
        """The part beyond linear and offset, ``(reads, n)`` float64 → ``(reads,)``."""

    @abstractmethod
    def couplings(self) -> sparse.csr_matrix:
        """The symmetric coupling matrix J with E = ½ xᵀJx + linear'·x + offset' expanded, zero diagonal."""

    @abstractmethod
    def expanded_linear(self) -> tuple[np.ndarray, float]:
        """Linear coefficients and offset once squares of bits are folded in (x² = x)."""

    def energy(self, x: np.ndarray) -> np.ndarray:
        """Energies of states ``(n,)`` or ``(reads, n)``: a float64 scalar or ``(reads,)``.

        Raises:
            ValueError: when the last dimension is not n, or a value is neither 0 nor 1.
        """
        states = bits_of(x, self.num_variables)
        flat = np.atleast_2d(states).astype(np.float64)
        found = self.quadratic_energy(flat) + flat @ self.linear + self.offset
        return np.asarray(found.reshape(states.shape[:-1]))

    def flip_deltas(self, x: np.ndarray) -> np.ndarray:
        """Change of energy when each bit of ``x`` ``(n,)`` is flipped on its own: float64 ``(n,)``."""
        state = bits_of(x, self.num_variables).astype(np.float64)
        linear, _ = self.expanded_linear()
        return np.asarray((1 - 2 * state) * (linear + self.couplings() @ state))

    def to_bqm(self, vartype: str = "BINARY") -> dimod.BinaryQuadraticModel:
        """The plain model over variables 0 … n−1, equal for every assignment."""
        linear, offset = self.expanded_linear()
        upper = sparse.triu(self.couplings(), k=1).tocoo()
        bqm = dimod.BinaryQuadraticModel.from_numpy_vectors(
            linear,
            (upper.row, upper.col, upper.data),
            offset,
            dimod.BINARY,
            variable_order=range(self.num_variables),
        )
        return bqm if vartype == "BINARY" else bqm.change_vartype(vartype, inplace=False)

    def __add__(self, other: Energy) -> SumEnergy:
        return SumEnergy([self, other])


class DenseEnergy(Energy):
    """E = Σ_{i<j} Q_ij x_i x_j + linear·x + offset with a dense matrix.

    Args:
        quadratic: ``(n, n)``; E counts xᵀQx over the whole matrix, so either an upper triangle or a symmetric matrix with
            half the coupling on each side; the diagonal joins the linear part.
        linear: ``(n,)`` or None.
        offset: constant.

    Raises:
        ValueError: when shapes differ or a coefficient is not finite.

    Example:
        >>> energy = DenseEnergy(np.array([[0.0, 2.0], [0.0, 0.0]]), np.array([-1.0, -1.0]))
        >>> energy.energy(np.array([[1, 0], [1, 1]]))
        array([-1.,  0.])
    """

    def __init__(self, quadratic: np.ndarray, linear: np.ndarray | None = None, offset: float = 0.0) -> None:
        matrix = np.array(quadratic, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"quadratic has shape {matrix.shape}: give a square matrix")
        _finite("quadratic", matrix)
        self.num_variables = len(matrix)
        self.linear = _vector("linear", linear, len(matrix)) + np.diagonal(matrix)
        self.offset = float(_finite("offset", np.asarray(offset, dtype=np.float64)))
        self.matrix = matrix + matrix.T
        np.fill_diagonal(self.matrix, 0.0)

    def quadratic_energy(self, x: np.ndarray) -> np.ndarray:
        """½ xᵀ(Q + Qᵀ)x without the diagonal."""
        return np.asarray(0.5 * np.einsum("ri,ri->r", x @ self.matrix, x))

    def couplings(self) -> sparse.csr_matrix:
        """See :class:`Energy`."""
        return sparse.csr_matrix(self.matrix)

    def expanded_linear(self) -> tuple[np.ndarray, float]:
        """See :class:`Energy`."""
        return self.linear, self.offset


class SparseEnergy(Energy):
    """E = Σ_k v_k x_{i_k} x_{j_k} + linear·x + offset.

    Args:
        rows, cols: ``(entries,)`` variable indices; an entry with i = j is linear; repeated pairs add up.
        values: ``(entries,)``.
        linear: ``(n,)``: its length is the number of variables.
        offset: constant.

    Raises:
        ValueError: when lengths differ, an index is out of range or a coefficient is not finite.

    Example:
        >>> energy = SparseEnergy([0, 1], [1, 2], [1.0, -3.0], np.zeros(3))
        >>> float(energy.energy(np.array([1, 1, 1])))
        -2.0
    """

    def __init__(
        self,
        rows: Sequence[int] | np.ndarray,
        cols: Sequence[int] | np.ndarray,
        values: Sequence[float] | np.ndarray,
        linear: np.ndarray,
        offset: float = 0.0,
    ) -> None:
        linear = np.array(linear, dtype=np.float64)
        n = len(linear)
        i, j, v = (
            np.asarray(rows, dtype=np.int64),
            np.asarray(cols, dtype=np.int64),
            np.asarray(values, dtype=np.float64),
        )
        if not i.shape == j.shape == v.shape or i.ndim != 1:
            raise ValueError(f"rows, cols and values have shapes {i.shape}, {j.shape}, {v.shape}: give three of one length")
        if len(i) and (min(i.min(), j.min()) < 0 or max(i.max(), j.max()) >= n):
            raise ValueError(f"rows and cols must lie between 0 and {n - 1}: linear has {n} variables")
        _finite("values", v)
        self.num_variables = n
        self.linear = _vector("linear", linear, n)
        np.add.at(self.linear, i[i == j], v[i == j])
        self.offset = float(_finite("offset", np.asarray(offset, dtype=np.float64)))
        off = i != j
        upper = sparse.coo_matrix((v[off], (i[off], j[off])), shape=(n, n)).tocsr()
        self._couplings = sparse.csr_matrix(upper + upper.T)

    @classmethod
    def of_matrix(cls, matrix: sparse.csr_matrix, linear: np.ndarray, offset: float = 0.0) -> SparseEnergy:
        """E = xᵀMx + linear·x + offset for a symmetric sparse M, without a list of its entries beside it.

        Args:
            matrix: float64 ``(n, n)``, symmetric; it is the energy's from here on and changed in place.
            linear: ``(n,)``.
            offset: constant.

        Raises:
            ValueError: when the shapes differ, a coefficient is not finite, or the matrix is not symmetric.

        Example:
            >>> energy = SparseEnergy.of_matrix(sparse.csr_matrix([[1.0, 2.0], [2.0, 0.0]]), np.zeros(2))
            >>> energy.energy(np.array([[1, 0], [1, 1]])).tolist()
            [1.0, 5.0]
        """
        linear = np.asarray(linear, dtype=np.float64)
        if matrix.shape != (len(linear), len(linear)):
            raise ValueError(f"matrix has shape {matrix.shape} and linear {linear.shape}: give (n, n) and (n,)")
        _finite("matrix", matrix.data)
        probe = np.random.default_rng(0).standard_normal(len(linear))
        least = 1e-6 * float(np.abs(matrix.data).max(initial=0.0))
        if not np.allclose(matrix @ probe, matrix.T @ probe, rtol=1e-6, atol=least):
            raise ValueError("matrix is not symmetric: give (M + Mᵀ) / 2")
        made = cls([], [], [], linear + matrix.diagonal(), offset)
        matrix.setdiag(0)
        matrix.eliminate_zeros()
        matrix.data *= 2
        made._couplings = matrix
        return made

    def quadratic_energy(self, x: np.ndarray) -> np.ndarray:
        """½ xᵀJx."""
        return np.asarray(0.5 * ((self._couplings @ x.T).T * x).sum(axis=1))

    def couplings(self) -> sparse.csr_matrix:
        """See :class:`Energy`."""
        return self._couplings

    def expanded_linear(self) -> tuple[np.ndarray, float]:
        """See :class:`Energy`."""
        return self.linear, self.offset


class FactoredEnergy(Energy):
    """E = Σ_r c_r (a_r·x + b_r)² + linear·x + offset: one number per bit and factor, whatever the couplings' number.

    Args:
        factors: ``(R, n)`` rows a_r, scipy-sparse or array.
        weights: ``(R,)`` c_r.
        shifts: ``(R,)`` b_r, or None for zeros.
        linear: ``(n,)`` or None.
        offset: constant.

    Raises:
        ValueError: when shapes differ or a coefficient is not finite.

    Example:
        >>> energy = FactoredEnergy(np.array([[1.0, 2.0]]), np.array([1.0]), np.array([-3.0]))
        >>> energy.energy(np.array([[1, 1], [0, 0]]))
        array([0., 9.])
    """

    def __init__(
        self,
        factors: np.ndarray | sparse.spmatrix,
        weights: np.ndarray,
        shifts: np.ndarray | None = None,
        linear: np.ndarray | None = None,
        offset: float = 0.0,
    ) -> None:
        self.factors = sparse.csr_matrix(factors, dtype=np.float64)
        _finite("factors", self.factors.data)
        rank, n = self.factors.shape
        self.num_variables = n
        self.weights = _vector("weights", weights, rank)
        self.shifts = _vector("shifts", shifts, rank)
        self.linear = _vector("linear", linear, n)
        self.offset = float(_finite("offset", np.asarray(offset, dtype=np.float64)))

    def quadratic_energy(self, x: np.ndarray) -> np.ndarray:
        """Σ_r c_r (a_r·x + b_r)²."""
        return np.asarray(((self.factors @ x.T).T + self.shifts) ** 2 @ self.weights)

    @cached_property
    def _expanded(self) -> tuple[sparse.csr_matrix, np.ndarray, float]:
        scaled = sparse.diags(self.weights) @ self.factors
        full = sparse.csr_matrix(2 * (self.factors.T @ scaled))
        squares = full.diagonal() / 2
        full.setdiag(0)
        full.eliminate_zeros()
        linear = self.linear + squares + 2 * (self.factors.T @ (self.weights * self.shifts))
        return full, linear, self.offset + float(self.weights @ self.shifts**2)

    def couplings(self) -> sparse.csr_matrix:
        """See :class:`Energy`; built only when asked for."""
        return self._expanded[0]

    def expanded_linear(self) -> tuple[np.ndarray, float]:
        """See :class:`Energy`."""
        _, linear, offset = self._expanded
        return linear, offset

    def flip_deltas(self, x: np.ndarray) -> np.ndarray:
        """See :class:`Energy`; from the factors, no coupling is formed."""
        state = bits_of(x, self.num_variables).astype(np.float64)
        step = 1 - 2 * state
        level = self.weights * (self.factors @ state + self.shifts)
        squares = np.asarray(self.factors.multiply(self.factors).T @ self.weights)
        return np.asarray(step * (2 * (self.factors.T @ level) + self.linear) + squares)


class SumEnergy(Energy):
    """The sum of energies over the same bits.

    Raises:
        ValueError: when there are none or their numbers of variables differ.

    Example:
        >>> part = DenseEnergy(np.zeros((2, 2)), np.array([1.0, 0.0]))
        >>> float((part + part).energy(np.array([1, 0])))
        2.0
    """

    def __init__(self, parts: Sequence[Energy]) -> None:
        flat: list[Energy] = []
        for part in parts:
            flat += part.parts if isinstance(part, SumEnergy) else [part]
        if len({part.num_variables for part in flat}) != 1:
            raise ValueError(f"parts have {[p.num_variables for p in flat]} variables: give energies over the same bits")
        self.parts: list[Energy] = flat
        self.num_variables = flat[0].num_variables
        self.linear = np.sum([part.linear for part in flat], axis=0)
        self.offset = sum(part.offset for part in flat)

    def quadratic_energy(self, x: np.ndarray) -> np.ndarray:
        """Sum of the parts'."""
        return np.asarray(np.sum([part.quadratic_energy(x) for part in self.parts], axis=0))

    def couplings(self) -> sparse.csr_matrix:
        """See :class:`Energy`."""
        total = self.parts[0].couplings()
        for part in self.parts[1:]:
            total = total + part.couplings()
        return sparse.csr_matrix(total)

    def expanded_linear(self) -> tuple[np.ndarray, float]:
        """See :class:`Energy`."""
        pairs = [part.expanded_linear() for part in self.parts]
        return np.asarray(np.sum([linear for linear, _ in pairs], axis=0)), sum(offset for _, offset in pairs)

    def flip_deltas(self, x: np.ndarray) -> np.ndarray:
        """See :class:`Energy`."""
        return np.asarray(np.sum([part.flip_deltas(x) for part in self.parts], axis=0))


def from_bqm(bqm: dimod.BinaryQuadraticModel) -> tuple[Energy, list[object]]:
    """An energy and the labels of its variables, dense where a quarter of the couplings are there, sparse otherwise.

    Example:
        >>> energy, labels = from_bqm(dimod.BinaryQuadraticModel({"a": 1.0}, {("a", "b"): -2.0}, 0.5, "BINARY"))
        >>> labels, float(energy.energy(np.array([1, 1])))
        (['a', 'b'], -0.5)
    """
    labels = list(bqm.variables)
    linear, (rows, cols, values), offset = bqm.binary.to_numpy_vectors(variable_order=labels)
    n = len(labels)
    if len(values) * 8 > n * n:
        matrix = np.zeros((n, n))
        np.add.at(matrix, (rows, cols), values)
        return DenseEnergy(matrix, np.asarray(linear), float(offset)), labels
    return SparseEnergy(rows, cols, values, np.asarray(linear), float(offset)), labels
