"""Grids of 1 to 8 bits, and weights that lie on them.

    w ≈ s · (c − o)        s: scale, o: zero point, one of each per output channel, or per group of its weights

Symmetric grids have o = 0 and c ∈ {−q, …, q} with q = 2^{b−1} − 1 (2 bits: {−1, 0, 1}; 1 bit: {−1, 1}); asymmetric ones
have c ∈ {−2^{b−1}, …, 2^{b−1} − 1} and a whole o within them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from annealnet.compression.rounding.stored_numbers import stored_scales
from annealnet.whole_numbers import whole_attributes, whole_number

__all__ = ["MAX_BITS", "MIN_BITS", "Grid", "Quantized", "dequantize", "largest_code"]

MIN_BITS, MAX_BITS = 1, 8


def largest_code(bits: int) -> int:
    """q = 2^{b−1} − 1 of a symmetric grid; 1 at one bit.

    Raises:
        ValueError: for widths outside 1 … 8.

    Example:
        >>> [largest_code(b) for b in (1, 2, 3, 4, 8)]
        [1, 1, 3, 7, 127]
    """
    return max(1, int(2 ** (whole_number("bits", bits, MIN_BITS, MAX_BITS) - 1) - 1))


@dataclass(frozen=True)
class Grid:
    """Which codes there are, and how many weights share a scale.

    Attributes:
        bits: width b, 1 … 8.
        group: weights of an output channel that share scale and zero point; None for all of them.
        symmetric: whether the zero point is 0.

    Raises:
        ValueError: when a number is out of range.

    Example:
        >>> Grid(2), Grid(3, group=32, symmetric=False).low, Grid(1).step
        (Grid(bits=2, group=None, symmetric=True), -4, 2)
    """

    bits: int
    group: int | None = None
    symmetric: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", whole_number("bits", self.bits, MIN_BITS, MAX_BITS))
        whole_attributes(self, 1, "group")

    @property
    def low(self) -> int:
        """Smallest code."""
        return -largest_code(self.bits) if self.symmetric else -(2 ** (self.bits - 1))

    @property
    def high(self) -> int:
        """Largest code."""
        return largest_code(self.bits) if self.symmetric else 2 ** (self.bits - 1) - 1

    @property
    def step(self) -> int:
        """Between neighbouring codes."""
        return 2 if self.symmetric and self.bits == 1 else 1

    def groups(self, fan_in: int) -> int:
        """Scales of an output channel with so many weights; the last group may be shorter."""
        return 1 if self.group is None else -(-fan_in // self.group)

    def column(self, fan_in: int) -> Tensor:
        """The group of each weight: int64 ``(fan_in,)``."""
        return torch.zeros(fan_in, dtype=torch.int64) if self.group is None else torch.arange(fan_in) // self.group


@dataclass(frozen=True, eq=False)
class Quantized:
    """Weights on their grid.

    Attributes:
        codes: int8, shape of the weight, within the grid.
        scale: float32 ``(out_channels,)``, or ``(out_channels, groups)`` where the grid has groups; :meth:`stored` makes
            them what a file holds.
        bits: the width b.
        zero: int8 of the shape of ``scale`` for asymmetric grids, else None.
        group: weights that share a scale, or None.

    Raises:
        ValueError: when shapes, dtypes or ranges do not fit.

    Example:
        >>> Quantized(torch.tensor([[1, -1]], dtype=torch.int8), torch.tensor([0.5]), bits=2).bits
        2
    """

    codes: Tensor
    scale: Tensor
    bits: int
    zero: Tensor | None = None
    group: int | None = None

    def __post_init__(self) -> None:
        grid = self.grid
        if self.codes.dtype != torch.int8 or self.codes.ndim < 2:
            raise ValueError(f"codes={self.codes.dtype} {tuple(self.codes.shape)} must be int8 of at least two dimensions")
        shape = self.codes.shape[:1]
        if self.group is not None:
            shape = (len(self.codes), grid.groups(self.codes[:1].numel()))  # type: ignore[assignment]
        if tuple(self.scale.shape) != tuple(shape) or self.scale.dtype != torch.float32:
            raise ValueError(
                f"scale={self.scale.dtype} {tuple(self.scale.shape)} must be float32 of shape {tuple(shape)}: one per "
                "output channel or group"
            )
        if self.zero is not None and (self.zero.shape != self.scale.shape or self.zero.dtype != torch.int8):
            raise ValueError(f"zero={self.zero.dtype} {tuple(self.zero.shape)} must be int8 of shape {tuple(shape)}")
        if self.codes.numel() and not grid.low <= int(self.codes.min()) <= int(self.codes.max()) <= grid.high:
            raise ValueError(
                f"codes reach from {int(self.codes.min())} to {int(self.codes.max())}, but the grid of {self.bits} bits "
                f"from {grid.low} to {grid.high}: clip them"
            )

    @property
    def grid(self) -> Grid:
        """The grid they lie on."""
        return Grid(self.bits, self.group, self.zero is None)

    @classmethod
    def stored(
        cls, codes: Tensor, scale: Tensor, bits: int, zero: Tensor | None = None, group: int | None = None
    ) -> Quantized:
        """Weights on any positive scales, brought to scales that a file holds: only such can be saved.

        Weights too faint beside the layer's largest to be told from zero become zero, where the grid has one.

        Args:
            codes, scale, bits, zero, group: as the attributes; scales may be of any floating dtype.

        Example:
            >>> codes = torch.tensor([[1, -1], [0, 0]], dtype=torch.int8)
            >>> Quantized.stored(codes, torch.tensor([1e-12, 1.0]), bits=2).scale.round(decimals=15)
            tensor([1.0000e-12, 1.0000e-12])
        """
        grid = Grid(bits, group, zero is None)
        rows = len(codes)
        flat = codes.reshape(rows, -1).numpy()
        column = grid.column(flat.shape[1]).numpy()
        origin = np.zeros_like(flat) if zero is None else zero.reshape(rows, -1).numpy()[:, column]
        first = np.arange(0, flat.shape[1], flat.shape[1] if group is None else group)
        used = np.logical_or.reduceat(flat != origin, first, axis=1)
        found, faint = stored_scales(scale.detach().reshape(rows, -1).double().numpy(), used)
        if grid.step == 1 and faint.any():
            settled = np.where(faint[:, column], origin, flat)
            return cls.stored(torch.from_numpy(settled).reshape(codes.shape), scale, bits, zero, group)
        return cls(codes, torch.from_numpy(found).reshape(scale.shape), bits, zero, group)

    def rescaled(self, factor: Tensor) -> Quantized:
        """The same codes, every channel's scales times ``factor`` ``(out_channels,)``, stored anew."""
        factors = factor.detach().double().reshape(-1, *([1] * (self.scale.ndim - 1)))
        return Quantized.stored(self.codes, self.scale.double() * factors, self.bits, self.zero, self.group)


def dequantize(grid: Quantized) -> Tensor:
    """The weights s (c − o) as float32.

    Example:
        >>> dequantize(Quantized(torch.tensor([[1, -1]], dtype=torch.int8), torch.tensor([0.5]), bits=2))
        tensor([[ 0.5000, -0.5000]])
    """
    codes = grid.codes.float().reshape(len(grid.codes), -1)
    column = grid.grid.column(codes.shape[1])
    scale = grid.scale.reshape(len(codes), grid.scale.shape[1] if grid.scale.ndim == 2 else 1)[:, column]
    if grid.zero is not None:
        codes = codes - grid.zero.float().reshape(len(codes), -1)[:, column]
    return (codes * scale).reshape(grid.codes.shape)
