"""What is found, what is tied, and that everything not understood is pinned with a reason."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from annealnet.architectures import digits_cnn, resnet18, resnet20, vgg16_bn
from annealnet.compression.network.graph import AffineCount, trace
from annealnet.compression.network.surgery import mask, remove
from annealnet.exporting import captured


class Between(nn.Module):
    """conv — an operation — conv: the operation decides whether the channels in the middle may go."""

    def __init__(self, operation, middle: int = 6) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.first, self.second = nn.Conv2d(3, middle, 3, padding=1), nn.Conv2d(middle, 4, 3, padding=1)
        self.operation = operation if isinstance(operation, nn.Module) else None
        self.function = None if isinstance(operation, nn.Module) else operation

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = self.function(x) if self.operation is None else self.operation(x)
        return self.second(x)


class Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(6, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) if x.sum() > 0 else x


IMAGE = torch.zeros(1, 3, 8, 8)


def test_resnet18_has_the_groups_of_the_paper() -> None:
    graph = trace(resnet18(), torch.zeros(1, 3, 64, 64))
    assert (len(graph.groups), graph.num_units, len(graph.layers)) == (12, 2880, 21)
    assert all(norm.folded_into is not None for norm in graph.norms)


def test_macs_are_the_known_ones() -> None:
    assert trace(resnet18(), torch.zeros(1, 3, 224, 224)).macs() == 1_814_073_344
    assert trace(resnet20(), torch.zeros(1, 3, 32, 32)).macs() == 40_551_040


def test_option_a_stream_is_one_group_beside_fixed_channels() -> None:
    graph = trace(resnet20(), torch.zeros(1, 3, 32, 32))
    stream = graph.groups[0]
    assert stream.producers[0] == "conv1"
    assert "layer3.2.conv2" in stream.producers
    assert "linear" in stream.readers
    last = graph.layer("layer3.2.conv2").out_units
    assert (last == -1).sum() == 48  # the padded channels stay
    assert last[24:40].tolist() == graph.layer("conv1").out_units.tolist()
    assert [len(group.units) for group in graph.groups[1:]] == [16] * 3 + [32] * 3 + [64] * 3


def test_layers_come_in_execution_order_with_their_norms() -> None:
    graph = trace(digits_cnn(), torch.zeros(1, 1, 8, 8))
    assert [layer.name for layer in graph.layers][:3] == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    assert graph.layer("layer1.0.conv1").norm == "layer1.0.bn1"
    assert graph.layer("fc").norm is None
    assert graph.layer("fc").stores_bias
    assert not graph.layer("conv1").has_bias
    assert graph.layer("conv1").stores_bias


def test_flatten_repeats_each_unit_over_its_positions() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 64, 2))
    graph = trace(network, IMAGE)
    assert graph.layer("2").in_units.tolist() == np.repeat(graph.layer("0").out_units, 64).tolist()


def test_grouped_convolutions_tie_equal_places() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3, groups=4), nn.Conv2d(12, 2, 1))
    graph = trace(network, IMAGE)
    assert graph.layer("1").in_units.tolist() == [0, 1] * 4
    assert graph.layer("1").out_units.tolist() == [2, 3, 4] * 4


def test_depthwise_convolutions_tie_outputs_to_inputs() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 2, 1))
    graph = trace(network, IMAGE)
    layer = graph.layer("1")
    assert layer.depthwise
    assert layer.out_units.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    small = remove(network, graph, np.array([True, False, True, False])).get_submodule("1")
    assert (small.groups, tuple(small.weight.shape)) == (2, (4, 1, 3, 3))


UNDERSTOOD = {
    "pooling": lambda x: F.avg_pool2d(x, 2),
    "spatial padding": lambda x: F.pad(x, (1, 1, 1, 1)),
    "channel padding": lambda x: F.pad(x, (0, 0, 0, 0, 2, 4)),
    "spatial slice": lambda x: x[:, :, ::2, 1:],
    "ellipsis": lambda x: x[..., ::2],
    "spatial attention": lambda x: x * torch.sigmoid(x.sum((2, 3), keepdim=True)),
    "interpolation from behind": lambda x: F.interpolate(x, size=x.shape[-2:]),
    "interpolation": lambda x: F.interpolate(x, size=x.shape[2:]),
    "there and back": lambda x: x.permute(0, 2, 3, 1).transpose(1, 3).transpose(2, 3),
    "unsqueezed": lambda x: x.mean((2, 3)).unsqueeze(-1).unsqueeze(-1),
    "in place": lambda x: x.add_(1.0).clamp_(-1, 1),
    "doubled": lambda x: torch.cat([x, x * 0], 1),
    "softmax of positions": lambda x: torch.softmax(x, 3),
    "channels as batches": lambda x: torch.matmul(x, x.transpose(2, 3)),
    "slice of channels": lambda x: torch.cat([x[:, :3], x[:, 3:]], 1),
}
WIDTHS = {"channel padding": 12, "doubled": 12}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_understood_operations_leave_channels_removable(name: str) -> None:
    torch.manual_seed(0)
    network = Between(UNDERSTOOD[name])
    network.second = nn.Conv2d(WIDTHS.get(name, 6), 4, 3, padding=1)
    graph = trace(network, IMAGE)
    assert [len(group.units) for group in graph.groups] == [6], graph
    keep = np.array([True, False, True, False, False, True])
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(mask(network, graph, keep)(x), remove(network, graph, keep)(x), atol=1e-5, rtol=0)


NOT_UNDERSTOOD = {
    "constant view": (lambda x: x.view(-1, 6, 8, 8), "view", "fixes dimension 1 to 6"),
    "channel mean": (lambda x: x - x.mean(1, keepdim=True), "mean", "mixes the channels"),
    "softmax": (lambda x: torch.softmax(x, 1), "softmax", "mixes the channels"),
    "constant": (lambda x: x + torch.ones(1, 6, 1, 1), "add", "fixed number of channels"),
    "channel count": (lambda x: x / x.shape[1], "truediv", "number of channels"),
    "shuffle": (
        lambda x: x.view(x.shape[0], 2, 3, 8, 8).transpose(1, 2).reshape(x.shape[0], -1, 8, 8),
        "view",
        "fixes dimension 1 to 2",
    ),
    "products over channels": (
        lambda x: torch.matmul(x.flatten(2).transpose(1, 2), x.flatten(2)).unsqueeze(1).expand(-1, 6, -1, -1)[..., :8, :8],
        "matmul",
        "sums over the channels",
    ),
    "channel count from behind": (lambda x: x * x.shape[-3], "mul", "number of channels"),
    "all sizes": (lambda x: x + torch.zeros(x.shape[1:]), "getitem", "number of channels"),
    "tensor bounds": (lambda x: torch.clamp(x, min=torch.zeros(6, 1, 1)), "clamp", "second tensor"),
    "bare squeeze": (
        lambda x: x.mean((2, 3), keepdim=True).squeeze()[:, :, None, None],
        "squeeze",
        "name the dim",
    ),
    "group norm": (nn.GroupNorm(1, 6), "operation", "normalises over the channels"),
    "layer norm": (nn.LayerNorm([6, 8, 8]), "operation", "LayerNorm is not understood"),
    "local response": (nn.LocalResponseNorm(2), "operation", "LocalResponseNorm is not understood"),
    "channel slopes": (nn.PReLU(6), "operation", "PReLU is not understood"),
    "transposed convolution in groups": (nn.ConvTranspose2d(6, 6, 1, groups=2), "operation", "in groups is not understood"),
    "untraceable": (Untraceable(), "operation", "cannot be traced"),
}


@pytest.mark.parametrize("name", NOT_UNDERSTOOD)
def test_what_is_not_understood_is_pinned_and_named(name: str) -> None:
    operation, place, reason = NOT_UNDERSTOOD[name]
    network = Between(operation)
    graph = trace(network, IMAGE)
    assert graph.num_units == 0
    assert (graph.layer("first").out_units == -1).all()
    found = [pin for pin in graph.pinned if place in pin.name and reason in pin.reason]
    assert found, graph


def test_layers_inside_an_untraceable_module_are_rounded_in_their_order() -> None:
    graph = trace(Between(Untraceable()), IMAGE)
    assert [layer.name for layer in graph.layers] == ["first", "operation.inner", "second"]
    assert graph.num_units == 0
    assert not graph.stays_dense.num_bytes


def test_an_untraceable_network_is_opened_by_hooks() -> None:
    graph = trace(Untraceable(), torch.ones(1, 6, 8, 8))
    assert (graph.way, [layer.name for layer in graph.layers], graph.num_units) == ("hooks", ["inner"], 0)
    assert any("cannot be traced" in pinned.reason for pinned in graph.pinned)


class Decides(nn.Module):
    """Neither way of tracing looks through a forward that decides by a value; export prints the graph so far."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.second(-x if x.sum() > 0 else x)


