"""The network without channels computes what the network that ignores them computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from annealnet.architectures import digits_cnn, resnet18, resnet20, vgg
from annealnet.compression.network.graph import NetworkGraph, trace
from annealnet.compression.network.norms import fold_batch_norms
from annealnet.compression.network.surgery import mask, remove


def conv(inputs: int, outputs: int, size: int = 3, **options: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False, **options),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, outputs: int, groups: int = 1) -> None:
        super().__init__()
        self.reduce, self.mix = conv(inputs, width, 1), conv(width, width, 3, groups=groups)
        self.expand, self.norm = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.expand(self.mix(self.reduce(x)))) + self.shortcut(x))


class Dense(nn.Module):
    """Pre-activation layers on everything before them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(6 + 4 * i) for i in range(4))
        self.convs = nn.ModuleList(nn.Conv2d(6 + 4 * i, 4, 3, padding=1, bias=False) for i in range(3))
        self.head = nn.Linear(18, 5)

    def forward(self, x: Tensor) -> Tensor:
        found = [self.stem(x)]
        for norm, layer in zip(self.norms, self.convs, strict=False):
            found.append(layer(F.relu(norm(torch.cat(found, 1)))))
        return self.head(F.relu(self.norms[3](torch.cat(found, dim=1))).mean((2, 3)))


