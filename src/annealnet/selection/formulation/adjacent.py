"""Adjacent NK landscapes: a sum of functions of K + 1 neighbouring bits. Dynamic programming finds their optimum exactly."""

from __future__ import annotations

from dataclasses import dataclass

import dimod
import numba
import numpy as np

from annealnet.energy import SparseEnergy
from annealnet.selection.formulation.readout import ReadoutProblem

__all__ = ["AdjacentNK", "adjacent_readout"]

#: Neighbours up to which tables of 2^(K+1) values are written out.
MAX_NEIGHBOURS = 16


@dataclass(frozen=True, eq=False)
class AdjacentNK:
    """f(m) = Σ_j f_j(m_j, …, m_{j+K}) (Whitley et al. 2015): table j has window j's value for each setting of its bits.

    Without wrapping there are N − K windows over N bits; a periodic landscape has N, whose last K windows go on at bit 0.

    Attributes:
        tables: float64 ``(windows, 2^(K+1))``; bit b of an index is variable j + b.
        periodic: whether windows wrap.

    Raises:
        ValueError: when a table's length is no power of 2, or fewer bits than a window has would be left.

    Example:
        >>> chain = AdjacentNK(np.array([[0.0, 1.0, -1.0, 0.0], [0.0, -2.0, 0.0, 1.0]]))
        >>> chain.num_variables, chain.optimum()[0].tolist(), chain.optimum()[1]
        (3, [0, 1, 0], -3.0)
    """

    tables: np.ndarray
    periodic: bool = False

    def __post_init__(self) -> None:
        tables = np.asarray(self.tables)
        size = tables.shape[-1]
        if tables.ndim != 2 or size < 2 or size & (size - 1) or size > 2 << MAX_NEIGHBOURS:
            raise ValueError(f"tables has shape {tables.shape}: give (windows, 2^(K+1)) with K from 0 to {MAX_NEIGHBOURS}")
        if not np.isfinite(tables).all():
            raise ValueError("tables hold NaN or infinite values")
        if self.periodic and len(tables) <= self.neighbours:
            raise ValueError(f"tables: {len(tables)} bits on a ring are fewer than a window's {self.neighbours + 1}")

    @property
    def neighbours(self) -> int:
        """K."""
        return int(np.asarray(self.tables).shape[1]).bit_length() - 2

    @property
    def num_variables(self) -> int:
        """N."""
        return len(self.tables) if self.periodic else len(self.tables) + self.neighbours

    def values(self, masks: np.ndarray) -> np.ndarray:
        """f of masks ``(reads, N)``, float64 ``(reads,)``."""
        bits = np.asarray(masks, dtype=np.int64)
        if self.periodic:
            bits = np.concatenate([bits, bits[:, : self.neighbours]], axis=1)
        windows = np.lib.stride_tricks.sliding_window_view(bits, self.neighbours + 1, axis=1)
        codes = windows @ (1 << np.arange(self.neighbours + 1))
        return np.asarray(np.asarray(self.tables)[np.arange(len(self.tables)), codes].sum(axis=1))

    def optimum(self) -> tuple[np.ndarray, float]:
        """The best mask int8 ``(N,)`` and its value, proven, in O(N 2^K) steps (O(N 4^K) on a ring)."""
        tables = np.ascontiguousarray(self.tables, dtype=np.float64)
        k = self.neighbours
        best, least = np.zeros(self.num_variables, dtype=np.int8), np.inf
        for start in range(1 << k) if self.periodic else (-1,):
            mask, value = _dynamic_programme(tables, k, start)
            if value < least:
                best, least = mask[: self.num_variables], value
        return best, float(least)

    def polynomial(self) -> dimod.BinaryPolynomial:
        """f as a sum of products of bits, of degree K + 1 at most."""
        terms: dict[frozenset[int], float] = {}
        n, size = self.num_variables, self.neighbours + 1
        for j, table in enumerate(np.asarray(self.tables, dtype=np.float64)):
            found = table.copy()  # Möbius transform: coefficient of a product = alternating sum over its subsets
            for b in range(size):
                pairs = found.reshape(-1, 2, 1 << b)
                pairs[:, 1] -= pairs[:, 0]
            for code in np.flatnonzero(np.abs(found) > 1e-12 * max(1.0, float(np.abs(table).max()))).tolist():
                key = frozenset((j + b) % n for b in range(size) if code >> b & 1)
                terms[key] = terms.get(key, 0.0) + float(found[code])
        return dimod.BinaryPolynomial(terms, dimod.BINARY)

    def to_energy(self) -> SparseEnergy:
        """A quadratic energy with the same least value: an Ising chain for K = 1; beyond, products of two bits become
        auxiliary bits (Rosenberg), which stand after the N own ones.
        """
        polynomial = self.polynomial()
        n = self.num_variables
        strength = 1.0 + sum(abs(c) for c in polynomial.values())
        bqm = dimod.make_quadratic(polynomial, strength, dimod.BINARY)
        others = [v for v in bqm.variables if not isinstance(v, int)]
        order = {v: i for i, v in enumerate([*range(n), *others])}
        linear = np.zeros(len(order))
        for v, bias in bqm.linear.items():
            linear[order[v]] = bias
        pairs = [(order[u], order[v], bias) for u, v, bias in bqm.iter_quadratic()]
        rows, cols, values = zip(*pairs, strict=True) if pairs else ((), (), ())
        return SparseEnergy(np.array(rows, int), np.array(cols, int), np.array(values, float), linear, float(bqm.offset))


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _dynamic_programme(tables: np.ndarray, k: int, start: int) -> tuple[np.ndarray, float]:
    """Best mask of windows + K bits; with ``start`` ≥ 0 the first K bits and the last K bits are those of ``start``."""
    windows = tables.shape[0]
    states = 1 << k
    cost = np.zeros(states)
    if start >= 0:
        cost[:] = np.inf
        cost[start] = 0.0
    dropped = np.zeros((windows, states), dtype=np.int8)
    for j in range(windows):
        following = np.full(states, np.inf)
        for state in range(states):
            if cost[state] == np.inf:
                continue
            for bit in range(2):
                wrapped = j - (windows - k)
                if start >= 0 and wrapped >= 0 and ((start >> wrapped) & 1) != bit:
                    continue
                code = state | (bit << k)
                value = cost[state] + tables[j, code]
                if value < following[code >> 1]:
                    following[code >> 1] = value
                    dropped[j, code >> 1] = code & 1
        cost = following
    state = int(np.argmin(cost))
    least = cost[state]
    mask = np.zeros(windows + k, dtype=np.int8)
    for b in range(k):
        mask[windows + b] = (state >> b) & 1
    for j in range(windows - 1, -1, -1):
        mask[j] = dropped[j, state]
        state = ((state << 1) & (states - 1)) | mask[j] if k > 0 else 0
    return mask, least


