"""Which couplings of a block exist, and which of them are one and the same number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annealnet.whole_numbers import whole_number

__all__ = ["Pattern"]


@dataclass(frozen=True)
class Pattern:
    """Groups of equal couplings in a block ``(n, m)``: −1 where there is no coupling, else the number of its group.

    Sparse hardware graphs and local receptive fields have a group of its own for every coupling; convolutions share.

    Args:
        groups: int ``(n, m)``.

    Raises:
        ValueError: when no coupling is left.

    Example:
        >>> Pattern(np.array([[0, -1], [0, 1]])).project(np.array([[1.0, 5.0], [3.0, 4.0]])).tolist()
        [[2.0, 0.0], [2.0, 4.0]]
    """

    groups: NDArray[np.int64]

    def __post_init__(self) -> None:
        groups = np.asarray(self.groups, dtype=np.int64)
        if groups.ndim != 2 or not (groups >= 0).any():
            raise ValueError(f"groups has shape {groups.shape} and no coupling: give (n, m) with at least one number ≥ 0")
        object.__setattr__(self, "groups", groups)

    @classmethod
    def sparse(cls, exists: NDArray[Any]) -> Pattern:
        """Couplings where ``exists`` is true, each its own."""
        exists = np.asarray(exists, dtype=bool)
        return cls(np.where(exists, np.cumsum(exists).reshape(exists.shape) - 1, -1))

    @classmethod
    def convolution(cls, side: int, kernel: int, channels: int, stride: int = 1) -> Pattern:
        """A convolution without padding from a square image to ``channels`` maps, spins in the order channel, row, column.

        Example:
            >>> pattern = Pattern.convolution(side=8, kernel=3, channels=2)
            >>> pattern.groups.shape, int(pattern.groups.max()) + 1, int((pattern.groups[:, 0] >= 0).sum())
            ((64, 72), 18, 9)
        """
        side = whole_number("side", side, 1)
        kernel, stride = whole_number("kernel", kernel, 1, side), whole_number("stride", stride, 1)
        channels = whole_number("channels", channels, 1)
        places = range(0, side - kernel + 1, stride)
        groups = np.full((side * side, channels * len(places) ** 2), -1, dtype=np.int64)
        spin = 0
        for channel in range(channels):
            for row in places:
                for column in places:
                    for i in range(kernel):
                        for j in range(kernel):
                            pixel = (row + i) * side + column + j
                            groups[pixel, spin] = (channel * kernel + i) * kernel + j
                    spin += 1
        return cls(groups)

    def check_symmetric(self) -> None:
        """For couplings inside a layer: spins i, j and j, i are one pair, and no spin couples to itself.

        Raises:
            ValueError: a block that is not square, a coupling of a spin to itself, a pair that exists one way only, or
                groups that are not groups any more when rows and columns change places.
        """
        groups = self.groups
        if groups.shape[0] != groups.shape[1] or (np.diagonal(groups) >= 0).any():
            raise ValueError(f"groups has shape {groups.shape}: inside a layer give (n, n) with −1 on the diagonal")
        exists = groups >= 0
        if (exists != exists.T).any():
            raise ValueError(
                "groups couples a pair of spins one way only: inside a layer give both groups[i, j] and groups[j, i]"
            )
        pairs = np.unique(np.stack([groups[exists], groups.T[exists]]), axis=1)
        if pairs.shape[1] != len(np.unique(groups[exists])):
            raise ValueError("groups shares couplings that their transpose does not: inside a layer give symmetric groups")

    def project(self, block: NDArray[Any]) -> NDArray[np.float32]:
        """The block with couplings that do not exist at 0 and shared ones at their mean."""
        exists = self.groups >= 0
        names = self.groups[exists]
        sums = np.bincount(names, weights=block[exists])
        counts = np.maximum(np.bincount(names), 1)
        projected = np.zeros(block.shape, dtype=np.float32)
        projected[exists] = (sums / counts)[names]
        return projected
