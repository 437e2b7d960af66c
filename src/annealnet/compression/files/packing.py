"""Codes of 1 to 8 bits one after the other, bit by bit."""

from __future__ import annotations

import numpy as np

from annealnet.compression.rounding.grids import Grid

__all__ = ["pack", "unpack"]


def pack(codes: np.ndarray, grid: Grid, first: int = 0) -> np.ndarray:
    """Packs int8 codes as steps above the grid's lowest, highest bit first, into as few bytes as hold them.

    Args:
        codes: within the grid, of any shape.
        grid: which codes there are.
        first: bit of the first byte, 0 … 7, at which they begin; the bits before it are 0.

    Returns:
        uint8 ``(⌈(first + codes · bits) / 8⌉,)``, filled up with zeros.

    Example:
        >>> codes = np.array([-1, 0, 1, 0], dtype=np.int8)
        >>> pack(codes, Grid(2)).tolist(), pack(codes, Grid(2), first=4).tolist()
        ([25], [1, 144])
    """
    raised = ((codes.reshape(-1).astype(np.int16) - grid.low) // grid.step).astype(np.uint8)
    places = np.unpackbits(raised[:, None], axis=1)[:, 8 - grid.bits :].reshape(-1)
    return np.packbits(np.concatenate([np.zeros(first, dtype=np.uint8), places]))


def unpack(packed: np.ndarray, count: int, grid: Grid, first: int = 0) -> np.ndarray:
    """The ``count`` int8 codes that :func:`pack` packed, those that begin at bit ``first`` of all bytes.

    Raises:
        ValueError: when there are fewer bytes than that takes, or a code lies outside the grid.

    Example:
        >>> unpack(np.array([1, 144], dtype=np.uint8), 4, Grid(2), first=4).tolist()
        [-1, 0, 1, 0]
    """
    end = first + count * grid.bits
    if end > 8 * len(packed):
        raise ValueError(f"packed has {len(packed)} bytes: {count} codes of {grid.bits} bits from bit {first} take more")
    begin = first // 8
    places = np.unpackbits(packed[begin : -(-end // 8)])[first - 8 * begin : end - 8 * begin].reshape(count, grid.bits)
    raised = np.packbits(np.pad(places, ((0, 0), (8 - grid.bits, 0))), axis=1)[:, 0]
    codes = grid.low + grid.step * raised.astype(np.int16)
    if count and int(codes.max()) > grid.high:
        raise ValueError(f"packed holds a code of {int(codes.max())}, but the grid of {grid.bits} bits ends at {grid.high}")
    return codes.astype(np.int8)
