"""One pass that stops in front of layers, and chains of blocks that are run block by block."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import annealnet as an
from annealnet.architectures import digits_transformer, resnet20
from annealnet.compression.network.graph import trace
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.surgery import remove
from annealnet.compression.refitting import dense_answers
from annealnet.compression.refitting.batches import Batches
from annealnet.compression.refitting.blocks import InBlocks, block_of, chain_of_blocks
from annealnet.compression.refitting.compensation import compensate
from annealnet.compression.refitting.dense_answers import DenseAnswers
from annealnet.compression.refitting.visits import visit
from annealnet.compression.rounding import GptqRounding, NearestRounding


class Block(nn.Module):
    """Residual, with something given beside, and an answer in a tuple."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, gain: Tensor, shift: float = 0.0) -> tuple[Tensor]:
        return (x + self.down(torch.relu(self.up(x * gain + shift))),)


class Stack(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.lift, self.head = nn.Linear(3, width), nn.Linear(width, 2)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        for block in self.blocks:
            (x,) = block(x, torch.ones(1, x.shape[-1]), shift=0.5)
        return self.head(x)


@settings(max_examples=20, deadline=None)
@given(width=st.integers(2, 6), depth=st.integers(2, 4), seed=st.integers(0, 99), gone=st.booleans())
def test_block_by_block_every_layer_becomes_what_it_becomes_in_one_pass(
    width: int, depth: int, seed: int, gone: bool
) -> None:
    torch.manual_seed(seed)
    network, x = Stack(width, depth).eval(), torch.randn(20, 3)
    graph = trace(network, x)
    keep = np.ones(graph.num_units, dtype=bool)
    if gone:
        keep[[group.units[-1] for group in graph.groups if len(group.units) > 1]] = False
    bits = {layer.name: 3 for layer in graph.layers}
    made = []
    for most in (0, 2**30):
        answers = DenseAnswers.of(network, graph, x, most_bytes=most)
        assert (answers.again is not None) == (most == 0)
        small = remove(network, graph, keep)
        made.append((compensate(small, graph, keep, bits, answers, GptqRounding()), small))
    (one, first), (two, second) = made
    assert list(one) == list(two)
    assert all(torch.equal(one[name].codes, two[name].codes) for name in one)
    torch.testing.assert_close(first(x), second(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("network", "x", "names"),
    [
        (Stack(4, 3), torch.randn(2, 3), ("blocks.0", "blocks.1", "blocks.2")),
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), torch.zeros(2, 2), ()),
    ],
)
def test_chains_are_found(network: nn.Module, x: Tensor, names: tuple[str, ...]) -> None:
    assert chain_of_blocks(network.eval(), Inputs.of(x)) == names


def test_blocks_that_do_not_follow_each_other_are_no_chain() -> None:
    class Side(Stack):
        def forward(self, x: Tensor) -> Tensor:
            x = self.lift(x)
            return self.head(sum(block(x, torch.ones(1))[0] for block in self.blocks))

    assert chain_of_blocks(Side(3, 3).eval(), Inputs.of(torch.randn(2, 3))) == ()


def test_a_transformer_and_a_residual_network_have_chains() -> None:
    assert len(chain_of_blocks(digits_transformer().eval(), Inputs.of(torch.randn(2, 1, 8, 8)))) >= 2
    assert len(chain_of_blocks(resnet20().eval(), Inputs.of(torch.randn(2, 3, 32, 32)))) == 9


def test_a_block_is_given_what_it_was_given_beside() -> None:
    network, x = Stack(4, 2).eval(), torch.randn(5, 3)
    names = chain_of_blocks(network, Inputs.of(x))
    batches = Batches(trace(network, x), Inputs.of(x), at_once=2)
    blocks = InBlocks.met(network, names, batches)
    assert blocks.num_bytes == 4 * (5 * 4 + 3 * 2 * 4)  # the samples; beside, a gain for each block in each batch
    for number in range(2):
        replace(blocks.course(number), ends=blocks.x.__setitem__).each([], lambda *_: None)
    torch.testing.assert_close(network.head(torch.cat(blocks.x)), network(x), rtol=0, atol=1e-6)
    assert (block_of("blocks.1.up", names), block_of("head", names)) == (1, None)


