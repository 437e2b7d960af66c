"""One move of a kernel at a time against the energies of both states; small enough to run interpreted as well."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.compression.rounding import Lattice, kernels
from annealnet.compression.rounding import graduated as graduated_module
from annealnet.compression.rounding.graduated import graduate_rows
from annealnet.compression.rounding.grids import Grid
from annealnet.compression.rounding.kernels import anneal_rows, descend_pairs

GRIDS = [Grid(1), Grid(2), Grid(3), Grid(2, symmetric=False), Grid(3, group=2, symmetric=False)]
ONE = np.float32(1)


def layer(n: int, rows: int, grid: Grid, seed: int) -> Lattice:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3 * n + 2, n)) @ rng.normal(size=(n, n))
    shape = (rows, grid.groups(n))
    zero = np.zeros(shape) if grid.symmetric else rng.integers(grid.low, grid.high + 1, shape)
    return Lattice(
        (x.T @ x / n**2).astype(np.float32), rng.normal(size=(rows, n)).astype(np.float32),
        rng.uniform(0.2, 0.9, shape).astype(np.float32), zero.astype(np.float32), grid.column(n).numpy(), grid,
    )  # fmt: skip


def common(lattice: Lattice) -> tuple[np.ndarray, ...]:
    return lattice.gram, lattice.weights, lattice.scale, lattice.zero, lattice.column, lattice.levels


def some_codes(lattice: Lattice, seed: int) -> np.ndarray:
    grid = lattice.grid
    chosen = np.random.default_rng(seed).integers(0, (grid.high - grid.low) // grid.step + 1, lattice.weights.shape)
    return (grid.low + grid.step * chosen).astype(np.int16)


def energy(lattice: Lattice, codes: np.ndarray) -> float:
    """Of the first row, in float64."""
    gap = lattice.values(codes[None])[0].astype(np.float64) - lattice.weights[0]
    return float(gap @ lattice.gram.astype(np.float64) @ gap)


def begun(lattice: Lattice, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Widths, stiffness and field of the first row."""
    width, stiff, field = (np.empty(len(codes), dtype=np.float32) for _ in range(3))
    kernels._begin(
        lattice.gram, lattice.weights[0], lattice.scale[0], lattice.zero[0], lattice.column, lattice.grid.step, codes,
        width, stiff, field,
    )  # fmt: skip
    return width, stiff, field


def check_field(lattice: Lattice, codes: np.ndarray, field: np.ndarray) -> None:
    gap = lattice.values(codes[None])[0].astype(np.float64) - lattice.weights[0]
    np.testing.assert_allclose(field, lattice.gram.astype(np.float64) @ gap, rtol=1e-4, atol=1e-4)


@settings(max_examples=40)
@given(st.sampled_from(GRIDS), st.integers(1, 5), st.integers(0, 999))
def test_a_row_begins_with_its_steps_and_its_field(grid, n, seed):
    lattice = layer(n, 1, grid, seed)
    codes = some_codes(lattice, seed)[0]
    width, stiff, field = begun(lattice, codes)
    for i in range(n):
        assert width[i] == pytest.approx(float(lattice.scale[0, lattice.column[i]]) * grid.step)
        moved = codes.copy()
        moved[i] += grid.step
        curvature = energy(lattice, moved) - energy(lattice, codes) - 2 * float(width[i]) * float(field[i])
        assert stiff[i] == pytest.approx(curvature, rel=1e-3, abs=1e-4)
    check_field(lattice, codes, field)


@settings(max_examples=150)
@given(
    st.sampled_from(GRIDS), st.integers(1, 4), st.integers(0, 9999), st.sampled_from((0.0, 0.1, 1.0, 10.0)), st.floats(-4, 4)
)
def test_a_visit_draws_one_of_the_two_points_around_the_best_place(grid, n, seed, heat, noise):
    """With heat T and logistic noise x the upper point is taken where (E_lower − E_upper) / T + x > 0."""
    lattice = layer(n, 1, grid, seed)
    codes = some_codes(lattice, seed)[0]
    width, stiff, field = begun(lattice, codes)
    i, before = seed % n, codes.copy()
    costs = {}
    for code in range(grid.low, grid.high + 1, grid.step):
        moved = codes.copy()
        moved[i] = code
        costs[code] = energy(lattice, moved)
    place = float(codes[i]) - grid.step * float(field[i]) / float(lattice.gram[i, i] * width[i])
    lower = min(max(grid.low + grid.step * math.floor((place - grid.low) / grid.step), grid.low), grid.high - grid.step)
    gain = costs[lower] - costs[lower + grid.step]
    tied = abs(gain + heat * noise) <= 1e-3 * (1 + abs(gain))
    changed = kernels._visit_single(
        i, lattice.gram, lattice.levels, width, stiff, field, codes, np.float32(heat), np.float32(noise)
    )
    check_field(lattice, codes, field)
    assert changed == (codes[i] != before[i])
    assert np.array_equal(np.delete(codes, i), np.delete(before, i))
    if not tied:
        assert codes[i] == lower + grid.step * (gain + heat * noise > 0)
    if heat == 0:
        assert costs[int(codes[i])] <= min(costs.values()) + 1e-4 * float(stiff[i]) + 1e-5


