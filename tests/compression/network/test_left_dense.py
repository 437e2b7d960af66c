"""Everything that no layer on a grid owns is listed with its bytes, and reports begin with it where it is much."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from annealnet.compression import Budget, compress
from annealnet.compression.network.calibration import read_batches
from annealnet.compression.network.graph import trace
from annealnet.compression.network.kinds import layer_at, own_tensors, with_heads_that_can_go
from annealnet.compression.network.structure import NetworkGraph, StaysDense
from annealnet.compression.quantizing import quantize
from annealnet.compression.rounding import NearestRounding
from annealnet.report.wording import headline
from annealnet.studies.recording import record


class Recurrent(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.lift, self.layer, self.head = nn.Linear(4, 6), layer, nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.lift(x))[0].mean(1))


class Between(nn.Module):
    """Linear — any module — linear, on (samples, 5, 4)."""

    def __init__(self, middle: nn.Module, features: int = 6) -> None:
        super().__init__()
        self.lift, self.layer, self.head = nn.Linear(4, 6), middle, nn.Linear(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.lift(x)).mean(1))


class Bare(nn.Module):
    """Parameters and a buffer on a module of the user's own, at the root and below."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.head = nn.Linear(4, 6), nn.Linear(6, 3)
        self.scale = nn.Parameter(torch.ones(6))
        self.register_buffer("table", torch.zeros(50))
        self.register_buffer("unsaved", torch.zeros(70), persistent=False)
        self.inner = Shift()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(torch.relu(self.lift(x)) * self.scale)).mean(1)


class Shift(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.by


class Pairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lift, self.layer, self.head = nn.Linear(4, 6), nn.Bilinear(6, 6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        return self.head(self.layer(x, x)).mean(1)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lift, self.layer, self.head = nn.Linear(4, 6), nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        return self.head(self.layer(x, x, x)[0].mean(1))


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.EmbeddingBag(30, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x))


class Signal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lift, self.layer, self.head = nn.Conv1d(5, 6, 1), nn.ConvTranspose1d(6, 7, 3), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.lift(x)).mean(2))


SEQUENCE = torch.zeros(2, 5, 4)
FLOAT = 4
#: A network, an example, and what of it stays dense: bytes per name, and words of the reason.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Tensor, dict[str, tuple[int, str]]]] = {
    "LSTM": (
        lambda: Recurrent(nn.LSTM(6, 8, batch_first=True)),
        SEQUENCE,
        {},
    ),
    "GRU": (
        lambda: Recurrent(nn.GRU(6, 8, batch_first=True)),
        SEQUENCE,
        {},
    ),
    "attention": (
        Attention,
        SEQUENCE,
        {},
    ),
    "encoder layer": (
        lambda: Between(nn.TransformerEncoderLayer(6, 2, 10, batch_first=True)),
        SEQUENCE,
        {
            "layer.norm1": (FLOAT * 12, "LayerNorm is not a kind of layer"),
            "layer.norm2": (FLOAT * 12, "LayerNorm is not a kind of layer"),
        },
    ),
    "layer norm": (
        lambda: Between(nn.LayerNorm(6)),
        SEQUENCE,
        {"layer": (FLOAT * 12, "LayerNorm is not a kind of layer")},
    ),
    "norm of positions": (
        lambda: Between(nn.BatchNorm1d(5)),
        SEQUENCE,
        {"layer": (FLOAT * 20 + 8, "cannot be folded")},
    ),
    "norm by batch": (
        lambda: Between(nn.BatchNorm1d(5, track_running_stats=False)),
        SEQUENCE,
        {"layer": (FLOAT * 10, "own moments")},
    ),
    "slopes": (lambda: Between(nn.PReLU()), SEQUENCE, {"layer": (FLOAT, "PReLU is not a kind of layer")}),
    "bilinear": (Pairs, SEQUENCE, {}),
    "transposed convolution": (Signal, SEQUENCE, {}),
    "bag": (Words, torch.zeros(2, 5, dtype=torch.long), {}),
    "parameters of the user's own": (
        Bare,
        SEQUENCE,
        {
            "scale": (FLOAT * 6, "no known layer owns it"),
            "table": (FLOAT * 50, "no known layer owns it"),
            "inner.by": (FLOAT * 6, "no known layer owns it"),
        },
    ),
}


def listed(graph: NetworkGraph) -> dict[str, tuple[int, str]]:
    return {pinned.name: (pinned.num_bytes, pinned.reason) for pinned in graph.pinned if pinned.num_bytes}