class Joined(nn.Module):
    """A block that joins what an earlier block has answered."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(2 * width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(torch.cat([x, skip], -1))))


class LongSkips(nn.Module):
    """The later half of the blocks is given what the earlier half has answered, as in a U-shaped transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.head = nn.Linear(3, 4), nn.Linear(4, 2)
        self.blocks = nn.ModuleList(Joined(4) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        y = first = self.lift(x)
        kept: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            y = block(y, first if number < 2 else kept.pop())
            kept += [y] if number < 2 else []
        return self.head(y)


class SharedTable(nn.Module):
    """The first block's table gives a bias for all; no layer that is refitted has part in it."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.head = nn.Linear(3, 4), nn.Linear(4, 2)
        self.blocks = nn.ModuleList(Joined(4) for _ in range(3))
        self.blocks[0].table = nn.Embedding(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        bias = self.blocks[0].table(torch.zeros(len(x), dtype=torch.long))
        y = self.lift(x)
        for block in self.blocks:
            y = block(y, bias)
        return self.head(y)


def test_blocks_that_are_given_what_one_before_has_answered_are_no_chain(monkeypatch) -> None:
    torch.manual_seed(0)
    network, x = LongSkips().eval(), torch.randn(60, 3)
    assert chain_of_blocks(network, Inputs.of(x[:2])) == ()
    assert len(chain_of_blocks(SharedTable().eval(), Inputs.of(x[:2]))) == 3
    whole = an.quantize(network, [x], 2, rounding=NearestRounding()).grids
    monkeypatch.setattr(dense_answers, "MOST_ANSWER_BYTES", 1)
    parts = an.quantize(network, [x], 2, rounding=NearestRounding()).grids
    assert all(torch.equal(parts[name].codes, grid.codes) for name, grid in whole.items())


class Reads(nn.Module):
    """A block that looks at something which compressed layers compute."""

    def __init__(self, width: int, memory: int) -> None:
        super().__init__()
        self.look, self.up, self.down = nn.Linear(memory, width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(x + self.look(memory))))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory, self.lift, self.head = nn.Linear(3, 6), nn.Linear(3, 4), nn.Linear(4, 2)
        self.blocks = nn.ModuleList(Reads(4, 6) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        memory, y = torch.relu(self.memory(x)), self.lift(x)
        for block in self.blocks:
            y = block(y, memory)
        return self.head(y)


@pytest.mark.parametrize("gone", [False, True])
def test_what_blocks_are_given_beside_is_the_compressed_networks(gone: bool) -> None:
    torch.manual_seed(0)
    network, x = Decoder().eval(), torch.randn(30, 3)
    graph = trace(network, x)
    keep = np.ones(graph.num_units, dtype=bool)
    if gone:
        keep[[group.units[-1] for group in graph.groups if len(group.units) > 1]] = False
    bits = {layer.name: 2 for layer in graph.layers}
    made = []
    for most in (0, 2**30):
        answers = DenseAnswers.of(network, graph, x, most_bytes=most)
        assert (answers.again is not None) == (most == 0)
        made.append(compensate(remove(network, graph, keep), graph, keep, bits, answers, GptqRounding()))
    one, two = made
    assert all(torch.equal(one[name].codes, two[name].codes) for name in one)


def test_a_layer_that_never_runs_is_named_and_no_hook_stays() -> None:
    network = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    network.forward = lambda x: network["a"](x)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="'b' never runs"):
        visit(network, torch.zeros(1, 2), ["a", "b"], lambda *_: None)
    assert not network["a"]._forward_pre_hooks
    assert not network["b"]._forward_pre_hooks


def test_what_a_forward_does_to_its_input_is_not_seen() -> None:
    x = -torch.ones(3, 2)
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 1))
    seen: list[Tensor] = []
    visit(net, x, ["1"], lambda name, layer, given: seen.append(given.clone()))
    assert float(x.sum()) == -6
    assert float(seen[0].sum()) == 0