class Inverted(nn.Module):
    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        wide = channels * factor
        self.body = nn.Sequential(conv(channels, wide, 1), conv(wide, wide, 3, groups=wide), nn.Conv2d(wide, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Squeeze(nn.Module):
    """Squeeze and excitation, sizes written as most code does."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(channels, 3), nn.ReLU(), nn.Linear(3, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        y = F.adaptive_avg_pool2d(x, 1).view(b, c)
        return x * self.fc(y).view(b, c, 1, 1).expand_as(x)


class Flat(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.features, self.how = nn.Sequential(conv(3, 5), nn.MaxPool2d(2), conv(5, 7), nn.MaxPool2d(2)), how
        self.head = nn.Sequential(nn.Linear(28, 9), nn.ReLU(), nn.Linear(9, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        if self.how == "view":
            x = x.view(x.size(0), -1)
        elif self.how == "reshape":
            x = x.reshape(x.shape[0], -1)
        elif self.how == "function":
            x = torch.flatten(x, 1)
        else:
            x = x.flatten(start_dim=1)
        return self.head(x)


class Signal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(2, 6, 5), nn.BatchNorm1d(6), nn.GELU(), nn.Conv1d(6, 8, 3, groups=2))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.net(x)
        return self.head(x.permute(0, 2, 1)).mean(dim=1) + self.head.bias.sum() * 0


class Tokens(nn.Module):
    """Linear layers on (samples, tokens, features), features moved behind by permutation."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 6, 4, stride=4)
        self.up, self.down = nn.Linear(6, 12), nn.Linear(12, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.down(F.gelu(self.up(x)))
        return self.head(x.mean(dim=1))


def mobile() -> nn.Module:
    return nn.Sequential(
        conv(3, 8),
        conv(8, 16, groups=8),
        conv(16, 8, 1),
        Inverted(8, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def resnext() -> nn.Module:
    return nn.Sequential(
        conv(3, 8),
        Bottleneck(8, 12, 16, groups=4),
        Bottleneck(16, 12, 16, groups=3),
        nn.AvgPool2d(8),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def bottleneck() -> nn.Module:
    return nn.Sequential(conv(3, 6), Bottleneck(6, 4, 10), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(10, 3))


def stack() -> nn.Module:
    layers = nn.Linear(5, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2)
    return nn.Sequential(*layers)


IMAGE = torch.Size([2, 3, 8, 8])
NETWORKS = {
    "plain": (lambda: vgg((6, 0, 8, 9), 4, hidden=(7,)), IMAGE),
    "basic residual": (digits_cnn, torch.Size([2, 1, 8, 8])),
    "option A": (resnet20, torch.Size([2, 3, 16, 16])),
    "projection": (lambda: resnet18(5), torch.Size([2, 3, 32, 32])),
    "bottleneck": (bottleneck, IMAGE),
    "concatenation": (Dense, IMAGE),
    "depthwise": (mobile, IMAGE),
    "grouped": (resnext, IMAGE),
    "squeeze and excitation": (lambda: nn.Sequential(conv(3, 6), Squeeze(6), nn.Conv2d(6, 2, 1)), IMAGE),
    "linear": (stack, torch.Size([3, 5])),
    "view": (lambda: Flat("view"), IMAGE),
    "reshape": (lambda: Flat("reshape"), IMAGE),
    "flatten": (lambda: Flat("function"), IMAGE),
    "method flatten": (lambda: Flat("method"), IMAGE),
    "one dimension": (Signal, torch.Size([2, 2, 16])),
    "tokens": (Tokens, IMAGE),
}


def lived_in(network: nn.Module, seed: int) -> nn.Module:
    """Batch norms as after training, so that a channel that is wrongly kept or dropped shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                for tensor in (module.weight, module.bias, module.running_mean):
                    tensor.copy_(torch.randn(tensor.shape, generator=generator))
                module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return network.eval()


def some_units(graph: NetworkGraph, share: float, rng: np.random.Generator) -> np.ndarray:
    keep = rng.random(graph.num_units) > share
    for group in graph.groups:
        keep[rng.choice(group.units)] = True
    return keep


def assert_same_function(network: nn.Module, graph: NetworkGraph, keep: np.ndarray, x: Tensor) -> nn.Module:
    small = remove(network, graph, keep)
    with torch.no_grad():
        expected, found = mask(network, graph, keep)(x), small(x)
    scale = expected.abs().max().clamp_min(1.0)
    torch.testing.assert_close(found / scale, expected / scale, atol=1e-5, rtol=0)
    return small


@pytest.mark.parametrize("name", NETWORKS)
def test_removed_channels_compute_what_masked_channels_compute(name: str) -> None:
    factory, shape = NETWORKS[name]
    torch.manual_seed(0)
    network = lived_in(factory(), 1)
    graph = trace(network, torch.zeros(shape))
    assert graph.num_units > 0
    rng = np.random.default_rng(3)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    for share in (0.3, 0.7, 1.0):
        keep = some_units(graph, share, rng)
        assert not keep.all()
        small = assert_same_function(network, graph, keep, x)
        assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in network.parameters())
        assert sum(graph.weights(layer, keep) for layer in graph.layers) == sum(
            small.get_submodule(layer.name).weight.numel() for layer in graph.layers
        )
        folded = fold_batch_norms(network, graph)
        assert_same_function(folded, graph, keep, x)
        with torch.no_grad():
            a, b = remove(folded, graph, keep)(x), small(x)
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_removed_unit_matters(name: str) -> None:
    """Masking changes the answers, so that the equality above says something."""
    factory, shape = NETWORKS[name]
    torch.manual_seed(0)
    network = lived_in(factory(), 1)
    graph = trace(network, torch.zeros(shape))
    keep = some_units(graph, 0.7, np.random.default_rng(3))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert not torch.allclose(mask(network, graph, keep)(x), network(x), atol=1e-3)
        torch.testing.assert_close(remove(network, graph, np.ones(graph.num_units, dtype=bool))(x), network(x))


class Random(nn.Module):
    """A network drawn from all the ways channels are combined."""

    def __init__(self, stem: int, blocks: list[tuple[str, int]], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        width, self.kinds = stem, [kind for kind, _ in blocks]
        self.stem, self.blocks = conv(3, stem), nn.ModuleList()
        for kind, size in blocks:
            self.blocks.append(self._block(kind, width, size))
            width = {"plain": size, "concat": width + size, "depthwise": 2 * width, "grouped": 2 * size}.get(kind, width)
        self.head = nn.Linear(width * (4 if blocks[-1][1] % 2 else 1), 3)
        self.flat = bool(blocks[-1][1] % 2)

    def _block(self, kind: str, width: int, size: int) -> nn.Module:
        if kind == "depthwise":
            return conv(width, 2 * width, groups=width)
        if kind == "grouped":
            return nn.Sequential(conv(width, 2 * size, 1), conv(2 * size, 2 * size, groups=2))
        if kind == "residual":
            return nn.Sequential(conv(width, size), nn.Conv2d(size, width, 1))
        if kind == "gate":
            return nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(width, size, 1),
                nn.ReLU(),
                nn.Conv2d(size, width, 1),
                nn.Sigmoid(),
            )
        return conv(width, size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for kind, block in zip(self.kinds, self.blocks, strict=True):
            if kind == "residual":
                x = F.relu(x + block(x))
            elif kind == "gate":
                x = x * block(x)
            elif kind == "concat":
                x = torch.cat([x, block(x)], dim=1)
            else:
                x = block(x)
        x = F.adaptive_avg_pool2d(x, 2 if self.flat else 1)
        return self.head(x.flatten(1))


KINDS = ("plain", "concat", "depthwise", "grouped", "residual", "gate")


@settings(max_examples=40, deadline=None)
@given(
    stem=st.integers(2, 5),
    blocks=st.lists(st.tuples(st.sampled_from(KINDS), st.integers(2, 4)), min_size=1, max_size=5),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**16),
)
def test_random_networks(stem: int, blocks: list[tuple[str, int]], share: float, seed: int) -> None:
    network = lived_in(Random(stem, blocks, seed), seed)
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    graph = trace(network, x)
    assert not [pin for pin in graph.pinned if "output" not in pin.reason]
    keep = some_units(graph, share, np.random.default_rng(seed))
    small = assert_same_function(network, graph, keep, x)
    removed = (~keep).astype(np.int64)
    for layer in graph.layers:
        weight = small.get_submodule(layer.name).weight
        outputs, inputs = graph.affine_counts()[layer.name]
        assert outputs.at(removed) * inputs.at(removed) * layer.kernel_size == weight.numel()


def test_an_emptied_group_is_refused() -> None:
    network = vgg((4, 5), 2)
    graph = trace(network, torch.zeros(1, 3, 8, 8))
    keep = np.ones(graph.num_units, dtype=bool)
    keep[list(graph.groups[1].units)] = False
    with pytest.raises(ValueError, match=f"group {graph.groups[1].name!r}.*at least one"):
        remove(network, graph, keep)


@pytest.mark.parametrize("keep", [np.ones(3, dtype=bool), np.ones(9)])
def test_a_keep_of_wrong_shape_or_dtype_is_refused(keep: np.ndarray) -> None:
    network = vgg((4, 5), 2)
    graph = trace(network, torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"keep has shape .*\(9,\)"):
        mask(network, graph, keep)


def test_the_dense_network_is_left_alone() -> None:
    network = digits_cnn()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    graph = trace(network, torch.zeros(1, 1, 8, 8))
    keep = some_units(graph, 0.5, np.random.default_rng(0))
    remove(network, graph, keep), mask(network, graph, keep), fold_batch_norms(network, graph)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert network.training
