"""`quantize`: files, resumption, export, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import annealnet as an
from annealnet.compression.rounding import AnnealedRounding, Annealing, GptqRounding, NearestRounding
from annealnet.compression.rounding.grids import dequantize
from annealnet.exporting import onnx_session

LAYOUTS = [(None, True), (8, True), (None, False), (7, False)]


class Small(nn.Module):
    """Convolutions, plain and depthwise, a batch norm, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.last = nn.Linear(8 * 16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        return self.last(torch.relu(self.deep(x)).flatten(1))


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = Small().eval()
    net.norm.running_mean.uniform_(-0.2, 0.2)
    net.norm.running_var.uniform_(0.5, 2.0)
    return net


def samples(count: int = 64) -> torch.Tensor:
    return torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(("group", "symmetric"), LAYOUTS)
@pytest.mark.parametrize("bits", [1, 3, 8])
def test_files_and_onnx_give_the_same_network(tmp_path, group, symmetric, bits):
    net, x = network(), samples()
    small = an.quantize(net, [x], bits, rounding=GptqRounding(group, symmetric), group=group, symmetric=symmetric)
    small.save(tmp_path / "out")
    written = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert written == small.report.small.bytes
    again = an.load(tmp_path / "out", network(1))
    assert torch.equal(again(x), small.model(x))
    path = small.export_onnx(tmp_path / "net.onnx")
    (answer,) = onnx_session(path).run(None, {"input": x.numpy()})
    np.testing.assert_allclose(answer, small.model(x).detach(), atol=1e-3)
    for name, grid in small.grids.items():
        assert torch.equal(small.model.get_submodule(name).weight, dequantize(grid))
        assert len(torch.unique(grid.codes)) <= 2**bits


def test_annealed_answers_are_closer_than_nearest_ones():
    net, x = network(), samples(256)
    annealed = an.quantize(net, [x], 2)
    nearest = an.quantize(net, [x], 2, rounding=NearestRounding())
    assert annealed.report.small.divergence < nearest.report.small.divergence
    certificate = annealed.report.certificate
    assert 0 < certificate.lower_bound <= certificate.energy


def test_widths_by_name_and_seeds_repeat():
    net, x = network(), samples()
    first, second = (an.quantize(net, [x], {"first": 4, "last": 3}, seed=1) for _ in range(2))
    assert first.plan.bits == {"first": 4, "deep": 8, "last": 3}
    assert torch.equal(first.model(x), second.model(x))


def test_an_interrupted_run_goes_on_at_the_next_layer(tmp_path, monkeypatch):
    net, x = network(), samples()
    whole = an.quantize(net, [x], 3)
    seen: list[str] = []

    def stop_at_last(text: str) -> None:
        seen.append(text)
        if text == "deep":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        an.quantize(net, [x], 3, checkpoint=tmp_path / "kept", progress=stop_at_last)
    assert len(list((tmp_path / "kept").iterdir())) == 2

    calls = []

    rounded = AnnealedRounding.__call__

    def counted(self, weight, bits, gram=None):
        calls.append(weight.shape)
        return rounded(self, weight, bits, gram)

    monkeypatch.setattr(AnnealedRounding, "__call__", counted)
    resumed = an.quantize(net, [x], 3, checkpoint=tmp_path / "kept")
    assert calls == [(5, 128)]
    assert torch.equal(resumed.model(x), whole.model(x))
    assert resumed.report.certificate.energy == pytest.approx(whole.report.certificate.energy)
    other = an.quantize(net, [x], 4, checkpoint=tmp_path / "kept")  # another run takes nothing
    assert other.plan.bits["last"] == 4
    for path in (tmp_path / "kept").iterdir():
        path.write_bytes(path.read_bytes()[:50])  # cut off
    assert torch.equal(an.quantize(net, [x], 4, checkpoint=tmp_path / "kept").model(x), other.model(x))


def test_a_checkpoint_is_not_taken_by_a_network_of_other_operations(tmp_path):
    """The same weights with Tanh took ReLU's layers."""
    torch.manual_seed(0)
    layers = [nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3)]
    relu, tanh = nn.Sequential(*layers), nn.Sequential(layers[0], nn.Tanh(), layers[2])
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    alone = an.quantize(tanh, [x], 3)
    an.quantize(relu, [x], 3, checkpoint=tmp_path)
    assert torch.equal(an.quantize(tanh, [x], 3, checkpoint=tmp_path).model(x), alone.model(x))


