"""The residual stream: embeddings, norms, projections and tied heads lose the same channels, exactly."""

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

import annealnet as an
from annealnet.compression.files.on_grid import put_on_grid
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.saving import save_compressed
from annealnet.compression.files.sizes import file_bytes
from annealnet.compression.formulations.data_aware import DataAware
from annealnet.compression.formulations.preparing import prepare
from annealnet.compression.network.answers import check_network
from annealnet.compression.network.calibration import Calibration, read_batches
from annealnet.compression.network.graph import NetworkGraph, trace
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import layer_at, weight_of
from annealnet.compression.network.surgery import mask, remove
from annealnet.compression.rounding import NearestRounding

WIDTH, WORDS = 8, 11


# ---- pieces, (samples, positions, WIDTH) to the same -----------------------------------------------------------


class Rms(nn.Module):
    """Somebody's own, in the precision that it likes."""

    def __init__(self, shifted: bool = False) -> None:
        super().__init__()
        self.gain, self.shifted = nn.Parameter(float(not shifted) + 0.2 * torch.randn(WIDTH)), shifted

    def forward(self, x: Tensor) -> Tensor:
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)
        return ((1 + self.gain) * y if self.shifted else self.gain * y).to(x.dtype)


class FirstChannels(nn.Module):
    """A layer norm over channels that lie in front of the positions."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(WIDTH) + 0.5), nn.Parameter(torch.randn(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        y = centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + 1e-5)
        return self.weight[:, None] * y + self.bias[:, None]


class Turned(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.transpose(1, 2)).transpose(1, 2)


class Block(nn.Module):
    """A feed-forward block behind a norm, beside a gain of its own."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm, self.up, self.down = norm, nn.Linear(WIDTH, 12), nn.Linear(12, WIDTH)
        self.gain = nn.Parameter(torch.rand(WIDTH) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gain * self.down(F.gelu(self.up(self.norm(x))))


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.o, self.norm = nn.Linear(WIDTH, WIDTH, bias=False), nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (part(x).view(b, t, -1, 4).transpose(1, 2) for part in (self.q, self.k, self.v))
        return self.norm(x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, -1)))


PIECES: dict[str, Callable[[], nn.Module]] = {
    "rms": lambda: Block(nn.RMSNorm(WIDTH)), "own rms": lambda: Block(Rms()), "shifted rms": lambda: Block(Rms(True)),
    "layer norm": lambda: Block(nn.LayerNorm(WIDTH)), "no gain": lambda: nn.LayerNorm(WIDTH, elementwise_affine=False),
    "first": lambda: Block(Turned(FirstChannels())), "one group": lambda: Block(Turned(nn.GroupNorm(1, WIDTH))),
    "heads": Heads,
}  # fmt: skip


class Language(nn.Module):
    def __init__(self, pieces: list[str], tied: bool, places: str) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, WORDS, bias=False)
        self.pieces, self.last = nn.ModuleList(PIECES[name]() for name in pieces), nn.RMSNorm(WIDTH)
        self.places = nn.Embedding(5, WIDTH) if places == "table" else nn.Parameter(torch.randn(1, 5, WIDTH))
        self.looked_up = places == "table"
        if tied:
            self.head.weight = self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        places = self.places(torch.arange(5, device=tokens.device)) if self.looked_up else self.places
        x = self.table(tokens) + places
        for piece in self.pieces:
            x = piece(x)
        return self.head(self.last(x))


TOKENS = torch.randint(0, WORDS, (6, 5), generator=torch.Generator().manual_seed(0))


def some(graph: NetworkGraph, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    keep = rng.random(graph.num_units) < 0.5
    for group in graph.groups:
        keep[rng.choice(group.units)] = True
    return keep


def agree(network: nn.Module, graph: NetworkGraph, keep: np.ndarray, x: Inputs | Tensor) -> nn.Module:
    small, inputs = remove(network, graph, keep), Inputs.of(x)
    with torch.no_grad():
        wanted, found = (inputs.clone().answer(net) for net in (mask(network, graph, keep), small))
        assert not torch.equal(wanted, inputs.clone().answer(network))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    return small


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=3), st.booleans(), st.sampled_from(["table", "plain"]),
    st.integers(0, 999),
)  # fmt: skip
def test_language_networks(pieces: list[str], tied: bool, places: str, seed: int) -> None:
    torch.manual_seed(seed)
    network = Language(pieces, tied, places).eval()
    problem = prepare(network, Calibration.of(TOKENS), an.Budget(size_ratio=1.01), prune=("heads", "neurons", "stream"))
    graph = problem.graph
    (stream,) = [group for group in graph.groups if group.what == "stream"]
    assert (graph.way, len(stream.units)) == ("stream", WIDTH)
    keep = some(graph, seed)
    small = agree(network, graph, keep, TOKENS)
    left = int(keep[list(stream.units)].sum())
    assert (small.table.embedding_dim, small.head.in_features, small.last.normalized_shape) == (left, left, (left,))
    assert (small.head.weight is small.table.weight) == tied
    bits = {name: widths[0] for name, widths in problem.space.widths.items()}
    written = file_bytes(graph, network, CompressionPlan.of(graph, keep, bits))
    assert 0 <= problem.space.num_bytes(keep, bits) - written <= 16


