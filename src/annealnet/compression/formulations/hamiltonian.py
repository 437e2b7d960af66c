"""The Hamiltonian of Wang et al. 2025 (arXiv 2505.16332), joint pruning and quantisation as one QUBO.

    H(P, Q) = L_p(P) + β L_q(Q) − γ R(P, Q)                                              (paper, second-hand)
    L_p = Σ_n ( Σ_i ‖w_{n,i}‖₁ / N_{n,i} · p_{n,i} )²                                     (paper, second-hand)
    b_n = b_max − r_n,   r_n = Σ_k 2^k q_{n,k}                                            (paper, second-hand)
    L_q = Σ_n (c_n r_n)²,   c_n = range of layer n's weights / 2^{b_max}                  (our reconstruction)
    R = Σ_{n,i} N_{n,i} (b_max p_{n,i} + r_n − p_{n,i} r_n) / (b_max Σ N)                  (our reconstruction)

p_{n,i} = 1 removes filter i of layer n. There is no hard constraint: γ sets the reduction. L_p has rank one in each layer
and filters of a layer are of one size, so the optimum removes a *prefix of the L1 order*; what is left is one count and one
width per layer, and the exact optimum is found in milliseconds (:mod:`annealnet.samplers.block_prefix`). *Our consequence.*
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from annealnet.energy import FactoredEnergy
from annealnet.samplers import PrefixBlock, solve_blocks

__all__ = ["B_MAX", "FilterBlock", "FilterLayer", "Hamiltonian", "balanced_beta"]

B_MAX = 8


@dataclass(frozen=True)
class FilterLayer:
    """One layer as the published Hamiltonian sees it.

    Attributes:
        name: for reading the answer.
        size: weights in one removable filter, N.
        step: c_n, the layer's weight range over 2^{b_max}.
        fixed: weights of the layer that no p removes (they still have a width).
        has_width: whether its width is asked; of a layer with one possible width, r is 0: it has no bits in Q and no
            share in L_q, and its filters are worth b_max bits a weight in R as everybody's.
    """

    name: str
    size: int
    step: float
    fixed: int = 0
    has_width: bool = True


@dataclass(frozen=True)
class FilterBlock:
    """Filters that are removed by one set of bits, and the layers they belong to.

    In the paper every layer is a block of its own. Where residual sums tie the channels of several layers, they share
    their bits (our extension: otherwise the answer cannot be built).

    Attributes:
        norms: ``(filters,)`` mean absolute weight of each filter, ‖w_i‖₁ / N ≥ 0.
        layers: the layers whose filters these are.
    """

    norms: np.ndarray
    layers: tuple[FilterLayer, ...]

    @classmethod
    def of_weight(cls, name: str, weight: np.ndarray) -> FilterBlock:
        """One layer on its own, from its weights ``(filters, …)``.

        Example:
            >>> FilterBlock.of_weight("conv", np.array([[1.0, -1.0], [0.5, 0.0]])).norms
            array([1.  , 0.25])
        """
        flat = np.abs(np.asarray(weight, dtype=float).reshape(len(weight), -1))
        step = float(weight.max() - weight.min()) / 2**B_MAX
        return cls(flat.mean(axis=1), (FilterLayer(name, flat.shape[1], step),))


def balanced_beta(blocks: tuple[FilterBlock, ...]) -> float:
    """β at which removing everything and coarsening everything cost the same: max L_p = β max L_q.

    The paper leaves β free; this is our choice where none is given.
    """
    pruning = sum(float(block.norms.sum()) ** 2 for block in blocks)
    coarsening = sum((layer.step * (B_MAX - 1)) ** 2 for block in blocks for layer in block.layers if layer.has_width)
    return pruning / coarsening if coarsening > 0 else 1.0


@dataclass(frozen=True)
class Hamiltonian:
    """H over bits (P | Q): every block's filters in order, then the width bits of every layer in order.

    Attributes:
        blocks: filters and their layers.
        gamma: weight of the reduction R.
        beta: weight of L_q.
        max_reduction: largest r_n; 7 as in the paper's example (three bits), 6 leaves at least 2 bits.

    Example:
        Two filters; a strong wish for reduction removes the weak one first.

        >>> block = FilterBlock.of_weight("conv", np.array([[1.0, -1.0], [0.1, 0.1]]))
        >>> h = Hamiltonian((block,), gamma=0.5, beta=1.0)
        >>> h.num_variables
        5
        >>> bool(h.energy().energy(np.array([0, 1, 0, 0, 0])) < h.energy().energy(np.array([1, 0, 0, 0, 0])))
        True
    """

    blocks: tuple[FilterBlock, ...]
    gamma: float
    beta: float
    max_reduction: int = 7

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ValueError("blocks is empty: give at least one, FilterBlock.of_weight(name, weight)")
        if not (self.gamma >= 0 and self.beta >= 0):
            raise ValueError(
                f"gamma={self.gamma!r} and beta={self.beta!r} must not be negative: balanced_beta(blocks) is a good β"
            )
        if not 1 <= self.max_reduction < B_MAX:
            raise ValueError(
                f"max_reduction={self.max_reduction!r} must lie between 1 and {B_MAX - 1}: 6 leaves at least 2 bits"
            )

    @cached_property
    def coefficients(self) -> tuple[int, ...]:
        """Of the bits of one r_n: 1, 2, 4 reach 0…7; the last is lowered so that ``max_reduction`` is the largest."""
        found: list[int] = []
        while sum(found) < self.max_reduction:
            found.append(min(2 ** len(found), self.max_reduction - sum(found)))
        return tuple(found)

    @property
    def num_filters(self) -> int:
        """Bits of P."""
        return sum(len(block.norms) for block in self.blocks)

    @property
    def layers(self) -> tuple[FilterLayer, ...]:
        """Every layer whose width is asked, in the order of its width bits."""
        return tuple(layer for block in self.blocks for layer in block.layers if layer.has_width)

    @property
    def num_variables(self) -> int:
        """Bits of P and Q."""
        return self.num_filters + len(self.layers) * len(self.coefficients)

    def with_gamma(self, gamma: float) -> Hamiltonian:
        """The same with another weight of the reduction."""
        return replace(self, gamma=gamma)

    @cached_property
    def _reward(self) -> float:
        """γ / (b_max Σ N): what one weight-bit less is worth."""
        weights = sum(layer.size * len(block.norms) + layer.fixed for block in self.blocks for layer in block.layers)
        return self.gamma / (B_MAX * weights)

    def energy(self) -> FactoredEnergy:
        """H as squares of a few sums: L_p one per block, L_q one per layer, and k·r = ((k + r)² − (k − r)²) / 4.

        No coupling matrix is built: a filter carries one number per factor of its block.
        """
        rows: list[tuple[np.ndarray, np.ndarray, float]] = []
        linear = np.zeros(self.num_variables)
        first, width = 0, self.num_filters
        bits = np.array(self.coefficients, dtype=float)
        for block in self.blocks:
            p = np.arange(first, first + len(block.norms))
            rows.append((p, np.asarray(block.norms, dtype=float), 1.0))
            for layer in block.layers:
                worth = self._reward * layer.size
                linear[p] -= worth * B_MAX
                if not layer.has_width:
                    continue
                q = np.arange(width, width + len(bits))
                rows.append((q, bits, self.beta * layer.step**2))
                both, count = np.concatenate([p, q]), np.ones(len(p))
                rows.append((both, np.concatenate([count, bits]), worth / 4))
                rows.append((both, np.concatenate([count, -bits]), -worth / 4))
                linear[q] -= (worth * len(p) + self._reward * layer.fixed) * bits
                width += len(bits)
            first += len(p)
        indptr = np.cumsum([0, *(len(index) for index, _, _ in rows)])
        factors = sparse.csr_matrix(
            (np.concatenate([value for _, value, _ in rows]), np.concatenate([index for index, _, _ in rows]), indptr),
            shape=(len(rows), self.num_variables),
        )
        weights = np.array([weight for _, _, weight in rows])
        return FactoredEnergy(factors, weights, np.zeros(len(rows)), linear)

    def tables(self, block: FilterBlock) -> list[np.ndarray]:
        """Per layer of a block, what width reduction r costs beside k removed filters: float64 ``(filters + 1, r)``.

        A layer whose width is not asked has the column of r = 0 alone.
        """
        filters = len(block.norms)
        k = np.arange(filters + 1)[:, None]
        tables = []
        for layer in block.layers:
            r = np.arange(self.max_reduction + 1 if layer.has_width else 1)[None, :]
            gone = layer.size * (B_MAX * k + filters * r - k * r) + layer.fixed * r
            tables.append(self.beta * (layer.step * r) ** 2 - self._reward * gone)
        return tables

    def decode(self, x: np.ndarray) -> tuple[list[np.ndarray], dict[str, int]]:
        """Per block which filters are removed (bool), and per layer asked its width b_n = b_max − r_n."""
        removed, first = [], 0
        for block in self.blocks:
            removed.append(np.asarray(x[first : first + len(block.norms)]) == 1)
            first += len(block.norms)
        r = np.asarray(x[first:], dtype=int).reshape(len(self.layers), len(self.coefficients)) @ np.array(self.coefficients)
        return removed, {layer.name: B_MAX - int(value) for layer, value in zip(self.layers, r, strict=True)}

    def optimum(self) -> tuple[np.ndarray, float, float]:
        """The proven optimum: bits ``(num_variables,)``, energy, seconds. Exact, see the module's docstring."""
        began = time.perf_counter()
        solutions, _ = solve_blocks([PrefixBlock(block.norms, tuple(self.tables(block))) for block in self.blocks])
        p = np.concatenate([removed for removed, _ in solutions]).astype(np.uint8)
        q = [
            self._width_bits(int(r))
            for block, (_, levels) in zip(self.blocks, solutions, strict=True)
            for layer, r in zip(block.layers, levels, strict=True)
            if layer.has_width
        ]
        x = np.concatenate([p, *q]).astype(np.uint8)
        return x, float(self.energy().energy(x)), time.perf_counter() - began

    def _width_bits(self, r: int) -> np.ndarray:
        """r as bits of :attr:`coefficients`, largest first (they reach every value up to their sum)."""
        bits = np.zeros(len(self.coefficients), dtype=np.uint8)
        for k in np.argsort(self.coefficients)[::-1]:
            if r >= self.coefficients[k]:
                bits[k], r = 1, r - self.coefficients[k]
        return bits
