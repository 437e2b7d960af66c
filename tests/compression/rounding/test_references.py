"""Grids, scales, lattices and GPTQ against what their formulas say, in plain loops or by another way of computing."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.compression.rounding import Lattice, NearestRounding, lower_bounds, row_energy
from annealnet.compression.rounding import gptq as gptq_module
from annealnet.compression.rounding.gptq import gptq_codes, gptq_factor
from annealnet.compression.rounding.grids import Grid, Quantized, dequantize, largest_code
from annealnet.compression.rounding.lattice import nearest_codes
from annealnet.compression.rounding.nearest import on_grid
from annealnet.compression.rounding.scale_search import projections, rounding_errors
from annealnet.compression.rounding.scales import fit_scales, refit_scales
from annealnet.compression.rounding.stored_numbers import storable

GRIDS = [Grid(1), Grid(2), Grid(3), Grid(4), Grid(2, symmetric=False), Grid(3, group=2), Grid(3, group=3, symmetric=False)]


def layer(n: int, rows: int, grid: Grid, seed: int) -> Lattice:
    """Correlated inputs, and scales and zero points that nobody chose for the weights."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3 * n + 2, n)) @ rng.normal(size=(n, n))
    shape = (rows, grid.groups(n))
    zero = np.zeros(shape) if grid.symmetric else rng.integers(grid.low, grid.high + 1, shape)
    return Lattice(
        (x.T @ x / n).astype(np.float32), rng.normal(size=(rows, n)).astype(np.float32),
        rng.uniform(0.2, 0.9, shape).astype(np.float32), zero.astype(np.float32), grid.column(n).numpy(), grid,
    )  # fmt: skip


def points(grid: Grid) -> range:
    return range(grid.low, grid.high + 1, grid.step)


def error_of(lattice: Lattice, row: int, codes: np.ndarray) -> float:
    """Σ_ij g_i G_ij g_j with g_i = s (c_i − o) − w_i, term by term."""
    n = lattice.weights.shape[1]
    gaps = []
    for i in range(n):
        k = int(lattice.column[i])
        gaps.append(
            float(lattice.scale[row, k]) * (int(codes[i]) - float(lattice.zero[row, k])) - float(lattice.weights[row, i])
        )
    return sum(gaps[i] * float(lattice.gram[i, j]) * gaps[j] for i in range(n) for j in range(n))


@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False) | st.sampled_from((0.0, 65510.0, 3.4028235e38, -3.4028235e38))
)
def test_scales_that_are_tried_have_the_bits_of_float16_at_any_magnitude(value):
    power = 2.0 ** math.frexp(value or 1.0)[1]
    wanted = float(np.float16((value or 1.0) / power)) * power
    top = 65504 * 2.0**112  # the largest that a file holds
    with np.errstate(over="raise"):
        assert storable(np.array([value])).tolist() == [max(-top, min(top, wanted))]