def adjacent_readout(problem: ReadoutProblem, weights: np.ndarray, gain: float, neighbours: int) -> AdjacentNK:
    """Every window of K + 1 neighbouring neurons has to give the targets on its own (our reconstruction of local selection).

    f_j(m) = 1/S Σ_{s,d} (γ Σ_{i=j}^{j+K} A_si W_di m_i − Y_sd)², from the Gram matrix; what a window sees are its own K + 1
    bits, so that the energy is a band of width K.

    Args:
        problem: of the data.
        weights: W ``(D, H)``; one row for the weights of one output, all rows for neurons.
        gain: γ of a window.
        neighbours: K, below H.

    Raises:
        ValueError: when K is negative or leaves no window.
    """
    width = weights.shape[1]
    if not 0 <= neighbours < width or neighbours > MAX_NEIGHBOURS:
        raise ValueError(f"neighbours={neighbours!r} must lie between 0 and {min(width - 1, MAX_NEIGHBOURS)}")
    size = neighbours + 1
    codes = ((np.arange(1 << size)[:, None] >> np.arange(size)) & 1).astype(np.float64)
    tables = np.empty((width - neighbours, 1 << size))
    scaled = gain * weights.astype(np.float64)
    for j in range(width - neighbours):
        at = slice(j, j + size)
        gram = problem.gram[at, at] * (scaled[:, at].T @ scaled[:, at])
        linear = -2 * (scaled[:, at] * problem.cross[at].T).sum(axis=0)
        tables[j] = np.einsum("ci,ij,cj->c", codes, gram, codes) + codes @ linear
    return AdjacentNK(tables)
