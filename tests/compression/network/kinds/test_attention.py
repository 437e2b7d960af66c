"""nn.MultiheadAttention with fewer heads: what is left computes what PyTorch's own forward does with the others masked."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import annealnet as an
from annealnet.compression.network.graph import NetworkGraph, trace
from annealnet.compression.network.kinds import HeadwiseAttention, with_heads_that_can_go
from annealnet.compression.network.surgery import mask, remove
from annealnet.exporting import onnx_session

WIDTH, HEADS = 16, 4
DECODER_PARTS = ("self_attn", "multihead_attn")


class Attends(nn.Module):
    """Attention to itself, or to the first positions."""

    def __init__(self, to: int | None = None, **settings: bool | int) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, **settings)  # type: ignore[arg-type]
        self.head, self.to = nn.Linear(WIDTH, 3), to

    def forward(self, x: Tensor) -> Tensor:
        seen = x if self.to is None else x[:, : self.to]
        wide = nn.functional.pad(seen, (0, self.layer.vdim - WIDTH)) if self.layer.vdim > WIDTH else seen
        return self.head(x + self.layer(x, seen, wide)[0])


class Shows(Attends):
    """Answers the average of its heads' weights, too."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mixed, weights = self.layer(x, x, x)
        return self.head(mixed), weights


class Encodes(nn.Module):
    def __init__(self, nested: bool = False) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 24, batch_first=True)
        self.inner, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        return self.head(self.inner(x, src_key_padding_mask=padding))


