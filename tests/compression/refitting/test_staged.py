"""Staged passes: the same answers as one pass, layers changed on the way, forks that go their own way."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from annealnet.compression.refitting.staged import StagedForward


class Branched(nn.Module):
    """Views, in-place operations on activations that are still read, and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2.0)
        a = self.first(x)
        view = a[:, :3]
        b = self.second(a)
        view.relu_()  # changes half of a, which is read again below
        a.add_(b)
        return self.last(torch.cat([a, b], dim=1))


def network() -> nn.Module:
    torch.manual_seed(0)
    return Branched().eval().requires_grad_(False)


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


def test_stages_give_the_answers_of_one_pass_and_leave_the_inputs_alone():
    net, x = network(), X.clone()
    caught = {}
    for name in ("first", "second", "last"):
        net.get_submodule(name).register_forward_pre_hook(
            lambda module, args, name=name: caught.__setitem__(name, args[0].clone())
        )
    expected = net(X.clone())
    forward = StagedForward(network(), x)
    for name in ("first", "second", "last"):
        assert torch.equal(forward.reach(name), caught[name])
    assert torch.equal(forward.answer(), expected)
    assert torch.equal(x, X)


@pytest.mark.parametrize("at", ["first", "second", "last"])
def test_a_fork_answers_as_a_pass_of_its_own_and_disturbs_nothing(at):
    net = network()
    forward = StagedForward(net, X)
    forward.reach(at)
    twins = []
    for factor in (0.5, 3.0):
        other = copy.deepcopy(net)
        twin = forward.fork_onto(other)
        other.get_submodule(at).weight.mul_(factor)
        twins.append(twin.answer())
        assert torch.allclose(twins[-1], other(X.clone()), atol=1e-6)
    assert torch.equal(forward.answer(), net(X.clone()))


def test_layers_changed_before_they_run_take_part():
    net = network()
    forward = StagedForward(net, X)
    forward.reach("second")
    net.second.weight.zero_()
    assert torch.equal(forward.answer(), net(X.clone()))


def test_layers_behind_or_unknown_are_refused():
    forward = StagedForward(network(), X)
    forward.reach("second")
    with pytest.raises(ValueError, match="'first' never runs"):
        forward.reach("first")
    with pytest.raises(ValueError, match="not ahead"):
        forward.reach("last")
