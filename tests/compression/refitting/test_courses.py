"""Calibration inputs in several batches: the same rows, answers and refits as at once, in less memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import annealnet as an
from annealnet.compression import DataAware
from annealnet.compression.network import live
from annealnet.compression.network.answers import all_answers_of
from annealnet.compression.network.graph import NetworkGraph, trace
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import layer_at, weight_of, with_heads_that_can_go
from annealnet.compression.network.live import Forward, LiveBytes
from annealnet.compression.network.rows import weight_matrix
from annealnet.compression.network.surgery import mask, remove
from annealnet.compression.refitting.batches import Batches
from annealnet.compression.refitting.compensation import compensate
from annealnet.compression.refitting.courses import Course
from annealnet.compression.refitting.dense_answers import DenseAnswers
from annealnet.compression.refitting.least_squares import refit
from annealnet.compression.refitting.settled import SettledLayers
from annealnet.compression.rounding import GptqRounding, NearestRounding

WIDTH = 8


class Perceptron(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(WIDTH, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3))


class Pictures(nn.Sequential):
    """Strides, groups, in place."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3, stride=2, groups=6), nn.ReLU(),
            nn.Conv2d(6, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
        )  # fmt: skip


class Words(nn.Module):
    """A chain of blocks that are given a mask beside."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, WIDTH)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(WIDTH, 2, 12, batch_first=True) for _ in range(3))
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.table(input_ids)
        for block in self.blocks:
            x = block(x, src_key_padding_mask=attention_mask == 0)
        return self.head(x)


class Tags(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lift, self.lstm = nn.Linear(WIDTH, WIDTH), nn.LSTM(WIDTH, WIDTH, 2, batch_first=True)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(self.lift(x))[0])


class Mixture(nn.Module):
    """Every sample goes to one of three experts; the last gets few, so that in some batches it gets none."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.router = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.head = nn.Linear(WIDTH, 3)
        self.router.bias.data[2] -= 1.0

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.lift(x))
        best, answer = self.router(x).argmax(-1), torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            mine = torch.where(best == number)[0]
            if len(mine):
                answer[mine] = expert(x[mine])
        return self.head(answer)


def _words(samples: int) -> Inputs:
    lengths = torch.randint(2, 6, (samples, 1))
    return Inputs(
        kwargs={
            "input_ids": torch.randint(11, (samples, 5)),
            "attention_mask": (torch.arange(5) < lengths).long(),
        }
    )


CASES: Mapping[str, tuple[Callable[[], nn.Module], Callable[[int], Inputs]]] = {
    "perceptron": (Perceptron, lambda n: Inputs.of(torch.randn(n, WIDTH))),
    "pictures": (Pictures, lambda n: Inputs.of(torch.randn(n, 2, 7, 7))),
    "words": (Words, _words),
    "tags": (Tags, lambda n: Inputs.of(torch.randn(n, 4, WIDTH))),
    "mixture": (Mixture, lambda n: Inputs.of(torch.randn(n, WIDTH))),
}
CASE, SAMPLES, AT_ONCE, SEED = st.sampled_from(list(CASES)), st.integers(20, 60), st.integers(1, 30), st.integers(0, 99)


def built(case: str) -> nn.Module:
    return with_heads_that_can_go(CASES[case][0]()).eval().requires_grad_(False)


def made(case: str, samples: int, seed: int) -> tuple[nn.Module, NetworkGraph, Inputs]:
    torch.manual_seed(seed)
    network, x = built(case), CASES[case][1](samples)
    return network, graph_of(case), x


@cache
def graph_of(case: str) -> NetworkGraph:
    """Whatever the weights are."""
    return trace(built(case), CASES[case][1](2))