def test_a_descent_does_not_swing_between_equal_points():
    """Half way between two points each is as good as the other: the code stays, whichever it is."""
    half = Lattice(
        np.ones((1, 1), dtype=np.float32), np.full((1, 1), 0.5, dtype=np.float32), np.ones((1, 1), dtype=np.float32),
        np.zeros((1, 1), dtype=np.float32), np.zeros(1, dtype=np.int64), Grid(3),
    )  # fmt: skip
    for start in (0, 1):
        codes = np.array([start], dtype=np.int16)
        width, stiff, field = begun(half, codes)
        for _ in range(2):
            assert not kernels._visit_single(
                0, half.gram, half.levels, width, stiff, field, codes, np.float32(0), np.float32(0)
            )
        assert codes.tolist() == [start]


@settings(max_examples=150)
@given(
    st.sampled_from(GRIDS),
    st.integers(2, 4),
    st.integers(0, 9999),
    st.sampled_from((-1, 1)),
    st.sampled_from((-1.0, 0.0, 1.0)),
)
def test_a_pair_moves_where_that_costs_less_than_the_threshold(grid, n, seed, sign, threshold):
    lattice = layer(n, 1, grid, seed)
    codes = some_codes(lattice, seed)[0]
    width, stiff, field = begun(lattice, codes)
    i, j = np.random.default_rng(seed).permutation(n)[:2].tolist()
    wanted = codes.copy()
    wanted[i] += sign * grid.step
    wanted[j] += (-sign if lattice.gram[i, j] > 0 else sign) * grid.step
    inside = all(grid.low <= wanted[k] <= grid.high for k in (i, j))
    cost = energy(lattice, wanted) - energy(lattice, codes)
    before = codes.copy()
    kernels._visit_pair(i, j, sign, lattice.gram, lattice.levels, width, stiff, field, codes, np.float32(threshold))
    check_field(lattice, codes, field)
    if not inside or cost > threshold + 1e-3:
        assert np.array_equal(codes, before)
    elif cost < threshold - 1e-3:
        assert np.array_equal(codes, wanted)


def test_a_pair_stays_where_an_input_is_dead():
    lattice = layer(2, 1, Grid(3), 0)
    gram = lattice.gram.copy()
    gram[1] = gram[:, 1] = 0
    dead = Lattice(gram, lattice.weights, lattice.scale, lattice.zero, lattice.column, lattice.grid)
    codes = np.zeros(2, dtype=np.int16)
    width, stiff, field = begun(dead, codes)
    kernels._visit_pair(0, 1, 1, gram, dead.levels, width, stiff, field, codes, np.float32(1e9))
    assert codes.tolist() == [0, 0]


@settings(max_examples=15)
@given(st.sampled_from(GRIDS), st.integers(2, 4), st.integers(0, 999), st.booleans())
def test_annealed_rows_end_where_no_single_step_helps(grid, n, seed, hot):
    lattice = layer(n, 3, grid, seed)
    codes = some_codes(lattice, seed)
    partners = np.array([[j for j in range(n) if j != i] for i in range(n)], dtype=np.int32)
    shares = np.geomspace(1, 0.1, 6).astype(np.float32) if hot else np.zeros(0, dtype=np.float32)
    begin, temperatures = codes.copy(), np.full(3, 0.5, dtype=np.float32)
    anneal_rows(*common(lattice), codes, partners, temperatures, shares, np.uint64(seed), 0)
    for r in range(3):
        alone = lattice.rows(slice(r, r + 1))
        least = energy(alone, codes[r])
        assert hot or least <= energy(alone, begin[r]) + 1e-5
        for i, way in itertools.product(range(n), (-grid.step, grid.step)):
            moved = codes[r].copy()
            moved[i] += way
            unit = float(lattice.gram[i, i]) * (float(alone.scale[0, lattice.column[i]]) * grid.step) ** 2
            if grid.low <= moved[i] <= grid.high:
                assert energy(alone, moved) >= least - 1e-3 * unit - 1e-5
        # a row's draws depend on the seed and its number only
        single = begin[r : r + 1].copy()
        anneal_rows(*common(alone), single, partners, temperatures[:1], shares, np.uint64(seed), r)
        assert np.array_equal(single[0], codes[r])