def test_a_failed_export_prints_nothing(capfd) -> None:
    graph = trace(Decides(), torch.ones(2, 4))
    with pytest.raises(ValueError, match="cannot be exported to ONNX"):
        captured(Decides(), torch.ones(2, 4))
    assert graph.way == "hooks"
    assert capfd.readouterr() == ("", "")


def test_a_split_ties_the_halves() -> None:
    network = Between(lambda x: torch.cat(x.chunk(2, 1), 1))
    graph = trace(network, IMAGE)
    assert graph.layer("first").out_units.tolist() == [0, 1, 2, 0, 1, 2]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.again(torch.relu(self.again(self.first(x)))))


def test_a_layer_called_twice_is_rounded_by_value() -> None:
    graph = trace(Twice(), torch.zeros(1, 4))
    assert [(layer.name, layer.by_value) for layer in graph.layers] == [("first", False), ("again", True), ("head", False)]
    assert graph.num_units == 0
    assert any("used several times" in pin.reason for pin in graph.pinned)


def test_shared_weights_are_one_layer() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    network[2].weight = network[0].weight
    graph = trace(network, torch.zeros(1, 4))
    assert [(layer.name, layer.by_value) for layer in graph.layers] == [("0", True), ("4", False)]


def test_a_sum_in_place_ties_although_its_result_is_not_used() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            y.add_(self.b(x))
            return self.head(y)

    network = InPlace()
    graph = trace(network, IMAGE)
    assert [group.producers for group in graph.groups] == [("a", "b")]
    keep = np.array([True, False, False, True])
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(mask(network, graph, keep)(x), remove(network, graph, keep)(x))


