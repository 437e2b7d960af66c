"""Networks put together from drawn pieces: the removed answer as the masked, the written is what was reported."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import annealnet as an
from annealnet.compression.files.loading import load_compressed
from annealnet.compression.files.on_grid import put_on_grid
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.saving import save_compressed
from annealnet.compression.files.sizes import file_bytes
from annealnet.compression.network.graph import NetworkGraph, trace
from annealnet.compression.network.kinds import layer_at, weight_of
from annealnet.compression.network.norms import fold_batch_norms
from annealnet.compression.network.surgery import mask, remove
from annealnet.compression.rounding import NearestRounding

WIDTH, LENGTH, HEAD = 8, 5, 4


# ---- pieces of transformers, (samples, positions, WIDTH) to the same -----------------------------------------


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, 12), nn.Linear(12, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(x)))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(WIDTH, 6), nn.Linear(WIDTH, 6), nn.Linear(6, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.silu(self.gate(x)) * self.up(x))


class Packed(nn.Module):
    """Gate and values in one product, split behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.down = nn.Linear(WIDTH, 12), nn.Linear(6, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.both(x).chunk(2, dim=-1)
        return x + self.down(torch.sigmoid(gate) * up)


class Attention(nn.Module):
    """Heads of their own width, several queries for a key where asked for."""

    def __init__(self, heads: int = 3, keys: int = 3) -> None:
        super().__init__()
        self.groups = heads // keys
        self.q, self.k, self.v = (nn.Linear(WIDTH, count * HEAD) for count in (heads, keys, keys))
        self.o = nn.Linear(heads * HEAD, WIDTH)

    def heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], -1, HEAD).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(self.q(x)), self.heads(self.k(x)), self.heads(self.v(x))
        k, v = (t[:, :, None].expand(-1, -1, self.groups, -1, -1).reshape(len(t), -1, *t.shape[2:]) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.o(y.transpose(1, 2).reshape(*x.shape[:2], -1))


class Counted(Attention):
    """Keeps the number of its heads, and multiplies by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = 3

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x).view(len(x), -1, self.num_heads, HEAD).transpose(1, 2) for part in (self.q, self.k, self.v))
        weights = torch.softmax(q @ k.transpose(2, 3) / HEAD**0.5, dim=-1)
        return x + self.o((weights @ v).transpose(1, 2).reshape(len(x), LENGTH, -1))


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.down = nn.Linear(WIDTH, 5), nn.Linear(WIDTH, 4), nn.Linear(9, WIDTH)
        self.c = nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(torch.cat([F.relu(self.a(x) + self.c(x)), torch.tanh(self.b(x))], dim=-1)) + x


class RmsNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(1 + 0.1 * torch.randn(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


class Mixed(nn.Module):
    """A convolution over positions, channels in front of them for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.mix, self.down = nn.Linear(WIDTH, 6), nn.Conv1d(6, 6, 3, padding=1, groups=6), nn.Linear(6, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.relu(self.mix(self.lift(x).transpose(1, 2))).transpose(1, 2))


class Experts(nn.Module):
    """A stack of matrices, all of them used and weighed."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.stack = nn.Linear(WIDTH, 3), nn.Parameter(torch.randn(3, WIDTH, WIDTH) / WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.einsum("nte,nteo->nto", self.router(x).softmax(-1), torch.einsum("nti,eoi->nteo", x, self.stack))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.steps, self.down = nn.Linear(WIDTH, 6), nn.GRU(6, 5, batch_first=True), nn.Linear(5, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.steps(F.relu(self.up(x)))[0])


class Overwriting(FeedForward):
    """Its sums are taken in place."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(x).relu_()
        y *= 0.5
        return self.down(y).add_(x)


TOKEN_PIECES: dict[str, Callable[[], nn.Module]] = {
    "feed forward": FeedForward, "gated": Gated, "packed": Packed, "attention": Attention,
    "grouped queries": lambda: Attention(4, 2), "counted": Counted, "branches": Branches, "rms norm": RmsNorm,
    "layer norm": lambda: nn.LayerNorm(WIDTH), "mixed": Mixed, "experts": Experts, "recurrent": Recurrent,
    "overwriting": Overwriting,
}  # fmt: skip
HEADS_AND_NEURONS = {"feed forward": 12, "gated": 6, "packed": 6, "attention": 3, "grouped queries": 2, "counted": 3,
                     "branches": 9, "rms norm": 0, "layer norm": 0, "mixed": 6,
                     "experts": 0, "recurrent": 0, "overwriting": 12}  # fmt: skip


class Language(nn.Module):
    def __init__(self, pieces: list[str], tied: bool) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(11, WIDTH), nn.Linear(WIDTH, 11, bias=False)
        self.pieces = nn.ModuleList(TOKEN_PIECES[name]() for name in pieces)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        for piece in self.pieces:
            x = piece(x)
        return self.head(x)


# ---- pieces of convolutional networks, (samples, WIDTH, 6, 6) to the same ------------------------------------


class Excited(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.squeeze, self.excite = (
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.Conv2d(WIDTH, 3, 1),
            nn.Conv2d(3, WIDTH, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))


class Shuffled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(WIDTH, 4 * WIDTH, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pixel_shuffle(self.conv(x), 2), 2)


class Halves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.left, self.right = nn.Conv2d(WIDTH, 10, 1), nn.Conv2d(5, 4, 1), nn.Conv2d(5, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.conv(x).split(5, dim=1)
        return torch.cat([self.left(a), self.right(b)], dim=1)


class Between(nn.Module):
    """Something on other channels, between two convolutions."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Conv2d(WIDTH, 6, 1), inner, nn.Conv2d(6, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.last(F.relu(self.inner(self.first(x))))


IMAGE_PIECES: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH), nn.ReLU()),
    "excited": Excited, "shuffled": Shuffled, "halves": Halves,
    "depthwise": lambda: Between(nn.Conv2d(6, 6, 3, padding=1, groups=6)),
    "grouped": lambda: Between(nn.Conv2d(6, 6, 3, padding=1, groups=2)),
    "turned": lambda: Between(nn.Sequential(nn.ConvTranspose2d(6, 6, 2, 2), nn.AvgPool2d(2))),
    "group norm": lambda: Between(nn.GroupNorm(2, 6)),
    "turned in groups": lambda: Between(nn.Sequential(nn.ConvTranspose2d(6, 6, 2, 2, groups=2), nn.AvgPool2d(2))),
}  # fmt: skip


class Pictures(nn.Module):
    def __init__(self, pieces: list[str]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.pieces = nn.Sequential(*(IMAGE_PIECES[name]() for name in pieces))
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pieces(F.relu(self.stem(x))).mean((2, 3)))


TOKENS = torch.randint(0, 11, (6, LENGTH), generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(6, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def some(groups: tuple[an.compression.network.graph.DependencyGroup, ...], count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    keep = rng.random(count) < 0.5
    for group in groups:
        keep[rng.choice(group.units)] = True
    return keep


def check(network: nn.Module, x: Tensor, seed: int) -> None:
    graph = trace(network, x)
    keep = some(graph.groups, graph.num_units, seed)
    with torch.no_grad():
        wanted, found = mask(network, graph, keep)(x), remove(network, graph, keep)(x)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    check_bytes_of_the_removed(network, x, graph, keep)
    small = an.quantize(network, [x], bits=3, rounding=NearestRounding())
    with tempfile.TemporaryDirectory() as folder:
        written = sum(path.stat().st_size for path in small.save(folder).iterdir())
    assert written == small.report.small.bytes


def check_bytes_of_the_removed(network: nn.Module, x: Tensor, graph: NetworkGraph, keep: np.ndarray) -> None:
    """The files of a network without half of its units are as long as is said beforehand, and give it back."""
    bits = {layer.name: 2 + place % 4 for place, layer in enumerate(graph.layers)}
    plan = CompressionPlan.of(graph, keep, bits)
    small = remove(fold_batch_norms(network, graph), graph, keep).requires_grad_(False)
    grids = {name: NearestRounding()(weight_of(layer_at(small, name)).detach(), width) for name, width in bits.items()}
    with tempfile.TemporaryDirectory() as folder:
        save_compressed(folder, plan, put_on_grid(small, grids), grids)
        written = sum(path.stat().st_size for path in Path(folder).iterdir())
        again = load_compressed(folder, network)
    assert written == file_bytes(graph, network, plan)
    with torch.no_grad():
        assert torch.equal(again(x), small.eval()(x))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(sorted(TOKEN_PIECES)), min_size=1, max_size=4), st.booleans(), st.integers(0, 999))
def test_language_networks(pieces: list[str], tied: bool, seed: int) -> None:
    torch.manual_seed(seed)
    check(Language(pieces, tied).eval(), TOKENS, seed)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(sorted(IMAGE_PIECES)), min_size=1, max_size=4), st.integers(0, 999))
def test_image_networks(pieces: list[str], seed: int) -> None:
    torch.manual_seed(seed)
    check(Pictures(pieces).eval(), IMAGES, seed)


def test_every_piece_gives_the_heads_and_neurons_that_it_has() -> None:
    for name, units in HEADS_AND_NEURONS.items():
        torch.manual_seed(0)
        assert trace(Language([name], False).eval(), TOKENS).num_units == units, name