@contextmanager
def most_at_once(network: nn.Module, x: Inputs, samples: int) -> Iterator[None]:
    """Forwards may hold as much as so many samples take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "MOST_FORWARD_BYTES", Forward.of(network, x).bytes(samples))
        yield


def seen(graph: NetworkGraph) -> list[str]:
    return [layer.name for layer in graph.layers if not layer.by_value]


def looked(network: nn.Module, batches: Batches) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, rows: Tensor) -> None:
        found[name] = rows.flatten(1).clone()

    Course.whole(network, batches).look(seen(batches.graph), keep, lambda name: None)
    return found


# ---- how many at once ----------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(each=st.integers(0, 2**31), one=st.integers(0, 2**31), samples=st.integers(1, 5000))
def test_batches_are_as_even_as_can_be_and_within_the_limit(each: int, one: int, samples: int) -> None:
    forward, limit = Forward(one, each), live.MOST_FORWARD_BYTES
    at_once = forward.at_once(samples)
    assert 1 <= at_once <= samples
    assert at_once == 1 or each * at_once <= limit
    batches = -(-samples // at_once)
    assert samples - (batches - 1) * at_once >= 1
    if max(one, each * samples) <= limit:
        assert at_once == samples


def test_what_is_counted_is_what_is_there_at_once() -> None:
    with LiveBytes() as counted:
        x = torch.zeros(10)
        y = x + 1
        del x
        _ = y.view(2, 5) + torch.zeros(5)
    assert counted.most == 4 * (10 + 5 + 10)


# ---- the same as at once -------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(case=CASE, samples=SAMPLES, at_once=AT_ONCE, seed=SEED)
def test_where_all_rows_are_kept_they_are_the_same(case: str, samples: int, at_once: int, seed: int) -> None:
    network, graph, x = made(case, samples, seed)
    whole, parts = (looked(network, Batches(graph, x, size, seed)) for size in (samples, at_once))
    assert set(whole) == set(parts)
    for name, rows in whole.items():
        torch.testing.assert_close(rows, parts[name], rtol=1e-4, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(case=CASE, samples=SAMPLES, at_once=AT_ONCE, seed=SEED)
def test_dense_answers_are_the_same(case: str, samples: int, at_once: int, seed: int) -> None:
    network, graph, x = made(case, samples, seed)
    whole = DenseAnswers.of(network, graph, x)
    with most_at_once(network, x, at_once):
        parts = DenseAnswers.of(network, graph, x)
        again = DenseAnswers.of(network, graph, x, most_bytes=0)
    assert (whole.batches.count, bool(whole.chain)) == (1, False)
    assert parts.batches.count > 1 or at_once >= samples
    torch.testing.assert_close(parts.logits, whole.logits, rtol=1e-4, atol=1e-5)
    assert parts.routed == whole.routed
    assert set(parts.outputs) == set(whole.outputs)
    for name, outputs in whole.outputs.items():
        torch.testing.assert_close(parts.outputs[name], outputs, rtol=1e-4, atol=1e-5)
    found = dict[str, Tensor]()
    for _, some, outputs in again.beside(network, seen(graph)):
        found |= {name: outputs[name] for name in some if name in outputs}
    for name, outputs in parts.outputs.items():
        torch.testing.assert_close(found[name], outputs, rtol=1e-4, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(case=CASE, samples=SAMPLES, at_once=AT_ONCE, seed=SEED)
def test_refitted_weights_are_the_same(case: str, samples: int, at_once: int, seed: int) -> None:
    """A network that was changed in front is refitted to the dense one's answers, layer by layer, without rounding."""
    network, graph, x = made(case, samples, seed)
    found = []
    for size in (samples, at_once):
        with most_at_once(network, x, size):
            answers = DenseAnswers.of(network, graph, x)
        other = built(case)
        other.load_state_dict(network.state_dict())
        weight_of(layer_at(other, seen(graph)[0])).mul_(1.2)
        for course, some, outputs in answers.beside(other, seen(graph)[1:]):

            def at(name: str, module: nn.Module, rows: Tensor, outputs: Mapping[str, Tensor] = outputs) -> None:
                if len(rows) != len(outputs[name]):  # an expert's
                    return
                weight = weight_of(module)
                fitted, _ = refit(rows, outputs[name], weight_matrix(module, weight.detach()), 0.04)
                weight.copy_(fitted.transpose(1, 2).reshape(weight.shape))

            course.change(some, at, lambda name: None)
        found.append({name: weight_of(layer_at(other, name)).clone() for name in seen(graph)})
    for name, weight in found[0].items():
        distance = float((found[1][name] - weight).norm() / weight.norm())
        assert distance < 1e-5, name