def test_grids_have_the_codes_that_their_width_says():
    symmetric = {b: [c for c in range(-127, 128) if abs(c) <= 2 ** (b - 1) - 1] for b in range(2, 9)} | {1: [-1, 1]}
    for bits in range(1, 9):
        assert list(points(Grid(bits))) == symmetric[bits]
        assert list(points(Grid(bits, symmetric=False))) == list(range(-(2**bits) // 2, 2**bits // 2))
        assert largest_code(bits) == max(symmetric[bits])
    assert [Grid(4, group).groups(7) for group in (None, 1, 3, 6, 7, 8)] == [1, 7, 3, 2, 1, 1]
    assert Grid(4, 3).column(7).tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert Grid(4).column(3).tolist() == [0, 0, 0]
    assert Grid(4, 1).column(3).tolist() == [0, 1, 2]


@settings(max_examples=40)
@given(st.sampled_from(GRIDS), st.integers(1, 8), st.integers(0, 999))
def test_a_weight_is_scale_times_code_less_zero(grid, n, seed):
    rng = np.random.default_rng(seed)
    codes = rng.choice(np.array(points(grid)), (3, n)).astype(np.int8)
    shape = (3,) if grid.group is None else (3, grid.groups(n))
    scale = torch.from_numpy(rng.uniform(0.1, 2.0, shape).astype(np.float32))
    zero = None if grid.symmetric else torch.from_numpy(rng.integers(grid.low, grid.high + 1, shape).astype(np.int8))
    stored = Quantized(torch.from_numpy(codes).reshape(3, n, 1), scale, grid.bits, zero, grid.group)
    assert stored.grid == grid
    found = dequantize(stored)
    again = dequantize(stored.rescaled(torch.tensor([2.0, 0.5, 4.0])))
    for r, i in itertools.product(range(3), range(n)):
        at = (r,) if grid.group is None else (r, i // grid.group)
        wanted = float(scale[at]) * (int(codes[r, i]) - (0 if zero is None else int(zero[at])))
        assert float(found[r, i, 0]) == pytest.approx(wanted, rel=1e-6)
        assert float(again[r, i, 0]) == pytest.approx(wanted * (2.0, 0.5, 4.0)[r], rel=1e-3)


def test_values_off_their_grid_are_refused():
    codes, scale = torch.tensor([[1, -1]], dtype=torch.int8), torch.ones(1)
    Quantized(codes, scale, 2)
    Quantized(codes[:, :0], scale, 2)
    Quantized(codes, torch.ones(1, 2), 2, group=1)
    zero = torch.zeros(1, dtype=torch.int8)
    Quantized(codes, scale, 2, zero)
    for bad, word in (
        (lambda: Quantized(codes.short(), scale, 2), "int8"),
        (lambda: Quantized(codes[0], torch.ones(2), 2), "two dimensions"),
        (lambda: Quantized(codes, scale.double(), 2), "float32"),
        (lambda: Quantized(codes, scale[:, None], 2), "one per"),
        (lambda: Quantized(codes, torch.ones(1, 1), 2, group=1), r"\(1, 2\)"),
        (lambda: Quantized(codes, scale, 2, zero.float()), "zero="),
        (lambda: Quantized(codes, scale, 2, torch.zeros(2, dtype=torch.int8)), "zero="),
        (lambda: Quantized(2 * codes, scale, 2), "from -2 to 2"),
        (lambda: Quantized(codes - 1, scale, 2), "from -2 to 0"),
        (lambda: Quantized(codes + 1, scale, 2), "from 0 to 2"),
        (lambda: Quantized(2 * codes, scale, 2, zero), "clip"),
        (lambda: Grid(4, 0), "group=0"),
        (lambda: Grid(9), "bits=9"),
        (lambda: Grid(0), "bits=0"),
        (lambda: NearestRounding(candidates=0), "candidates=0"),
        (lambda: NearestRounding(narrowest=0.0), "narrowest=0.0 must .* 0.2 is a good start"),
        (lambda: NearestRounding(narrowest=1.5), "narrowest=1.5"),
    ):
        with pytest.raises(ValueError, match=word):
            bad()
    assert NearestRounding(candidates=1, narrowest=1.0)(torch.tensor([[3.0, -1.0]]), 3).codes.tolist() == [[3, -1]]


@settings(max_examples=40)
@given(st.sampled_from(GRIDS), st.integers(1, 6), st.integers(0, 999))
def test_nearest_codes_values_and_errors_of_a_lattice(grid, n, seed):
    lattice = layer(n, 3, grid, seed)
    nearest = lattice.nearest()
    assert nearest.dtype == np.int16
    for r, i in itertools.product(range(3), range(n)):
        s, o = float(lattice.scale[r, lattice.column[i]]), float(lattice.zero[r, lattice.column[i]])
        gaps = {c: abs(s * (c - o) - float(lattice.weights[r, i])) for c in points(grid)}
        assert gaps[int(nearest[r, i])] <= min(gaps.values()) + 1e-6
        assert float(lattice.values(nearest)[r, i]) == pytest.approx(s * (int(nearest[r, i]) - o), abs=1e-6)
    assert lattice.errors(nearest) == pytest.approx([error_of(lattice, r, nearest[r]) for r in range(3)], rel=1e-4)
    part = lattice.rows(slice(1, 3))
    assert part.errors(nearest[1:]) == pytest.approx(lattice.errors(nearest)[1:])
    assert lattice.levels.tolist() == [points(grid)[0], points(grid)[-1], grid.step]


def test_nearest_codes_stop_at_the_ends_of_the_grid():
    for grid in GRIDS:
        far = np.array([[-1e6, 1e6]], dtype=np.float32)
        assert nearest_codes(far, np.ones((1, 1)), np.zeros((1, 1)), grid).tolist() == [[grid.low, grid.high]]


def test_a_lattice_refuses_what_does_not_fit():
    good = layer(3, 2, Grid(3), 0)
    args = {name: getattr(good, name) for name in ("gram", "weights", "scale", "zero", "column", "grid")}
    for change, word in (
        ({"gram": good.gram[:2]}, "gram has shape"),
        ({"gram": good.gram[:, :2]}, "gram has shape"),
        ({"scale": good.scale[:1]}, "one row for each of 2"),
        ({"scale": good.scale[:1], "zero": good.zero[:1]}, "one row for each of 2"),
        ({"column": good.column[:2]}, "one row for each of 2"),
        ({"weights": good.weights * np.nan}, "weights holds NaN"),
        ({"scale": good.scale * np.inf}, "scale holds NaN"),
        ({"zero": good.zero + np.nan}, "zero holds NaN"),
    ):
        with pytest.raises(ValueError, match=word):
            Lattice(**{**args, **change})
    for row in (-1, 2):
        with pytest.raises(ValueError, match=f"row={row}"):
            row_energy(good, row)
    assert row_energy(good, 0).energy.num_variables == 9


@settings(max_examples=40)
@given(st.sampled_from(GRIDS), st.integers(1, 6), st.integers(0, 999), st.booleans())
def test_lower_bounds_are_the_least_eigenvalue_times_the_distance_to_the_grid(grid, n, seed, dead):
    lattice = layer(n, 2, grid, seed)
    gram = lattice.gram.copy()
    if dead:
        gram[0] = gram[:, 0] = 0
    lattice = Lattice(gram, lattice.weights, lattice.scale, lattice.zero, lattice.column, grid)
    alive = [i for i in range(n) if gram[i, i] > 0]
    correlations = np.array([[gram[i, j] / math.sqrt(gram[i, i] * gram[j, j]) for j in alive] for i in alive], dtype=float)
    least = min(np.linalg.eigvalsh(correlations)) if alive else 0.0
    gaps = lattice.values(lattice.nearest()) - lattice.weights
    wanted = [least * sum(float(gram[i, i]) * float(gaps[r, i]) ** 2 for i in range(n)) for r in range(2)]
    distance = [sum(float(gram[i, i]) * float(gaps[r, i]) ** 2 for i in range(n)) for r in range(2)]
    found = lower_bounds(lattice)
    assert (found >= 0).all()
    assert (np.abs(found - wanted) <= 3e-7 * n * np.array(distance) + 1e-12).all()


def test_lower_bounds_of_correlated_inputs_are_zero_and_not_negative():
    ones = np.ones((2, 2), dtype=np.float32)
    lattice = Lattice(ones, 0.4 * ones, ones[:, :1], 0 * ones[:, :1], np.zeros(2, dtype=np.int64), Grid(2))
    assert lower_bounds(lattice).tolist() == [0.0, 0.0]


@settings(max_examples=30)
@given(st.sampled_from(GRIDS), st.integers(2, 5), st.integers(0, 999), st.data())
def test_the_bits_of_a_block_have_the_rows_energy(grid, n, seed, data):
    lattice = layer(n, 2, grid, seed)
    codes = data.draw(
        st.sampled_from(list(itertools.product(points(grid), repeat=n))) if grid.bits < 3 else st.just((grid.low,) * n)
    )
    block = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n, unique=True)))
    row = row_energy(lattice, 1, block, np.array(codes, dtype=np.int16))
    bits = np.random.default_rng(seed).integers(0, 2, row.energy.num_variables)
    decoded = row.decode(bits)
    assert row.energy.energy(bits) == pytest.approx(error_of(lattice, 1, decoded), rel=1e-4, abs=1e-5)
    assert all(decoded[i] == codes[i] for i in range(n) if i not in block)
    assert set(decoded.tolist()) <= set(points(grid)) | set(codes)
    # every code of the first free weight is some setting of its own bits
    width = row.energy.num_variables // len(block)
    seen = {int(row.decode(np.array([*own, *bits[width:]]))[block[0]]) for own in itertools.product((0, 1), repeat=width)}
    assert seen == set(points(grid))


