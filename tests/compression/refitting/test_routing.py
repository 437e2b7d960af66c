"""Mixtures of experts, each with samples of its own, and networks that work in place: rows are never paired wrongly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import annealnet as an
from annealnet.compression.network.graph import trace
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.refitting.compensation import compensate
from annealnet.compression.refitting.dense_answers import DenseAnswers
from annealnet.compression.refitting.routing import routed_layers
from annealnet.compression.rounding import NearestRounding

WIDTH, EXPERTS = 8, 4


class Chosen(nn.Module):
    """The experts choose: each takes as many samples as every other, those that the router gives it most of."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.router = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, EXPERTS)
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(EXPERTS))
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.lift(x))
        shares, answer = self.router(x), torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            mine = shares[:, number].topk(len(x) // 2).indices
            answer = answer.index_add(0, mine, expert(x[mine]))
        return self.head(answer)


class Sent(Chosen):
    """Every sample goes to one expert."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.lift(x))
        best, answer = self.router(x).argmax(-1), torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            mine = torch.where(best == number)[0]
            if len(mine):
                answer[mine] = expert(x[mine])
        return self.head(answer)


class Folded(nn.Module):
    """No mixture, but samples do not lie in front: steps first, and all positions in one list."""

    def __init__(self) -> None:
        super().__init__()
        self.steps, self.flat, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.steps(x.transpose(0, 1)))
        y = F.relu(self.flat(y.reshape(-1, WIDTH))).view(y.shape)
        return self.head(y.transpose(0, 1).reshape(-1, WIDTH)).view(*x.shape[:2], 3)


X = torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("made", [Chosen, Sent])
def test_experts_are_known(made: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    network = made().eval()
    names = ["lift", "router", *(f"experts.{number}" for number in range(EXPERTS)), "head"]
    assert routed_layers(network, names, Inputs.of(X)) == {name for name in names if name.startswith("experts")}


def test_no_other_layer_is_taken_for_one() -> None:
    network, x = Folded().eval(), torch.randn(16, 5, WIDTH)
    assert not routed_layers(network, ["steps", "flat", "head"], Inputs.of(x))
    assert not routed_layers(network, ["steps", "flat", "head"], Inputs.of(x[:1]))


@pytest.mark.parametrize("made", [Chosen, Sent])
def test_experts_that_get_other_samples_keep_to_their_own_answers(made: Callable[[], nn.Module]) -> None:
    """The router is changed, so that every expert of the second network gets other samples, and as many as before."""
    torch.manual_seed(0)
    dense = made().eval().requires_grad_(False)
    graph = trace(dense, X[:2])
    answers = DenseAnswers.of(dense, graph, X)
    other = made().eval().requires_grad_(False)
    other.load_state_dict(dense.state_dict())
    other.router.weight.neg_()
    other.router.bias.neg_()
    keep = np.ones(graph.num_units, dtype=bool)
    experts = [layer.name for layer in graph.layers if layer.name.startswith("experts")]
    assert len(experts) == EXPERTS
    compensate(other, graph, keep, dict.fromkeys(experts, 8), answers, NearestRounding(), only=experts)
    for name in experts:
        torch.testing.assert_close(other.get_submodule(name).weight, dense.get_submodule(name).weight, rtol=0, atol=0.01)


@pytest.mark.parametrize("made", [Chosen, Sent])
def test_mixtures_are_quantised_and_compressed(made: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    network = made().eval()
    small = an.quantize(network, [X], bits=8)
    with torch.no_grad():
        torch.testing.assert_close(small.model(X), network(X), rtol=0, atol=0.1)
    assert an.compress(network, [X], an.Budget(size_ratio=3), rounding=NearestRounding()).report.size_ratio >= 3


def test_an_expert_that_gets_no_sample_any_more_is_rounded_by_value() -> None:
    torch.manual_seed(0)
    dense = Sent().eval().requires_grad_(False)
    graph = trace(dense, X)
    answers = DenseAnswers.of(dense, graph, X)
    other = Sent().eval().requires_grad_(False)
    other.load_state_dict(dense.state_dict())
    other.router.bias.copy_(torch.tensor([1e3, 0, 0, 0]))
    names = [layer.name for layer in graph.layers]
    keep = np.ones(graph.num_units, dtype=bool)
    only = [name for name in names if name.startswith("experts")]
    grids = compensate(other, graph, keep, dict.fromkeys(names, 4), answers, NearestRounding(), only=only)
    wanted = NearestRounding()(dense.experts[2].weight, 4)
    assert list(grids) == only
    assert torch.equal(grids["experts.2"].codes, wanted.codes)


# ---- in place ------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """Writes over what its layers read and answer, where asked to."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.up, self.act, self.down = nn.Linear(WIDTH, 12), nn.ReLU(inplace=in_place), nn.Linear(12, WIDTH)
        self.in_place = in_place

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        if not self.in_place:
            return torch.tanh(x + 0.5 * self.down(self.act(self.up(x)) * 0.9) + beside)
        h = self.act(self.up(x))
        h *= 0.9
        x += 0.5 * self.down(h)
        h.zero_()
        x += beside
        return x.tanh_()


class Chain(nn.Module):
    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.lift = nn.Linear(WIDTH, WIDTH)
        self.blocks = nn.ModuleList(Block(in_place) for _ in range(3))
        self.head = nn.Linear(WIDTH, 3)
        self.in_place = in_place

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        beside = 0.1 * x
        for block in self.blocks:
            x = block(x, beside)
            beside = beside.mul_(0.5) if self.in_place else beside * 0.5
        return self.head(x)


@pytest.mark.parametrize("most_bytes", [2**30, 0], ids=["all at once", "block by block"])
def test_what_is_written_over_was_seen_before(most_bytes: int) -> None:
    """A network that works in place is rounded to the very codes of its twin that does not."""
    found = []
    for in_place in (False, True):
        torch.manual_seed(0)
        network = Chain(in_place).eval().requires_grad_(False)
        graph = trace(network, X[:2])
        answers = DenseAnswers.of(network, graph, X, most_bytes=most_bytes)
        assert (answers.again is None) == (most_bytes > 0)
        assert not answers.routed
        keep, bits = np.ones(graph.num_units, dtype=bool), {layer.name: 3 for layer in graph.layers}
        found.append(compensate(network, graph, keep, bits, answers, NearestRounding()))
    assert len(found[0]) == 8
    for name, grid in found[0].items():
        assert torch.equal(grid.codes, found[1][name].codes), name
        assert torch.equal(grid.scale, found[1][name].scale), name


def test_an_expert_that_is_called_with_no_sample() -> None:
    class Rare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            rare, y = x[:, 0] > 1e6, torch.relu(self.a(x))
            y[rare] = self.b(y[rare])
            return self.c(y)

    torch.manual_seed(0)
    x = torch.randn(32, 6)
    assert set(an.quantize(Rare().eval(), [x], 4).plan.bits) == {"a", "b", "c"}
    assert an.compress(Rare().eval(), [x], an.Budget(size_ratio=2)).report.size_ratio >= 2