def owned_by_grids(graph: NetworkGraph, network: nn.Module) -> int:
    network = with_heads_that_can_go(copy.deepcopy(network))
    state = network.state_dict()
    names = [part for layer in graph.layers for part in own_tensors(layer.name, layer_at(network, layer.name))]
    return sum(state[name].numel() * state[name].element_size() for name in names if name in state)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_stays_dense_is_listed_with_its_bytes(name: str) -> None:
    factory, example, expected = NETWORKS[name]
    network = factory()
    graph = trace(network, example)
    found = listed(graph)
    assert {place: size for place, (size, _) in found.items()} == {place: size for place, (size, _) in expected.items()}
    for place, (_, words) in expected.items():
        assert words in found[place][1], found[place]
    total = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    assert graph.num_bytes == total == graph.stays_dense.num_bytes + owned_by_grids(graph, network)


@settings(max_examples=30, deadline=None)
@given(
    parts=st.lists(st.sampled_from(("linear", "norm", "layer norm", "slope", "hooked", "shared")), min_size=1, max_size=6),
    width=st.integers(1, 5),
)
def test_listed_folded_and_owned_bytes_are_all_bytes(parts: list[str], width: int) -> None:
    shared = nn.Linear(width, width)
    made = {
        "linear": lambda: nn.Linear(width, width),
        "norm": lambda: nn.BatchNorm1d(width),
        "layer norm": lambda: nn.LayerNorm(width),
        "slope": nn.PReLU,
        "hooked": lambda: nn.utils.spectral_norm(nn.Linear(width, width)),
        "shared": lambda: shared,
    }
    network = nn.Sequential(nn.Linear(3, width), *(made[part]() for part in parts))
    graph = trace(network, torch.zeros(2, 3))
    folded = [norm.name for norm in graph.norms if norm.folded_into is not None]
    state = network.state_dict()
    gone = sum(tensor.numel() * tensor.element_size() for name, tensor in state.items() if name.rpartition(".")[0] in folded)
    assert graph.stays_dense.num_bytes + gone + owned_by_grids(graph, network) == graph.num_bytes


def test_a_report_begins_with_what_stays_dense_where_it_is_much() -> None:
    torch.manual_seed(0)
    small = quantize(Bare().eval(), [torch.randn(8, 5, 4)], bits=4)
    dense = FLOAT * (6 + 50 + 6)
    assert str(small.report).splitlines()[0].startswith(f"{dense} of ")
    assert any("no known layer owns it" in text and f"{FLOAT * 50} bytes" in text for text in small.report.pinned)


class Sloped(nn.Module):
    """A norm in float32, whatever the rest is, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(8, 40), nn.LayerNorm(40), nn.Linear(40, 3)
        self.slope = nn.Parameter(torch.ones(40))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x).to(self.norm.weight.dtype)).to(self.slope.dtype) * self.slope)


@pytest.mark.parametrize("job", [partial(quantize, bits=4), partial(compress, budget=Budget(size_ratio=1.1), candidates=1)])
@pytest.mark.parametrize(
    ("dtype", "each"), [(torch.float64, 4), (torch.float32, 4), (torch.bfloat16, 2), (torch.float16, 2)]
)
def test_a_report_counts_in_the_bytes_of_the_network_given(job: Callable[..., Any], dtype: torch.dtype, each: int) -> None:
    torch.manual_seed(0)
    network = Sloped().to(dtype)
    network.norm.float()
    told: list[str] = []
    report = job(network, [torch.randn(8, 8)], rounding=NearestRounding(), progress=told.append).report
    assert [text for text in told if text.startswith("left dense")] == [f"left dense: {text}" for text in report.pinned]
    weights = each * (8 * 40 + 40 + 40 * 3 + 3)
    assert report.stays_dense == StaysDense(FLOAT * 80 + each * 40, FLOAT * 80 + each * 40 + weights)
    assert 0 <= report.dense.bytes - report.stays_dense.of < 800  # a header
    assert any(text.startswith("norm: ") and text.endswith("(320 bytes)") for text in report.pinned)
    assert any(text.startswith("slope: ") and text.endswith(f"({40 * each} bytes)") for text in report.pinned)


def test_the_page_and_the_terminal_begin_with_it_too() -> None:
    torch.manual_seed(0)
    network = Bare().eval()
    data = torch.randn(8, 5, 4)
    small = quantize(network, [data], bits=4)
    report = record(small, "net", "noise", network, read_batches([data]), None)
    assert headline(report).endswith(f"; {small.report.stays_dense}")
    assert type(report).from_json(report.to_json()).stays_dense == report.stays_dense


def test_little_that_stays_dense_is_not_said_first() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 40), nn.LayerNorm(40), nn.Linear(40, 3))
    small = quantize(network, [torch.randn(8, 4)], bits=4)
    assert str(small.report).startswith(f"{small.report.size_ratio:.2f}x smaller")
    assert small.report.stays_dense == StaysDense(FLOAT * 80, FLOAT * (200 + 80 + 123))
