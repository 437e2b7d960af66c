"""Transposed convolutions on drawn kernels, strides, paddings and dilations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from annealnet.compression.conformance import kind_conformance
from annealnet.compression.network.graph import trace
from annealnet.compression.quantizing import quantize

CLASSES = {
    1: (nn.ConvTranspose1d, nn.Conv1d),
    2: (nn.ConvTranspose2d, nn.Conv2d),
    3: (nn.ConvTranspose3d, nn.Conv3d),
}


@st.composite
def drawn(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    axes = draw(st.integers(1, 3))
    turned, plain = CLASSES[axes]
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    kernel = draw(st.integers(1, 3))
    padding = draw(st.integers(0, min(2, dilation * (kernel - 1))))
    extra = draw(st.integers(0, max(0, stride - 1)))
    inputs, outputs = draw(st.integers(2, 5)), draw(st.integers(2, 5))
    torch.manual_seed(draw(st.integers(0, 99)))
    net = nn.Sequential(
        plain(2, inputs, 1), nn.ReLU(),
        turned(inputs, outputs, kernel, stride, padding, extra, dilation=dilation, bias=draw(st.booleans())),
        nn.ReLU(), plain(outputs, 3, 1),
    )  # fmt: skip
    return net.eval(), torch.randn(2, 2, *[4] * axes)


@settings(max_examples=25, deadline=None)
@given(drawn())
def test_the_kind_is_whole(case: tuple[nn.Module, Tensor]) -> None:
    findings = kind_conformance(*case, leave_out=("onnx_runtime_agrees",))
    assert [finding for finding in findings if not finding.passed] == []


@pytest.mark.parametrize("stride", [1, 2])
def test_onnx_runtime_gives_the_same(stride: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.ConvTranspose2d(4, 6, 3, stride), nn.ReLU(), nn.Conv2d(6, 3, 1))
    findings = kind_conformance(net.eval(), torch.randn(2, 2, 4, 4))
    assert [finding for finding in findings if finding.passed is False] == []


def test_channels_before_and_behind_can_go() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.ConvTranspose2d(4, 6, 3), nn.ReLU(), nn.Conv2d(6, 3, 1)).eval()
    graph = trace(net, torch.zeros(1, 2, 4, 4))
    assert [len(group.units) for group in graph.groups] == [4, 6]
    assert graph.layer("2").weight_shape == (6, 4, 3, 3)


def test_a_batch_norm_behind_is_folded() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.ConvTranspose2d(2, 4, 2, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1)).eval()
    net[1].running_mean.normal_()
    small = quantize(net, [torch.randn(8, 2, 4, 4)], bits=8)
    assert small.report.small.divergence < 1e-3


def test_groups_are_left_as_wide_as_they_are() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ConvTranspose2d(4, 4, 2, groups=2), nn.Conv2d(4, 3, 1)).eval()
    graph = trace(net, torch.zeros(1, 2, 4, 4))
    assert graph.num_units == 0
    assert any("in groups is not understood" in pinned.reason for pinned in graph.pinned)
