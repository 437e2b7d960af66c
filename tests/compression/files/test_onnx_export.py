"""Every export runs in ONNX Runtime and answers what the torch model answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import annealnet as an
from annealnet.architectures import digits_cnn
from annealnet.compression.files.loading import load_compressed
from annealnet.compression.files.on_grid import put_on_grid
from annealnet.compression.files.onnx_activations import quantize_activations
from annealnet.compression.files.onnx_export import export_onnx, onnx_latency
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.saving import save_compressed
from annealnet.compression.network.graph import trace
from annealnet.compression.network.norms import fold_batch_norms
from annealnet.compression.network.surgery import remove
from annealnet.compression.rounding import NearestRounding
from annealnet.compression.rounding.grids import Grid, Quantized, dequantize
from annealnet.exporting import export_module_onnx, onnx_session

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


class Mixed(nn.Module):
    """Depthwise and grouped convolutions, concatenation, a norm that stays, a linear layer on tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 12, 3, padding=1, groups=6)
        self.grouped, self.norm = nn.Conv2d(18, 8, 3, groups=2, bias=False), nn.BatchNorm2d(18)
        self.mix, self.head = nn.Linear(8, 5, bias=False), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = self.grouped(self.norm(torch.cat([x, F.relu(self.deep(x))], 1)))
        return self.head(F.gelu(self.mix(x.flatten(2).transpose(1, 2)))).mean(1)


class Signal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv1d(2, 6, 5), nn.Conv1d(6, 6, 3), nn.Linear(36, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(F.relu(self.first(x)))).view(x.size(0), -1))


def compressed(dense: nn.Module, example: Tensor, widths: list[int]) -> tuple[nn.Module, dict[str, Quantized]]:
    graph = trace(dense, example)
    rng = np.random.default_rng(0)
    keep = rng.random(graph.num_units) < 0.7
    for group in graph.groups:
        keep[group.units[0]] = True
    small = remove(fold_batch_norms(dense.eval(), graph), graph, keep)
    grids = {}
    for i, layer in enumerate(graph.layers):
        weight = small.get_submodule(layer.name).weight
        grids[layer.name] = NearestRounding(candidates=3)(weight, widths[i % len(widths)], None)
    return put_on_grid(small, grids), grids


