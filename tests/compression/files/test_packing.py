"""Codes side by side, bit after bit, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.compression.files.packing import pack, unpack
from annealnet.compression.rounding.grids import Grid


def codes_of(grid: Grid, seed: int, count: int) -> np.ndarray:
    points = np.arange(grid.low, grid.high + 1, grid.step)
    return np.random.default_rng(seed).choice(points, count).astype(np.int8)


@settings(max_examples=150, deadline=None)
@given(
    bits=st.integers(1, 8),
    symmetric=st.booleans(),
    count=st.integers(0, 50),
    first=st.integers(0, 7),
    seed=st.integers(0, 999),
)
def test_packing_both_ways(bits: int, symmetric: bool, count: int, first: int, seed: int) -> None:
    grid = Grid(bits, symmetric=symmetric)
    codes = codes_of(grid, seed, count)
    packed = pack(codes, grid, first)
    assert len(packed) == -(-(first + count * bits) // 8)
    assert np.array_equal(unpack(packed, count, grid, first), codes)
    assert len(packed) == 0 or int(packed[0]) >> (8 - first) == 0  # the bits before are free for others


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 20)), min_size=1, max_size=5), st.integers(0, 999))
def test_layers_lie_one_after_the_other(layers: list[tuple[int, int]], seed: int) -> None:
    stream, at, wanted = np.zeros(200, dtype=np.uint8), 0, []
    for bits, count in layers:
        wanted.append(codes_of(Grid(bits), seed + at, count))
        packed = pack(wanted[-1], Grid(bits), at % 8)
        stream[at // 8 : at // 8 + len(packed)] |= packed
        at += bits * count
    at = 0
    for (bits, count), codes in zip(layers, wanted, strict=True):
        assert np.array_equal(unpack(stream, count, Grid(bits), at), codes)
        at += bits * count


def test_too_few_bytes_and_foreign_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="2 bytes: 6 codes of 3 bits from bit 0 take more"):
        unpack(np.zeros(2, dtype=np.uint8), 6, Grid(3))
    with pytest.raises(ValueError, match="a code of 2, but the grid of 2 bits ends at 1"):
        unpack(np.array([255], dtype=np.uint8), 4, Grid(2))
