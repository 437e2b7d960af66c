"""Matrices of recurrent layers are rounded on what they multiply, computed beside the layer, however it is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import annealnet as an
from annealnet.compression.network.calibration import read_batches
from annealnet.compression.network.graph import trace
from annealnet.compression.network.kinds import Gates, layer_at, weight_of
from annealnet.compression.refitting.visits import visit
from annealnet.compression.rounding import NearestRounding
from annealnet.compression.rounding.grids import dequantize

FORMS: dict[str, type[nn.RNNBase]] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
WIDTH, HIDDEN = 5, 6


def sequences(samples: int, steps: int, seed: int = 0, width: int = WIDTH) -> Tensor:
    """Smooth ones, so that inputs depend on each other, as they do in life."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(2, width, generator=generator)
    return torch.randn(samples, steps, 2, generator=generator).cumsum(1) @ mixed + 0.1 * torch.randn(
        samples, steps, width, generator=generator
    )


# ---- what they read ------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    form=st.sampled_from(sorted(FORMS)),
    layers=st.integers(1, 3),
    both=st.booleans(),
    bias=st.booleans(),
    projected=st.booleans(),
    begun=st.booleans(),
    laid=st.sampled_from(("samples first", "steps first", "packed")),
    seed=st.integers(0, 99),
)
def test_a_step_by_hand_gives_the_layers_answers(
    form: str, layers: int, both: bool, bias: bool, projected: bool, begun: bool, laid: str, seed: int
) -> None:
    """An RNN's answers follow from the rows that its two matrices read; of the others their number is known."""
    torch.manual_seed(seed)
    more: dict[str, Any] = {"proj_size": 4} if form == "LSTM" and projected else {}
    module = FORMS[form](
        WIDTH, HIDDEN, layers, bias=bias, bidirectional=both, batch_first=laid != "steps first", **more
    ).eval()
    x = sequences(3, 7, seed)
    size = more.get("proj_size", HIDDEN)
    state: Any = torch.randn(layers * (1 + both), 3, size) if begun else None
    if begun and form == "LSTM":
        state = state, torch.randn(layers * (1 + both), 3, HIDDEN)
    called: Any = x if laid == "samples first" else x.transpose(0, 1)
    if laid == "packed":
        called = pack_padded_sequence(x, torch.tensor([4, 7, 5]), batch_first=True, enforce_sorted=False)
    with torch.no_grad():
        answers = module(called, state)[0]
    if laid == "packed":
        padded, lengths = pad_packed_sequence(answers, batch_first=True)
        there = torch.arange(7) < lengths[:, None]
    else:
        padded, there = (answers if laid == "samples first" else answers.transpose(0, 1)), torch.ones(3, 7, dtype=torch.bool)
    for way, back in enumerate(("", "_reverse")[: 1 + both]):
        leaf = f"l{layers - 1}{back}"
        reads = {part: Gates(module, f"weight_{part}_{leaf}").reads(called, state) for part in ("ih", "hh")}
        rows = {part: found.reshape(-1, found.shape[-1]) for part, found in reads.items()}
        assert {part: len(found) for part, found in rows.items()} == dict.fromkeys(rows, int(there.sum()))
        if form == "RNN":
            sums = sum(rows[part] @ getattr(module, f"weight_{part}_{leaf}").T for part in rows)
            sums = sums + sum(getattr(module, f"bias_{part}_{leaf}") for part in rows) if bias else sums
            own = padded.chunk(1 + both, dim=-1)[way][there]
            torch.testing.assert_close(torch.tanh(sums), own, rtol=0, atol=1e-5)


def test_reading_draws_nothing_and_changes_nothing() -> None:
    module = nn.LSTM(WIDTH, HIDDEN, 2, batch_first=True).eval()
    before, drawn = {name: value.clone() for name, value in module.state_dict().items()}, torch.get_rng_state()
    Gates(module, "weight_hh_l1").reads(sequences(2, 3))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


# ---- in a network --------------------------------------------------------------------------------------------


class Tagger(nn.Module):
    def __init__(self, layer: nn.Module, width: int = 2 * HIDDEN) -> None:
        super().__init__()
        self.lift, self.layer, self.head = nn.Linear(WIDTH, WIDTH), layer, nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.lift(x))[0])


class Twice(Tagger):
    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        return self.head(torch.cat([self.layer(x)[0], self.layer(x.flip(1))[0]], dim=-1))


