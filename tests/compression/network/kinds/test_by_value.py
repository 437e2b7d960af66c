"""Layers that are rounded without data: tables, packed projections, weights used twice, products written by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import annealnet as an
from annealnet.compression.network.graph import trace
from annealnet.compression.network.kinds import layer_at, weight_of, with_heads_that_can_go
from annealnet.compression.rounding import NearestRounding
from annealnet.compression.rounding.grids import dequantize


class Words(nn.Module):
    """nn.Embedding with a head that shares its table."""

    def __init__(self, tied: bool = True) -> None:
        super().__init__()
        self.table, self.inner, self.head = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 20, bias=False)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.inner(self.table(x))))


class Looks(nn.Module):
    """Attention to something else: its packed projections are split."""

    def __init__(self, **settings: bool) -> None:
        super().__init__()
        self.layer, self.head = nn.MultiheadAttention(8, 2, batch_first=True, **settings), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x, x[:, :2], x[:, :2])[0])


class Turned(nn.Module):
    """A product written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.head = nn.Parameter(torch.randn(6, 8)), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(x @ self.kernel.T))


class Own(nn.Module):
    """A user's own layer: what the graph multiplies with is a layer, whatever its class."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.head = nn.Parameter(torch.randn(8, 8)), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(F.linear(x, self.kernel)))


TOKENS = torch.randint(0, 20, (16, 5), generator=torch.Generator().manual_seed(0))
SEQUENCES = torch.randn(16, 5, 8, generator=torch.Generator().manual_seed(0))
NETWORKS = {
    "nn.Embedding": (lambda: Words(False), TOKENS, {"table"}),
    "tied": (Words, TOKENS, {"table"}),
    "own": (Own, SEQUENCES, {"kernel"}),
    "own, by hand": (Turned, SEQUENCES, {"kernel"}),
    "looking elsewhere": (Looks, SEQUENCES, {"layer.in_proj"}),
    "with biases of keys": (lambda: Looks(add_bias_kv=True), SEQUENCES, {"layer.in_proj_weight", "layer.out_proj"}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_they_are_layers(name: str) -> None:
    made, x, names = NETWORKS[name]
    graph = trace(made().eval(), x)
    assert {layer.name for layer in graph.layers if layer.by_value} == names


@pytest.mark.parametrize("name", NETWORKS)
def test_they_are_rounded_row_by_row_stored_once_and_read_back(name: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    made, x, names = NETWORKS[name]
    network = made().eval()
    small = an.quantize(network, [x], bits=4)
    for place in names:
        wanted = dequantize(NearestRounding()(weight_of(layer_at(with_heads_that_can_go(network), place)), 4))
        torch.testing.assert_close(weight_of(layer_at(small.model, place)), wanted, rtol=0, atol=0)
    folder = small.save(tmp_path / "out")
    assert sum(path.stat().st_size for path in folder.iterdir()) == small.report.small.bytes
    again = an.load(folder, made().eval())
    with torch.no_grad():
        torch.testing.assert_close(again(x), small.model(x), rtol=0, atol=1e-5)


def test_a_tied_head_stays_tied() -> None:
    torch.manual_seed(0)
    small = an.quantize(Words().eval(), [TOKENS], bits=3)
    assert small.model.head.weight is small.model.table.weight
    assert small.report.dense.bytes < 4 * (20 * 8 + 8 * 8 + 8) + 400


def test_a_table_costs_no_multiply_adds() -> None:
    graph = trace(Words(False).eval(), TOKENS)
    assert graph.output_shapes == {"table": 0, "inner": 5, "head": 5}
    assert graph.macs() == 5 * (64 + 160)
