"""What a network is called with, and which tensor of its answer counts."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from annealnet.compression.network.answering import Answering
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.outputs import answer_in, named_answer_in
from annealnet.compression.network.signature import Sample, Signature

LOGITS, HIDDEN, LOSS = torch.ones(2, 3), torch.zeros(2, 4, 5), torch.zeros(())


class Both(nn.Module):
    def forward(self, first: Tensor, *, second: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        return {"sum": scale * (first + second), "first": first}


@dataclass
class Answer:
    loss: Tensor | None
    logits: Tensor


Pair = namedtuple("Pair", ["scores", "logits"])


def test_every_tensor_is_split_cut_copied_and_given_to_the_network():
    first, second = torch.arange(6.0).reshape(3, 2), torch.ones(3, 2)
    x = Inputs((first,), {"second": second}, {"scale": 2.0})
    assert len(x) == 3
    assert x.shapes == {"0": (2,), "second": (2,)}
    assert torch.equal(x.answer(Both()), 2 * (first + 1))
    parts = list(x.split(2))
    assert [len(part) for part in parts] == [2, 1]
    assert torch.equal(Inputs.joined(parts).answer(Both()), x.answer(Both()))
    assert torch.equal(x[torch.tensor([2, 0])].args[0], first[[2, 0]])
    x.clone().args[0].zero_()
    assert first.sum() == 15
    assert torch.equal(Answering(Both(), x)(first, second), x.answer(Both()))


def test_the_answer_that_counts_may_be_named():
    x = Inputs((torch.zeros(3, 2),), {"second": torch.ones(3, 2)}, output="first")
    assert x.answer(Both()).sum() == 0
    assert Answering(Both(), x)(torch.zeros(3, 2), torch.ones(3, 2)).sum() == 0


@pytest.mark.parametrize(
    ("found", "output", "name", "wanted"),
    [
        (LOGITS, None, None, LOGITS),
        ({"loss": LOSS, "hidden": HIDDEN, "logits": LOGITS}, None, "logits", LOGITS),
        ({"pooler_output": LOGITS, "last_hidden_state": HIDDEN}, None, "last_hidden_state", HIDDEN),
        ({"loss": LOSS, "scores": LOGITS}, None, None, LOGITS),
        ({"hidden": HIDDEN, "logits": LOGITS}, "hidden", "hidden", HIDDEN),
        ({"hidden": HIDDEN, "logits": LOGITS}, 0, None, HIDDEN),
        ((LOSS, LOGITS, HIDDEN), None, None, LOGITS),
        ((LOSS, LOGITS, HIDDEN), 2, None, HIDDEN),
        ([torch.ones(2, dtype=torch.long), [HIDDEN]], None, None, HIDDEN),
        (Answer(None, LOGITS), None, "logits", LOGITS),
        (Answer(None, LOGITS), "logits", "logits", LOGITS),
        (Pair(HIDDEN, LOGITS), None, "logits", LOGITS),
        (Pair(HIDDEN, LOGITS), 0, None, HIDDEN),
        (SimpleNamespace(cache=None, image_embeds=LOGITS), None, "image_embeds", LOGITS),
    ],
)
def test_which_tensor_counts(found, output, name, wanted):
    told, tensor = named_answer_in(found, output)
    assert tensor is wanted
    assert told == name
    assert answer_in(found, output) is wanted


@pytest.mark.parametrize(
    ("found", "output", "words"),
    [
        ({"a": "text", "b": [1]}, None, "answers with dict without a tensor"),
        (LOSS.long(), "logits", "answers a single tensor: leave output out"),
        ({"a": LOGITS, "b": HIDDEN}, "logits", "there are 'a', 'b'"),
        ({"a": LOGITS, "b": "text"}, "b", "there are 'a'"),
        ((LOGITS, HIDDEN), 2, "there are 0, 1"),
        ((LOGITS, HIDDEN), "logits", "there are 0, 1"),
        ((LOGITS, HIDDEN), True, "there are 0, 1"),
        ((LOSS,), None, "without a tensor of numbers per sample"),
    ],
)
def test_what_is_no_answer_says_what_there_is(found, output, words):
    with pytest.raises(ValueError, match=words):
        answer_in(found, output)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "without a tensor"),
        ({"args": (torch.ones(2, 1), torch.ones(3, 1))}, "0: 2, 1: 3"),
        ({"args": (torch.ones(2),), "kwargs": {"m": torch.ones(3)}}, "m: 3"),
        ({"kwargs": {"x): import os #": torch.ones(2)}}, "cannot be the name of an input"),
        ({"kwargs": {"lambda": torch.ones(2)}}, "'lambda' cannot be the name"),
        ({"kwargs": {3: torch.ones(2)}}, "3 cannot be the name"),
        ({"kwargs": {"x": torch.ones(2)}, "settings": {"x": 1}}, "a tensor and a setting"),
        ({"kwargs": {"x": torch.ones(2)}, "settings": {"y": [1]}}, "'y' is list"),
    ],
)
def test_what_no_network_is_called_with(arguments, words):
    with pytest.raises(ValueError, match=words):
        Inputs(**arguments)


shapes = st.lists(st.integers(1, 4), max_size=3).map(tuple)
samples = st.builds(Sample, st.sampled_from(("float32", "int64", "bool", "uint8")), shapes)


@given(
    st.builds(
        Signature,
        st.lists(samples, min_size=1, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from(("input_ids", "attention_mask", "x")), samples),
        st.dictionaries(st.sampled_from(("use_cache", "mode")), st.sampled_from((True, None, 3, 0.5, "fast"))),
        st.sampled_from((None, 0, "logits")),
    ),
    st.integers(1, 3),
)
def test_inputs_made_of_a_signature_have_it(signature, count):
    x = Inputs.zeros(signature, count)
    assert x.signature == signature
    assert len(x) == count
    assert all(bool((tensor != 0).all()) for name, tensor in x.kwargs.items() if name.endswith("mask"))


def test_padded_positions_are_those_that_the_mask_of_the_answering_half_names():
    mask, other = torch.tensor([[1, 1, 0], [1, 0, 0]]), torch.tensor([[0, 1, 1], [1, 1, 1]])
    encoder = Inputs(kwargs={"attention_mask": mask, "input_ids": mask})
    both = Inputs(kwargs={"attention_mask": mask, "decoder_attention_mask": other, "decoder_input_ids": other})
    unmasked = Inputs(kwargs={"attention_mask": mask, "decoder_input_ids": other})
    answers = torch.zeros(2, 3, 4)
    assert torch.equal(encoder.counted(answers), mask.bool())
    assert torch.equal(both.counted(answers), other.bool())
    assert unmasked.counted(answers) is None
    encoders = Inputs(both.args, both.kwargs, output="encoder_last_hidden_state")
    assert torch.equal(encoders.counted(answers), mask.bool())
    for shape in ((2, 3), (2, 4, 3), (2,)):
        assert encoder.counted(torch.zeros(shape)) is None