class Decodes(nn.Module):
    """Positions first; causal masks, and attention to what was encoded."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.TransformerDecoder(nn.TransformerDecoderLayer(WIDTH, HEADS, 24), 2)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        causal = nn.Transformer.generate_square_subsequent_mask(4)
        return self.head(self.inner(x[:4], x, tgt_mask=causal, tgt_is_causal=True)).transpose(0, 1)


NETWORKS = {
    "itself": (Attends, ["layer.in_proj"]),
    "others": (lambda: Attends(2), ["layer.in_proj"]),
    "others, with zeros, without biases": (lambda: Attends(2, add_zero_attn=True, bias=False), ["layer.in_proj"]),
    "encoder": (Encodes, [f"inner.layers.{block}.self_attn.in_proj" for block in range(2)]),
    "decoder": (
        Decodes,
        [f"inner.layers.{block}.{part}_attn.in_proj" for block in range(2) for part in ("self", "multihead")],
    ),
}


def made(name: str) -> tuple[nn.Module, list[str], Tensor]:
    torch.manual_seed(0)
    make, layers = NETWORKS[name]
    network = make().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network, layers, torch.randn(3, 6, WIDTH)


def without_heads(graph: NetworkGraph, rng: np.random.Generator) -> np.ndarray:
    keep = np.ones(graph.num_units, dtype=bool)
    for group in graph.groups:
        if group.what == "heads":
            keep[rng.permutation(group.units)[: rng.integers(1, len(group.units))]] = False
    return keep


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_with_all_heads_it_is_pytorchs(data: st.DataObject) -> None:
    flags = {name: data.draw(st.booleans(), name) for name in ("bias", "batch_first", "add_zero_attn")}
    torch.manual_seed(data.draw(st.integers(0, 99)))
    theirs = nn.MultiheadAttention(WIDTH, HEADS, **flags).eval()
    ours = with_heads_that_can_go(copy.deepcopy(theirs))
    samples, queries, keys = (data.draw(st.integers(1, 4)) for _ in range(3))
    single = data.draw(st.booleans(), "single")
    order = (0, 1, 2) if flags["batch_first"] else (1, 0, 2)

    def some(length: int) -> Tensor:
        return torch.randn(length, WIDTH) if single else torch.randn(samples, length, WIDTH).permute(order)

    query = some(queries)
    itself = data.draw(st.booleans(), "itself")
    keys = queries if itself else keys
    key = query if itself else some(keys)
    value = key if itself or data.draw(st.booleans(), "values are keys") else some(keys)
    count = (1 if single else samples) * HEADS
    kind = data.draw(st.sampled_from([None, "bool", "float", "per head"]), "mask")
    masked: dict[str, Tensor] = {}
    if kind is not None:
        shape = (count, queries, keys) if kind == "per head" else (queries, keys)
        masked["attn_mask"] = torch.rand(shape) < 0.3 if kind == "bool" else torch.randn(shape)
    if data.draw(st.booleans(), "padding"):
        padding = torch.rand(keys if single else (samples, keys)) < 0.3
        masked["key_padding_mask"] = padding if kind in (None, "bool") else torch.where(padding, -9.0, 0.0)
    asked = {name: data.draw(st.booleans(), name) for name in ("need_weights", "average_attn_weights")}
    with torch.no_grad():
        wanted, weights = theirs(query, key, value, **masked, **asked)
        found, own = ours(query, key, value, **masked, **asked)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5, equal_nan=True)
    assert (own is None) == (weights is None)
    if weights is not None:
        torch.testing.assert_close(own, weights, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_a_causal_mask_is_the_mask_given() -> None:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(WIDTH, HEADS).eval()
    ours = with_heads_that_can_go(copy.deepcopy(theirs))
    x, causal = torch.randn(5, 2, WIDTH), nn.Transformer.generate_square_subsequent_mask(5)
    wanted = theirs(x, x, x, attn_mask=causal, is_causal=True, need_weights=False)[0]
    torch.testing.assert_close(ours(x, x, x, attn_mask=causal, is_causal=True)[0], wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="attn_mask=None with is_causal=True"):
        ours(x, x, x, is_causal=True)


def test_a_mask_for_other_heads_is_refused() -> None:
    attention = with_heads_that_can_go(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True))
    x = torch.randn(2, 5, WIDTH)
    with pytest.raises(ValueError, match=r"attn_mask of shape \(6, 5, 5\) does not fit 2 samples and 4 heads"):
        attention(x, x, x, attn_mask=torch.zeros(6, 5, 5))


@pytest.mark.parametrize("name", NETWORKS)
def test_removed_is_masked(name: str) -> None:
    network, layers, x = made(name)
    graph = trace(network, x)
    heads = {group.name: len(group.units) for group in graph.groups if group.what == "heads"}
    assert heads == dict.fromkeys(layers, HEADS)
    rng = np.random.default_rng(0)
    for _ in range(4):
        keep = without_heads(graph, rng)
        masked, small = mask(network, graph, keep), remove(network, graph, keep)
        with torch.no_grad():
            assert float((network(x) - small(x)).abs().max()) > 1e-3
            torch.testing.assert_close(small(x), masked(x), rtol=1e-4, atol=1e-5)


def test_what_a_removal_saves_is_counted() -> None:
    network, _, x = made("others")
    graph = trace(network, x)
    keep = np.ones(graph.num_units, dtype=bool)
    queries, keys, width = 6, 2, WIDTH // HEADS
    per_head = WIDTH * width * (2 * queries + 2 * keys) + 2 * queries * keys * width
    assert graph.macs(keep) == HEADS * per_head + queries * WIDTH * 3
    keep[graph.groups[0].units[0]] = False
    assert graph.macs(keep) == (HEADS - 1) * per_head + queries * WIDTH * 3


@pytest.mark.parametrize("nested", [False, True])
def test_pytorchs_fused_inference_is_not_taken(nested: bool) -> None:
    torch.manual_seed(0)
    network, x = Encodes(nested).eval(), torch.randn(3, 6, WIDTH)
    padding = torch.arange(6) >= torch.tensor([6, 4, 2])[:, None]
    graph = trace(network, x)
    keep = np.ones(graph.num_units, dtype=bool)
    for group in graph.groups:
        if group.what == "heads":
            keep[list(group.units[:2])] = False  # an even number is left, which the fused way could take
    small = remove(network, graph, keep)
    with torch.no_grad():
        wanted, found = mask(network, graph, keep)(x, padding), small(x, padding)
    torch.testing.assert_close(found[~padding], wanted[~padding], rtol=1e-4, atol=1e-5)
    assert type(network.inner.layers[0].self_attn) is nn.MultiheadAttention  # the user's own is as it was


@pytest.mark.parametrize("name", NETWORKS)
def test_what_was_compressed_is_saved_read_back_exported_and_copied(name: str, tmp_path: Path) -> None:
    network, layers, x = made(name)
    small = an.compress(network, [torch.randn(24, 6, WIDTH)], budget=an.Budget(size_ratio=6), prune=("heads",), seed=0)
    attentions = [small.model.get_submodule(layer.removesuffix(".in_proj")) for layer in layers]
    assert sum(attention.num_heads for attention in attentions) < HEADS * len(layers)
    folder = small.save(tmp_path / "out")
    assert sum(path.stat().st_size for path in folder.iterdir()) == small.report.small.bytes
    with torch.no_grad():
        wanted = small.model(x)
        torch.testing.assert_close(an.load(folder, NETWORKS[name][0]())(x), wanted, rtol=0, atol=1e-5)
        for again in (copy.deepcopy(small.model), pickle.loads(pickle.dumps(small.model))):
            torch.testing.assert_close(again(x), wanted, rtol=0, atol=0)
    session = onnx_session(small.export_onnx(tmp_path / "small.onnx"))
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-3, atol=1e-3)


def test_attention_to_itself_is_rounded_with_data() -> None:
    network, _, x = made("encoder")
    assert not any(layer.by_value for layer in trace(network, x).layers)
    small = an.quantize(network, [x], bits=4)
    assert isinstance(small.model.inner.layers[0].self_attn, HeadwiseAttention)


@pytest.mark.parametrize(
    ("network", "place", "reason"),
    [
        (Shows(), "mean in layer", "it mixes the channels"),
        (Attends(add_bias_kv=True), "layer", "its keys and values have biases of their own"),
        (Attends(vdim=WIDTH + 1), "layer", "its queries, keys and values have weights of their own"),
    ],
)
def test_what_stays_is_named(network: Attends, place: str, reason: str) -> None:
    graph = trace(network.eval(), torch.randn(2, 5, WIDTH))
    assert not any(group.what == "heads" for group in graph.groups)
    assert any(pinned.name == place and reason in pinned.reason for pinned in graph.pinned)
