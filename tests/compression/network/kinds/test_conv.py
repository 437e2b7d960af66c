"""Convolutions over one and two axes on drawn kernels, strides, paddings, dilations and groups."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from annealnet.compression.conformance import kind_conformance

CONVS = {1: nn.Conv1d, 2: nn.Conv2d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
EXTENT = 9


def network(axes: int, channels: tuple[int, int], seed: int, **settings: Any) -> tuple[nn.Module, Tensor]:
    """A pointwise convolution, the one that is asked about, a batch norm, another pointwise one."""
    conv, (inputs, outputs) = CONVS[axes], channels
    torch.manual_seed(seed)
    net = nn.Sequential(
        conv(2, inputs, 1),
        nn.ReLU(),
        conv(inputs, outputs, **settings),
        NORMS[axes](outputs),
        nn.ReLU(),
        conv(outputs, 2, 1),
    )
    return net, torch.randn(3, 2, *[EXTENT] * axes)


@st.composite
def drawn(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    axes = draw(st.sampled_from((1, 2)))
    numbers = {
        name: draw(st.tuples(*[st.integers(1, most)] * axes))
        for name, most in (("kernel_size", 3), ("stride", 3), ("dilation", 2))
    }
    padding = draw(st.one_of(st.just("valid"), st.tuples(*[st.integers(0, 2)] * axes)))
    if draw(st.booleans()) and set(numbers["stride"]) == {1}:
        padding = "same"
    mode = draw(st.sampled_from(("zeros", "reflect", "replicate", "circular")))
    groups = draw(st.sampled_from((1, 2, 4)))  # 4: depthwise
    channels = 4, groups * draw(st.integers(1, 2)) if groups > 1 else draw(st.integers(2, 5))
    return network(
        axes, channels, draw(st.integers(0, 99)), padding=padding, padding_mode=mode, groups=groups,
        bias=draw(st.booleans()), **numbers,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(drawn())
def test_the_kind_is_whole(case: tuple[nn.Module, Tensor]) -> None:
    findings = kind_conformance(*case, leave_out=("onnx_runtime_agrees",))
    assert [finding for finding in findings if not finding.passed] == []


@pytest.mark.parametrize("axes", CONVS)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_onnx_runtime_gives_the_same(axes: int, groups: int) -> None:
    net, x = network(axes, (4, 8), 0, kernel_size=3, stride=2, padding=1, groups=groups)
    findings = kind_conformance(net, x)
    assert [finding for finding in findings if finding.passed is False] == []