@pytest.mark.parametrize("tied", [False, True])
def test_it_is_off_unless_asked_for(tied: bool) -> None:
    torch.manual_seed(0)
    network = Language(["rms", "heads"], tied, "plain").eval()
    graph, streaming = trace(network, TOKENS), trace(network, TOKENS, stream=True)
    assert not any(group.what == "stream" for group in graph.groups)
    assert not graph.beside
    assert all(norm.over is None for norm in graph.norms)
    assert streaming.num_units == graph.num_units + WIDTH
    assert [layer.name for layer in streaming.layers] == [layer.name for layer in graph.layers]
    assert prepare(network, Calibration.of(TOKENS), an.Budget(size_ratio=2)).graph.way == graph.way


class Inline(nn.Module):
    """Moments taken in the open: there is no module that could be narrowed, or shown the kept channels alone."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, WORDS)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        return self.head(x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def test_moments_outside_a_norm_stay() -> None:
    graph = trace(Inline().eval(), TOKENS, stream=True)
    assert graph.num_units == 0


def test_channels_of_which_moments_are_taken_in_part_stay() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / (x[..., :4].pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()

    network = nn.Sequential(nn.Embedding(WORDS, WIDTH), Half(), nn.Linear(WIDTH, 3)).eval()
    assert (trace(network, TOKENS, stream=True).layer("0").in_units == [-1, -1, -1, -1, 0, 1, 2, 3]).all()


@pytest.mark.parametrize("tied", [False, True])
def test_compressed_written_and_read_back(tied: bool, tmp_path: Path) -> None:
    def fresh(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return Language(["rms", "heads"], tied, "plain").eval()

    data = [torch.randint(0, WORDS, (64, 5), generator=torch.Generator().manual_seed(1))]
    small = an.compress(
        fresh(0), data, an.Budget(macs_ratio=2), prune=("stream",), formulation=DataAware(reads=8, sweeps=100), candidates=1
    )
    assert small.model.table.embedding_dim < WIDTH
    small.save(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == small.report.small.bytes
    again = an.load(tmp_path, fresh(1))
    with torch.no_grad():
        torch.testing.assert_close(again(TOKENS), small.model(TOKENS), atol=1e-5, rtol=0)


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prune=\('streams',\).*'stream'"):
        prepare(Language(["rms"], False, "table"), Calibration.of(TOKENS), an.Budget(size_ratio=2), prune=("streams",))


# ---- networks of the transformers library ----------------------------------------------------------------------

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def _hf(name: str) -> tuple[nn.Module, dict[str, Tensor], list[int]]:
    transformers = pytest.importorskip("transformers")
    text = {"input_ids": torch.randint(1, 30, (4, 7)), "attention_mask": torch.ones(4, 7, dtype=torch.long)}
    pictures = {"pixel_values": torch.randn(4, 3, 32, 32)}
    words = {"vocab_size": 30, "max_position_embeddings": 16}
    config: object
    if name == "llama":
        config = transformers.LlamaConfig(num_key_value_heads=2, tie_word_embeddings=True, **words, **SMALL)
        return transformers.LlamaForCausalLM(config), text, [16]
    if name == "gemma":
        config = transformers.GemmaConfig(head_dim=8, num_key_value_heads=1, **words, **SMALL)
        return transformers.GemmaForCausalLM(config), text, [16]
    if name == "bert":
        return transformers.BertForSequenceClassification(transformers.BertConfig(**words, **SMALL)), text, [16]
    if name == "vit":
        config = transformers.ViTConfig(image_size=32, patch_size=8, **SMALL)
        return transformers.ViTForImageClassification(config), pictures, [16]
    config = transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 2], num_stages=2)
    return transformers.ConvNextForImageClassification(config), pictures, [8, 16]


@pytest.mark.parametrize("name", ["llama", "gemma", "bert", "vit", "convnext"])
def test_of_the_transformers_library(name: str) -> None:
    torch.manual_seed(0)
    model, batch, widths = _hf(name)
    for parameter in model.eval().parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    x = read_batches([batch], model=model).x
    dense = check_network(model, x)
    graph = trace(dense, x[:2], stream=True)
    assert [len(group.units) for group in graph.groups if group.what == "stream"] == widths
    assert graph.num_units == trace(dense, x[:2]).num_units + sum(widths)  # heads and neurons are there as before
    for seed in range(3):
        agree(dense, graph, some(graph, seed), x)


def test_numbers_that_two_layers_could_be_counted_by_are_read_back(tmp_path: Path) -> None:
    """GPT-2's ``split_size`` is that of its heads, and as large as its stream."""

    transformers = pytest.importorskip("transformers", reason="needs the extra hf")

    def fresh() -> nn.Module:
        torch.manual_seed(0)
        config = transformers.GPT2Config(vocab_size=30, n_embd=16, n_layer=1, n_head=4, n_positions=16)
        return transformers.GPT2LMHeadModel(config).eval()

    batch = {"input_ids": torch.randint(0, 30, (8, 10))}
    x = read_batches([batch], model=fresh()).x
    dense = check_network(fresh(), x)
    graph = trace(dense, x[:2], stream=True)
    keep = np.ones(graph.num_units, dtype=bool)
    for group in graph.groups:
        keep[list(group.units)[: len(group.units) // (4 if group.what == "heads" else 2)]] = False
    plan = CompressionPlan.of(graph, keep, {layer.name: 8 for layer in graph.layers})
    small = remove(dense, graph, keep)
    grids = {place: NearestRounding()(weight_of(layer_at(small, place)), 8) for place in plan.bits}
    small = put_on_grid(small, grids)
    again = an.load(save_compressed(tmp_path / "out", plan, small, grids), fresh())
    with torch.no_grad():
        torch.testing.assert_close(x.answer(again), x.answer(small), rtol=0, atol=1e-6)


def test_where_no_stream_can_go_the_report_says_so() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    x = Calibration.of(torch.randn(8, 6))
    for prune, said in ((("neurons", "stream"), True), (("neurons",), False)):
        problem = prepare(net, x, an.Budget(size_ratio=2), prune=prune)
        assert any(pinned.name == "stream" for pinned in problem.graph.pinned) is said


# ---- norms that are no module ----------------------------------------------------------------------------------


class InBlock(nn.Module):
    """A block that normalises in its own forward: what it reads, or its hidden neurons."""

    def __init__(self, centred: bool, hidden: bool) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(12 if hidden else WIDTH) + 0.5)
        self.up, self.down, self.centred, self.hidden = nn.Linear(WIDTH, 12), nn.Linear(12, WIDTH), centred, hidden

    def normed(self, x: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True) if self.centred else x
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain

    def forward(self, x: Tensor) -> Tensor:
        if self.hidden:
            return x + self.down(self.normed(F.relu(self.up(x))))
        return x + self.down(F.relu(self.up(self.normed(x))))


class Words(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.table, self.block, self.head = nn.Embedding(WORDS, WIDTH), block, nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.table(x)))


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("hidden", [False, True])
def test_a_norm_written_in_another_forward_is_named(centred: bool, hidden: bool) -> None:
    torch.manual_seed(0)
    net, x = Words(InBlock(centred, hidden)).eval(), torch.randint(0, WORDS, (4, 6))
    graph = trace(net, x, stream=True)
    said = "a norm over the channels: they could go where a module of its own computes it, and prune names 'stream'"
    assert [one.name for one in graph.pinned if said in one.reason] == ["mean in block"]
    assert [(group.what, len(group.units)) for group in graph.groups] == [("stream", WIDTH) if hidden else ("neurons", 12)]
    keep = np.arange(graph.num_units) % 3 > 0
    with torch.no_grad():
        torch.testing.assert_close(remove(net, graph, keep)(x), mask(net, graph, keep)(x), rtol=1e-4, atol=1e-5)
    own = nn.Sequential(nn.Linear(WIDTH, 12), nn.RMSNorm(12), nn.Linear(12, WIDTH))
    assert len(trace(Words(own).eval(), x, stream=True).groups) == 3  # the mend


def test_a_mean_that_is_no_norm_is_not_called_one() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(WIDTH, 12), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.up(x)
            return self.down(x * x.mean(-1, keepdim=True).sigmoid().pow(2))

    graph = trace(Gated().eval(), torch.randn(4, WIDTH))
    assert [one.reason for one in graph.pinned if one.name.startswith("mean")] == ["it mixes the channels"]


@pytest.mark.parametrize(
    ("normed", "place"),
    [
        (lambda x: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5), "mean"),
        (lambda x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt(), "mean"),
        (lambda x: x / x.std(-1, keepdim=True), "std"),
        (lambda x: x * x.square().mean(-1, keepdim=True).add(1e-5).pow(-0.5), "mean"),
    ],
)
def test_norms_by_hand_are_called_so(normed: Callable[[Tensor], Tensor], place: str) -> None:
    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(WIDTH, 12), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.down(normed(self.up(x)))

    graph = trace(Between().eval(), torch.randn(4, WIDTH))
    assert [one.name for one in graph.pinned if "it is a norm over the channels" in one.reason] == [place]
