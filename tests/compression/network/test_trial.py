"""Removals that are tried, and what a trial must not be fooled by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import annealnet as an
from annealnet.compression.network.graph import trace
from annealnet.compression.network.surgery import mask, remove
from annealnet.compression.network.trial import without


class Halves(nn.Module):
    """Treated alike, any channel of either half can go; each in its own way, none can without the cut moving."""

    def __init__(self, treated: str) -> None:
        super().__init__()
        self.a, self.b, self.treated = nn.Linear(6, 16), nn.Linear(16, 3), treated
        self.table = nn.Embedding(5, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(self.table(x))
        n = h.shape[-1] // 2
        left, right = h[..., :n], h[..., n:]
        ways = {"alike": (left.relu(), right.relu()), "apart": (left.relu(), right.tanh()), "turned": (-right, left)}
        return self.b(torch.cat(ways[self.treated], -1)).mean(1)


@pytest.mark.parametrize(("treated", "units"), [("alike", [16]), ("apart", []), ("turned", [])])
def test_halves_that_are_treated_differently_stay(treated: str, units: list[int]) -> None:
    torch.manual_seed(0)
    network, x = Halves(treated).eval(), torch.randint(0, 5, (4, 3))
    graph = trace(network, x)
    assert [len(group.units) for group in graph.groups] == units
    assert graph.num_units == sum(units)
    rng = np.random.default_rng(0)
    for _ in range(4):
        keep = rng.random(graph.num_units) < 0.6
        for group in graph.groups:
            keep[group.units[0]] = True
        with torch.no_grad():
            torch.testing.assert_close(remove(network, graph, keep)(x), mask(network, graph, keep)(x), rtol=1e-4, atol=1e-5)


class Heads(nn.Module):
    """Keeps the number of its heads under a name that nobody knows."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(16, 16) for _ in range(4))
        self.head, self.hh = nn.Linear(16, 3), 4

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (part(x).view(b, t, self.hh, -1).transpose(1, 2) for part in (self.q, self.k, self.v))
        return self.head(x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, -1))).mean(1)


@pytest.mark.parametrize("blank", [False, True])
def test_a_blank_sample_proves_nothing(blank: bool) -> None:
    torch.manual_seed(0)
    x = torch.zeros(3, 5, 16) if blank else torch.randn(3, 5, 16)
    assert not any(group.what == "heads" for group in trace(Heads().eval(), x).groups)


def test_what_is_refused_is_named_and_what_is_left_is_not() -> None:
    layers = [nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)]
    graph = trace(nn.Sequential(*layers).eval(), torch.randn(3, 4))
    fewer = without(graph, graph.groups[:1])
    assert [group.name for group in fewer.groups] == ["2"]
    assert [pinned.name for pinned in fewer.pinned if "does not run" in pinned.reason] == ["0"]


def test_a_users_network_is_as_it_was() -> None:
    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.calls, self.last = nn.Linear(4, 8), nn.Linear(8, 2), 0, None

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.last = self.a(x).relu()
            return self.b(self.last)

    network = Keeps().eval()
    an.quantize(network, [torch.randn(8, 4)], bits=4)
    assert (network.calls, network.last) == (0, None)


def test_weights_that_are_computed_stay() -> None:
    network = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 2)).eval()
    graph = trace(network, torch.randn(2, 4))
    assert [layer.name for layer in graph.layers] == ["2"]


def test_layers_of_torchs_own_transformer_are_rounded() -> None:
    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.inner, self.head = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
            return self.head(self.inner(x, mask=mask).mean(1))

    names = {layer.name for layer in trace(Causal().eval(), torch.randn(2, 5, 8)).layers}
    assert {"inner.layers.0.linear1", "inner.layers.0.linear2", "head"} <= names


class Counts(nn.Module):
    """Shapes what one convolution gives by the number of another's channels, which is the same."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 2, stride=2), nn.Linear(8, 3)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        h = self.a(x).relu()
        b, c, _, _ = h.shape
        return self.head(self.b(h).reshape(b, c, -1).transpose(1, 2)).mean(1) if len(x) else x


def test_groups_of_equal_width_do_not_lose_as_many() -> None:
    torch.manual_seed(0)
    network, x = Counts().eval(), torch.randn(4, 3, 6, 6)
    graph = trace(network, x)
    assert graph.way == "export"
    assert graph.num_units == 0, graph