def test_the_certificate_names_the_rounding_that_ran():
    net, x = network(), samples(16)
    for rounding in (NearestRounding(), GptqRounding(), AnnealedRounding(effort=Annealing(fields=0, sweeps=2), rounds=0)):
        small = an.quantize(net, [x], 3, rounding=rounding)
        assert small.report.certificate.sampler == type(rounding).__name__
    torch_rows = AnnealedRounding(effort=Annealing(fields=0, sweeps=2, pairs=0), rounds=0, device="cpu")
    assert an.quantize(net, [x], 3, rounding=torch_rows).report.certificate.sampler == "AnnealedRounding on cpu"


def test_a_file_as_checkpoint_is_refused_before_work(tmp_path):
    (tmp_path / "kept").write_text("")
    with pytest.raises(ValueError, match=r"checkpoint=.*kept.*folder"):
        an.quantize(network(), [samples(8)], 3, checkpoint=tmp_path / "kept")


def test_constant_dead_and_single_samples():
    net, x = network(), samples()
    with torch.no_grad():
        net.first.weight[2] = 0
        net.first.bias[2] = -1.0  # never passes the rectifier
        net.last.weight[1] = 0
    small = an.quantize(net, [x], 3)
    assert torch.isfinite(small.model(x)).all()
    assert not small.model.last.weight[1].any()
    one = an.quantize(net, [x[:1]], 4)  # a single sample: ridge keeps the rest of every weight
    assert float((one.model(x[:1]) - net(x[:1])).detach().abs().max()) < 0.2
    assert torch.isfinite(one.model(x)).all()
    constant = an.quantize(net, [torch.ones(16, 1, 4, 4)], 4)
    assert torch.isfinite(constant.model(x)).all()


class Words(nn.Module):
    """An embedding, and linear layers on its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 12)
        self.hidden = nn.Linear(12, 16)
        self.last = nn.Linear(16, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.hidden(self.embedding(tokens).mean(dim=1))))


def test_embeddings_are_rounded_row_by_row(tmp_path):
    torch.manual_seed(0)
    net = Words().eval()
    tokens = torch.randint(0, 20, (64, 7), generator=torch.Generator().manual_seed(1))
    small = an.quantize(net, [tokens], 3)
    assert set(small.plan.bits) == {"embedding", "hidden", "last"}
    wanted = dequantize(NearestRounding()(net.embedding.weight.detach(), 3))
    assert torch.equal(small.model.embedding.weight, wanted)
    assert len(torch.unique(small.grids["hidden"].codes)) <= 7
    small.save(tmp_path)
    torch.manual_seed(1)
    assert torch.equal(an.load(tmp_path, Words())(tokens), small.model(tokens))


def test_bad_input_is_refused_before_work():
    net, x = network(), samples(8)
    broken = network()
    broken.last.weight.data[0, 0] = torch.nan
    for call, word in (
        (lambda: an.quantize(net, [x], 9), "from 1 to 8"),
        (lambda: an.quantize(net, [x], {"lost": 4}), "lost"),
        (lambda: an.quantize(net, []), "data is empty"),
        (lambda: an.quantize(net, [x * torch.nan]), "NaN"),
        (lambda: an.quantize(broken, [x]), "last.weight"),
        (lambda: an.quantize(net, [torch.zeros(2, 3)]), "do not fit"),
        (lambda: an.quantize(nn.ReLU(), [x]), "no Linear"),
        (lambda: an.quantize(net, [x], 4, group=0), "group=0"),
        (
            lambda: an.quantize(net, [x], 4, group=4, rounding=AnnealedRounding(effort=Annealing(sweeps=0))),
            "give both the same",
        ),
    ):
        with pytest.raises(ValueError, match=word):
            call()


@pytest.mark.parametrize(("group", "symmetric"), LAYOUTS)
def test_biases_beyond_float16_are_kept_and_counted(tmp_path, group, symmetric):
    net, x = network(), samples()
    with torch.no_grad():
        net.last.bias.copy_(torch.tensor([1e6, -3e9, 1e-12, 0.0, 7e4]))
    rounding = NearestRounding(group, symmetric)
    small = an.quantize(net, [x], 4, rounding=rounding, group=group, symmetric=symmetric, checkpoint=tmp_path / "kept")
    assert bool(torch.isfinite(small.model(x)).all())
    torch.testing.assert_close(small.model.last.bias[[0, 1, 4]], net.last.bias[[0, 1, 4]], rtol=2**-10, atol=0)
    folder = small.save(tmp_path / "out")
    assert sum(path.stat().st_size for path in folder.iterdir()) == small.report.small.bytes
    again = an.load(folder, network(1))
    resumed = an.quantize(net, [x], 4, rounding=rounding, group=group, symmetric=symmetric, checkpoint=tmp_path / "kept")
    for name, value in small.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
        assert torch.equal(resumed.model.state_dict()[name], value)
