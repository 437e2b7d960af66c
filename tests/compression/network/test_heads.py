"""Heads of Hugging Face's attentions: with tables for each head, with queries, keys and values of a head side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import annealnet as an
from annealnet.compression.files.on_grid import put_on_grid
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.saving import save_compressed
from annealnet.compression.files.sizes import file_bytes
from annealnet.compression.network.graph import trace
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import layer_at, weight_of
from annealnet.compression.network.surgery import mask, remove
from annealnet.compression.rounding import NearestRounding
from annealnet.exporting import onnx_session

hf = pytest.importorskip("transformers")
WIDTH, HEADS, WORDS = 16, 4, 30
TOKENS = torch.randint(1, WORDS, (8, 6), generator=torch.Generator().manual_seed(0))


def t5() -> nn.Module:
    shape = {"d_model": WIDTH, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_decoder_layers": 2, "num_heads": HEADS}
    return hf.T5ForConditionalGeneration(hf.T5Config(vocab_size=WORDS, **shape, tie_word_embeddings=False))


def falcon(**kind: bool | int | str) -> nn.Module:
    shape = {"vocab_size": WORDS, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": HEADS}
    return hf.FalconForCausalLM(hf.FalconConfig(**shape, **kind))


def seven(**kind: bool | str) -> nn.Module:
    """Falcon-7B's shape: one key and value for the queries of all heads, packed behind them."""
    return falcon(multi_query=True, new_decoder_architecture=False, **kind)


def neox() -> nn.Module:
    shape = {"hidden_size": WIDTH, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": HEADS}
    return hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(vocab_size=WORDS, **shape, max_position_embeddings=20))


def bloom() -> nn.Module:
    return hf.BloomForCausalLM(hf.BloomConfig(vocab_size=WORDS, hidden_size=WIDTH, n_layer=1, n_head=HEADS))


def mpt() -> nn.Module:
    return hf.MptForCausalLM(hf.MptConfig(vocab_size=WORDS, d_model=WIDTH, n_layers=1, n_heads=HEADS, max_seq_len=20))


def deberta() -> nn.Module:
    """Positions by the same queries and keys as words, as microsoft/deberta-v3-small has it."""
    shape = {"hidden_size": WIDTH, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": HEADS}
    positions = {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"], "share_att_key": True}
    return hf.DebertaV2Model(hf.DebertaV2Config(vocab_size=WORDS, **shape, **positions, max_position_embeddings=20))


def swin() -> nn.Module:
    """Two stages of two blocks; windows are shifted in every second one."""
    shape = {"image_size": 16, "patch_size": 2, "window_size": 4, "embed_dim": WIDTH, "depths": [2, 2], "num_heads": [2, 4]}
    return hf.SwinForImageClassification(hf.SwinConfig(**shape, num_labels=3, mlp_ratio=2.0))


PICTURES = {"pixel_values": torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))}
PAIRS = {"input_ids": TOKENS, "decoder_input_ids": TOKENS[:, :4]}
WORDS_ALONE = {"input_ids": TOKENS}
#: The network, its inputs, and the heads of each dependency group.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, Tensor], list[int]]] = {
    "T5": (t5, PAIRS, [HEADS] * 3),
    "GPT-NeoX": (neox, WORDS_ALONE, [HEADS] * 2),
    "Falcon, grouped": (lambda: falcon(new_decoder_architecture=True, num_kv_heads=2), WORDS_ALONE, [2] * 2),
    "Falcon, grouped, with biases": (
        lambda: falcon(new_decoder_architecture=True, num_kv_heads=2, bias=True),
        WORDS_ALONE,
        [2] * 2,
    ),
    "Falcon-7B": (seven, WORDS_ALONE, [HEADS] * 2),
    "Falcon-7B, with biases": (lambda: seven(parallel_attn=False, bias=True), WORDS_ALONE, [HEADS] * 2),
    "Falcon-7B, eager": (lambda: seven(attn_implementation="eager"), WORDS_ALONE, [HEADS] * 2),
    "DeBERTa-v2": (deberta, WORDS_ALONE, [HEADS] * 2),
    "Swin": (swin, PICTURES, [2, 2, 4, 4]),
}


def called(model: nn.Module, named: dict[str, Tensor]) -> Inputs:
    settings = {"use_cache": False} if hasattr(model.config, "use_cache") else {}
    return Inputs(kwargs=named, settings=settings)


