"""Plans survive JSON, have one length per network, and refuse what is not theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.architectures import digits_cnn, vgg
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.network.graph import trace

GRAPH = trace(digits_cnn(5), torch.zeros(1, 1, 8, 8))


def some_plan(seed: int) -> CompressionPlan:
    rng = np.random.default_rng(seed)
    keep = rng.random(GRAPH.num_units) < rng.random()
    for group in GRAPH.groups:
        keep[group.units[0]] = True
    return CompressionPlan.of(GRAPH, keep, {layer.name: int(rng.integers(2, 9)) for layer in GRAPH.layers})


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_json_both_ways(seed: int) -> None:
    plan = some_plan(seed)
    again = CompressionPlan.from_json(plan.to_json())
    assert again == plan
    assert again.hash == plan.hash
    assert np.array_equal(again.keep(GRAPH), plan.keep(GRAPH))
    assert len(plan.to_json()) == len(some_plan(0).to_json())


def test_different_plans_have_different_hashes() -> None:
    assert len({some_plan(seed).hash for seed in range(50)}) == 50
    assert len({some_plan(3), some_plan(3)}) == 1


@settings(max_examples=100, deadline=None)
@given(end=st.integers(0, 10_000))
def test_every_truncation_is_refused(end: int) -> None:
    text = some_plan(1).to_json()
    with pytest.raises(ValueError, match=r"out/plan\.json is not whole JSON.*truncated"):
        CompressionPlan.from_json(text[: end % len(text)], "out/plan.json")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"version":2', '"version":9', "version 9"),
        ('"kept":', '"keep":', "has no 'kept'"),
        ('"bits":{"conv1":', '"bits":{"conv1":1', "is not a width"),
        ('"conv1":"5:', '"conv1":"6:', "channel mask|more bits|made for another"),
        ('"conv1":"5:', '"conv1":"5:z', "channel mask"),
    ],
)
def test_damaged_plans_are_refused(old: str, new: str, words: str, tmp_path: Path) -> None:
    text = some_plan(2).to_json()
    assert old in text
    path = tmp_path / "plan.json"
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=words):
        CompressionPlan.load(path).check(GRAPH)


@pytest.mark.parametrize("text", ["[]", "3", '{"version":2,"input":[1],"dtype":"float32","bits":[],"kept":{}}'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"an object belongs|not a compression plan"):
        CompressionPlan.from_json(text)


def test_a_plan_of_another_network_is_refused() -> None:
    plan = some_plan(0)
    with pytest.raises(ValueError, match="made for another"):
        plan.keep(trace(vgg((5, 5), 10), torch.zeros(1, 3, 8, 8)))
    wider = trace(digits_cnn(6), torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"has 5 units, the network's group 6"):
        plan.keep(wider)


def test_widths_and_empty_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="keeps no channel"):
        CompressionPlan({"a": (False, False)}, {})
    with pytest.raises(ValueError, match=r"bits\['a'\]=9"):
        CompressionPlan({}, {"a": 9})
    bits = {layer.name: 4 for layer in GRAPH.layers if layer.name != "fc"}
    with pytest.raises(ValueError, match="does not name layer 'fc'"):
        CompressionPlan.of(GRAPH, np.ones(GRAPH.num_units, dtype=bool), bits)


def test_a_plan_reads_in_words() -> None:
    assert "channel units kept" in str(some_plan(0))
    assert "fc: " in str(some_plan(0))
