"""Matrices that no module's call shows: found where they are multiplied, rounded by value, stored, read back, exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

import annealnet as an
from annealnet.compression.network.given import network_in
from annealnet.compression.network.graph import trace
from annealnet.compression.network.kinds import layer_at, weight_of
from annealnet.compression.network.precision import in_float32
from annealnet.compression.network.surgery import mask, remove
from annealnet.compression.rounding import NearestRounding
from annealnet.compression.rounding.grids import dequantize

EXPERTS, WIDTH, INNER = 4, 8, 20


class Mixture(nn.Module):
    """A router and two stacks of matrices; what is done with them is the subclass's."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.head = nn.Linear(WIDTH, EXPERTS), nn.Linear(WIDTH, 3)
        self.up = nn.Parameter(torch.randn(EXPERTS, INNER, WIDTH) / 3)
        self.down = nn.Parameter(torch.randn(EXPERTS, WIDTH, INNER) / 4)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, WIDTH)
        return self.head(x + self.mixed(flat, self.router(flat).softmax(-1)).view_as(x))

    def mixed(self, x: Tensor, shares: Tensor) -> Tensor:
        raise NotImplementedError


class AllAtOnce(Mixture):
    def mixed(self, x: Tensor, shares: Tensor) -> Tensor:
        inner = F.silu(torch.bmm(x.expand(EXPERTS, -1, -1), self.up.transpose(1, 2)))
        return (shares.t()[..., None] * torch.bmm(inner, self.down.transpose(1, 2))).sum(0)


class Summed(Mixture):
    def mixed(self, x: Tensor, shares: Tensor) -> Tensor:
        inner = shares[..., None] * F.silu(torch.einsum("ni,eoi->neo", x, self.up))
        return torch.einsum("nei,eoi->no", inner, self.down)


class OneByOne(Mixture):
    """Each token to its best expert: how many come to each, no trace can know."""

    def mixed(self, x: Tensor, shares: Tensor) -> Tensor:
        best, answer = shares.argmax(-1), torch.zeros_like(x)
        for number in range(EXPERTS):
            mine = torch.where(best == number)[0]
            answer[mine] = F.linear(F.silu(F.linear(x[mine], self.up[number])), self.down[number])
        return answer


class PickedOut(Mixture):
    """The matrices of each token's expert are copied for it."""

    def mixed(self, x: Tensor, shares: Tensor) -> Tensor:
        best = shares.argmax(-1)
        inner = F.silu(torch.bmm(self.up[best], x.unsqueeze(-1)))
        return torch.bmm(self.down[best], inner).squeeze(-1)


class Sisters(nn.Module):
    """Experts that are modules, of which two samples reach few."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.head = nn.Linear(WIDTH, 6), nn.Linear(WIDTH, 3)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, INNER), nn.SiLU(), nn.Linear(INNER, WIDTH)) for _ in range(6)
        )

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, WIDTH)
        best, answer = self.router(flat).argmax(-1), torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            mine = torch.where(best == number)[0]
            if len(mine):
                answer[mine] = expert(flat[mine])
        return self.head(x + answer.view_as(x))


class Steps(nn.Module):
    """A cell that is called at every step."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell, self.head = cell, nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        state, answers = None, []
        for step in x.unbind(1):
            state = self.cell(step, state)
            answers.append(state[0] if isinstance(state, tuple) else state)
        return self.head(torch.stack(answers, 1))


class Pairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lift, self.pair, self.head = nn.Linear(WIDTH, 6), nn.Bilinear(6, 6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pair(self.lift(x), self.lift(x)))


class Turned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lift, self.turn, self.head = nn.Conv1d(5, 8, 1), nn.ConvTranspose1d(8, 6, 3, groups=2), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.turn(self.lift(x)).mean(2))


class Projected(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.LSTM(WIDTH, 16, proj_size=6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0])


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(30, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.bag(x))