def lively(make: Callable[[], nn.Module]) -> nn.Module:
    """With weights under which every head matters."""
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            scale = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.1
            parameter.copy_(scale * torch.randn_like(parameter) + (parameter.ndim < 2) * parameter)
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_removed_is_masked(name: str) -> None:
    make, named, heads = NETWORKS[name]
    model = lively(make)
    x = called(model, named)
    graph = trace(model, x)
    groups = [group for group in graph.groups if group.what == "heads"]
    assert [len(group.units) for group in groups] == heads
    rng = np.random.default_rng(0)
    for _ in range(3):
        keep = np.ones(graph.num_units, dtype=bool)
        for group in groups:
            keep[rng.permutation(group.units)[: rng.integers(1, len(group.units))]] = False
        with torch.no_grad():
            dense, masked, small = (
                x.answer(network) for network in (model, mask(model, graph, keep), remove(model, graph, keep))
            )
        assert float((dense - masked).abs().max()) > 1e-3
        torch.testing.assert_close(small, masked, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_was_compressed_is_saved_and_read_back(name: str, tmp_path: Path) -> None:
    make, named, _ = NETWORKS[name]
    model = lively(make)
    x = called(model, named)
    graph = trace(model, x)
    keep = np.ones(graph.num_units, dtype=bool)
    keep[[group.units[0] for group in graph.groups if group.what == "heads"]] = False
    plan = CompressionPlan.of(graph, keep, {layer.name: 2 + number % 7 for number, layer in enumerate(graph.layers)})
    small = remove(model, graph, keep)
    grids = {place: NearestRounding()(weight_of(layer_at(small, place)), width) for place, width in plan.bits.items()}
    small = put_on_grid(small, grids)
    folder = save_compressed(tmp_path / "out", plan, small, grids)
    assert sum(path.stat().st_size for path in folder.iterdir()) == file_bytes(graph, model, plan)
    with torch.no_grad():
        torch.testing.assert_close(x.answer(an.load(folder, lively(make))), x.answer(small), rtol=0, atol=1e-6)


@pytest.mark.parametrize("depth", [0, 1])
def test_a_table_that_is_no_bias_loses_nothing(depth: int) -> None:
    """Rows picked from a parameter and turned: only where its columns are heads it loses them; a product reads it here."""

    class Picks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.up, self.head = nn.Parameter(torch.randn(9, 6)), nn.Linear(5, 8), nn.Linear(8, 3)
            self.register_buffer("places", torch.arange(6).flip(0))

        def forward(self, x: Tensor) -> Tensor:
            picked = self.table[self.places]
            hidden = torch.relu(self.up(x @ (picked.view(6, 6).T if depth else picked.T)[:, :5]))
            return self.head(hidden)

    graph = trace(Picks().eval(), torch.randn(4, 6))
    assert [layer.name for layer in graph.layers] == ["table", "up", "head"]
    assert [pinned.name for pinned in graph.pinned if pinned.num_bytes] == ["places"]
    assert [len(group.units) for group in graph.groups] == [8]


def test_a_layer_that_is_called_twice_may_lose_what_it_computes() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lift, self.up, self.head = nn.Linear(5, 6), nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.up(self.lift(x))) + torch.tanh(self.up(self.lift(x) ** 2)))

    torch.manual_seed(0)
    model, x = Twice().eval(), torch.randn(4, 7, 5)
    graph = trace(model, x)
    assert [layer.name for layer in graph.layers if layer.by_value] == ["lift", "up"]
    assert [(group.name, len(group.units)) for group in graph.groups] == [("up", 8)]
    assert graph.macs() == 7 * (2 * 5 * 6 + 2 * 6 * 8 + 8 * 3)
    keep = np.arange(8) % 3 > 0
    with torch.no_grad():
        torch.testing.assert_close(remove(model, graph, keep)(x), mask(model, graph, keep)(x), rtol=1e-4, atol=1e-5)


def test_heads_of_all_blocks_that_share_a_table_go_together() -> None:
    small = an.compress(lively(t5), [PAIRS], budget=an.Budget(size_ratio=4.6), widths=(8,), prune=("heads",), seed=0)
    own = [block.layer[0].SelfAttention for block in small.model.encoder.block]
    others = [block.layer[1].EncDecAttention for block in small.model.decoder.block]
    left = {attention.v.out_features // attention.key_value_proj_dim for attention in own}
    assert left == {own[0].relative_attention_bias.embedding_dim} == {own[0].relative_attention_bias.weight.shape[1]}
    assert len({attention.o.in_features for attention in others}) == 1
    assert left != {HEADS}


ALIBI = {
    "BLOOM": (bloom, "each head has a bias of its own, computed from their number"),
    "Falcon": (lambda: falcon(multi_query=False, alibi=True), "each head has a bias of its own"),
    "MPT": (mpt, "combined with a tensor of a fixed number of channels"),
}


@pytest.mark.parametrize("name", ALIBI)
def test_biases_computed_from_the_number_of_heads_keep_them(name: str) -> None:
    """Fewer heads would get other slopes: 2^-2, 2^-4, 2^-6, 2^-8 for four, 2^-4, 2^-8 for two, whichever two are left."""
    make, why = ALIBI[name]
    model = lively(make)
    graph = trace(model, called(model, WORDS_ALONE))
    assert not any(group.what == "heads" for group in graph.groups)
    assert any("attention" in pinned.name or "attn" in pinned.name for pinned in graph.pinned if why in pinned.reason)
    assert {group.what for group in graph.groups} == {"neurons"}


@pytest.mark.parametrize("name", ["Falcon-7B", "Falcon-7B, with biases", "Falcon, grouped, with biases", "BLOOM"])
def test_it_is_compressed_saved_and_exported(name: str, tmp_path: Path) -> None:
    make = bloom if name == "BLOOM" else NETWORKS[name][0]
    small = an.compress(
        lively(make), [WORDS_ALONE], an.Budget(size_ratio=4.5), widths=(4, 8), rounding=NearestRounding(), candidates=1
    )
    folder = small.save(tmp_path / "out")
    assert sum(path.stat().st_size for path in folder.iterdir()) == small.report.small.bytes
    x = called(small.model, WORDS_ALONE)
    with torch.no_grad():
        answered = x.answer(small.model)
        assert torch.equal(x.answer(an.load(folder, lively(make))), answered)
    session = onnx_session(small.export_onnx(tmp_path / "small.onnx"))
    (found,) = session.run(None, {"input_ids": TOKENS.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), answered, rtol=1e-3, atol=1e-4)


def test_a_table_that_the_exporter_makes_a_constant_of_is_exported(tmp_path: Path) -> None:
    make, named, _ = NETWORKS["Swin"]
    model = lively(make)
    x = called(model, named)
    small = an.quantize(model, [dict(x.kwargs)], bits=4, rounding=NearestRounding())
    session = onnx_session(small.export_onnx(tmp_path / "small.onnx"))
    answers = session.run(None, {name: tensor.numpy() for name, tensor in x.kwargs.items()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(answers[0]), x.answer(small.model), rtol=1e-3, atol=1e-4)
