"""Values of sixteen numbers against numpy, lane by lane."""

from __future__ import annotations

from types import SimpleNamespace

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.samplers.kernels.simd import (
    LANES,
    clipped,
    floats_of,
    load,
    lowest,
    ones,
    rows_of_lanes,
    splat,
    store,
    under,
    word_lanes,
)


@numba.njit
def _arithmetic(a, b, factor, limit, at, out):
    left, right = load(a, at), load(b, at)
    store(out, np.uint64(0), left + right)
    store(out, np.uint64(16), left * right)
    store(out, np.uint64(32), left * factor + factor)
    store(out, np.uint64(48), clipped(left, limit))
    return under(left, right), under(left, splat(factor))


@numba.njit
def _words(factor, other, shift, out):
    word = (word_lanes() * factor + other) ^ other
    word = (word ^ (word >> shift)) + word_lanes()
    store(out, np.uint64(0), floats_of(word >> np.uint32(8)))


@numba.njit
def _bits(word):
    return lowest(word), ones(word)


numbers = st.floats(-100, 100, width=32)


@given(st.lists(numbers, min_size=40, max_size=40), numbers, st.integers(0, 4))
@settings(max_examples=40)
def test_arithmetic_is_done_in_every_lane(lanes: SimpleNamespace, values: list[float], factor: float, at: int) -> None:
    a, b = np.array(values[:20], dtype=np.float32), np.array(values[20:], dtype=np.float32)
    out, single, limit = np.zeros(64, dtype=np.float32), np.float32(factor), np.float32(7.5)
    less, below = _arithmetic(a, b, single, limit, np.uint64(at), out)
    left, right = lanes.load(a, at), lanes.load(b, at)
    expected = [left + right, left * right, left * single + single, lanes.clipped(left, limit)]
    np.testing.assert_allclose(out.reshape(4, LANES), expected, rtol=1e-5, atol=1e-3)
    assert less == lanes.under(left, right)
    assert below == lanes.under(left, lanes.splat(single))
    assert [bool(less >> k & 1) for k in range(LANES)] == (left < right).tolist()


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 31))
@settings(max_examples=40)
def test_words_wrap_around_as_unsigned_numbers_do(factor: int, other: int, shift: int) -> None:
    out = np.zeros(LANES, dtype=np.float32)
    _words(np.uint32(factor), np.uint32(other), np.uint32(shift), out)
    for lane in range(LANES):
        word = ((lane * factor + other) ^ other) % 2**32
        assert out[lane] == ((word ^ (word >> shift)) + lane) % 2**32 >> 8


@given(st.integers(0, 2**64 - 1))
def test_bits_are_found_and_counted(lanes: SimpleNamespace, word: int) -> None:
    place, count = _bits(np.uint64(word))
    assert (place, count) == (lanes.lowest(np.uint64(word)), lanes.ones(np.uint64(word)))
    assert count == word.bit_count()
    assert place == ((word & -word).bit_length() - 1 if word else 64)


@pytest.mark.parametrize("shapes", [[], [(3, 5)], [(2, 16), (7, 33), (0, 0), (1, 1)]])
def test_rows_are_filled_up_and_aligned(shapes: list[tuple[int, int]]) -> None:
    blocks = [np.random.default_rng(k).normal(size=shape) for k, shape in enumerate(shapes)]
    flat, places = rows_of_lanes(blocks)
    assert flat.dtype == np.float32
    assert len(places) == len(blocks)
    assert flat.size == 0 or flat.ctypes.data % 64 == 0
    for block, place in zip(blocks, places.astype(int), strict=True):
        width = -(-block.shape[1] // LANES) * LANES
        rows = flat[place : place + len(block) * width].reshape(len(block), width)
        np.testing.assert_array_equal(rows[:, : block.shape[1]], block.astype(np.float32))
        assert place % LANES == 0
        assert not rows[:, block.shape[1] :].any()