@settings(max_examples=30)
@given(st.integers(2, 8), st.integers(1, 9), st.integers(0, 999))
def test_the_sums_of_scale_search(bits, n, seed):
    rng = np.random.default_rng(seed)
    q = largest_code(bits)
    weights = rng.normal(size=(3, n)).astype(np.float32)
    moments = rng.uniform(0.1, 2.0, n).astype(np.float32)
    scales = rng.uniform(0.05, 1.0, (3, 2)).astype(np.float32)
    found = rounding_errors(weights, moments, scales, q)
    pulled, squares = projections(weights, moments, scales[:, 0].copy(), q)
    for o in range(3):
        for k in range(2):
            errors = [
                float(moments[i]) * min((float(weights[o, i]) - float(scales[o, k]) * c) ** 2 for c in range(-q, q + 1))
                for i in range(n)
            ]
            assert float(found[o, k]) == pytest.approx(sum(errors), rel=1e-4, abs=1e-6)
        codes = [min(range(-q, q + 1), key=lambda c: abs(float(weights[o, i]) - float(scales[o, 0]) * c)) for i in range(n)]
        assert float(pulled[o]) == pytest.approx(
            sum(float(moments[i] * weights[o, i]) * codes[i] for i in range(n)), abs=1e-4
        )
        assert float(squares[o]) == pytest.approx(sum(float(moments[i]) * codes[i] ** 2 for i in range(n)), rel=1e-5)