def test_heat_leaves_a_poor_descent_and_dead_inputs_alone():
    """Two strongly correlated inputs: single steps from (3, −3) end above the best code, the heat bath finds it."""
    gram = np.array([[1.0, 0.98, 0.0], [0.98, 1.0, 0.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    weights = np.array([[0.3, 0.4, 0.2]] * 20, dtype=np.float32)
    ones = np.ones((20, 1), dtype=np.float32)
    lattice = Lattice(gram, weights, ones, 0 * ones, np.zeros(3, dtype=np.int64), Grid(3))
    start = np.array([[3, -3, 2]] * 20, dtype=np.int16)
    partners = np.array([[1], [0], [0]], dtype=np.int32)
    best = min(energy(lattice, np.array([a, b, 2])) for a, b in itertools.product(range(-3, 4), repeat=2))
    found = {}
    for sweeps in (0, 30):
        codes = start.copy()
        heats = np.full(20, 1.0, dtype=np.float32)
        anneal_rows(
            *common(lattice), codes, partners, heats, np.geomspace(1, 0.05, sweeps).astype(np.float32), np.uint64(1), 0
        )
        assert (codes[:, 2] == 2).all()
        found[sweeps] = [energy(lattice, row) for row in codes]
    assert min(found[0]) > best + 0.01
    assert np.mean(np.array(found[30]) < best + 0.01) > 0.6
    assert len({tuple(row) for row in codes}) <= 20


@pytest.mark.parametrize("start", [3, -3])
@pytest.mark.parametrize(("partners", "heat", "share"), [([[1], [2], [0]], 0.05, 0.9), ([[2], [2], [0]], 0.5, 0.5)])
def test_pairs_and_single_steps_each_lead_through_a_valley_alone(start, partners, heat, share):
    """Both ways along a narrow valley: by pairs that only the first input draws, or by single steps alone."""
    gram = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    ones = np.ones((40, 1), dtype=np.float32)
    weights = np.tile(np.array([[0.1, 0.1, 0.0]], dtype=np.float32), (40, 1))
    lattice = Lattice(gram, weights, ones, 0 * ones, np.zeros(3, dtype=np.int64), Grid(3))
    codes = np.tile(np.array([[start, -start, 0]], dtype=np.int16), (40, 1))
    still = codes.copy()
    heats, shares = np.full(40, heat, dtype=np.float32), np.geomspace(1, 0.1, 100).astype(np.float32)
    anneal_rows(*common(lattice), still, np.array(partners, dtype=np.int32), heats, shares[:0], np.uint64(2), 0)
    anneal_rows(*common(lattice), codes, np.array(partners, dtype=np.int32), heats, shares, np.uint64(2), 0)
    best = min(energy(lattice, np.array([a, b, 0])) for a, b in itertools.product(range(-3, 4), repeat=2))
    assert np.mean([energy(lattice, row) < best + 0.05 for row in still]) < 0.1
    assert np.mean([energy(lattice, row) < best + 0.05 for row in codes]) > share


def test_pairs_draw_the_two_ends_of_a_valley_by_boltzmanns_chances():
    """Between (1, −1) and (−1, 1) single steps meet a barrier far above the heat; energies differ by three temperatures."""
    gram, many = np.array([[1.0, 0.95], [0.95, 1.0]], dtype=np.float32), 1500
    ones = np.ones((many, 1), dtype=np.float32)
    weights = np.tile(np.array([[0.5, -0.5]], dtype=np.float32), (many, 1))
    lattice = Lattice(gram, weights, ones, 0 * ones, np.zeros(2, dtype=np.int64), Grid(1))
    codes = np.tile(np.array([[1, -1], [-1, 1]], dtype=np.int16), (many // 2, 1))
    rise = energy(lattice, np.array([-1, 1])) - energy(lattice, np.array([1, -1]))
    heats, partners = np.full(many, rise / 3, dtype=np.float32), np.array([[1], [0]], dtype=np.int32)
    anneal_rows(*common(lattice), codes, partners, heats, np.ones(12, dtype=np.float32), np.uint64(3), 0)
    assert np.mean(codes[:, 0] == 1) == pytest.approx(1 / (1 + math.exp(-3)), abs=0.018)


def test_a_pair_moves_where_its_partner_pays():
    """From (3, 0), without correlations: the first input's step gains, but its partner's would cost, so it stays; the second
    one's steps down and up cost little, and the first pays for each of them.
    """
    gram = np.diag([1.0, 0.5]).astype(np.float32)
    ones = np.ones((1, 1), dtype=np.float32)
    lattice = Lattice(gram, np.zeros((1, 2), dtype=np.float32), ones, 0 * ones, np.zeros(2, dtype=np.int64), Grid(3))
    codes = np.array([[3, 0]], dtype=np.int16)
    descend_pairs(*common(lattice), codes, 1)
    assert codes.tolist() == [[1, 0]]


@settings(max_examples=20)
@given(st.sampled_from(GRIDS), st.integers(2, 4), st.integers(0, 999))
def test_pairs_do_not_depend_on_the_unit_of_the_error(grid, n, seed):
    """A Gram matrix times a power of two, exactly."""
    lattice, found = layer(n, 2, grid, seed), []
    for unit in (1.0, 2.0**-30, 2.0**30):
        codes = some_codes(lattice, seed)
        descend_pairs(*common(replace(lattice, gram=lattice.gram * np.float32(unit))), codes, 20)
        found.append(codes.tolist())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("alive", "start"), [((1, 0, 1), (3, 1, -3)), ((0, 1, 1), (1, 1, 0)), ((1, 1, 0), (0, 1, 1))])
def test_dead_inputs_stay_out_of_pairs(alive, start):
    """Their step costs nothing, whoever pays for it."""
    gram = np.diag(alive).astype(np.float32)
    ones = np.ones((1, 1), dtype=np.float32)
    lattice = Lattice(gram, np.zeros((1, 3), dtype=np.float32), ones, 0 * ones, np.zeros(3, dtype=np.int64), Grid(3))
    codes = np.array([start], dtype=np.int16)
    descend_pairs(*common(lattice), codes, 20)
    dead = alive.index(0)
    assert codes[0, dead] == start[dead]


@settings(max_examples=40)
@given(st.sampled_from(GRIDS), st.integers(2, 4), st.integers(0, 999))
def test_no_pair_of_steps_helps_after_a_descent_by_pairs(grid, n, seed):
    lattice = layer(n, 2, grid, seed)
    codes = some_codes(lattice, seed)
    begin = codes.copy()
    once = codes.copy()
    descend_pairs(*common(lattice), once, 1)
    descend_pairs(*common(lattice), codes, 200)
    for r in range(2):
        alone = lattice.rows(slice(r, r + 1))
        least = energy(alone, codes[r])
        assert least <= energy(alone, once[r]) + 1e-5 <= energy(alone, begin[r]) + 2e-5
        assert ((codes[r] - grid.low) % grid.step == 0).all()
        assert grid.low <= codes[r].min() <= codes[r].max() <= grid.high
        width, stiff, _ = begun(alone, codes[r])
        for (i, j), one, two in itertools.product(itertools.permutations(range(n), 2), (-1, 1), (-1, 1)):
            moved = codes[r].copy()
            moved[i] += one * grid.step
            moved[j] += two * grid.step
            if grid.low <= moved[i] <= grid.high and grid.low <= moved[j] <= grid.high:
                alone_j = codes[r].copy()
                alone_j[j] += two * grid.step
                if energy(alone, moved) < least - 2e-4 * float(stiff[i]) - 1e-5:
                    # only where the first step alone gains: then it was not the partner that paid
                    single = codes[r].copy()
                    single[i] += one * grid.step
                    assert energy(alone, moved) >= energy(alone, single) - 1e-5
        assert np.isfinite(width).all()


def test_passes_over_pairs_end_after_so_many_rounds():
    """A pair moves one step a pass: from (3, −3) to the least of a valley takes three."""
    gram = np.array([[1.0, 0.99], [0.99, 1.0]], dtype=np.float32)
    ones = np.ones((1, 1), dtype=np.float32)
    lattice = Lattice(gram, np.zeros((1, 2), dtype=np.float32), ones, 0 * ones, np.zeros(2, dtype=np.int64), Grid(3))
    for rounds, wanted in ((0, [3, -3]), (50, [0, 0])):
        codes = np.array([[3, -3]], dtype=np.int16)
        descend_pairs(*common(lattice), codes, rounds)
        assert codes.tolist() == [wanted]


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 999), st.data())
def test_what_a_block_moved_reaches_the_other_columns(n, rows, seed, data):
    rng = np.random.default_rng(seed)
    gram, field = rng.normal(size=(n, n)).astype(np.float32), rng.normal(size=(n, rows)).astype(np.float32)
    first, last = sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2)))
    begin, end = sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2)))
    moves = rng.normal(size=(last - first + 1, rows)).astype(np.float32)
    wanted = field.astype(np.float64)
    wanted[begin:end] += gram[begin:end, first:last].astype(np.float64) @ moves[: last - first]
    graduated_module._spread(gram, first, last, moves, begin, end, field)
    np.testing.assert_allclose(field, wanted, rtol=1e-4, atol=1e-5)


