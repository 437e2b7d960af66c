"""What a job says it takes of memory: by the formula, more for more, and only where it is much."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import annealnet as an
from annealnet.compression.formulations import preparing
from annealnet.compression.network import live
from annealnet.compression.network.graph import trace
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.refitting import dense_answers
from annealnet.compression.refitting.memory import Memory, available_memory, say_memory
from annealnet.compression.rounding import GptqRounding


def network(width: int = 16) -> nn.Module:
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3)).eval()


def expected(net: nn.Module, samples: int, planned: bool = False) -> Memory:
    x = torch.zeros(samples, 6)
    graph = trace(net, x[:2])
    return Memory.of(net, graph, Inputs.of(x), graph.groups if planned else None)


@settings(max_examples=30, deadline=None)
@given(width=st.integers(2, 40), samples=st.integers(1, 200), planned=st.booleans())
def test_the_formula(width: int, samples: int, planned: bool) -> None:
    found = expected(network(width), samples, planned)
    assert found.weights == (5 if planned else 3) * 4 * (7 * width + 3 * width + 3)
    assert found.pairs == planned * 48 * width**2
    assert found.inputs == 2 * 4 * 6 * samples
    assert found.answers == 4 * samples * (width + 3)
    # the first layer's answers and what ReLU makes of them are there at once
    assert found.forward == 4 * samples * 2 * max(width, (width + 3) / 2)
    assert found.total == sum(dataclasses.asdict(found).values())


@settings(max_examples=30, deadline=None)
@given(width=st.integers(2, 40), samples=st.integers(1, 200))
def test_more_samples_and_wider_layers_take_no_less(width: int, samples: int) -> None:
    one = dataclasses.asdict(expected(network(width), samples))
    for more in (expected(network(width), samples + 5), expected(network(width + 3), samples)):
        assert all(value >= one[name] for name, value in dataclasses.asdict(more).items())


def test_answers_of_a_chain_of_blocks_are_those_of_one(monkeypatch) -> None:
    blocks = nn.Sequential(*(nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(5)))
    net = nn.Sequential(blocks, nn.Linear(6, 2)).eval()
    assert expected(net, 10).answers == 4 * 10 * (5 * 6 + 2)
    monkeypatch.setattr(dense_answers, "MOST_ANSWER_BYTES", 100)
    assert expected(net, 10).answers == 4 * 10 * (6 + 2)
    x = torch.randn(10, 6)
    kept = dense_answers.DenseAnswers.of(net, trace(net, x), x)
    assert kept.again is not None  # what is said is what is done
    assert set(kept.outputs) == {"1"}


def test_a_sample_is_counted_once() -> None:
    assert expected(network(), 1).forward == 4 * 2 * 16


def test_what_is_free(tmp_path) -> None:
    source = tmp_path / "meminfo"
    source.write_text("MemTotal:  10 kB\nMemAvailable:       7 kB\n")
    assert available_memory(source) == 7 * 1024
    for text in ("MemTotal: 10 kB\n", "MemAvailable:\n", "MemAvailable: much\n"):
        source.write_text(text)
        assert available_memory(source) is None
    source.write_bytes(b"\xff")
    assert available_memory(source) is None


def test_little_is_not_said(recwarn) -> None:
    said: list[str] = []
    say_memory(Memory(10, 10, 10, 10, 5, 3, 2), 100, said.append)
    say_memory(Memory(10, 10, 10, 10, 5, 3, 2), None, said.append)
    assert said == []
    assert not recwarn.list
    with pytest.warns(UserWarning, match="fewer samples"):
        say_memory(Memory(10, 10, 10, 10, 5, 3, 3), 100, said.append)
    assert len(said) == 1


@pytest.mark.parametrize("job", [partial(an.quantize, bits=4), partial(an.compress, budget=an.Budget(size_ratio=1.2))])
def test_much_is_said_before_work_starts(monkeypatch, job: Callable[..., object]) -> None:
    class Began(Exception):
        pass

    def began(*_: object) -> None:
        raise Began

    for room in (an.compression.quantizing, preparing):
        monkeypatch.setattr(room, "available_memory", lambda: 1000)
        monkeypatch.setattr(room.DenseAnswers, "of", began)
    said: list[str] = []
    x = torch.randn(8, 6)
    with pytest.warns(UserWarning, match="of memory: weights .* 0 MiB are free: give fewer samples"), pytest.raises(Began):
        job(network(), x, rounding=GptqRounding(), progress=said.append)
    assert said[0].startswith("this takes about ")


def test_a_network_that_goes_through_in_batches_takes_a_batchs_forward_and_a_blocks_inputs(monkeypatch) -> None:
    blocks = nn.Sequential(*(nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(5)))
    net = nn.Sequential(blocks, nn.Linear(6, 200)).eval()
    whole = expected(net, 64)
    assert (whole.inputs, whole.blocks) == (2 * 64 * 4 * 6, 0)
    monkeypatch.setattr(live, "MOST_FORWARD_BYTES", whole.forward // 4)
    parts = expected(net, 64)
    assert parts.inputs == (64 + 16) * 4 * 6
    assert parts.forward == whole.forward // 4 + 48 * 4 * 200  # all answers are kept
    assert (parts.weights, parts.answers) == (whole.weights, whole.answers)
    assert (parts.blocks, parts.layer) == (0, whole.layer)  # the head takes most, and lies in no block
    monkeypatch.setattr(dense_answers, "MOST_ANSWER_BYTES", 100)
    narrow = nn.Sequential(blocks, nn.Linear(6, 2)).eval()
    assert expected(narrow, 64).blocks == 2 * 64 * 4 * 6  # the dense network's and the compressed one's