def nearest_error(weights: np.ndarray, moments: np.ndarray, scale: float, zero: float, grid: Grid) -> float:
    gaps = np.abs(scale * (np.array(points(grid))[None] - zero) - weights[:, None].astype(np.float64)).min(axis=1)
    return float((moments * gaps**2).sum())


@settings(max_examples=40)
@given(st.sampled_from(GRIDS), st.integers(1, 9), st.integers(0, 999), st.sampled_from((1, 2, 16)))
def test_no_clipping_factor_has_a_better_scale_than_the_one_found(grid, n, seed, candidates):
    rng = np.random.default_rng(seed)
    weights = (rng.normal(size=(2, n)) + rng.normal(size=(2, 1))).astype(np.float32)
    moments = rng.uniform(0.1, 2.0, n).astype(np.float32)
    scale, zero = fit_scales(weights, grid, moments, candidates, 0.2)
    assert scale.shape == zero.shape == (2, grid.groups(n))
    assert (zero == np.rint(zero)).all()
    assert (zero == 0).all() if grid.symmetric else ((zero >= grid.low) & (zero <= grid.high)).all()
    narrowest = 0.2 ** ((9 - max(2, grid.bits)) / 7)
    factors = [1 - (1 - narrowest) * k / max(1, candidates - 1) for k in range(candidates)]
    column = grid.column(n).numpy()
    for r, k in itertools.product(range(2), range(grid.groups(n))):
        own, m = weights[r, column == k], moments[column == k]
        found = nearest_error(own, m, float(scale[r, k]), float(zero[r, k]), grid)
        for factor in factors:
            if grid.symmetric:
                tried, at = float(storable(np.array(np.abs(own).max() / grid.high * factor))), 0.0
            else:
                low, high = min(own.min(), 0), max(own.max(), 0)
                tried = float(storable(np.array((high - low) * factor / (grid.high - grid.low))))
                at = float(np.clip(np.rint(grid.low - factor * low / tried), grid.low, grid.high))
            assert found <= nearest_error(own, m, tried, at, grid) * (1 + 1e-3) + 1e-6 * float((m * own**2).sum())