@settings(max_examples=15, deadline=None)
@given(case=CASE, at_once=AT_ONCE, seed=SEED, gone=st.booleans())
def test_a_network_is_compensated_as_well(case: str, at_once: int, seed: int, gone: bool) -> None:
    network, graph, x = made(case, 60, seed)
    keep = np.ones(graph.num_units, dtype=bool)
    if gone:
        keep[[group.units[-1] for group in graph.groups if len(group.units) > 1]] = False
    bits = {layer.name: 8 for layer in graph.layers}
    whole = DenseAnswers.of(network, graph, x)
    with most_at_once(network, x, at_once):
        parts = DenseAnswers.of(network, graph, x)
    small = [remove(network, graph, keep) for _ in range(3)]
    for one, answers in zip(small, (whole, parts), strict=False):
        grids = compensate(one, graph, keep, bits, answers, GptqRounding())
        assert list(grids) == [layer.name for layer in graph.layers]
    found = [all_answers_of(one, x) for one in small]
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0.05 * float(found[0].abs().max()))


# ---- the same positions --------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(samples=st.integers(150, 220), at_once=st.integers(20, 220), seed=SEED)
def test_the_dense_and_the_narrowed_network_read_the_same_positions(samples: int, at_once: int, seed: int) -> None:
    network, graph, x = made("pictures", samples, seed)
    keep = np.ones(graph.num_units, dtype=bool)
    keep[[group.units[0] for group in graph.groups]] = False
    batches = Batches(graph, x, at_once, seed)
    removed, masked = looked(remove(network, graph, keep), batches), looked(mask(network, graph, keep), batches)
    assert len(masked["0"]) <= 4096 < samples * 49
    for layer in graph.layers:
        kept_out, kept_in = graph.keep_for(layer, keep)
        left = kept_out if layer.depthwise else kept_in
        rows = masked[layer.name].reshape(len(masked[layer.name]), len(left), -1)[:, torch.from_numpy(left)].flatten(1)
        torch.testing.assert_close(removed[layer.name], rows, rtol=1e-4, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(samples=st.integers(1, 3000), at_once=st.integers(1, 3000), seed=SEED)
def test_shares_add_up(samples: int, at_once: int, seed: int) -> None:
    network = nn.Sequential(nn.Linear(2, 2)).eval()
    x = torch.arange(6.0 * samples).reshape(samples, 3, 2)
    rows = looked(network, Batches(trace(network, x[:2]), Inputs.of(x), min(at_once, samples), seed))["0"]
    assert len(rows) == min(4096, 3 * samples)
    assert len(torch.unique(rows[:, 0])) == len(rows)


def test_batches_draw_at_positions_of_their_own() -> None:
    network = nn.Sequential(nn.Linear(2, 2)).eval()
    x = torch.arange(2.0 * 3000).repeat(4, 1).reshape(4, 3000, 2)
    graph = trace(network, x[:2])
    drawn = [
        Batches(graph, Inputs.of(x), 1, seed).rows(number, "0", network[0], x[:1]) for seed in (0, 1) for number in (0, 1)
    ]
    assert len({tuple(rows[:, 0, 0].tolist()) for rows in drawn}) == 4
    assert all(len(rows) == 1024 for rows in drawn)


# ---- errors, and runs that go on -----------------------------------------------------------------------------


def test_a_layer_that_never_runs_is_named_in_several_batches() -> None:
    network = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    network.forward = lambda x: network["b"](x) if len(x) > 9 else network["a"](x)  # type: ignore[method-assign]
    x = torch.zeros(10, 2)
    graph = trace(nn.Sequential(nn.Linear(2, 2)), x)
    course = Course.whole(network, Batches(graph, Inputs.of(x), 4))
    for verb in (course.each, course.change):
        with pytest.raises(ValueError, match="'b' never runs in this network"):
            verb(["b"], lambda *_: None)
    unmet: list[str] = []
    course.each(["b"], lambda *_: None, unmet.append)
    assert unmet == ["b"]


@pytest.mark.parametrize("at_once", [7, 60])
def test_samples_that_are_answered_with_nan_are_counted_over_all_batches(at_once: int) -> None:
    class Divides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(WIDTH, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) / (x[:, :1] != 0)

    network, x = Divides().eval(), torch.randn(60, WIDTH)
    x[[33, 50]] = 0.0
    with most_at_once(network, Inputs.of(x), at_once), pytest.raises(ValueError, match=r"to sample 33 \(2 in all\)"):
        DenseAnswers.of(network, trace(network, x[:2]), x)


def test_numbers_that_cannot_be_squared_are_refused_over_all_batches() -> None:
    network = Perceptron().eval()
    x = torch.randn(60, WIDTH)
    x[-1] *= 1e19
    with most_at_once(network, Inputs.of(x), 9), pytest.raises(ValueError, match=r"layer '0' reads .*over 60 rows"):
        DenseAnswers.of(network, trace(network, x[:2]), x)


def test_finished_layers_are_in_place_before_anything_runs(tmp_path) -> None:
    network, graph, x = made("words", 40, 0)
    with most_at_once(network, x, 9):
        answers = DenseAnswers.of(network, graph, x)
    bits, keep = {layer.name: 4 for layer in graph.layers}, np.ones(graph.num_units, dtype=bool)

    class Stopped(Exception):
        pass

    def stop(name: str) -> None:
        if name == "blocks.1.linear1":
            raise Stopped

    def run(folder, progress: Callable[[str], None] | None = None) -> dict[str, Tensor]:
        small = remove(network, graph, keep)
        kept = SettledLayers(folder, "run", "NearestRounding")
        grids = compensate(small, graph, keep, bits, answers, NearestRounding(), settled=kept, progress=progress)
        return {name: grid.codes for name, grid in grids.items()}

    with pytest.raises(Stopped):
        run(tmp_path, stop)
    began: list[int] = []
    hook = network.table.register_forward_pre_hook(lambda *_: began.append(1))  # copied along with the network
    whole, again = run(None), run(tmp_path)
    forwards = len(began)
    once_more = run(tmp_path)
    hook.remove()
    assert all(torch.equal(whole[name], again[name]) and torch.equal(whole[name], once_more[name]) for name in whole)
    assert len(began) == forwards


# ---- what it costs -------------------------------------------------------------------------------------------


def deep(width: int = 6, depth: int = 4) -> nn.Module:
    """Two stages of residual blocks: one chain."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x + self.down(torch.relu(self.up(x))))

    stages = [nn.Sequential(*(Block() for _ in range(depth // 2))) for _ in range(2)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3)]
    return nn.Sequential(nn.Conv2d(2, width, 3, padding=1), *stages, *head).eval().requires_grad_(False)


def test_a_block_is_run_a_few_times_for_each_batch_however_deep_the_network_is() -> None:
    torch.manual_seed(0)
    network, x = deep(depth=8), torch.randn(24, 2, 8, 8)
    graph, runs = trace(network, x[:2]), dict[str, int]()
    with most_at_once(network, Inputs.of(x), 6):
        answers = DenseAnswers.of(network, graph, x)
    assert (answers.batches.count, len(answers.chain)) == (4, 8)
    small = remove(network, graph, np.ones(graph.num_units, dtype=bool))
    for name in seen(graph):
        small.get_submodule(name).register_forward_hook(lambda *_, name=name: runs.update({name: runs.get(name, 0) + 1}))
    bits, keep = {layer.name: 8 for layer in graph.layers}, np.ones(graph.num_units, dtype=bool)
    compensate(small, graph, keep, bits, answers, NearestRounding())
    inside = [name for name in runs if name.rpartition(".")[0] in answers.chain]
    assert len(inside) == 2 * 8
    assert max(runs[name] for name in inside) <= 4 * 4  # on the way, for the layer behind, for the next block, for the head
    assert runs["0"] == 4 * 2


def test_batches_hold_less_than_all_at_once() -> None:
    torch.manual_seed(0)
    network, x = deep(), torch.randn(96, 2, 24, 24)
    graph, limit, most = trace(network, x[:2]), 5 * 2**20, []
    keep, bits = np.ones(graph.num_units, dtype=bool), {layer.name: 8 for layer in graph.layers}
    for forward in (2**29, 2**19):
        with pytest.MonkeyPatch.context() as patch, LiveBytes() as counted:
            patch.setattr(live, "MOST_FORWARD_BYTES", forward)
            answers = DenseAnswers.of(network, graph, x)
            compensate(remove(network, graph, keep), graph, keep, bits, answers, NearestRounding())
        most.append(counted.most)
    assert most[1] < limit < most[0], most


# ---- from end to end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", list(CASES))
def test_jobs_give_networks_close_to_those_of_one_batch(case: str) -> None:
    network, _, x = made(case, 64, 3)
    data = [x.main] if x.signature.is_single else [dict(x.kwargs)]
    found, few = [], DataAware(reads=4, sweeps=100)
    for at_once in (64, 10):
        with most_at_once(network, x, at_once):
            rounded = an.quantize(network, data, 5, rounding=GptqRounding())
            planned = an.compress(network, data, an.Budget(size_ratio=2.5), rounding=NearestRounding(), formulation=few)
        found.append((rounded.report.small.divergence, planned.report.small.divergence, all_answers_of(rounded.model, x)))
    (one, first, answers), (other, second, streamed) = found
    scale = float(answers.abs().max())
    torch.testing.assert_close(streamed, answers, rtol=0, atol=0.25 * scale)
    assert other < 2 * one + 1e-4
    assert second < 2 * first + 1e-2


# ---- chains that two samples do not tell from others -------------------------------------------------------------


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.gain = nn.Linear(WIDTH, 12), nn.Linear(12, WIDTH), torch.ones(1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gain * self.down(torch.relu(self.up(x)))


class Between(nn.Module):
    """Something happens between blocks to some samples, or is put on the blocks for each batch."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.blocks, self.head, self.what = nn.ModuleList(Residual() for _ in range(3)), nn.Linear(WIDTH, 3), what

    def forward(self, x: Tensor) -> Tensor:
        given = x
        for block in self.blocks:
            if self.what == "put on the blocks":
                block.gain = given.mean(1, keepdim=True)
            with torch.autocast("cpu", enabled=self.what == "run under"):
                x = block(x)
            if self.what == "added":
                x = x + given.clamp(min=2.0)[:, :1] - 2.0
        return self.head(x.float())


@pytest.mark.parametrize("what", ["added", "put on the blocks", "run under"])
@pytest.mark.parametrize("again", [False, True])
def test_what_happens_between_blocks_is_not_left_out(what, again, monkeypatch):
    torch.manual_seed(0)
    network, x = Between(what).eval(), torch.randn(96, WIDTH)
    x[:2] = x[:2].clamp(max=1.0)  # the first samples do not show it
    whole = an.quantize(network, [x], 3, rounding=NearestRounding()).report.small.divergence
    if again:
        monkeypatch.setattr("annealnet.compression.refitting.dense_answers.MOST_ANSWER_BYTES", 1)
    else:
        monkeypatch.setattr(live, "MOST_FORWARD_BYTES", 4000)
    parts = an.quantize(network, [x], 3, rounding=NearestRounding()).report.small.divergence
    assert parts == pytest.approx(whole, rel=1e-3)


def test_a_block_without_layers_to_treat_is_run_for_the_next_one(monkeypatch):
    torch.manual_seed(0)
    network, x = (
        nn.Sequential(*(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()) for _ in range(5))).eval(),
        torch.randn(80, WIDTH),
    )
    monkeypatch.setattr("annealnet.compression.refitting.dense_answers.MOST_ANSWER_BYTES", 1)
    graph, only = trace(network, x), ["0.0", "3.0"]
    answers = DenseAnswers.of(network, graph, x)
    assert answers.again is not None
    kept = {
        name: found for _, some, outputs in answers.beside(network, only) for name, found in outputs.items() if name in some
    }
    for name in only:
        inputs = network[: int(name[0])](x)
        torch.testing.assert_close(kept[name], inputs @ network[int(name[0])][0].weight.T)


def test_a_network_that_takes_no_single_sample_is_counted_on_two():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False))
    forward = Forward.of(network, Inputs.of(torch.randn(8, 3)))
    assert forward.bytes(2) == forward.one + forward.each > 0


class Packed(nn.Module):
    """Sequences in order of their lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.lstm, self.head = nn.Embedding(9, 4), nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(self.table(ids), attention_mask.sum(1), batch_first=True)
        return self.head(self.lstm(packed)[1][0][0])


def test_sequences_that_must_come_in_their_order_are_rounded():
    mask = (torch.arange(6) < torch.tensor([[6], [5], [4], [4], [3], [2], [2], [1]])).long()
    ids = torch.randint(9, (8, 6), generator=torch.Generator().manual_seed(0))
    small = an.quantize(Packed().eval(), {"ids": ids, "attention_mask": mask}, 8, rounding=NearestRounding())
    assert small.report.small.divergence < 1e-3
