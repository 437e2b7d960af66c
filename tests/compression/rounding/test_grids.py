"""Grids: in range, never worse than the plain peak scale, and optimal where enumeration can tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.compression.rounding import NearestRounding
from annealnet.compression.rounding.grids import Quantized, dequantize, largest_code

BITS = tuple(range(2, 9))


def weights(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(bits=st.sampled_from(BITS), seed=st.integers(0, 999), outputs=st.integers(1, 6), fan_in=st.integers(1, 40))
def test_codes_are_the_nearest_points_of_their_grid(bits: int, seed: int, outputs: int, fan_in: int) -> None:
    weight = weights(seed, outputs, fan_in)
    grid = NearestRounding()(weight, bits, None)
    q = largest_code(bits)
    points = torch.arange(-q, q + 1) * grid.scale[:, None]
    nearest = (weight[:, :, None] - points[:, None, :]).abs().amin(-1)
    torch.testing.assert_close((weight - dequantize(grid)).abs(), nearest, atol=1e-6, rtol=1e-5)
    assert torch.equal(grid.scale, grid.scale.half().float())


@settings(max_examples=60, deadline=None)
@given(bits=st.sampled_from(BITS), seed=st.integers(0, 999))
def test_never_worse_than_the_peak_scale(bits: int, seed: int) -> None:
    weight = weights(seed, 5, 50)
    q = largest_code(bits)
    scale = weight.abs().amax(1).div(q).half().float()[:, None]
    plain = ((weight / scale).round().clamp(-q, q) * scale - weight).square().sum(1)
    found = (dequantize(NearestRounding()(weight, bits, None)) - weight).square().sum(1)
    assert (found <= plain * (1 + 1e-6)).all()


@pytest.mark.parametrize("seed", range(10))
def test_two_bit_scale_is_close_to_the_best_ternary_one(seed: int) -> None:
    """The best ternary grid keeps the k largest weights at their mean, for the best k: an exact reference."""
    weight = weights(seed, 1, 200)
    ordered = weight.abs().flatten().sort(descending=True).values
    k = torch.arange(1, 201)
    gains = ordered.cumsum(0) ** 2 / k  # ‖w‖² − error of keeping the k largest
    best = float(weight.square().sum() - gains.max())
    found = float((dequantize(NearestRounding()(weight, 2, None)) - weight).square().sum())
    assert best * (1 - 1e-5) <= found <= best * 1.005


def test_error_falls_with_every_bit() -> None:
    weight = weights(0, 16, 16, 3, 3)
    errors = [float((dequantize(NearestRounding()(weight, b, None)) - weight).square().sum()) for b in BITS]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 1000


def test_zero_and_dead_channels_become_zero() -> None:
    weight = weights(1, 4, 9)
    weight[1] = 0
    weight[2] = 1e-20
    grid = NearestRounding()(weight, 4, None)
    assert not grid.codes[1:3].any()
    assert torch.equal(grid.scale, grid.scale.half().float())


def test_a_whole_layer_of_tiny_weights_keeps_float32_scales() -> None:
    weight = weights(1, 4, 9) * 1e-12
    grid = NearestRounding()(weight, 8, None)
    assert float((dequantize(grid) - weight).norm() / weight.norm()) < 0.01


def test_rescaling_keeps_codes_and_stores_float16() -> None:
    grid = NearestRounding()(weights(2, 3, 7), 3, None)
    twice = grid.rescaled(torch.tensor([2.0, 0.333, 1.1]))
    assert torch.equal(twice.codes, grid.codes)
    assert torch.equal(twice.scale, twice.scale.half().float())
    torch.testing.assert_close(twice.scale, grid.scale * torch.tensor([2.0, 0.333, 1.1]), rtol=1e-3, atol=0)


@pytest.mark.parametrize("bits", [9, 0, "4"])
def test_unknown_widths_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 8"):
        NearestRounding()(weights(0, 2, 2), bits, None)


def test_bad_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        NearestRounding()(torch.tensor([[np.nan, 1.0]]), 4, None)


def test_grid_values_are_checked() -> None:
    with pytest.raises(ValueError, match="grid of 2 bits"):
        Quantized(torch.tensor([[2]], dtype=torch.int8), torch.ones(1), 2)
    with pytest.raises(ValueError, match="one per output channel"):
        Quantized(torch.tensor([[1]], dtype=torch.int8), torch.ones(2), 2)
