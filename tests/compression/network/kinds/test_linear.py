"""Linear layers on one vector, and on positions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from annealnet.compression.conformance import kind_conformance


def network(sizes: tuple[int, int, int], bias: bool, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    inputs, middle, outputs = sizes
    first, layer = nn.Linear(inputs, middle), nn.Linear(middle, outputs, bias=bias)
    return nn.Sequential(first, nn.ReLU(), layer, nn.Tanh(), nn.Linear(outputs, 2))


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 4), st.integers(2, 6), st.integers(2, 6)),
    positions=st.lists(st.integers(1, 4), max_size=2),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_kind_is_whole(sizes: tuple[int, int, int], positions: list[int], bias: bool, seed: int) -> None:
    x = torch.randn(4, *positions, sizes[0], generator=torch.Generator().manual_seed(seed))
    findings = kind_conformance(network(sizes, bias, seed), x, leave_out=("onnx_runtime_agrees",))
    assert [finding for finding in findings if not finding.passed] == []


@pytest.mark.parametrize("positions", [(), (5,)])
def test_onnx_runtime_gives_the_same(positions: tuple[int, ...]) -> None:
    findings = kind_conformance(network((3, 5, 6), True, 0), torch.randn(3, *positions, 3))
    assert [finding for finding in findings if finding.passed is False] == []