NETWORKS = {
    "residual": (lambda: digits_cnn(8), (1, 8, 8), [8, 4, 3, 2]),
    "mixed": (Mixed, (3, 6, 6), [4, 8, 5, 3]),
    "signal": (Signal, (2, 12), [2, 8, 4]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_runtime_gives_the_same_answers(name: str, tmp_path: Path) -> None:
    factory, shape, widths = NETWORKS[name]
    torch.manual_seed(0)
    small, grids = compressed(factory(), torch.zeros(1, *shape), widths)
    path = export_onnx(small, grids, tmp_path / "small.onnx", torch.zeros(1, *shape))
    session = onnx_session(path)
    for batch in (1, 5):
        x = torch.randn(batch, *shape)
        (found,) = session.run(None, {"input": x.numpy()})
        np.testing.assert_allclose(found, small(x).detach().numpy(), atol=1e-3)
    assert_codes_are_stored(onnx.load(path), grids)


def assert_codes_are_stored(model, grids: dict[str, Quantized]) -> None:  # type: ignore[no-untyped-def]
    """No layer's weights are left in float; up to 4 bits they are packed, and the values are the grid's."""
    integers = [t for t in model.graph.initializer if t.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.INT4)]
    assert len(integers) == len(grids)
    assert sum(node.op_type == "DequantizeLinear" for node in model.graph.node) == len(grids)
    for grid in grids.values():
        wanted = onnx.TensorProto.INT4 if grid.bits <= 4 else onnx.TensorProto.INT8
        stored = [onnx.numpy_helper.to_array(t).astype(np.int8) for t in integers if t.data_type == wanted]
        codes = grid.codes.numpy()
        assert any(np.array_equal(found, codes) or np.array_equal(found.T, codes) for found in stored)
    text = onnx.printer.to_text(model)
    assert ".py" not in text  # no source paths
    assert "metadata_props" not in text


def test_layers_with_equal_weights_share_their_codes(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        network[2].weight.copy_(network[0].weight)
    grids = {name: NearestRounding()(network.get_submodule(name).weight, 3, None) for name in ("0", "2")}
    put_on_grid(network, grids)
    path = export_onnx(network, grids, tmp_path / "net.onnx", torch.zeros(1, 4))
    x = torch.randn(3, 4)
    (found,) = onnx_session(path).run(None, {"input": x.numpy()})
    np.testing.assert_allclose(found, network(x).detach().numpy(), atol=1e-5)


def test_integer_activations_stay_close_and_reach_integer_kernels(tmp_path: Path) -> None:
    torch.manual_seed(1)
    small, grids = compressed(digits_cnn(8), torch.zeros(1, 1, 8, 8), [4, 7])
    source = export_onnx(small, grids, tmp_path / "small.onnx", torch.zeros(1, 1, 8, 8))
    x = torch.randn(64, 1, 8, 8)
    target = quantize_activations(source, tmp_path / "integer.onnx", [x[:32].numpy(), x[32:].numpy()])
    (found,) = onnx_session(target).run(None, {"input": x.numpy()})
    expected = small(x).detach().numpy()
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    (exact,) = onnx_session(source).run(None, {"input": x.numpy()})
    assert np.abs(exact - expected).max() < 1e-5
    assert not np.array_equal(found, exact)
    rounded = sum(node.op_type == "QuantizeLinear" for node in onnx.load(target).graph.node)
    assert rounded == 9  # the input, six convolutions and two sums
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(str(target), options)
    kernels = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kernels.count("QLinearConv") == 6
    assert "Conv" not in kernels
    with pytest.raises(ValueError, match="batches is empty"):
        quantize_activations(source, tmp_path / "none.onnx", [])


def test_dense_export_and_latency(tmp_path: Path) -> None:
    network = digits_cnn(4).eval()
    path = export_module_onnx(network, torch.zeros(1, 1, 8, 8), tmp_path / "deep" / "dense.onnx")
    x = torch.randn(3, 1, 8, 8)
    (found,) = onnx_session(path).run(None, {"input": x.numpy()})
    np.testing.assert_allclose(found, network(x).detach().numpy(), atol=1e-5)
    latency = onnx_latency(path, batch=2, repeats=5)
    assert 0 < latency.low <= latency.median <= latency.high
    with pytest.raises(ValueError, match="batch=0"):
        onnx_latency(path, batch=0)


def test_a_model_off_its_grid_is_refused(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(4, 3))
    grid = NearestRounding()(network[0].weight, 3, None)
    with pytest.raises(ValueError, match="call put_on_grid first"):
        export_onnx(network, {"0": grid}, tmp_path / "net.onnx", torch.zeros(1, 4))
    assert not list(tmp_path.iterdir())


def test_a_fixed_batch_is_refused(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum() if x.sum() > 0 else x

    with pytest.raises(ValueError, match="cannot be exported to ONNX"):
        export_module_onnx(Fixed(), torch.zeros(1, 4), tmp_path / "net.onnx")


@pytest.mark.parametrize(("group", "symmetric"), [(None, True), (4, True), (None, False), (4, False)])
def test_the_numbers_in_the_model_are_those_of_the_file_bit_for_bit(
    tmp_path: Path, group: int | None, symmetric: bool
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    with torch.no_grad():
        net[0].weight.mul_(10.0 ** torch.linspace(-12, 9, 6)[:, None])
        net[0].bias.copy_(10.0 ** torch.linspace(9, -12, 6))
        net[2].bias.copy_(torch.tensor([1e6, -1e9, 1e-12]))
    graph = trace(net, torch.zeros(1, 5))
    plan = CompressionPlan.of(graph, np.ones(6, dtype=bool), {"0": 4, "2": 8}, grid=Grid(8, group, symmetric))
    grids = {
        name: NearestRounding(group, symmetric)(net.get_submodule(name).weight, bits) for name, bits in plan.bits.items()
    }
    put_on_grid(net, grids)
    again = load_compressed(save_compressed(tmp_path / "out", plan, net, grids), net)
    model = onnx.load(str(export_onnx(net, grids, tmp_path / "net.onnx", torch.zeros(1, 5))))
    found = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name, grid in grids.items():
        assert torch.equal(again.get_submodule(name).weight, dequantize(grid))
        assert np.array_equal(found[f"{name}.weight.scale"], grid.scale.numpy().reshape(-1))
        assert np.array_equal(found[f"{name}.bias"], again.get_submodule(name).bias.detach().numpy())
        assert np.isfinite(found[f"{name}.bias"]).all()


@pytest.mark.parametrize("made", [nn.LSTM, nn.GRU])
def test_recurrent_layers(made: type[nn.Module], tmp_path: Path) -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = made(8, 6, batch_first=True, bidirectional=True), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(x)[0])

    torch.manual_seed(0)
    x = torch.randn(12, 5, 8)
    small = an.quantize(Tagger().eval(), [x], 4)
    (answer,) = onnx_session(small.export_onnx(tmp_path / "net.onnx")).run(None, {"input": x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(answer, small.model(x).numpy(), atol=1e-4)


def test_a_batch_that_the_forward_fixes_without_a_word_is_refused(tmp_path: Path) -> None:
    class Biased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 3)
            self.register_buffer("bias", torch.zeros(1, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) + self.bias.repeat(int(x.shape[0]), 1)

    with pytest.raises(ValueError, match="dynamic batch"):
        export_module_onnx(Biased().eval(), torch.zeros(2, 8), tmp_path / "net.onnx")
