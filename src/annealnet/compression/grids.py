"""Per-output-channel symmetric grids of 2 to 8 bits, and rounding to the nearest point.

    w ≈ s_o · c,      c ∈ {−q, …, q},      q = 2^{b−1} − 1       (b = 2: {−1, 0, 1})

The scale s_o of an output channel minimises the (weighted) squared error over clipping factors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from annealnet.compression.scale_search import projections, rounding_errors

__all__ = ["MAX_BITS", "MIN_BITS", "NearestRounding", "Quantized", "Rounding", "dequantize", "largest_code"]

MIN_BITS, MAX_BITS = 2, 8
#: float16 keeps at least five significant bits above this; smaller scales are kept in float32.
_SMALLEST_HALF = 2.0**-20
_LARGEST_HALF = 65504.0
#: A channel this much weaker than its layer's strongest, and too weak for float16 scales, is dead: it becomes
#: zero.
_DEAD = 1e-3


def largest_code(bits: int) -> int:
    """q = 2^{b−1} − 1.

    Raises:
        ValueError: for widths outside 2 … 8.

    Example:
        >>> [largest_code(b) for b in (2, 3, 4, 8)]
        [1, 3, 7, 127]
    """
    if bits not in range(MIN_BITS, MAX_BITS + 1):
        raise ValueError(f"bits={bits!r} is not a width: give an integer from {MIN_BITS} to {MAX_BITS}")
    return int(2 ** (bits - 1) - 1)


@dataclass(frozen=True, eq=False)
class Quantized:
    """Weights on their grid.

    Attributes:
        codes: int8, shape of the weight, within ±(2^{b−1} − 1).
        scale: float32 ``(out_channels,)``, float16 numbers wherever these reach.
        bits: the width b.

    Raises:
        ValueError: when shapes, dtypes or ranges do not fit.

    Example:
        >>> Quantized(torch.tensor([[1, -1]], dtype=torch.int8), torch.tensor([0.5]), bits=2).bits
        2
    """

    codes: Tensor
    scale: Tensor
    bits: int

    def __post_init__(self) -> None:
        q = largest_code(self.bits)
        if self.codes.dtype != torch.int8 or self.codes.ndim < 2:
            raise ValueError(f"codes={self.codes.dtype} {tuple(self.codes.shape)} must be int8 of at least two dimensions")
        if self.scale.shape != self.codes.shape[:1] or self.scale.dtype != torch.float32:
            raise ValueError(
                f"scale={self.scale.dtype} {tuple(self.scale.shape)} must be float32 of shape "
                f"({len(self.codes)},), one per output channel"
            )
        if self.codes.numel() and int(self.codes.abs().max()) > q:
            raise ValueError(f"codes reach {int(self.codes.abs().max())}, but {self.bits} bits hold ±{q}: clip them")

    def rescaled(self, factor: Tensor) -> Quantized:
        """The same codes, every channel's scale times ``factor`` ``(out_channels,)``, stored anew."""
        scale = _storable((self.scale * factor.detach().to(self.scale)).numpy())
        return Quantized(self.codes, torch.from_numpy(scale), self.bits)


def dequantize(grid: Quantized) -> Tensor:
    """The weights s_o · c as float32.

    Example:
        >>> dequantize(Quantized(torch.tensor([[1, -1]], dtype=torch.int8), torch.tensor([0.5]), bits=2))
        tensor([[ 0.5000, -0.5000]])
    """
    return grid.codes.float() * _per_channel(grid.scale, grid.codes.ndim)


class Rounding(Protocol):
    """How weights go to their grid."""

    def __call__(self, weight: Tensor, bits: int, statistics: Tensor | None) -> Quantized:
        """Rounds a weight.

        Args:
            weight: ``(out_channels, ...)``.
            bits: 2 … 8.
            statistics: what is known of the inputs: second moments E[x²], one per weight of an output channel
                ``(fan_in,)``, or None. (Better rounding may ask for the Gram matrix ``(fan_in, fan_in)``.)
        """
        ...


