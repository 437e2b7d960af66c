"""Convolutions over volumes on drawn kernels, strides, paddings, dilations and groups."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from annealnet.compression.conformance import kind_conformance
from annealnet.compression.network.graph import trace
from annealnet.compression.quantizing import quantize


def network(channels: tuple[int, int], seed: int, **settings: Any) -> tuple[nn.Module, Tensor]:
    inputs, outputs = channels
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv3d(2, inputs, 1), nn.ReLU(), nn.Conv3d(inputs, outputs, **settings), nn.BatchNorm3d(outputs),
        nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(outputs, 3),
    )  # fmt: skip
    return net.eval(), torch.randn(3, 2, 5, 6, 7)


@st.composite
def drawn(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    numbers = {
        name: draw(st.tuples(*[st.integers(1, most)] * 3))
        for name, most in (("kernel_size", 3), ("stride", 2), ("dilation", 2))
    }
    numbers["padding"] = draw(st.tuples(*[st.integers(0, 2)] * 3))
    mode = draw(st.sampled_from(("zeros", "reflect", "replicate", "circular")))
    groups = draw(st.sampled_from((1, 2, 4)))  # 4: depthwise
    channels = 4, groups * draw(st.integers(1, 2)) if groups > 1 else draw(st.integers(2, 5))
    bias, seed = draw(st.booleans()), draw(st.integers(0, 99))
    return network(channels, seed, padding_mode=mode, groups=groups, bias=bias, **numbers)


@settings(max_examples=25, deadline=None)
@given(drawn())
def test_the_kind_is_whole(case: tuple[nn.Module, Tensor]) -> None:
    findings = kind_conformance(*case, leave_out=("onnx_runtime_agrees",))
    assert [finding for finding in findings if not finding.passed] == []


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_onnx_runtime_gives_the_same(groups: int) -> None:
    net, x = network((4, 8), 0, kernel_size=(3, 2, 3), stride=2, padding=1, groups=groups)
    findings = kind_conformance(net, x)
    assert [finding for finding in findings if finding.passed is False] == []


def test_volumes_are_pruned_and_quantised() -> None:
    net, x = network((4, 6), 0, kernel_size=3, padding=1)
    graph = trace(net, x)
    assert [layer.kind for layer in graph.layers] == ["conv3d", "conv3d", "linear"]
    assert [len(group.units) for group in graph.groups] == [4, 6]
    assert graph.stays_dense.num_bytes == 0
    small = quantize(net, [x], bits=8)
    with torch.no_grad():
        torch.testing.assert_close(small.model(x), net(x), atol=0.02 * float(net(x).abs().max()), rtol=0)


def test_a_wrong_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="layer '0' expects 2 channels in dimension 1"):
        trace(nn.Sequential(nn.Conv3d(2, 3, 1)), torch.zeros(1, 4, 5, 5, 5))