def test_wide_grids_try_less_clipping_and_scales_follow_their_codes():
    outlier = np.array([[1.0, *[0.02] * 400]], dtype=np.float32)
    ones = np.ones(401, dtype=np.float32)
    for bits in (2, 4):  # clipped as far as is allowed, and no further than least squares of the codes goes
        (scale,) = fit_scales(outlier, Grid(bits), ones, 16, 0.5)[0][0].tolist()
        factor = scale * largest_code(bits)
        assert factor >= 0.5 ** ((9 - bits) / 7) * 0.9
    plain = np.array([[0.9, -1.1, 0.02]], dtype=np.float32)
    assert fit_scales(plain, Grid(2), np.ones(3, dtype=np.float32), 2, 0.9)[0] == pytest.approx(1.0, rel=1e-3)
    weighted = fit_scales(plain, Grid(2), np.array([3.0, 1.0, 1.0], dtype=np.float32), 2, 0.9)[0]
    assert weighted == pytest.approx((3 * 0.9 + 1.1) / 4, rel=1e-3)


@pytest.mark.parametrize(("bits", "narrowest"), [(1, 0.2), (2, 0.2), (3, 0.252), (5, 0.399), (7, 0.631), (8, 0.795)])
@pytest.mark.parametrize("way", [-1, 1])
def test_wide_grids_clip_less(bits, narrowest, way):
    """Of two factors the second is the narrowest, 0.2 ^ ((9 − bits) / 7). All weights lie on its grid, but for one beyond it
    that hardly counts.
    """
    grid, moments = Grid(bits, symmetric=False), np.ones(2**bits + 1, dtype=np.float32)
    weights = np.array([[way, *(way * narrowest * np.arange(2**bits) / (2**bits - 1))]], dtype=np.float32)
    moments[0] = 1e-9
    scale, zero = fit_scales(weights, grid, moments, 2, 0.2)
    assert scale.tolist() == [[pytest.approx(narrowest / (2**bits - 1), rel=2e-3)]]
    assert zero.tolist() == [[grid.low if way > 0 else grid.high]]


def test_scales_of_one_bit_are_weighted_means_of_absolute_values():
    weights = np.array([[1.0, -3.0, 5.0]], dtype=np.float32)
    scale, zero = fit_scales(weights, Grid(1, group=2), np.array([1.0, 3.0, 2.0], dtype=np.float32), 4, 0.2)
    assert scale.tolist() == [[2.5, 5.0]]
    assert zero.tolist() == [[0.0, 0.0]]
    dead, _ = fit_scales(weights, Grid(1), np.zeros(3, dtype=np.float32), 4, 0.2)
    assert dead.tolist() == [[1.0]]


def test_zero_points_lie_where_the_range_of_the_weights_says():
    grid = Grid(3, symmetric=False)  # −4 … 3
    ones = np.ones(8, dtype=np.float32)
    weights = np.array([np.arange(8) - 2.0, np.arange(8), np.arange(8) - 7.0, np.arange(8) + 0.0], dtype=np.float32)
    weights[3, 0] = 7
    scale, zero = fit_scales(weights, grid, ones, 1, 1.0)
    assert scale[:, 0].tolist() == [1.0] * 4
    assert zero[:, 0].tolist() == [-2.0, -4.0, 3.0, -4.0]


