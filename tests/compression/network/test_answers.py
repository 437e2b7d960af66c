"""Handing inputs to networks, and what they may answer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from annealnet.compression import quantize
from annealnet.compression.network.answers import answers_of, check_network
from annealnet.compression.network.precision import in_float32

X = torch.arange(12.0).reshape(6, 2)


class InPlace(nn.Module):
    def forward(self, x):
        return x.add_(1.0)


def test_networks_are_handed_copies():
    x = X.clone()
    assert torch.equal(answers_of(InPlace(), x, at_once=4), X + 1)
    check_network(InPlace(), x)
    assert torch.equal(x, X)


def test_answers_that_are_no_tensor_of_samples():
    class Odd(nn.Module):
        def __init__(self, answer):
            super().__init__()
            self.answer = answer

        def forward(self, x):
            return self.answer(x)

    for answer, words in (
        (lambda x: ("x", 3), "answers with tuple without a tensor"),
        (lambda x: x.sum(), "samples are the first dimension"),
        (lambda x: x.flatten(), "samples are the first dimension"),
        (lambda x: x / 0, "NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=words):
            check_network(Odd(answer), X + 1)


def test_inputs_that_overflow_are_blamed_on_the_inputs():
    net = nn.Linear(2, 3)
    nn.init.constant_(net.weight, 10.0)
    with pytest.raises(ValueError, match="data holds numbers as large as 3e\\+38"):
        check_network(nn.Sequential(nn.Flatten(), net), torch.full((4, 2), 3e38))


def test_one_token_a_sample_wants_an_axis():
    net = nn.Sequential(nn.Embedding(20, 4), nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(ValueError, match=r"x.unsqueeze\(1\)"):
        check_network(net, torch.randint(0, 20, (6,)))


def test_a_tensor_that_was_computed_and_kept_is_named():
    net = nn.Linear(2, 3)
    net.kept = net.weight * 2
    for copying in (lambda model: check_network(model, X), lambda model: quantize(model, X)):
        with pytest.raises(ValueError, match=r"cannot be copied .* or detach it"):
            copying(net)
    with pytest.raises(ValueError, match="cannot be copied"):
        in_float32(net.double())


class Casts(nn.Module):
    """A block in the precision that it likes, or one that forgets to come back from it."""

    def __init__(self, dtype: torch.dtype, back: bool) -> None:
        super().__init__()
        self.up, self.down, self.dtype, self.back = nn.Linear(2, 8), nn.Linear(8, 3), dtype, back

    def forward(self, x):
        hidden = torch.relu(self.up(x)).to(self.dtype)
        return self.down(hidden.to(self.down.weight.dtype) if self.back else hidden)


@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_cast_that_the_next_layer_does_not_take_is_named_with_the_mend(dtype, given):
    if dtype == given == torch.float64:
        given = torch.float32
    net = nn.Sequential(nn.Identity(), Casts(dtype, back=False)).to(given)
    word = str(dtype).removeprefix("torch.")
    line = r"\(test_answers.py:\d+, hidden = torch.relu\(self.up\(x\)\).to\(self.dtype\)\)"
    with pytest.raises(
        ValueError, match=rf"module '1' casts float32 to {word} {line}; take the cast out, or .*weight.dtype"
    ):
        quantize(net, [X], bits=8)
    assert quantize(nn.Sequential(nn.Identity(), Casts(dtype, back=True)).to(given), [X], bits=8).plan.bits == {
        "1.up": 8,
        "1.down": 8,
    }


def test_inputs_that_do_not_fit_are_not_blamed_on_a_cast():
    net = nn.Sequential(Casts(torch.float64, back=True), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"samples of shape \(2,\) do not fit the model \(mat1 and mat2 shapes"):
        check_network(net, X)
