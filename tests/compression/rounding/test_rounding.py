"""Rounding on a Gram matrix: against every code, against GPTQ and AdaRound, and as a QUBO."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.compression.rounding import (
    AdaRounding,
    AnnealedRounding,
    Annealing,
    GptqRounding,
    Lattice,
    NearestRounding,
    anneal_codes,
    gram_rounding,
    layer_lattices,
    lower_bounds,
    row_energy,
    settled_lattices,
    torch_anneal_codes,
)
from annealnet.compression.rounding.adaround import adaround_codes
from annealnet.compression.rounding.gptq import gptq_codes
from annealnet.compression.rounding.grids import Grid, Quantized, dequantize
from annealnet.compression.rounding.scales import refit_scales
from annealnet.samplers import ExactSampler, Workers

#: Of the search on torch.
EFFORT = Annealing(fields=2, field_sweeps=40, sweeps=30)
GRIDS = [Grid(1), Grid(2), Grid(3), Grid(2, symmetric=False), Grid(3, group=2), Grid(2, group=2, symmetric=False)]


def correlated(n: int, rows: int, seed: int, grid: Grid = Grid(2)) -> Lattice:  # noqa: B008  # a value
    """A layer whose inputs share a few directions, as real ones do."""
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.normal(size=(4 * n, n)) @ (rng.normal(size=(n, n)) / np.arange(1, n + 1)), 0) + 0.05
    weight = torch.from_numpy(rng.normal(size=(rows, n)).astype(np.float32))
    return layer_lattices(weight, grid, torch.from_numpy((x.T @ x / len(x)).astype(np.float32))[None])[0]


def every_code(lattice: Lattice) -> np.ndarray:
    points = range(lattice.grid.low, lattice.grid.high + 1, lattice.grid.step)
    return np.array(list(itertools.product(points, repeat=lattice.weights.shape[1])), dtype=np.int16)


def least_errors(lattice: Lattice) -> np.ndarray:
    codes = every_code(lattice)
    return np.array([
        Lattice(
            lattice.gram,
            *(np.repeat(part[r : r + 1], len(codes), 0) for part in (lattice.weights, lattice.scale, lattice.zero)),
            lattice.column, lattice.grid,
        ).errors(codes).min()
        for r in range(len(lattice.weights))
    ])  # fmt: skip


def check_no_single_step_helps(lattice: Lattice, codes: np.ndarray) -> None:
    errors, grid = lattice.errors(codes), lattice.grid
    for i, step in itertools.product(range(codes.shape[1]), (-grid.step, grid.step)):
        moved = codes.copy()
        moved[:, i] += step
        inside = (moved[:, i] >= grid.low) & (moved[:, i] <= grid.high)
        unit = np.diag(lattice.gram)[i] * (lattice.scale[:, lattice.column[i]] * grid.step) ** 2
        assert (lattice.errors(moved)[inside] >= (errors - 1e-3 * unit)[inside]).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.sampled_from(GRIDS), st.integers(0, 10_000))
def test_annealing_finds_the_best_of_all_codes(n, grid, seed):
    lattice = correlated(n, 3, seed, grid)
    codes = anneal_codes(lattice, Annealing(repeats=4), seed)
    assert lattice.errors(codes) == pytest.approx(least_errors(lattice), rel=1e-4, abs=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.sampled_from(GRIDS), st.integers(0, 10_000), st.sampled_from(["gptq", "nearest"]))
def test_no_row_is_worse_than_gptq_and_no_single_step_helps(n, grid, seed, start):
    lattice = correlated(n, 4, seed, grid)
    codes = anneal_codes(lattice, Annealing(sweeps=30, start=start), seed)
    errors = lattice.errors(codes)
    begun = gptq_codes(lattice) if start == "gptq" else lattice.nearest()
    assert (errors <= lattice.errors(begun) * (1 + 1e-9)).all()
    assert ((codes - grid.low) % grid.step == 0).all()
    assert codes.min() >= grid.low
    assert codes.max() <= grid.high
    check_no_single_step_helps(lattice, codes)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_annealed_is_ahead_of_gptq_and_adaround_on_correlated_inputs(bits):
    lattice = correlated(60, 30, bits, Grid(bits))
    annealed = lattice.errors(anneal_codes(lattice, Annealing(), 0)).sum()
    assert annealed < 0.98 * lattice.errors(gptq_codes(lattice)).sum()
    assert annealed <= lattice.errors(adaround_codes(lattice)).sum()
    assert lattice.errors(gptq_codes(lattice)).sum() < lattice.errors(lattice.nearest()).sum()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(0, 10_000))
def test_gptq_and_adaround_are_near_the_best_of_all_codes(n, seed):
    lattice = correlated(n, 2, seed, Grid(2))
    least = least_errors(lattice)
    for codes in (gptq_codes(lattice), adaround_codes(lattice, 500)):
        errors = lattice.errors(codes)
        assert (errors >= least * (1 - 1e-5) - 1e-7).all()
    if n == 1:  # one weight: the nearest point is the best one
        assert np.array_equal(gptq_codes(lattice), lattice.nearest())


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.sampled_from(GRIDS), st.integers(0, 10_000), st.data())
def test_a_row_as_a_qubo_has_the_rows_energy_and_ground_state(n, grid, seed, data):
    lattice = correlated(n, 2, seed, grid)
    row = row_energy(lattice, 1)
    bits = data.draw(st.lists(st.integers(0, 1), min_size=row.energy.num_variables, max_size=row.energy.num_variables))
    codes = row.decode(np.array(bits))
    assert row.energy.energy(np.array(bits)) == pytest.approx(
        lattice.errors(np.stack([codes, codes]))[1], rel=1e-5, abs=1e-6
    )
    best = ExactSampler().sample_energy(row.energy).first
    assert best.energy == pytest.approx(least_errors(lattice)[1], rel=1e-4, abs=1e-6)


def test_a_block_of_a_row_leaves_the_others_alone():
    lattice = correlated(8, 3, 0)
    codes = gptq_codes(lattice)
    block = np.array([1, 4, 6])
    row = row_energy(lattice, 2, block, codes[2])
    state = np.array(list(ExactSampler().sample_energy(row.energy).first.sample.values()))
    found = codes.copy()
    found[2] = row.decode(state)
    assert np.array_equal(np.delete(found[2], block), np.delete(codes[2], block))
    assert lattice.errors(found)[2] <= lattice.errors(codes)[2] + 1e-9
    assert row.energy.energy(state) == pytest.approx(lattice.errors(found)[2], rel=1e-5)
    assert row.energy.to_bqm().num_variables == 6


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.sampled_from(GRIDS), st.integers(0, 10_000))
def test_bounds_lie_below_the_best_code(n, grid, seed):
    lattice = correlated(n, 2, seed, grid)
    assert (lower_bounds(lattice) <= least_errors(lattice) + 1e-7).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 12), st.sampled_from(GRIDS), st.integers(0, 10_000))
def test_refitted_scales_are_least_squares(n, grid, seed):
    lattice = correlated(n, 3, seed, grid)
    codes = gptq_codes(lattice)
    scale = refit_scales(lattice, codes)
    fitted = Lattice(lattice.gram, lattice.weights, scale, lattice.zero, lattice.column, grid)
    kept = (scale == lattice.scale).any(axis=1)
    slack = 1e-4 * lattice.errors(np.full_like(codes, 0)) + 1e-6  # stored as float16
    assert (fitted.errors(codes)[~kept] <= (lattice.errors(codes) + slack)[~kept]).all()


@pytest.mark.parametrize("rounding", [GptqRounding, AnnealedRounding, NearestRounding])
@pytest.mark.parametrize(("group", "symmetric"), [(None, True), (4, True), (None, False), (5, False)])
def test_layers_come_back_on_the_grid_asked_for(rounding, group, symmetric):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 2, 3, 3, generator=generator)
    x = torch.randn(200, 18, generator=generator)
    grid = rounding(group, symmetric)(weight, 4, (x.T @ x / 200)[None])
    assert grid.grid == Grid(4, group, symmetric)
    assert float((dequantize(grid) - weight).abs().max()) < 0.6
    again = rounding(group, symmetric)(weight, 4, (x.T @ x / 200)[None])
    assert torch.equal(grid.codes, again.codes)
    for codes, lattice in settled_lattices(weight, grid, (x.T @ x / 200)[None]):
        np.testing.assert_allclose(lattice.values(codes), dequantize(grid).reshape(6, -1), atol=1e-6)


def test_searching_scales_with_the_codes_pays():
    lattice = correlated(40, 20, 1, Grid(2))
    weight, gram = torch.from_numpy(lattice.weights), torch.from_numpy(lattice.gram)[None]

    def error(rounding: AnnealedRounding) -> float:
        gap = (dequantize(rounding(weight, 2, gram)) - weight).double()
        return float((gap @ gram[0].double() * gap).sum())

    alone = error(AnnealedRounding(stretches=(1.0,), rounds=0))
    assert error(AnnealedRounding(stretches=(1.0,))) <= alone * (1 + 1e-9)
    assert error(AnnealedRounding()) < 0.99 * alone


def test_grouped_convolutions_are_rounded_group_by_group():
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(4, 1, 3, 3, generator=generator)  # depthwise
    grams = torch.stack([(x := torch.randn(50, 9, generator=generator)).T @ x for _ in range(4)])
    together = GptqRounding()(weight, 3, grams)
    for k in range(4):
        alone = GptqRounding()(weight[k : k + 1], 3, grams[k : k + 1])
        assert torch.equal(together.codes[k : k + 1], alone.codes)


@pytest.mark.parametrize("backend", ["sequential", "threading"])
def test_rows_come_out_the_same_on_any_workers(monkeypatch, backend):
    monkeypatch.setattr(gram_rounding, "_PIECE", 5)
    lattice = correlated(12, 17, 2)
    weight, gram = torch.from_numpy(lattice.weights), torch.from_numpy(lattice.gram)[None]
    here = AnnealedRounding(seed=3)(weight, 2, gram)
    there = AnnealedRounding(seed=3, workers=Workers(backend, 2))(weight, 2, gram)
    assert torch.equal(here.codes, there.codes)
    assert torch.equal(here.scale, there.scale)


def test_degenerate_layers():
    zeros = torch.zeros(3, 5)
    grid = AnnealedRounding()(zeros, 2, torch.eye(5)[None])
    assert not dequantize(grid).any()
    dead = torch.eye(5)[None].clone()
    dead[0, 2] = 0  # an input that is always zero
    dead[0, :, 2] = 0
    weight = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(dequantize(AnnealedRounding()(weight, 2, dead))).all()
    nothing = AnnealedRounding()(weight, 2, torch.zeros(1, 5, 5))
    assert torch.isfinite(dequantize(nothing)).all()
    one_sample = torch.randn(1, 5, generator=torch.Generator().manual_seed(1))
    rank_one = (one_sample.T @ one_sample)[None]
    gap = dequantize(AnnealedRounding()(weight, 4, rank_one)) - weight
    assert float((gap @ one_sample.T).abs().max()) < 0.05  # a single direction can be met almost exactly


def test_bad_input_names_the_argument():
    weight = torch.ones(2, 3)
    for call, word in (
        (lambda: GptqRounding()(weight, 2, torch.eye(4)[None]), "gram has shape"),
        (lambda: GptqRounding()(weight, 2, torch.full((1, 3, 3), torch.nan)), "gram holds NaN"),
        (lambda: GptqRounding()(weight * torch.inf, 2, torch.eye(3)[None]), "NaN or infinite"),
        (
            lambda: GptqRounding(damp=-1.0)(weight, 2, torch.eye(3)[None]),
            "damp=-1.0 .*: 0.01 is a good start",
        ),
        (lambda: AdaRounding(steps=0)(weight, 2, torch.eye(3)[None]), "steps=0"),
        (lambda: AnnealedRounding(stretches=()), "stretches"),
        (lambda: AnnealedRounding(rounds=-1), "rounds=-1"),
        (lambda: Annealing(sweeps=-1), "sweeps=-1"),
        (lambda: Annealing(field_sweeps=0), "field_sweeps=0"),
        (
            lambda: Annealing(heat=0.0),
            "heat=0.0 and .*: 2.0 and 0.2 are a good start",
        ),
        (lambda: Annealing(start="gtpq"), "start='gtpq'"),
        (lambda: row_energy(correlated(3, 2, 0), 2), "row=2"),
        (lambda: row_energy(correlated(3, 2, 0), 0, np.array([1])), "codes=None"),
        (lambda: Grid(4, group=0), "group=0"),
        (
            lambda: Quantized(torch.zeros(1, 2, dtype=torch.int8), torch.ones(1), 1, torch.zeros(2, dtype=torch.int8)),
            "zero=",
        ),
    ):
        with pytest.raises(ValueError, match=word.replace("(", r"\(")):
            call()


# The batch search on torch: on the CPU, and on CUDA where there is one.


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.sampled_from(GRIDS), st.integers(0, 10_000), st.sampled_from(["gptq", "nearest"]))
def test_never_above_the_start_and_no_single_step_helps(n, grid, seed, start):
    lattice = correlated(n, 4, seed, grid)
    codes = torch_anneal_codes(lattice, Annealing(1, 20, 20, start=start), seed, device="cpu")
    begun = gptq_codes(lattice) if start == "gptq" else lattice.nearest()
    assert (lattice.errors(codes) <= lattice.errors(begun)).all()
    assert ((codes - grid.low) % grid.step == 0).all()
    assert codes.min() >= grid.low
    assert codes.max() <= grid.high
    check_no_single_step_helps(lattice, codes)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(0, 10_000))
def test_small_rows_reach_the_best_of_all_codes_nearly_always(n, seed):
    lattice = correlated(n, 12, seed, Grid(2))
    errors, least = lattice.errors(torch_anneal_codes(lattice, EFFORT, seed, device="cpu")), least_errors(lattice)
    assert (errors >= least * (1 - 1e-5) - 1e-7).all()
    assert (errors <= least * (1 + 1e-4) + 1e-6).mean() >= 0.75


def test_seeds_repeat_and_wide_layers_gain_as_much_as_on_compiled_rows():
    lattice = correlated(150, 20, 1, Grid(3))
    first, second = (torch_anneal_codes(lattice, EFFORT, 5, device="cpu") for _ in range(2))
    assert np.array_equal(first, second)
    compiled = lattice.errors(anneal_codes(lattice, EFFORT, 5)).sum()
    assert lattice.errors(first).sum() < 1.05 * compiled
    assert lattice.errors(first).sum() < 0.95 * lattice.errors(gptq_codes(lattice)).sum()


def rounded_on(device: str) -> None:
    lattice = correlated(70, 9, 2, Grid(3, group=32))
    weight, gram = torch.from_numpy(lattice.weights), torch.from_numpy(lattice.gram)[None]
    there = AnnealedRounding(32, effort=EFFORT, device=device)(weight, 3, gram)
    assert there.grid == Grid(3, 32)
    here = AnnealedRounding(32, effort=EFFORT)(weight, 3, gram)
    errors = []
    for grid in (there, here):
        gap = (dequantize(grid) - weight).double()
        errors.append(float((gap @ gram[0].double() * gap).sum()))
    assert errors[0] < 1.1 * errors[1]


def test_layers_are_rounded_on_a_device_of_choice():
    rounded_on("cpu")
    with pytest.raises(ValueError, match="device='abacus'"):
        AnnealedRounding(device="abacus")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_layers_are_rounded_on_cuda():
    rounded_on("cuda")
    lattice = correlated(100, 50, 3, Grid(4))
    codes = torch_anneal_codes(lattice, EFFORT, 0, device="cuda")
    assert (lattice.errors(codes) <= lattice.errors(gptq_codes(lattice))).all()
    check_no_single_step_helps(lattice, codes)
