"""One move of the search on torch at a time, on the CPU: against plain sums, the compiled rows and Boltzmann's chances."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.compression.rounding import AnnealedRounding, Annealing, Lattice, NearestRounding, TorchRows, rounder_name
from annealnet.compression.rounding import torch_rows as torch_module
from annealnet.compression.rounding.gptq import gptq_codes
from annealnet.compression.rounding.graduated import graduate_rows
from annealnet.compression.rounding.grids import Grid
from annealnet.compression.rounding.torch_rows import torch_anneal_codes

GRIDS = [Grid(1), Grid(2), Grid(3), Grid(2, symmetric=False), Grid(3, group=2, symmetric=False)]
CPU = torch.device("cpu")


def layer(n: int, rows: int, grid: Grid, seed: int, dead: bool = False) -> Lattice:
    """Correlated inputs, narrow steps and wide ones; the first input may be dead."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3 * n + 2, n)) @ rng.normal(size=(n, n))
    x[:, 0] *= not dead
    shape = (rows, grid.groups(n))
    zero = np.zeros(shape) if grid.symmetric else rng.integers(grid.low, grid.high + 1, shape)
    return Lattice(
        (x.T @ x / n**2).astype(np.float32), rng.normal(size=(rows, n)).astype(np.float32),
        rng.uniform(0.2, 1.8, shape).astype(np.float32), zero.astype(np.float32), grid.column(n).numpy(), grid,
    )  # fmt: skip


def gaps(lattice: Lattice, places: np.ndarray) -> np.ndarray:
    """z − w of places ``(n, rows)`` in steps above the lowest point, entry by entry: float64 ``(n, rows)``."""
    grid, found = lattice.grid, np.empty(places.shape)
    for i, r in np.ndindex(*places.shape):
        s, o = float(lattice.scale[r, lattice.column[i]]), float(lattice.zero[r, lattice.column[i]])
        found[i, r] = s * (grid.low + grid.step * float(places[i, r]) - o) - float(lattice.weights[r, i])
    return found


def errors(lattice: Lattice, places: np.ndarray) -> np.ndarray:
    gap = gaps(lattice, places)
    return np.einsum("ir,ij,jr->r", gap, lattice.gram.astype(np.float64), gap)


def some_places(rows: TorchRows, seed: int) -> torch.Tensor:
    drawn = np.random.default_rng(seed).integers(0, rows.top + 1, tuple(rows.wanted.shape))
    return torch.from_numpy(drawn.astype(np.float32))