def test_a_layer_with_hooks_stays_dense() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.utils.spectral_norm(nn.Linear(6, 6)), nn.Linear(6, 2))
    graph = trace(network, torch.zeros(1, 4))
    assert [layer.name for layer in graph.layers] == ["0", "3"]
    assert any(pin.name == "2" and "hooks" in pin.reason for pin in graph.pinned)


def test_channels_that_no_layer_reads_stay() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) + self.b(x).sum((1, 2, 3), keepdim=True)

    assert trace(Sum(), IMAGE).num_units == 0


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 4, 8, 8)])
def test_a_wrong_number_of_channels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"samples of shape \(., 8, 8\): layer '0' expects 3 channels"):
        trace(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.zeros(shape))


def test_a_wrong_number_of_features_is_refused() -> None:
    with pytest.raises(ValueError, match="layer '0' expects 5 features"):
        trace(nn.Sequential(nn.Linear(5, 2)), torch.zeros(2, 4))


@pytest.mark.parametrize("example", [torch.zeros(3), torch.zeros(0, 3, 8, 8), None])
def test_what_is_no_batch_is_refused(example: Tensor | None) -> None:
    with pytest.raises(ValueError, match="is not a batch of inputs"):
        trace(nn.Sequential(nn.Linear(3, 2)), example)  # type: ignore[arg-type]


def test_a_preactivation_norm_is_not_folded() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    graph = trace(network, IMAGE)
    assert [norm.folded_into for norm in graph.norms] == [None]
    assert graph.layer("0").norm is None
    assert len(graph.groups) == 1


def test_groups_say_who_computes_and_who_reads() -> None:
    graph = trace(digits_cnn(4), torch.zeros(1, 1, 8, 8))
    text = str(graph.groups[1])
    assert text == (
        "layer1.0.conv1: 4 units, computed by layer1.0.conv1; normalised by layer1.0.bn1; read by layer1.0.conv2"
    )
    assert "left dense" in str(graph)


def test_counts_are_affine_in_removal_bits() -> None:
    graph = trace(vgg16_bn(), torch.zeros(1, 3, 32, 32))
    rng = np.random.default_rng(0)
    removed = rng.random(graph.num_units) < 0.4
    for layer in graph.layers:
        kept_out, kept_in = graph.keep_for(layer, ~removed)
        outputs, inputs = graph.affine_counts()[layer.name]
        assert isinstance(outputs, AffineCount)
        assert (outputs.at(removed), inputs.at(removed)) == (kept_out.sum(), kept_in.sum())
        product = outputs.at(removed) * inputs.at(removed) * layer.kernel_size
        assert graph.weights(layer, ~removed) == product


def test_an_unknown_layer_is_refused() -> None:
    graph = trace(digits_cnn(4), torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="layer='nothing' is not part of this network"):
        graph.keep_for("nothing", np.ones(graph.num_units, dtype=bool))


@pytest.mark.parametrize("wrapped", [False, True])
def test_transposed_convolutions_multiply_what_they_are_given(wrapped: bool) -> None:
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, stride=2)]

    class Asks(nn.Sequential):
        def forward(self, x):
            return super().forward(x) if len(x.shape) == 4 and x.shape[1] == 3 else x

    net = (Asks if wrapped else nn.Sequential)(*layers).eval()
    assert trace(net, torch.randn(2, 3, 8, 8)).macs() == 8 * 8 * (3 * 8 * 9 + 8 * 4 * 4)
