"""What changes of layers do to first order: exact where the network is linear, near the truth where changes are small."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import annealnet as an
from annealnet.compression.measuring.first_order import Change, WatchedNetwork, first_order
from annealnet.compression.measuring.tasks import Custom, Task
from annealnet.compression.network.answers import answers_of


def changed(net: nn.Module, changes: dict[str, Change]) -> nn.Module:
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for name, change in changes.items():
            layer = twin.get_submodule(name)
            layer.weight += change.weight
            if layer.bias is not None:
                layer.bias += change.shift
    return twin


def drawn(layer: nn.Module, generator: torch.Generator, size: float = 1.0) -> Change:
    weight = torch.randn(layer.weight.shape, generator=generator)
    return Change(size * weight, size * torch.randn(len(weight), generator=generator))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 150), st.booleans())
def test_one_layer_of_a_linear_network_with_one_output_is_exact(seed, width, samples, bias):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, width, bias=bias), nn.Linear(width, width), nn.Linear(width, 1)).eval()
    x = torch.randn(samples, 3, generator=generator)
    changes = {name: {name: drawn(net.get_submodule(name), generator)} for name in ("0", "1", "2")}
    found = first_order(net, x, an.Regression(), changes)
    for name, parts in changes.items():
        truth = an.Regression()(net(x), changed(net, parts)(x))
        assert found[name] == pytest.approx(truth, rel=1e-3, abs=1e-9)


def test_layers_that_change_together_are_added_before_they_are_squared():
    net = nn.Sequential(nn.Linear(3, 1), nn.Linear(1, 1)).eval()
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    shift = Change(torch.zeros(1, 3), torch.ones(1))
    back = Change(torch.zeros(1, 1), -net[1].weight.detach()[0])  # takes away what the first adds
    found = first_order(net, x, an.Regression(), {"both": {"0": shift, "1": back}, "first": {"0": shift}})
    assert found["both"] == pytest.approx(0.0, abs=1e-12)
    assert found["first"] == pytest.approx(float(net[1].weight.detach() ** 2), rel=1e-5)


def largest_gap(dense: Tensor, small: Tensor) -> Tensor:
    return ((dense - small) ** 2).mean()


@pytest.mark.parametrize(
    ("task", "shape", "squash"),
    [
        (an.Classification(), (64, 5), None),
        (an.Classification(axis=-1), (16, 4, 3), None),
        (an.Classification(), (8, 3, 4, 4), None),
        (an.Classification(), (64, 1), None),
        (an.Classification(probabilities=True), (64, 5), "softmax"),
        (an.Regression(), (64, 3), None),
        (Custom(largest_gap), (64, 3), None),
    ],
)
def test_squared_slopes_of_probes_average_to_the_divergence_of_small_changes(task: Task, shape, squash):
    generator = torch.Generator().manual_seed(0)
    logits, step = torch.randn(shape, generator=generator), 0.02 * torch.randn(shape, generator=generator)
    finish = (lambda z: z.softmax(1)) if squash else (lambda z: z)
    answers, moved = finish(logits), finish(logits + step)
    squares = []
    for _ in range(400):
        leaf = answers.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(task.probe(leaf, generator), leaf)
        squares.append(float(((slope * (moved - answers)).reshape(len(leaf), -1).sum(1) ** 2).sum()))
    assert sum(squares) / len(squares) == pytest.approx(task(answers, moved), rel=0.1)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_small_changes_of_a_convolutional_network(seed):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    ).eval()
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(300, 1, 4, 4, generator=generator)
    changes = {name: {name: drawn(net.get_submodule(name), generator, 0.01)} for name in ("0", "2", "5")}
    found = first_order(net, x, an.Classification(), changes)
    for name, parts in changes.items():
        truth = an.Classification()(answers_of(net, x), answers_of(changed(net, parts), x))
        assert 0.6 < found[name] / truth < 1.6


def test_what_cannot_be_differentiated_counts_as_nothing():
    class Rounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.round()

    net = nn.Sequential(nn.Linear(2, 2), Rounded(), nn.Linear(2, 1)).eval()
    generator = torch.Generator().manual_seed(0)
    changes = {name: {name: drawn(net.get_submodule(name), generator)} for name in ("0", "2")}
    found = first_order(net, torch.randn(20, 2, generator=generator), an.Regression(), changes)
    assert found["0"] == 0.0 < found["2"]
    assert first_order(
        nn.Sequential(net, Rounded()), torch.ones(2, 2), an.Regression(), {"a": {"0.2": changes["2"]["2"]}}
    ) == {"a": 0.0}


def test_a_watched_network_leaves_the_network_and_its_inputs_alone():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 1)).eval()
    x = torch.randn(4, 2)
    before = copy.deepcopy(net.state_dict())
    watched = WatchedNetwork(net, ["0", "2"])
    assert torch.equal(watched(x.clone()), net(x))
    assert set(watched.gradients(watched(x.clone()).sum())) == {"0", "2"}
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not net[0]._forward_hooks
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


def test_samples_at_once_do_not_change_what_is_measured_but_for_the_directions(monkeypatch):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1)).eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(70, 3, generator=generator)
    changes = {"one": {"0": drawn(net[0], generator)}}
    truth = first_order(net, x, an.Regression(), changes)["one"]
    monkeypatch.setattr(sys.modules[first_order.__module__], "_MOST_OUTPUTS", 25)  # 4 and 8 · 1 per sample: two at once
    seen: list[int] = []
    hook = net[0].register_forward_hook(lambda module, args, output: seen.append(len(output)))
    assert first_order(net, x, an.Regression(), changes)["one"] == pytest.approx(truth, rel=1e-5)
    hook.remove()
    assert max(seen) == 2


def test_large_answers_are_looked_at_few_samples_at_a_time(monkeypatch):
    net = nn.Linear(4, 4096, bias=False)
    change = Change(0.1 * torch.randn(4096, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(4096))
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    seen: list[int] = []
    monkeypatch.setattr(sys.modules[first_order.__module__], "_MOST_OUTPUTS", 5 * 9 * 4096)
    task = an.Classification()
    probe = an.Classification.probe

    def counted(self: Task, answers: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(len(answers))
        return probe(self, answers, generator)

    monkeypatch.setattr(an.Classification, "probe", counted)
    found = first_order(nn.Sequential(net), x, task, {"all": {"0": change}})["all"]
    assert set(seen) == {5}
    moved = nn.functional.linear(x, net.weight + change.weight)
    assert found == pytest.approx(task(net(x), moved), rel=0.3)
