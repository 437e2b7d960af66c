"""Rounding to the nearest grid point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from annealnet.compression.rounding.grids import Grid, Quantized
from annealnet.compression.rounding.lattice import nearest_codes
from annealnet.compression.rounding.scales import fit_scales
from annealnet.whole_numbers import whole_attributes

__all__ = ["NearestRounding", "finite_rows", "on_grid"]


@dataclass(frozen=True)
class NearestRounding:
    """Rounds to the nearest grid point; the scale minimises ‖w − z‖² over clipping factors. What is known of the inputs is
    not used.

    Attributes:
        group: weights of an output channel that share a scale; None for all of them.
        symmetric: whether the zero point is 0.
        candidates: clipping factors f tried, s = f · max|w| / q, evenly spaced from ``narrowest`` to 1.
        narrowest: the smallest factor at 2 bits; wider grids clip less and start higher.

    Example:
        >>> weight = torch.tensor([[0.9, -1.1, 0.1, 0.0]])
        >>> grid = NearestRounding()(weight, 2)
        >>> grid.codes.tolist(), round(float(grid.scale), 2)
        ([[1, -1, 0, 0]], 1.0)
    """

    group: int | None = None
    symmetric: bool = True
    candidates: int = 32
    narrowest: float = 0.2

    def __post_init__(self) -> None:
        whole_attributes(self, 1, "group", "candidates")
        if not 0 < self.narrowest <= 1:
            raise ValueError(f"narrowest={self.narrowest!r} must lie in (0, 1]: 0.2 is a good start, 1 clips nothing")

    @torch.no_grad()
    def __call__(self, weight: Tensor, bits: int, gram: Tensor | None = None) -> Quantized:
        """Rounds a weight; see :class:`Rounding`.

        Raises:
            ValueError: for non-finite weights or unknown widths.
        """
        grid = Grid(bits, self.group, self.symmetric)
        flat = finite_rows(weight)
        ones = np.ones(flat.shape[1], dtype=np.float32)
        scale, zero = fit_scales(flat, grid, ones, self.candidates, self.narrowest)
        column = grid.column(flat.shape[1]).numpy()
        return on_grid(weight, grid, nearest_codes(flat, scale[:, column], zero[:, column], grid), scale, zero)

    def quick(self) -> NearestRounding:
        """Itself."""
        return self


def finite_rows(weight: Tensor) -> np.ndarray:
    """The weights as float32 ``(out_channels, fan_in)``.

    Raises:
        ValueError: when one is NaN or infinite.
    """
    if not bool(torch.isfinite(weight).all()):
        raise ValueError("weight holds NaN or infinite values: mend the network before it is quantised")
    return weight.detach().float().reshape(len(weight), -1).contiguous().numpy()


def on_grid(weight: Tensor, grid: Grid, codes: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> Quantized:
    """Codes, scales and zero points ``(rows, …)`` as a value of the weight's shape, its scales as they are stored."""
    if grid.group is None:
        scale, zero = scale[:, 0], zero[:, 0]
    return Quantized.stored(
        torch.from_numpy(codes.astype(np.int8)).reshape(weight.shape), torch.from_numpy(scale), grid.bits,
        None if grid.symmetric else torch.from_numpy(zero.astype(np.int8)), grid.group,
    )  # fmt: skip