@settings(max_examples=40)
@given(st.integers(1, 7), st.sampled_from(GRIDS), st.integers(0, 9999), st.booleans())
def test_a_lattice_on_a_device_has_the_same_points_fields_and_errors(n, grid, seed, dead):
    lattice = layer(n, 3, grid, seed, dead)
    rows = TorchRows.of(lattice, CPU)
    assert rows.top == len(range(grid.low, grid.high, grid.step))
    places = some_places(rows, seed)
    gap = gaps(lattice, places.numpy())
    np.testing.assert_allclose(rows.base + rows.width * places - rows.wanted, gap, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rows.fields(places), lattice.gram.astype(np.float64) @ gap, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(rows.errors(places), errors(lattice, places.numpy()), rtol=1e-3, atol=1e-4)
    # one step of weight i costs 2 F_i width + G_ii width²; its best real place is where the parabola is least
    for i in range(n):
        up, down = places.clone(), places.clone()
        up[i] += 1
        down[i] -= 1
        above, here, below = (errors(lattice, at.numpy()) for at in (up, places, down))
        np.testing.assert_allclose(rows.stiff[i], (above + below) / 2 - here, rtol=1e-3, atol=1e-4)
        if lattice.gram[i, i] > 0.01:
            least = places[i].numpy() - (above - below) / (above + below - 2 * here) / 2
            np.testing.assert_allclose(rows.best(i, places, rows.fields(places)[i]), least, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("block", [1, 3, 64])
@pytest.mark.parametrize("dead", [False, True])
def test_every_visit_of_a_sweep_sees_the_field_of_all_moves_before_it(monkeypatch, block, dead):
    monkeypatch.setattr(torch_module, "_BLOCK", block)
    for seed, grid in enumerate(GRIDS):
        lattice = layer(7, 4, grid, seed, dead)
        rows = TorchRows.of(lattice, CPU)
        places, target = some_places(rows, seed), some_places(rows, seed + 50)
        before, visited = places.clone(), []
        field = rows.fields(places)

        def visit(i, own, rows=rows, places=places, target=target, visited=visited):
            visited.append(i)
            torch.testing.assert_close(own, rows.fields(places)[i], rtol=1e-3, atol=1e-3)
            return target[i]

        changed = rows.sweep(places, field, visit)
        assert visited == list(range(7))
        assert torch.equal(places[1:], target[1:])
        assert torch.equal(places[0], before[0] if dead else target[0])  # where an input is dead nothing is to be gained
        torch.testing.assert_close(field, rows.fields(places), rtol=1e-3, atol=1e-3)
        assert int(changed) == int((places != before).sum())


def test_what_float32_adds_to_a_field_is_gone_after_so_many_sweeps(monkeypatch):
    monkeypatch.setattr(torch_module, "_ANEW", 3)
    rows = TorchRows.of(layer(4, 2, Grid(3), 0), CPU)
    places, true = some_places(rows, 1), []
    for number, (share, field) in enumerate(rows._sweeps(places, np.arange(8.0))):
        assert share == number
        true.append(torch.equal(field, rows.fields(places)))
        field += 1e-3
        places[number % 4] += 1
    assert true == [True, False, False] * 2 + [True, False]


@pytest.mark.parametrize(("block", "anew"), [(2, 3), (64, 64)])
@pytest.mark.parametrize("shares", [[1.0], [0.0, 0.6], [0.0, 0.2, 0.5, 0.7, 0.85, 0.95, 1.0]])
def test_mean_fields_go_where_those_of_the_compiled_rows_go(monkeypatch, block, anew, shares):
    monkeypatch.setattr(torch_module, "_BLOCK", block)
    monkeypatch.setattr(torch_module, "_ANEW", anew)
    for seed, grid in enumerate(GRIDS):
        lattice = layer(5, 40, grid, seed, dead=seed == 2)
        kappas = np.array(shares, dtype=np.float32)
        codes = np.zeros(lattice.weights.shape, dtype=np.int16)
        graduate_rows(
            lattice.gram, lattice.weights, lattice.scale, lattice.zero, lattice.column, lattice.levels, codes, kappas
        )
        places = TorchRows.of(lattice, CPU).graduate(kappas).T.numpy()
        assert (grid.low + grid.step * places == codes).all(axis=1).mean() >= 0.95  # all but ties of float32


def boltzmann(lattice: Lattice, temperature: float) -> dict[tuple[int, ...], float]:
    """The chance of each state of the first row, in steps above the lowest point."""
    grid, n = lattice.grid, lattice.weights.shape[1]
    top = (grid.high - grid.low) // grid.step
    states = list(itertools.product(range(top + 1), repeat=n))
    alone = lattice.rows(slice(0, 1))
    weights = [math.exp(-float(errors(alone, np.array(state)[:, None])[0]) / temperature) for state in states]
    return {state: weight / sum(weights) for state, weight in zip(states, weights, strict=True)}


@pytest.mark.parametrize("grid", [Grid(1), Grid(1, group=1)])
def test_the_heat_bath_draws_states_by_boltzmanns_chances(grid):
    """Two codes a weight: the two points around the best place are all there are, and a bath is Gibbs sampling."""
    drawn, many = layer(2, 1, grid, 3), 4000
    lattice = Lattice(
        drawn.gram, np.repeat(drawn.weights, 2 * many, 0), np.repeat(drawn.scale, 2 * many, 0),
        np.repeat(drawn.zero, 2 * many, 0), drawn.column, grid,
    )  # fmt: skip
    rows = TorchRows.of(lattice, CPU)
    begin = torch.zeros(2, 2 * many)
    first = torch.tensor([1.0, 4.0]).repeat_interleave(many)
    shares = np.array([1.0] * 5 + [0.5] * 12, dtype=np.float32)
    found = rows.heat(begin, first, shares, torch.Generator().manual_seed(0))
    assert not begin.any()  # a new tensor
    for half, temperature in ((slice(0, many), 0.5), (slice(many, None), 2.0)):
        for state, chance in boltzmann(lattice, temperature).items():
            share = float((found[:, half] == torch.tensor(state)[:, None]).all(dim=0).double().mean())
            assert share == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / many) + 1e-3)


@pytest.mark.parametrize("place", [-0.7, 0.2, 1.6, 2.9, 6.4])
def test_a_heat_bath_draws_one_of_the_two_points_around_the_best_place(place):
    many, width, temperature = 4000, 1.5, 1.2
    ones = np.ones((many, 1), dtype=np.float32)
    lattice = Lattice(
        np.full((1, 1), 0.8, dtype=np.float32), np.float32((place - 3) * width) * ones, np.float32(width) * ones, 0 * ones,
        np.zeros(1, dtype=np.int64), Grid(3),
    )  # fmt: skip
    rows = TorchRows.of(lattice, CPU)
    found = rows.heat(some_places(rows, 0), torch.full((many,), temperature), np.ones(1), torch.Generator().manual_seed(1))
    lower = min(max(math.floor(place), 0), 5)
    assert set(found.unique().tolist()) <= {lower, lower + 1}
    stiff = 0.8 * width**2
    chance = 1 / (1 + math.exp(-stiff / temperature * ((place - lower) ** 2 - (lower + 1 - place) ** 2)))
    assert float((found == lower + 1).double().mean()) == pytest.approx(
        chance, abs=4 * math.sqrt(chance * (1 - chance) / many) + 1e-3
    )


