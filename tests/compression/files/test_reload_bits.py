"""A network that is read back answers bit for bit what the saved one answers, whatever kernels torch chooses for it.

Torch chooses by more than shapes: a matrix product of three axes is folded into one where its weight is to be trained, and
batched where it is not. The sums then differ in their last bit, with equal weights.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import annealnet as an
from annealnet.compression.rounding import NearestRounding

CONVOLUTIONS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d}
NORMS: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu6": nn.ReLU6, "silu": nn.SiLU, "hardswish": nn.Hardswish}


class Depthwise(nn.Module):
    """Pointwise, depthwise, pointwise, as mobile networks have it; the answers of the last are read position by position."""

    def __init__(self, axes: int, width: int, times: int, kernel: int, act: str, normed: bool, bias: bool) -> None:
        super().__init__()
        conv: Any = CONVOLUTIONS[axes]
        parts: list[nn.Module] = [conv(3, width, 1)]
        parts += [conv(width, times * width, kernel, padding=kernel // 2, groups=width)]
        parts += [NORMS[axes](times * width)] if normed else []
        parts += [ACTIVATIONS[act](), conv(times * width, 6, 1)]
        self.parts, self.head = nn.Sequential(*parts), nn.Linear(6, 4, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.parts(x).flatten(2).transpose(1, 2))


@settings(max_examples=40, deadline=None)
@given(
    axes=st.sampled_from([1, 2]),
    width=st.sampled_from([1, 3, 4, 8, 12, 17]),
    times=st.integers(1, 2),
    kernel=st.sampled_from([1, 3, 5]),
    act=st.sampled_from(sorted(ACTIVATIONS)),
    normed=st.booleans(),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_depthwise_networks(
    axes: int, width: int, times: int, kernel: int, act: str, normed: bool, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    network = Depthwise(axes, width, times, kernel, act, normed, bias).eval()
    check(network, torch.randn(5, 3, *[7] * axes))


def test_a_product_of_three_axes_without_a_bias() -> None:
    for seed in range(10):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3, bias=False)).eval()
        check(network, torch.randn(16, 5, 8).transpose(0, 1).contiguous().transpose(0, 1))


def test_recurrent_networks() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.GRU(8, 8, batch_first=True), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(x)[0])

    for seed in range(5):
        torch.manual_seed(seed)
        check(Last().eval(), torch.randn(16, 5, 8))


def check(network: nn.Module, x: Tensor) -> None:
    small = an.quantize(network, [x], bits=4, rounding=NearestRounding())
    with tempfile.TemporaryDirectory() as folder:
        again = an.load(small.save(folder), network)
    saved, read = small.model.state_dict(), again.state_dict()
    assert list(saved) == list(read)
    assert all(torch.equal(value, read[name]) for name, value in saved.items())
    with torch.no_grad():
        assert torch.equal(again(x), small.model(x))
    assert torch.equal(again(x), small.model(x))  # nor does it matter whether gradients are on
