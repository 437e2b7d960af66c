"""Layers whose product lies somewhere inside a forward of their own: what is multiplied is seen there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import annealnet as an
from annealnet.compression.network.graph import trace
from annealnet.compression.network.surgery import mask, remove
from annealnet.compression.refitting.visits import visit
from annealnet.compression.rounding import GptqRounding, NearestRounding


class SamePadded(nn.Conv2d):
    """As much padding as keeps the size, unevenly where it must: the way of TensorFlow."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 1, 0, 1))
        return F.conv2d(x, self.weight, self.bias, self.stride, (1, 1), self.dilation, self.groups)


class Adapted(nn.Linear):
    """A linear layer with something beside it."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.5 * F.linear(x * 0.5, self.weight, self.bias) + 0.1


class ByHand(nn.Linear):
    """A linear layer as Falcon writes it."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T if self.bias is None else x @ self.weight.T + self.bias


class BiasFirst(nn.Linear):
    """The same the other way round, with the product as PyTorch writes it."""

    def forward(self, x: Tensor) -> Tensor:
        return self.bias + F.linear(x, self.weight)


class BiasTwice(nn.Linear):
    """Its bias is added to what it answers, and to more."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias + self.bias.square()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        SamePadded(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(), SamePadded(6, 6, 3, groups=6), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), Adapted(6, 8), nn.ReLU(), nn.Linear(8, 3),
    ).eval()  # fmt: skip


X = torch.randn(32, 3, 9, 9, generator=torch.Generator().manual_seed(0))


def test_the_graph_finds_them_with_their_channels_and_norms() -> None:
    graph = trace(network(), X)
    assert [(layer.name, layer.by_value) for layer in graph.layers] == [(name, False) for name in ("0", "3", "7", "9")]
    assert graph.layer("0").norm == "1"
    assert [len(group.units) for group in graph.groups] == [6, 8]
    keep = np.ones(graph.num_units, dtype=bool)
    keep[[0, 3, 7]] = False
    with torch.no_grad():
        torch.testing.assert_close(remove(network(), graph, keep)(X), mask(network(), graph, keep)(X), rtol=1e-4, atol=1e-5)


def test_what_is_seen_is_the_operand_of_the_product() -> None:
    net, seen = network(), {}
    visit(net, X, ["0", "7"], lambda name, layer, given: seen.update({name: given.clone()}))
    torch.testing.assert_close(seen["0"], F.pad(X, (1, 2, 1, 2)))
    assert seen["7"].shape == (32, 6)
    assert not net[0]._forward_hooks
    assert not net[0]._forward_pre_hooks


def test_a_weight_may_be_turned_by_hand() -> None:
    torch.manual_seed(0)
    net, x, seen = nn.Sequential(ByHand(5, 8, bias=False), nn.ReLU(), ByHand(8, 3, bias=False)).eval(), torch.randn(9, 5), {}
    graph = trace(net, x)
    assert [(layer.name, layer.by_value) for layer in graph.layers] == [("0", False), ("2", False)]
    assert [len(group.units) for group in graph.groups] == [8]
    visit(net, x, ["0", "2"], lambda name, layer, given: seen.update({name: given.clone()}))
    torch.testing.assert_close(seen["0"], x)
    keep = np.arange(8) % 3 > 0
    with torch.no_grad():
        torch.testing.assert_close(remove(net, graph, keep)(x), mask(net, graph, keep)(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("first", [ByHand, BiasFirst])
def test_a_bias_may_be_added_by_hand(first: type[nn.Linear], stream: bool) -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(first(5, 8), nn.ReLU(), ByHand(8, 6), nn.ReLU(), first(6, 3)).eval(), torch.randn(9, 7, 5)
    graph = trace(net, x, stream)
    assert [(layer.name, layer.by_value, layer.has_bias) for layer in graph.layers] == [(n, False, True) for n in "024"]
    assert [len(group.units) for group in graph.groups] == [8, 6]
    assert {one.reason for one in graph.pinned} == {"its channels are the network's output"}
    keep = np.arange(14) % 3 > 0
    small = remove(net, graph, keep)
    assert [len(small[place].bias) for place in (0, 2, 4)] == [5, 4, 3]
    with torch.no_grad():
        torch.testing.assert_close(small(x), mask(net, graph, keep)(x), rtol=1e-4, atol=1e-5)


def test_layers_with_biases_added_by_hand_are_compressed(tmp_path: Path) -> None:
    make = lambda: nn.Sequential(ByHand(5, 64), nn.ReLU(), BiasFirst(64, 64), nn.ReLU(), ByHand(64, 3)).eval()  # noqa: E731
    small = an.compress(make(), [X[:, 0, 0, :5]], an.Budget(size_ratio=5), widths=(8,), candidates=1)
    folder = small.save(tmp_path / "out")
    assert sum(path.stat().st_size for path in folder.iterdir()) == small.report.small.bytes <= small.report.dense.bytes / 5
    again = an.load(folder, make())
    x = torch.randn(9, 5)
    assert torch.equal(again(x), small.model(x))
    assert len(small.model[0].bias) == small.model[2].in_features < 64


def test_a_bias_that_is_used_once_more_keeps_its_channels() -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), BiasTwice(8, 6), nn.ReLU(), nn.Linear(6, 3)).eval(), torch.randn(9, 5)
    graph = trace(net, x)
    assert [len(group.units) for group in graph.groups] == [8] or not graph.groups
    assert [layer.name for layer in graph.layers if layer.by_value] == ["2"]


def test_they_are_rounded_with_their_data() -> None:
    exact = an.quantize(network(), [X], bits=8, rounding=GptqRounding())
    assert exact.report.small.divergence < 1e-4
    coarse = an.quantize(network(), [X], bits=3, rounding=GptqRounding())
    assert coarse.report.size_ratio > exact.report.size_ratio
    assert coarse.report.small.divergence < 0.05


@pytest.mark.parametrize("shape", [(1,), (5, 1), (5, 6), (1, 6)])
def test_a_bias_of_another_shape_is_no_bias_of_a_layer(shape, tmp_path):
    class Odd(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 6)
            self.bias = nn.Parameter(torch.randn(shape))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight.T + self.bias

    torch.manual_seed(0)
    network, x = nn.Sequential(Odd(), nn.ReLU(), nn.Linear(6, 3)).eval(), torch.randn(40, 5, 4)
    small = an.quantize(network, [x], 8, rounding=NearestRounding())
    assert small.report.small.divergence < 1e-2
    folder = small.save(tmp_path / "small")
    assert sum(path.stat().st_size for path in folder.iterdir()) == small.report.small.bytes
    torch.testing.assert_close(an.load(folder, network)(x), small.model(x), rtol=0, atol=0)