@settings(max_examples=60)
@given(st.integers(2, 10), st.sampled_from(GRIDS), st.integers(0, 10_000))
def test_refitted_scales_solve_least_squares(n, grid, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4 * n, n))
    started = layer(n, 2, grid, seed)
    lattice = Lattice((x.T @ x).astype(np.float32), started.weights, started.scale, started.zero, started.column, grid)
    codes = lattice.nearest()
    found = refit_scales(lattice, codes)
    assert np.array_equal(found, storable(found))
    for r in range(2):
        b = codes[r] - lattice.zero[r, lattice.column]
        basis = np.stack([np.where(lattice.column == k, b, 0.0) for k in range(grid.groups(n))], axis=1)
        if np.linalg.matrix_rank(basis) < basis.shape[1]:
            continue
        wanted = np.linalg.lstsq(x @ basis, x @ lattice.weights[r].astype(np.float64), rcond=None)[0]
        for k, value in enumerate(wanted):  # scales that would turn negative stay
            assert found[r, k] == pytest.approx(value if value > 0 else storable(lattice.scale[r, k]), rel=2e-3, abs=1e-5)


@settings(max_examples=20)
@given(st.integers(2, 6), st.sampled_from(GRIDS), st.integers(0, 999))
def test_refitted_scales_do_not_depend_on_the_unit_of_the_error(n, grid, seed):
    lattice = layer(n, 2, grid, seed)
    wanted = refit_scales(lattice, lattice.nearest())
    for unit in (2.0**-40, 2.0**40):
        found = refit_scales(replace(lattice, gram=lattice.gram * np.float32(unit)), lattice.nearest())
        assert found == pytest.approx(wanted, rel=1e-3)


def test_scales_without_codes_or_against_them_stay():
    eye, ones = np.eye(2, dtype=np.float32), np.ones((3, 1), dtype=np.float32)
    weights = np.array([[1.0, 1.0], [1.0, 1.0], [3.0, 3.0]], dtype=np.float32)
    lattice = Lattice(eye, weights, 0.25 * ones, 0 * ones, np.zeros(2, dtype=np.int64), Grid(3))
    assert refit_scales(lattice, np.array([[0, 0], [-1, -1], [2, 2]])).ravel().tolist() == [0.25, 0.25, 1.5]


def obs_codes(lattice: Lattice, damp: float) -> np.ndarray:
    """Optimal brain surgery, one weight after the other, with the inverse of what is still free computed anew each time."""
    gram = lattice.gram.astype(np.float64)
    damped = gram + damp * np.diag(gram).mean() * np.eye(len(gram))
    order = sorted(range(len(gram)), key=lambda i: -gram[i, i])
    codes = np.zeros(lattice.weights.shape, dtype=np.int16)
    for r, weights in enumerate(lattice.weights.astype(np.float64)):
        wanted = weights.copy()
        for place, i in enumerate(order):
            k = lattice.column[i]
            s, o = float(lattice.scale[r, k]), float(lattice.zero[r, k])
            codes[r, i] = min(points(lattice.grid), key=lambda c: abs(s * (c - o) - wanted[i]))
            free = order[place:]
            inverse = np.linalg.inv(damped[np.ix_(free, free)])
            wanted[free] -= (wanted[i] - s * (codes[r, i] - o)) / inverse[0, 0] * inverse[0]
    return codes


@pytest.mark.parametrize("block", [1, 3, 128])
@pytest.mark.parametrize("grid", GRIDS)
def test_gptq_is_optimal_brain_surgery_in_the_order_of_the_diagonal(monkeypatch, grid, block):
    monkeypatch.setattr(gptq_module, "_BLOCK", block)
    for seed, damp in ((0, 0.01), (1, 0.1), (2, 1.0)):
        lattice = layer(8, 6, grid, seed)
        assert np.array_equal(gptq_codes(lattice, damp), obs_codes(lattice, damp))
        assert np.array_equal(gptq_codes(lattice, factor=gptq_factor(lattice, damp)), gptq_codes(lattice, damp))