@settings(max_examples=40)
@given(st.integers(1, 6), st.sampled_from(GRIDS), st.integers(0, 9999), st.booleans())
def test_a_descent_on_torch_ends_where_no_single_code_can_be_bettered(n, grid, seed, dead):
    lattice = layer(n, 4, grid, seed, dead)
    rows = TorchRows.of(lattice, CPU)
    begin = some_places(rows, seed)
    kept = begin.clone()
    found = rows.descend(begin)
    assert torch.equal(begin, kept)
    least = errors(lattice, found.numpy())
    assert (least <= errors(lattice, begin.numpy()) * (1 + 1e-5) + 1e-5).all()
    for i, place in itertools.product(range(n), range(rows.top + 1)):
        moved = found.clone()
        moved[i] = place
        assert (errors(lattice, moved.numpy()) >= least - 1e-3 * rows.stiff[i].numpy() - 1e-5).all()
    if dead:
        assert torch.equal(found[0], begin[0])


@settings(max_examples=20)
@given(st.integers(1, 6), st.sampled_from(GRIDS), st.integers(0, 9999))
def test_a_descent_on_torch_does_not_depend_on_the_unit_of_the_error(n, grid, seed):
    """A Gram matrix times a power of two, exactly."""
    lattice, found = layer(n, 4, grid, seed), []
    for unit in (1.0, 2.0**-30, 2.0**30):
        rows = TorchRows.of(replace(lattice, gram=lattice.gram * np.float32(unit)), CPU)
        found.append(rows.descend(some_places(rows, seed)))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("width", [0.25, 1.0, 8.0])
def test_a_descent_on_torch_does_not_swing_between_equal_points(width):
    """Half way between two points each is as good as the other: the code stays, whichever it is."""
    one = np.ones((1, 1), dtype=np.float32)
    for half, starts in ((0.5, (3, 4)), (1.5, (4, 5)), (-0.5, (2, 3))):
        lattice = Lattice(
            one, np.float32(half * width) * one, np.float32(width) * one, 0 * one, np.zeros(1, dtype=np.int64), Grid(3)
        )
        for start in starts:
            assert TorchRows.of(lattice, CPU).descend(torch.full((1, 1), float(start))).tolist() == [[start]]


NOTHING = {"fields": 0, "sweeps": 0, "pairs": 0}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("start", ["gptq", "nearest"])
def test_without_effort_the_start_is_only_descended_from(grid, start):
    lattice = layer(6, 30, grid, 5)
    begun = gptq_codes(lattice) if start == "gptq" else lattice.nearest()
    rows = TorchRows.of(lattice, CPU)
    places = rows.descend(torch.from_numpy(((begun - grid.low) // grid.step).T.astype(np.float32)))
    wanted = (grid.low + grid.step * places.T.numpy()).astype(np.int16)
    for given_start in (None, begun):
        found = torch_anneal_codes(lattice, Annealing(**NOTHING, start=start), 0, given_start, device="cpu")
        assert found.dtype == np.int16
        assert np.array_equal(found, wanted)


def test_every_part_of_the_search_on_torch_gains_something():
    lattice = layer(20, 40, Grid(2), 3)
    parts = {"nothing": {}, "fields": {"fields": 2, "field_sweeps": 60}, "once": {"sweeps": 100}}
    parts["thrice"] = {"sweeps": 100, "repeats": 3}
    found = {
        name: lattice.errors(torch_anneal_codes(lattice, Annealing(**{**NOTHING, **part}), 0, device="cpu"))
        for name, part in parts.items()
    }
    for name in ("fields", "once", "thrice"):
        assert (found[name] <= found["nothing"]).all()
        assert found[name].sum() < 0.97 * found["nothing"].sum()
    assert (found["thrice"] <= found["once"]).all()
    assert found["thrice"].sum() < found["once"].sum()


def test_heat_baths_on_torch_cool_from_heat_to_cold_in_units_of_a_rows_error_per_weight(monkeypatch):
    lattice = layer(6, 5, Grid(3), 1)
    effort = Annealing(**{**NOTHING, "sweeps": 7}, heat=3.0, cold=0.5, repeats=2)
    least = lattice.errors(torch_anneal_codes(lattice, Annealing(**NOTHING), 0, device="cpu"))
    seen = []
    heat = TorchRows.heat

    def noted(self, places, temperatures, shares, generator):
        seen.append((temperatures.numpy(), shares))
        return heat(self, places, temperatures, shares, generator)

    monkeypatch.setattr(TorchRows, "heat", noted)
    torch_anneal_codes(lattice, effort, 0, device="cpu")
    assert len(seen) == 2
    temperatures, shares = seen[0]
    np.testing.assert_allclose(temperatures, 3.0 * least / 6, rtol=1e-5)
    assert (seen[1][0] <= temperatures).all()  # from the best so far
    assert shares == pytest.approx([(0.5 / 3.0) ** (k / 6) for k in range(7)])


def test_roundings_are_called_by_their_class_and_device():
    assert rounder_name(NearestRounding()) == "NearestRounding"
    assert rounder_name(AnnealedRounding(device="cpu")) == "AnnealedRounding on cpu"