def test_they_are_met_in_order_and_see_what_was_changed_before_them() -> None:
    torch.manual_seed(0)
    network, x = Tagger(nn.GRU(WIDTH, HIDDEN, 2, batch_first=True), HIDDEN).eval(), sequences(4, 6)
    names = [layer.name for layer in trace(network, x).layers if not layer.by_value]
    assert names == ["lift", *(f"layer.weight_{part}_l{k}" for k in (0, 1) for part in ("ih", "hh")), "head"]
    met: dict[str, Tensor] = {}

    def at(name: str, module: nn.Module, given: Tensor) -> None:
        met[name] = given
        weight_of(module).mul_(0.5)

    visit(network, x, names, at)
    with torch.no_grad():  # the network is now as every later layer saw it
        wanted = network.layer(network.lift(x))[0]
    torch.testing.assert_close(met["layer.weight_ih_l0"], network.lift(x).detach())
    torch.testing.assert_close(met["head"], wanted)


def test_a_module_that_is_called_twice_is_rounded_by_value() -> None:
    graph = trace(Twice(nn.GRU(WIDTH, HIDDEN, batch_first=True)).eval(), sequences(4, 6))
    assert {layer.name for layer in graph.layers if layer.by_value} == {"layer.weight_ih_l0", "layer.weight_hh_l0"}


FORMED: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: nn.LSTM(WIDTH, 2 * HIDDEN, batch_first=True),
    "both ways": lambda: nn.LSTM(WIDTH, HIDDEN, 2, bidirectional=True, batch_first=True),
    "GRU": lambda: nn.GRU(WIDTH, 2 * HIDDEN, 2, batch_first=True),
    "RNN": lambda: nn.RNN(WIDTH, HIDDEN, bidirectional=True, batch_first=True),
}


@pytest.mark.parametrize("name", FORMED)
def test_the_error_falls_against_rounding_by_value(name: str, tmp_path: Path) -> None:
    ratios = []
    for seed in range(3):
        torch.manual_seed(seed)
        network = Tagger(FORMED[name]()).eval()
        x, held_out = sequences(128, 12, seed).split(64)
        small = an.quantize(network, [x], bits=3, seed=seed)
        again = an.load(small.save(tmp_path / f"{seed}"), Tagger(FORMED[name]()).eval())
        by_value = Tagger(FORMED[name]()).eval()
        by_value.load_state_dict(small.model.state_dict())
        by_value.layer.load_state_dict(network.layer.state_dict())
        with torch.no_grad():
            for layer in small.plan.bits:
                if layer.startswith("layer."):
                    weight = weight_of(layer_at(by_value, layer))
                    weight.copy_(dequantize(NearestRounding()(weight, 3)))
            torch.testing.assert_close(again(held_out), small.model(held_out), rtol=0, atol=1e-5)
            wanted = network.layer(network.lift(held_out))[0]
            errors = [(net.layer(net.lift(held_out))[0] - wanted).pow(2).mean() for net in (small.model, by_value)]
        ratios.append(float(errors[0] / errors[1]))
    assert max(ratios) < 0.5, ratios


def test_compress_measures_and_rounds_them() -> None:
    torch.manual_seed(0)
    network, x = Tagger(nn.LSTM(WIDTH, 2 * HIDDEN, batch_first=True)).eval(), sequences(32, 8)
    settings = an.compression.FineTuning(epochs=1)
    small = an.compress(network, [x], an.Budget(size_ratio=3), fine_tuning=settings, rounding=NearestRounding())
    assert small.report.size_ratio >= 3
    for layer, grid in small.grids.items():
        assert torch.equal(weight_of(layer_at(small.model, layer)), dequantize(grid))


class Packs(nn.Module):
    """Tags words of sentences of different lengths; each step is answered, or only those that are there."""

    def __init__(self, padded: bool) -> None:
        super().__init__()
        self.layer, self.head, self.padded = nn.LSTM(WIDTH, HIDDEN, batch_first=True), nn.Linear(HIDDEN, 3), padded

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        answers = self.layer(packed)[0]
        if self.padded:
            return self.head(pad_packed_sequence(answers, batch_first=True, total_length=x.shape[1])[0])
        return self.head(answers.data).sum(0, keepdim=True).expand(len(x), 3)


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("samples", [6, 1030])  # in one batch, and in three
def test_multiply_adds_of_packed_sequences_are_the_mean_of_all_samples(padded: bool, samples: int) -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([1, 1, *torch.randint(2, 8, (samples - 2,)).tolist()])
    x = {"x": sequences(samples, 7), "lengths": lengths}
    net = Packs(padded).eval()
    steps = int(lengths.sum())
    recurrent = sum(steps * 4 * HIDDEN * width // samples for width in (WIDTH, HIDDEN))
    positions = 7 if padded else steps // samples
    graph = trace(net, read_batches([x]).x)
    assert graph.macs() == recurrent + positions * HIDDEN * 3
    small = an.quantize(net, [x], bits=4, rounding=NearestRounding())
    assert small.report.dense.macs == small.report.small.macs == graph.macs()
