"""Codes of 1 to 8 bits side by side in bytes."""

from __future__ import annotations

import numpy as np

from annealnet.compression.rounding.grids import Grid

__all__ = ["pack", "packed_bytes", "unpack"]


def packed_bytes(count: int, bits: int) -> int:
    """Bytes that ``count`` codes of ``bits`` bits take, the last byte filled up.

    Example:
        >>> packed_bytes(3, 3)
        2
    """
    return -(-count * bits // 8)


def pack(codes: np.ndarray, grid: Grid) -> np.ndarray:
    """Packs int8 codes as steps above the grid's lowest, highest bit first: uint8 ``(packed_bytes,)``.

    Example:
        >>> pack(np.array([-1, 0, 1, 0], dtype=np.int8), Grid(2)).tolist()
        [25]
    """
    bits = grid.bits
    raised = ((codes.reshape(-1).astype(np.int16) - grid.low) // grid.step).astype(np.uint8)
    return np.packbits(np.unpackbits(raised[:, None], axis=1)[:, 8 - bits :].reshape(-1))


def unpack(packed: np.ndarray, count: int, grid: Grid) -> np.ndarray:
    """The ``count`` int8 codes that :func:`pack` packed.

    Example:
        >>> unpack(np.array([25], dtype=np.uint8), 4, Grid(2)).tolist()
        [-1, 0, 1, 0]
    """
    bits = grid.bits
    places = np.unpackbits(packed, count=count * bits).reshape(count, bits)
    raised = np.packbits(np.pad(places, ((0, 0), (8 - bits, 0))), axis=1)[:, 0]
    return (grid.low + grid.step * raised.astype(np.int16)).astype(np.int8)