@settings(max_examples=60)
@given(st.integers(1, 4), st.integers(0, 999), st.sampled_from((0.0, 0.3, 0.8, 0.99)))
def test_a_mean_settles_where_its_graduated_energy_is_least(n, seed, kappa):
    """E_κ along one coordinate, on a fine grid of means: rounding by chance adds κ G s² h (1 − h)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3 * n + 1, n))
    gram, top = (x.T @ x).astype(np.float32), 6
    places = rng.uniform(-1, 7, (n, 1)).astype(np.float32)  # of w, in steps above the lowest point
    width = rng.uniform(0.5, 2.0, n)
    slopes = (1 / width[:, None]).astype(np.float32)
    begin = rng.uniform(0, top, n)
    means = ((begin - places[:, 0]) * width)[:, None].astype(np.float32)  # relative to w
    field = (gram @ means).astype(np.float32)
    moves, before = np.zeros((1, 1), dtype=np.float32), means.copy()
    i = seed % n

    graduated_module._settle(gram, i, i + 1, np.float32(kappa), np.float32(top), (places, field, means, slopes), moves)

    def graduated_energy(place: float) -> float:
        gap = before[:, 0].astype(np.float64)
        gap[i] = (place - float(places[i, 0])) * width[i]
        h = place - math.floor(place)
        return float(gap @ gram.astype(np.float64) @ gap) + kappa * float(gram[i, i]) * width[i] ** 2 * h * (1 - h)

    found = float(places[i, 0]) + float(means[i, 0]) / width[i]
    least = min(graduated_energy(place) for place in np.linspace(0, top, 1201))
    unit = float(gram[i, i]) * width[i] ** 2
    assert -1e-4 <= found <= top + 1e-4
    assert graduated_energy(min(max(found, 0), top)) <= least + 1e-3 * unit
    assert float(moves[0, 0]) == pytest.approx(float(means[i, 0] - before[i, 0]), abs=1e-5)
    assert np.array_equal(np.delete(means, i, 0), np.delete(before, i, 0))
    # within the block fields follow at once; others learn of the moves later
    assert field[i, 0] == pytest.approx(float((gram @ before)[i, 0]) + float(gram[i, i] * moves[0, 0]), rel=1e-3, abs=1e-3)


def test_dead_inputs_do_not_move():
    gram, ones = np.zeros((1, 1), dtype=np.float32), np.ones((1, 1), dtype=np.float32)
    means, moves = 0.25 * ones, 7 * ones
    graduated_module._settle(gram, 0, 1, np.float32(0.5), np.float32(3), (ones, 0 * ones, means, ones), moves)
    assert moves.tolist() == [[0.0]]
    assert means.tolist() == [[0.25]]
    pair, moves = np.ones((2, 1), dtype=np.float32), 7 * np.ones((2, 1), dtype=np.float32)
    tile = (pair, 0 * pair, 0.25 * pair, pair)
    graduated_module._settle(np.zeros((2, 2), dtype=np.float32), 1, 2, np.float32(0.5), np.float32(3), tile, moves)
    assert moves.tolist() == [[0.0], [7.0]]  # of column 1, the first of its block


def graduated(lattice: Lattice, row: int, shares: list[float]) -> list[int]:
    """Codes of one row where means end that follow the docstring's formula, visit by visit, in float64 and with new sums."""
    gram, grid = lattice.gram.astype(np.float64), lattice.grid
    width = lattice.scale[row, lattice.column].astype(np.float64) * grid.step
    lowest = lattice.scale[row, lattice.column] * (grid.low - lattice.zero[row, lattice.column].astype(np.float64))
    top = (grid.high - grid.low) // grid.step
    places = np.clip((lattice.weights[row] - lowest) / width, 0, top)
    for kappa, i in itertools.product(shares, range(len(width))):
        slope = float(gram[i] @ (lowest + width * places - lattice.weights[row]))
        place = min(max(places[i] - slope / gram[i, i] / width[i], 0), top)
        gap = place - round(place)
        away = max(0.0, abs(gap) - kappa / 2)
        places[i] = round(place) + math.copysign(min(away / (1 - kappa), 0.5) if away else 0.0, gap)
    return [grid.low + grid.step * round(place) for place in places]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("block", "tile"), [(32, 64), (2, 2)])