X = torch.randn(16, 5, WIDTH, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randint(0, 30, (16, 5), generator=torch.Generator().manual_seed(0))
STACKS = {"up", "down"}
#: Network, its input, the layers that are rounded by value, and the multiply-adds of one sample where they are known.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Tensor, set[str], int | None]] = {
    "bmm": (AllAtOnce, X, STACKS, 5 * (32 + 24 + EXPERTS * 2 * WIDTH * INNER)),
    "einsum": (Summed, X, STACKS, None),
    "one by one": (OneByOne, X, STACKS, 5 * (32 + 24 + 2 * WIDTH * INNER)),
    "picked out": (PickedOut, X, STACKS, 5 * (32 + 24 + 2 * WIDTH * INNER)),
    "GRUCell": (lambda: Steps(nn.GRUCell(WIDTH, 16)), X, {"cell.weight_ih", "cell.weight_hh"}, 5 * (48 * 24 + 48)),
    "LSTMCell": (lambda: Steps(nn.LSTMCell(WIDTH, 16)), X, {"cell.weight_ih", "cell.weight_hh"}, 5 * (64 * 24 + 48)),
    "RNNCell": (lambda: Steps(nn.RNNCell(WIDTH, 16)), X, {"cell.weight_ih", "cell.weight_hh"}, 5 * (16 * 24 + 48)),
    "bilinear": (Pairs, X, {"pair.weight"}, None),
    "transposed, in groups": (Turned, X, {"turn.weight"}, 5 * 8 * 8 + 8 * 8 * 9 + 18),
    "projected": (Projected, X, {"layer.weight_hr_l0"}, None),
    "bag": (Bag, TOKENS, {"bag.weight"}, 18),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_all_matrices_are_on_grids(name: str) -> None:
    torch.manual_seed(0)
    made, x, names, macs = NETWORKS[name]
    graph = trace(made().eval(), x)
    assert {layer.name for layer in graph.layers if layer.by_value} >= names
    assert graph.stays_dense.share < 0.05, [str(pinned) for pinned in graph.pinned]
    assert macs is None or graph.macs() == macs


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("group", [None, 4])
def test_they_are_rounded_row_by_row_stored_and_read_back(name: str, group: int | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made, x, names, _ = NETWORKS[name]
    network = made().eval()
    small = an.quantize(network, [x], bits=4, group=group, rounding=NearestRounding(group=group))
    for place in names:
        weight = weight_of(layer_at(small.model, place))
        assert weight.ndim == 2 or weight.shape[-1] < 16
        if "_l0" not in place:
            wanted = dequantize(NearestRounding(group=group)(weight_of(layer_at(network, place)), 4))
            torch.testing.assert_close(weight, wanted, rtol=0, atol=0)
    folder = small.save(tmp_path / "out")
    assert sum(path.stat().st_size for path in folder.iterdir()) == small.report.small.bytes
    again = an.load(folder, made().eval())
    for (key, value), (other, read) in zip(small.model.state_dict().items(), again.state_dict().items(), strict=True):
        assert key == other
        assert torch.equal(value, read), key
    with torch.no_grad():
        torch.testing.assert_close(again(x), small.model(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["bmm", "einsum", "GRUCell", "transposed, in groups"])
@pytest.mark.parametrize("group", [None, 4])
def test_the_onnx_file_holds_codes_and_answers_the_same(name: str, group: int | None, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    made, x, _, _ = NETWORKS[name]
    small = an.quantize(made().eval(), [x], bits=4, group=group, rounding=NearestRounding(group=group))
    path = small.export_onnx(tmp_path / "small.onnx")
    (answer,) = an.exporting.onnx_session(path).run(None, {"input": x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(answer), small.model(x), rtol=0, atol=1e-3)


def test_experts_that_no_sample_reaches_go_on_grids_with_their_sisters(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Sisters().eval()
    graph = trace(network, X[:1])
    assert (graph.way, graph.stays_dense.num_bytes) == ("hooks", 0)
    small = an.quantize(network, [X], bits=4, rounding=NearestRounding())
    again = an.load(small.save(tmp_path / "out"), Sisters().eval())
    with torch.no_grad():
        torch.testing.assert_close(again(X), small.model(X), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["bmm", "GRUCell"])
def test_fine_tuning_leaves_them_on_their_grids(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made, x, names, _ = NETWORKS[name]
    budget, settings = an.Budget(size_ratio=3), an.compression.FineTuning(epochs=2, learning_rate=1e-2)
    small = an.compress(made().eval(), [x], budget, fine_tuning=settings, rounding=NearestRounding())
    for place in names:
        assert torch.equal(weight_of(layer_at(small.model, place)), dequantize(small.grids[place]))
    again = an.load(small.save(tmp_path / "out"), made().eval())
    with torch.no_grad():
        torch.testing.assert_close(again(x), small.model(x), rtol=0, atol=1e-5)


# ---- weights that are computed from others -------------------------------------------------------------------


class Normed(nn.Module):
    def __init__(self, by: Callable[..., nn.Module], dim: int | None = None) -> None:
        super().__init__()
        more = {} if dim is None else {"dim": dim}
        self.first = by(nn.Linear(WIDTH, 16))
        self.second, self.head = by(nn.Conv1d(16, 16, 3, padding=1, groups=4), **more), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.second(F.relu(self.first(x)).transpose(1, 2))).transpose(1, 2))


COMPUTED: dict[str, Callable[[], nn.Module]] = {
    "weight norm": lambda: Normed(nn.utils.parametrizations.weight_norm),
    "weight norm over places": lambda: Normed(nn.utils.parametrizations.weight_norm, 2),
    "weight norm by hooks": lambda: Normed(nn.utils.weight_norm, 2),
    "spectral norm": lambda: Normed(nn.utils.parametrizations.spectral_norm),
    "spectral norm by hooks": lambda: Normed(nn.utils.spectral_norm),
}


@pytest.mark.parametrize("name", COMPUTED)
@pytest.mark.parametrize("training", [False, True])
def test_computed_weights_are_taken_as_they_are(name: str, training: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = COMPUTED[name]().train()
    for _ in range(20):  # spectral norm learns its vectors
        network(X[:2])
    network.train(training)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    small = an.quantize(network, [X], bits=8, rounding=NearestRounding())
    assert network.training is training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert small.report.stays_dense.num_bytes == 0
    assert sorted(small.model.state_dict()) == sorted(
        f"{m}.{p}" for m in ("first", "second", "head") for p in ("bias", "weight")
    )
    again = an.load(small.save(tmp_path / "out"), COMPUTED[name]())
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(small.model(X), network(X), rtol=0, atol=0.1)
        torch.testing.assert_close(again(X), small.model(X), rtol=0, atol=1e-5)
    network(X)  # the original still computes its weights


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(sorted(COMPUTED)), st.integers(0, 99))
def test_plain_weights_answer_the_same(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    network = COMPUTED[name]().eval()
    plain = in_float32(network)
    assert plain is not network
    assert in_float32(plain) is plain
    with torch.no_grad():
        torch.testing.assert_close(plain(X), network(X), rtol=0, atol=1e-6)


def test_a_computed_weight_is_stored_where_the_plain_one_lies(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight * 1.5

    def fresh(computed: bool) -> nn.Module:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(8, 24), nn.LayerNorm(24), nn.ReLU(), nn.Linear(24, 4)).eval()
        nn.init.uniform_(net[1].bias)
        if computed:
            nn.utils.parametrize.register_parametrization(net[1], "weight", Scaled())
        return net

    x = torch.randn(16, 8)
    small = an.quantize(fresh(True), [x], 8)
    folder = small.save(tmp_path / "out")
    with torch.no_grad():
        for computed in (True, False):
            torch.testing.assert_close(an.load(folder, fresh(computed))(x), small.model(x), rtol=0, atol=0)


# ---- W + B·A, as LoRA trains it --------------------------------------------------------------------------------


class AddedInForward(nn.Linear):
    """A linear layer's own weight, and an update of rank two on top of it at every call."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.a, self.b = nn.Parameter(0.3 * torch.randn(2, inputs)), nn.Parameter(0.3 * torch.randn(outputs, 2))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight + 0.5 * (self.b @ self.a), self.bias)


class Scaled(AddedInForward):
    """Its scale is a buffer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("scale", torch.tensor(0.5), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight + self.scale * (self.b @ self.a), self.bias)


class AllItsOwn(nn.Module):
    """The same without being a linear layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.frozen = nn.Parameter(0.3 * torch.randn(outputs, inputs))
        self.a, self.b = nn.Parameter(0.3 * torch.randn(2, inputs)), nn.Parameter(0.3 * torch.randn(outputs, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.frozen + 0.5 * (self.b @ self.a)).T


class Beside(nn.Module):
    """As adapters are trained: two narrow layers beside a wide one."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base, self.a = nn.Linear(inputs, outputs), nn.Linear(inputs, 2, bias=False)
        self.b = nn.Linear(2, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 0.5 * self.b(self.a(x))


class Update(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(0.3 * torch.randn(2, inputs)), nn.Parameter(0.3 * torch.randn(outputs, 2))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + 0.5 * (self.b @ self.a)


def parametrized(inputs: int, outputs: int) -> nn.Module:
    layer = nn.Linear(inputs, outputs)
    parametrize.register_parametrization(layer, "weight", Update(inputs, outputs))
    return layer


def merged(inputs: int, outputs: int) -> nn.Module:
    layer = parametrized(inputs, outputs)
    parametrize.remove_parametrizations(layer, "weight")
    return layer


#: How the update is there, and the widths of the groups of channels that may go.
UPDATED: dict[str, tuple[Callable[[int, int], nn.Module], list[int]]] = {
    "added in forward": (AddedInForward, []),
    "scaled by a buffer": (Scaled, []),
    "all its own": (AllItsOwn, []),
    "beside": (Beside, [24, 2, 24, 2]),
    "parametrised": (parametrized, [24, 24]),
    "merged": (merged, [24, 24]),
}


def updated(name: str) -> nn.Module:
    torch.manual_seed(0)
    layer = UPDATED[name][0]
    return nn.Sequential(layer(8, 24), nn.ReLU(), layer(24, 24), nn.ReLU(), nn.Linear(24, 4)).eval()


@pytest.mark.parametrize("name", UPDATED)
def test_weights_with_an_update_of_low_rank_get_in(name: str, tmp_path: Path) -> None:
    x, net = torch.randn(64, 8, generator=torch.Generator().manual_seed(1)), updated(name)
    ratios = {"quantize": 4.0, "compress": 2.8}
    for work, small in {
        "quantize": an.quantize(net, [x], bits=4, rounding=NearestRounding()),
        "compress": an.compress(net, [x], an.Budget(size_ratio=2.8), rounding=NearestRounding(), candidates=1),
    }.items():
        assert small.report.stays_dense.num_bytes == 0
        folder = small.save(tmp_path / work)
        assert sum(path.stat().st_size for path in folder.iterdir()) == small.report.small.bytes
        assert small.report.size_ratio >= ratios[work]
        with torch.no_grad():
            assert torch.equal(an.load(folder, updated(name))(x), small.model(x))
    fine = an.quantize(net, [x], bits=8, rounding=NearestRounding()).model
    with torch.no_grad():
        assert float((fine(x) - net(x)).square().mean() / net(x).square().mean()) < 1e-3


@pytest.mark.parametrize("name", UPDATED)
def test_what_goes_of_weights_with_an_update_is_masked(name: str) -> None:
    net, x = network_in(updated(name)), torch.randn(9, 8)
    graph = trace(net, x)
    assert [len(group.units) for group in graph.groups] == UPDATED[name][1]
    keep = np.arange(graph.num_units) % 3 != 1
    with torch.no_grad():
        torch.testing.assert_close(remove(net, graph, keep)(x), mask(net, graph, keep)(x), rtol=1e-4, atol=1e-5)