@dataclass(frozen=True)
class NearestRounding:
    """Rounds to the nearest grid point; the scale minimises Σ_i m_i (w_i − s c_i)² over clipping factors.

    Attributes:
        candidates: clipping factors f tried, s = f · max|w| / q, evenly spaced from ``narrowest`` to 1.
        narrowest: the smallest factor at 2 bits; wider grids clip less and start higher.

    Example:
        >>> weight = torch.tensor([[0.9, -1.1, 0.1, 0.0]])
        >>> grid = NearestRounding()(weight, 2, None)
        >>> grid.codes.tolist(), round(float(grid.scale), 2)
        ([[1, -1, 0, 0]], 1.0)
    """

    candidates: int = 32
    narrowest: float = 0.2

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise ValueError(f"candidates={self.candidates!r} must be at least 1")
        if not 0 < self.narrowest <= 1:
            raise ValueError(f"narrowest={self.narrowest!r} must lie in (0, 1]")

    @torch.no_grad()
    def __call__(self, weight: Tensor, bits: int, statistics: Tensor | None) -> Quantized:
        """Rounds a weight; see :class:`Rounding`.

        Raises:
            ValueError: for non-finite weights, unknown widths, or statistics of another shape.
        """
        q = largest_code(bits)
        if not bool(torch.isfinite(weight).all()):
            raise ValueError("weight holds NaN or infinite values: mend the network before it is quantised")
        flat = weight.detach().float().reshape(len(weight), -1).contiguous()
        scale = torch.from_numpy(self._best_scale(flat.numpy(), bits, _moments(statistics, flat.shape[1])))
        codes = (flat / scale[:, None]).round_().clamp_(-q, q)
        peak = flat.abs().amax(1)
        dead = (scale < _SMALLEST_HALF) & (peak < _DEAD * peak.max())
        codes = torch.where(dead[:, None], 0.0, codes).to(torch.int8)
        return Quantized(codes.reshape(weight.shape), torch.where(dead, 1.0, scale), bits)

    def _best_scale(self, weights: np.ndarray, bits: int, moments: np.ndarray) -> np.ndarray:
        """The scale of least error for each row, float32."""
        q = largest_code(bits)
        # clipping pays where steps are wide: from 0.2 at 2 bits to 0.8 at 8
        start = self.narrowest ** ((MAX_BITS + 1 - bits) / (MAX_BITS - 1))
        factors = np.linspace(1.0, start, self.candidates, dtype=np.float32)
        peak = np.abs(weights).max(axis=1)
        tried = _storable(np.outer(peak / q, factors))
        for _ in range(2):  # the codes' own least-squares scale, then the codes anew
            best = _first_best(weights, moments, tried, q)
            product, square = projections(weights, moments, best, q)
            useful = (square > 0) & (product > 0)
            fitted = np.where(useful, product / np.where(square > 0, square, 1), best)
            tried = _storable(np.stack([best, fitted], axis=1))
        return _first_best(weights, moments, tried, q)


def _per_channel(scale: Tensor, ndim: int) -> Tensor:
    return scale.reshape(-1, *([1] * (ndim - 1)))


def _storable(scale: np.ndarray) -> np.ndarray:
    """Scales as stored: float16 numbers, or float32 where these would lose them; zero becomes one."""
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    within = (np.abs(scale) >= _SMALLEST_HALF) & (np.abs(scale) <= _LARGEST_HALF)
    return np.where(within, np.where(within, scale, 1).astype(np.float16).astype(np.float32), scale)


def _moments(statistics: Tensor | None, fan_in: int) -> np.ndarray:
    if statistics is None:
        return np.ones(fan_in, dtype=np.float32)
    if statistics.shape != (fan_in,):
        raise ValueError(f"statistics has shape {tuple(statistics.shape)}: nearest rounding takes moments, ({fan_in},)")
    return statistics.detach().float().contiguous().numpy()


def _first_best(weights: np.ndarray, moments: np.ndarray, tried: np.ndarray, q: int) -> np.ndarray:
    best = rounding_errors(weights, moments, tried, q).argmin(axis=1)
    return np.take_along_axis(tried, best[:, None], axis=1)[:, 0]