@pytest.mark.parametrize("shares", [[0.0], [1.0], [0.0, 0.6], [0.0, 0.3, 0.6, 0.8, 0.9, 1.0], [k / 70 for k in range(71)]])
def test_means_follow_their_graduated_energies(monkeypatch, grid, block, tile, shares):
    monkeypatch.setattr(graduated_module, "_BLOCK", block)
    monkeypatch.setattr(graduated_module, "_TILE", tile)
    lattice = layer(5, 7, grid, 4)
    codes = np.zeros(lattice.weights.shape, dtype=np.int16)
    graduate_rows(*common(lattice), codes, np.array(shares, dtype=np.float32))
    # a mean half way between two points may take either, in float32 and float64
    assert sum(codes[r].tolist() == graduated(lattice, r, shares) for r in range(7)) >= 6


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("n", "block", "tile"), [(3, 32, 64), (5, 2, 2)])
def test_graduated_rows_end_near_the_best_of_all_codes(monkeypatch, grid, n, block, tile):
    # compiled code has taken the sizes in already; interpreted, rows and columns here span several tiles and blocks
    monkeypatch.setattr(graduated_module, "_BLOCK", block)
    monkeypatch.setattr(graduated_module, "_TILE", tile)
    n = n if grid.bits < 3 else 3
    drawn = layer(n, 5, grid, 7)
    gram = drawn.gram + 0.5 * drawn.gram.max() * np.eye(n, dtype=np.float32)
    lattice = Lattice(gram, drawn.weights, drawn.scale, drawn.zero, drawn.column, grid)
    codes = np.zeros(lattice.weights.shape, dtype=np.int16)
    graduate_rows(*common(lattice), codes, (np.linspace(0, 1, 70) ** 2).astype(np.float32))
    assert ((codes - grid.low) % grid.step == 0).all()
    assert grid.low <= codes.min() <= codes.max() <= grid.high
    ratios = []
    for r in range(5):
        alone = lattice.rows(slice(r, r + 1))
        points = range(grid.low, grid.high + 1, grid.step)
        best = min(energy(alone, np.array(row)) for row in itertools.product(points, repeat=n))
        ratios.append(energy(alone, codes[r]) / best)
    assert np.median(ratios) < 1.001
    assert max(ratios) < 1.1


def test_weights_far_beyond_the_grid_end_on_it():
    """So far that a step is less than float32 can tell there."""
    for grid in GRIDS:
        drawn = layer(6, 30, grid, 1)
        lattice = replace(drawn, weights=drawn.weights * np.float32(1e9))
        codes = np.full(lattice.weights.shape, 99, dtype=np.int16)
        graduate_rows(*common(lattice), codes, np.linspace(0, 1, 3).astype(np.float32))
        assert grid.low <= codes.min() <= codes.max() <= grid.high


def test_without_correlations_graduated_rows_end_on_the_nearest_points():
    for grid in GRIDS:
        drawn = layer(6, 4, grid, 3)
        gram = np.diag(np.arange(1, 7)).astype(np.float32)
        lattice = Lattice(gram, drawn.weights, drawn.scale, drawn.zero, drawn.column, grid)
        codes = np.zeros(lattice.weights.shape, dtype=np.int16)
        graduate_rows(*common(lattice), codes, np.linspace(0, 1, 5).astype(np.float32))
        assert np.array_equal(codes, lattice.nearest())
