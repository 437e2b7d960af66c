"""Scales and biases as stored: two bytes each, float16's precision at any magnitude, and stored again the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.compression.rounding.grids import Quantized, dequantize
from annealnet.compression.rounding.stored_numbers import (
    EXPONENTS,
    from_halves,
    storable,
    stored,
    stored_bias,
    stored_scales,
    to_halves,
)

MAGNITUDES = st.lists(st.floats(-12, 9), min_size=1, max_size=12)
ANY_FLOATS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(MAGNITUDES, st.integers(0, 999))
def test_every_number_keeps_eleven_bits_down_to_a_billionth_of_the_largest(powers: list[float], seed: int) -> None:
    values = 10.0 ** np.array(powers) * np.random.default_rng(seed).choice([-1, 1], len(powers))
    found = stored(values)
    error = np.abs(found - values)
    assert (error <= np.abs(values) * 2.0**-11 + np.abs(values).max() * 2.0**-39).all()
    near = np.abs(values) >= np.abs(values).max() * 2.0**-28
    assert (error[near] <= np.abs(values[near]) * 2.0**-11).all()


@settings(max_examples=300, deadline=None)
@given(ANY_FLOATS)
def test_stored_twice_is_stored_once(values: list[float]) -> None:
    once = stored(np.array(values))
    assert np.isfinite(once).all()
    assert np.array_equal(stored(once), once)
    halves, exponent = to_halves(once)
    assert EXPONENTS[0] <= exponent <= EXPONENTS[1]
    assert halves.dtype == np.float16
    assert np.array_equal(from_halves(halves, exponent), once)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(2.0**-14, 65504), min_size=1, max_size=9))
def test_where_float16_reaches_it_is_what_is_tried(values: list[float]) -> None:
    assert np.array_equal(storable(np.array(values)), np.array(values).astype(np.float16).astype(np.float32))


def test_numbers_that_are_none_are_refused() -> None:
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="cannot be stored"):
            stored(np.array([1.0, bad]))


def test_a_bias_beyond_float16_stays_finite() -> None:
    found = stored_bias(torch.tensor([1e6, -3e9, 0.0]))
    torch.testing.assert_close(found, torch.tensor([1e6, -3e9, 0.0]), rtol=2**-11, atol=0)


@settings(max_examples=100, deadline=None)
@given(MAGNITUDES, st.data())
def test_scales_stay_positive_and_unused_ones_move_nothing(powers: list[float], data: st.DataObject) -> None:
    scale = 10.0 ** np.array(powers)
    used = np.array(data.draw(st.lists(st.booleans(), min_size=len(scale), max_size=len(scale))))
    found, faint = stored_scales(scale, used)
    assert (found > 0).all()
    assert not (faint & ~used).any()
    assert np.array_equal(stored(found), found)
    if used.any():
        alone, _ = stored_scales(scale[used], np.ones(int(used.sum()), dtype=bool))
        assert np.array_equal(found[used], alone)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 9999),
    bits=st.integers(1, 8),
    group=st.sampled_from([None, 2, 3, 8]),
    symmetric=st.booleans(),
)
def test_grids_of_any_scales_are_stored_once_and_for_all(seed: int, bits: int, group: int | None, symmetric: bool) -> None:
    rng = np.random.default_rng(seed)
    low, high = (
        (-max(1, 2 ** (bits - 1) - 1), max(1, 2 ** (bits - 1) - 1))
        if symmetric
        else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )
    codes = torch.from_numpy(rng.integers(low, high + 1, (4, 5)).astype(np.int8))
    if symmetric and bits == 1:
        codes = torch.where(codes == 0, torch.ones_like(codes), codes)
    shape = (4,) if group is None else (4, -(-5 // group))
    zero = None if symmetric else torch.from_numpy(rng.integers(low, high + 1, shape).astype(np.int8))
    scale = torch.from_numpy(10.0 ** rng.uniform(-12, 9, shape))
    once = Quantized.stored(codes, scale, bits, zero, group)
    again = Quantized.stored(once.codes, once.scale, bits, zero, group)
    assert torch.equal(again.scale, once.scale)
    assert torch.equal(again.codes, once.codes)
    same = once.rescaled(torch.ones(4))
    assert torch.equal(dequantize(same), dequantize(once))
    loud = Quantized(codes, scale.float(), bits, zero, group)
    gap = (dequantize(once) - dequantize(loud)).abs()
    assert (gap <= dequantize(loud).abs() * 2.0**-10 + dequantize(loud).abs().max() * 2.0**-26).all()