def test_the_factor_of_gptq_is_the_inverse_of_the_damped_gram_matrix():
    lattice = layer(6, 2, Grid(3), 3)
    factor = gptq_factor(lattice, 0.05)
    gram = lattice.gram[np.ix_(factor.order, factor.order)].astype(np.float64)
    damped = gram + 0.05 * np.diag(gram).mean() * np.eye(6)
    assert np.diag(gram).tolist() == sorted(np.diag(lattice.gram).tolist(), reverse=True)
    np.testing.assert_allclose(factor.upper.T @ factor.upper, np.linalg.inv(damped), rtol=1e-3, atol=1e-5)
    assert np.array_equal(factor.upper, np.triu(factor.upper))
    with pytest.raises(ValueError, match=r"damp=-0\.1"):
        gptq_factor(lattice, -0.1)


def test_damping_grows_until_the_factor_exists_and_no_further():
    """[[1, 4], [4, 1]] has the eigenvalue −3: a share of 10 is the first of 0.01, 0.1, 1, 10 beyond it."""
    indefinite = np.array([[1.0, 4.0], [4.0, 1.0]], dtype=np.float32)
    ones = np.ones((1, 1), dtype=np.float32)
    lattice = Lattice(indefinite, np.ones((1, 2), dtype=np.float32), ones, 0 * ones, np.zeros(2, dtype=np.int64), Grid(2))
    upper = gptq_factor(lattice).upper.astype(np.float64)
    np.testing.assert_allclose(upper.T @ upper, np.linalg.inv(indefinite + 10 * np.eye(2)), rtol=1e-5)
    flat = Lattice(0 * indefinite, lattice.weights, ones, 0 * ones, lattice.column, Grid(2))
    assert np.array_equal(gptq_factor(flat).upper, np.eye(2))
    singular = Lattice(0 * indefinite + 1, lattice.weights, ones, 0 * ones, lattice.column, Grid(2))
    exact = gptq_factor(singular, 0.0).upper.astype(np.float64)
    np.testing.assert_allclose(exact.T @ exact, np.linalg.inv(np.ones((2, 2)) + 1e-9 * np.eye(2)), rtol=1e-3)


def test_channels_too_faint_for_the_layer_become_zero_and_others_stay():
    strong = torch.tensor([1.0, -1.0])
    # the scale of the second channel, and whether it is too faint beside a first one of 1 to keep five bits
    for least, dead in ((2.0**-36, True), (2.0**-35, False), (2.0**-20, False)):
        weight = torch.stack([strong, least * strong])
        scale, zero = np.array([[1.0], [least]], dtype=np.float32), np.array([[0.0], [0.0]], dtype=np.float32)
        codes = np.array([[1, -1], [1, -1]], dtype=np.int16)
        found = on_grid(weight, Grid(2), codes, scale, zero)
        assert found.codes.tolist() == [[1, -1], [0, 0] if dead else [1, -1]]
        assert found.scale.tolist() == [1.0, 1.0 if dead else least]
        shifted = on_grid(weight, Grid(3, symmetric=False), codes, scale, zero + 2)
        assert shifted.codes.tolist() == [[1, -1], [2, 2] if dead else [1, -1]]
        one_bit = on_grid(weight, Grid(1), codes, scale, zero)
        assert one_bit.codes.tolist() == [[1, -1], [1, -1]]  # there is no zero to become
        assert one_bit.scale.tolist() == [1.0, least]
    groups = on_grid(
        torch.stack([strong, strong]), Grid(2, group=1), np.ones((2, 2), dtype=np.int16),
        np.array([[1.0, 1.0], [2.0**-36, 0.5]], dtype=np.float32), np.zeros((2, 2), dtype=np.float32),
    )  # fmt: skip
    assert groups.codes.tolist() == [[1, 1], [0, 1]]  # every group by itself
    assert groups.scale.tolist() == [[1.0, 1.0], [1.0, 0.5]]
