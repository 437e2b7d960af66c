"""One count of bytes: what a layer is said to cost is what it takes, whatever its numbers are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from annealnet.compression.files.loading import load_compressed
from annealnet.compression.files.on_grid import put_on_grid
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.saving import save_compressed
from annealnet.compression.files.sizes import file_bytes, fixed_bytes
from annealnet.compression.files.stored_layer import StoredLayer, cost_terms, grains_per_bit, stored_specs
from annealnet.compression.network.graph import trace
from annealnet.compression.network.norms import fold_batch_norms
from annealnet.compression.network.precision import cast_like
from annealnet.compression.network.structure import NetworkGraph
from annealnet.compression.network.surgery import remove
from annealnet.compression.rounding import NearestRounding
from annealnet.compression.rounding.grids import Grid, dequantize

GROUPS = (None, 2, 7, 8, 32)


def network(kind: str, bias: bool) -> tuple[nn.Module, torch.Tensor]:
    """A small network of a kind and a sample of its input."""
    if kind == "linear":
        return nn.Sequential(
            nn.Linear(9, 12, bias), nn.ReLU(), nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 3, bias)
        ), torch.zeros(1, 9)
    norm = [nn.BatchNorm2d(6)] if kind == "batch norm" else []
    first = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, bias=bias), *norm, nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6, bias=bias)
    )
    return nn.Sequential(*first, nn.ReLU(), nn.Conv2d(6, 5, 1), nn.Flatten(), nn.Linear(20, 3, bias)), torch.zeros(
        1, 2, 4, 4
    )


def scatter(model: nn.Module, rng: np.random.Generator) -> None:
    """Weights and biases of every channel anywhere from 1e-12 to 1e9, some of them zero."""
    with torch.no_grad():
        for parameter in model.parameters():
            factor = torch.from_numpy(10.0 ** rng.uniform(-12, 9, len(parameter))).float()
            factor[torch.from_numpy(rng.random(len(parameter)) < 0.1)] = 0
            parameter.mul_(factor.reshape(-1, *[1] * (parameter.ndim - 1)))


def some_keep(graph: NetworkGraph, rng: np.random.Generator) -> np.ndarray:
    keep = rng.random(graph.num_units) < rng.random()
    for group in graph.groups:
        keep[group.units[0]] = True
    return keep


kinds, biases = st.sampled_from(["linear", "conv", "batch norm"]), st.booleans()
grids = st.builds(Grid, st.just(8), st.sampled_from(GROUPS), st.booleans())


@settings(max_examples=60, deadline=None)
@given(kind=kinds, bias=biases, layout=grids, seed=st.integers(0, 9999))
def test_written_is_what_was_said_and_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, kind: str, bias: bool, layout: Grid, seed: int
) -> None:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    dense, example = network(kind, bias)
    scatter(dense, rng)
    dense.eval()
    graph = trace(dense, example)
    keep = some_keep(graph, rng)
    plan = CompressionPlan.of(graph, keep, {layer.name: int(rng.integers(1, 9)) for layer in graph.layers}, grid=layout)
    small = remove(fold_batch_norms(dense, graph), graph, keep)
    rounding = NearestRounding(layout.group, layout.symmetric, candidates=3)
    found = {name: rounding(small.get_submodule(name).weight, bits) for name, bits in plan.bits.items()}
    folder: Path = save_compressed(tmp_path_factory.mktemp("out"), plan, put_on_grid(small, found), found)
    written = sum(path.stat().st_size for path in folder.iterdir())
    layers = [StoredLayer.of(graph, layer, keep, plan.grid(layer.name)) for layer in graph.layers]
    assert written == file_bytes(graph, dense, plan)
    assert written <= fixed_bytes(graph, dense, layout) - (-sum(layer.num_bits for layer in layers) // 8)
    loaded = load_compressed(folder, network(kind, bias)[0]).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in small.state_dict().items())
    assert all(torch.equal(loaded[f"{name}.weight"], dequantize(grid)) for name, grid in found.items())


@settings(max_examples=40, deadline=None)
@given(
    dtype=st.sampled_from([torch.bfloat16, torch.float64, torch.float32]), kind=kinds, bias=biases, layout=grids,
    seed=st.integers(0, 9999),
)  # fmt: skip
def test_other_dtypes_come_back_bit_for_bit_and_the_grid_is_exact(
    tmp_path_factory: pytest.TempPathFactory, dtype: torch.dtype, kind: str, bias: bool, layout: Grid, seed: int
) -> None:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    dense, example = network(kind, bias)
    scatter(dense, rng)
    graph = trace(dense.eval(), example)
    keep = some_keep(graph, rng)
    plan = CompressionPlan.of(graph, keep, {layer.name: int(rng.integers(1, 9)) for layer in graph.layers}, grid=layout)
    small = remove(fold_batch_norms(dense, graph), graph, keep)
    rounding = NearestRounding(layout.group, layout.symmetric, candidates=3)
    found = {name: rounding(small.get_submodule(name).weight, bits) for name, bits in plan.bits.items()}
    given_as = network(kind, bias)[0].to(dtype)
    cast = put_on_grid(cast_like(small, given_as), found)
    folder: Path = save_compressed(tmp_path_factory.mktemp("out"), plan, cast, found)
    assert sum(path.stat().st_size for path in folder.iterdir()) == file_bytes(graph, dense, plan)
    loaded = load_compressed(folder, given_as).state_dict()
    assert all(
        torch.equal(loaded[name], value) and loaded[name].dtype == value.dtype for name, value in cast.state_dict().items()
    )
    exact = load_compressed(folder, network(kind, bias)[0]).state_dict()
    assert all(torch.equal(exact[f"{name}.weight"], dequantize(grid)) for name, grid in found.items())


@settings(max_examples=100, deadline=None)
@given(kind=kinds, bias=biases, layout=grids, seed=st.integers(0, 9999))
def test_the_polynomial_never_counts_less_and_is_exact_where_it_can_be(
    kind: str, bias: bool, layout: Grid, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    graph = trace(*network(kind, bias))
    keep, grains = some_keep(graph, rng), grains_per_bit(layout)
    for layer in graph.layers:
        stored = StoredLayer.of(graph, layer, keep, Grid(int(rng.integers(1, 9)), layout.group, layout.symmetric))
        vary = bool((layer.fan_in_units >= 0).any())
        counted = cost_terms(layer, layout, vary).at(stored.outputs, stored.fan_in // layer.kernel_size, stored.grid.bits)
        slack = counted - grains * stored.num_bits
        assert 0 <= slack < grains * stored.outputs * (16 if layout.symmetric else 24)
        if layout.group is None or not vary:
            assert slack == 0


def test_specs_name_every_tensor_that_is_needed_and_no_other() -> None:
    bare, full = StoredLayer(2, 3, Grid(4), False), StoredLayer(3, 9, Grid(2, 4, False), True)
    assert set(stored_specs([bare])) == {"codes", "scales"}
    assert {name: spec.shape for name, spec in stored_specs([full]).items()} == {
        "codes": (2 + 7,), "scales": (9,), "zeros": (9,), "biases": (3,),
    }  # fmt: skip
    assert full.num_bytes == sum(spec.num_bytes for spec in stored_specs([full]).values())
