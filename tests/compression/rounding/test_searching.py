"""What stands around the kernels: efforts, schedules, starts, pieces; and AdaRound against every up and down."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.compression.rounding import (
    AnnealedRounding,
    Annealing,
    GptqRounding,
    Lattice,
    NearestRounding,
    adaround,
    anneal_codes,
    annealed,
    gram_rounding,
    layer_lattices,
    settled_lattices,
)
from annealnet.compression.rounding.adaround import adaround_codes
from annealnet.compression.rounding.annealed import graduation
from annealnet.compression.rounding.gptq import gptq_codes
from annealnet.compression.rounding.grids import Grid, dequantize
from annealnet.compression.rounding.stored_numbers import storable
from annealnet.samplers import Workers


def correlated(n: int, rows: int, seed: int, grid: Grid) -> Lattice:
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.normal(size=(4 * n, n)) @ (rng.normal(size=(n, n)) / np.arange(1, n + 1)), 0) + 0.05
    weight = torch.from_numpy(rng.normal(size=(rows, n)).astype(np.float32))
    return layer_lattices(weight, grid, torch.from_numpy((x.T @ x / len(x)).astype(np.float32))[None])[0]


def ups_and_downs(lattice: Lattice, row: int) -> list[list[int]]:
    """The two grid points around each weight, the last two where it lies beyond an end."""
    grid, around = lattice.grid, []
    for i, weight in enumerate(lattice.weights[row]):
        s, o = lattice.scale[row, lattice.column[i]], lattice.zero[row, lattice.column[i]]
        points = range(grid.low, grid.high + 1, grid.step)
        below = [c for c in points if s * (c - o) <= weight] or [grid.low]
        lower = min(below[-1], grid.high - grid.step)
        around.append([lower, lower + grid.step])
    return around


ADAROUND_GRIDS = [Grid(1), Grid(2), Grid(3, group=2), Grid(2, symmetric=False), Grid(4)]


@pytest.mark.parametrize("grid", ADAROUND_GRIDS)
def test_adaround_goes_up_or_down_as_the_whole_row_asks(grid):
    lattice = correlated(4, 12, 5, grid)
    codes = adaround_codes(lattice, 600)
    assert codes.dtype == np.int16
    close = 0
    for r in range(12):
        around = ups_and_downs(lattice, r)
        assert all(code in pair for code, pair in zip(codes[r].tolist(), around, strict=True))
        alone = lattice.rows(slice(r, r + 1))
        least = min(float(alone.errors(np.array([row]))[0]) for row in itertools.product(*around))
        close += float(alone.errors(codes[r : r + 1])[0]) <= 1.02 * least + 1e-9
    assert close >= 8  # a soft search: mostly


def test_adaround_weighs_rows_alike_and_hardens():
    """A row a thousand times weaker is rounded alike: errors are in units of the row's own at nearest rounding."""
    lattice = correlated(6, 4, 1, Grid(2))
    small = replace(lattice, weights=lattice.weights * np.float32(2**-10), scale=lattice.scale * np.float32(2**-10))
    assert np.array_equal(adaround_codes(lattice, 200), adaround_codes(small, 200))
    with pytest.raises(ValueError, match="steps=0"):
        adaround_codes(lattice, 0)
    assert adaround_codes(lattice, 1).shape == lattice.weights.shape


def test_the_soft_step_and_what_hardens_it():
    v = torch.tensor([-9.0, -2.0, 0.0, 1.0, 9.0])
    wanted = [min(1.0, max(0.0, 1.2 / (1 + np.exp(-float(x))) - 0.1)) for x in v]
    assert adaround._soft_step(v).tolist() == pytest.approx(wanted, abs=1e-6)
    h = torch.tensor([0.0, 0.25, 0.5, 0.9, 1.0])
    for share, beta in ((0.2 + 0.8 / 18, 19), (0.6, 11), (1.0, 2)):
        wanted = sum(1 - abs(2 * float(x) - 1) ** beta for x in h)
        assert float(adaround._undecided(h, share)) == pytest.approx(wanted, abs=1e-4)
    assert float(adaround._undecided(h, 0.2)) == float(adaround._undecided(h, 0.1)) == 0.0
    # away from the middle it pulls to the nearer end, and gradients stay finite in the middle itself
    pulled = torch.tensor([0.3, 0.5, 0.8], requires_grad=True)
    adaround._undecided(pulled, 0.9).backward()
    assert pulled.grad[0] > 0 > pulled.grad[2]
    assert torch.isfinite(pulled.grad).all()


def decided(lattice: Lattice) -> np.ndarray:
    """Weights that lie within the grid and away from the middle between two points: bool ``(rows, n)``."""
    grid = lattice.grid
    place = (lattice.weights / lattice.scale[:, lattice.column] + lattice.zero[:, lattice.column] - grid.low) / grid.step
    return (np.abs(place % 1 - 0.5) > 0.05) & (place > 0) & (place < (grid.high - grid.low) / grid.step)


@pytest.mark.parametrize("grid", ADAROUND_GRIDS)
def test_adaround_with_one_step_stays_near_the_nearest_points(grid):
    """The soft step starts where the weight lies, so a single small step changes only codes near the middle."""
    lattice = correlated(8, 12, 2, grid)
    clear = decided(lattice)
    assert clear.mean() > 0.4
    assert np.array_equal(adaround_codes(lattice, 1)[clear], lattice.nearest()[clear])


@pytest.mark.parametrize("grid", ADAROUND_GRIDS)
def test_what_hardens_adaround_pulls_to_the_nearer_point(monkeypatch, grid):
    """With nothing else to speak of, most weights end at the nearest point, however the inputs are correlated."""
    lattice = correlated(8, 12, 2, grid)
    clear = decided(lattice)
    usual = (adaround_codes(lattice, 300) == lattice.nearest())[clear].mean()
    monkeypatch.setattr(adaround, "_REGULARISER", 1e9)
    monkeypatch.setattr(adaround, "_WARM", 0.0)
    alone = (adaround_codes(lattice, 300) == lattice.nearest())[clear].mean()
    assert alone > max(0.85, usual)


def test_mean_fields_rise_with_their_powers():
    for number, power in ((0, 2.0), (1, 3.0), (2, 1.5), (3, 4.0), (4, 2.25), (5, 3.25), (8, 2.5)):
        assert graduation(5, number) == pytest.approx([(k / 4) ** power for k in range(5)])
    assert graduation(1, 0).tolist() == [1.0]
    assert graduation(2, 3).tolist() == [0.0, 1.0]


@settings(max_examples=200)
@given(
    st.integers(1, 5000),
    st.integers(1, 6000),
    st.integers(0, 8),
    st.integers(1, 1000),
    st.integers(0, 1000),
    st.integers(0, 3),
)
def test_efforts_fit_into_what_a_layer_may_cost(rows, inputs, fields, field_sweeps, sweeps, pairs):
    """1e11 multiply-adds a layer: 0.2 products a sweep of a field, 0.4 one of the heat bath, 8 a pass over pairs."""
    asked = Annealing(fields=fields, field_sweeps=field_sweeps, sweeps=sweeps, pairs=pairs)
    found = asked.within(rows, inputs)
    budget = 1e11 / (rows * inputs**2)
    field_cost = 0.2 * found.fields * found.field_sweeps
    cost = field_cost + 8.0 * found.pairs + 0.4 * found.sweeps
    assert cost <= budget + 1e-6
    assert field_cost <= 0.75 * budget + 1e-6
    assert found.fields <= fields
    assert found.sweeps <= sweeps
    assert found.pairs in (0, pairs)
    assert (found.heat, found.cold, found.repeats, found.start) == (asked.heat, asked.cold, asked.repeats, asked.start)
    whole = 0.2 * fields * field_sweeps
    if whole <= 0.75 * budget and whole + 8.0 * pairs + 0.4 * sweeps <= budget:
        assert found == asked
    # nothing is given up that would have fitted
    left = budget - field_cost
    if found.pairs < pairs:
        assert 8.0 * pairs > left
    if found.sweeps < sweeps:
        assert found.sweeps >= int((left - 8.0 * found.pairs) / 0.4 - 1e-6) - 1
    if found.fields == 0 < fields:
        assert 0.2 * min(20, field_sweeps) > 0.75 * budget - 0.2
    elif found.fields < fields or found.field_sweeps < field_sweeps:
        assert field_cost >= 0.75 * budget - 0.2 * max(found.field_sweeps, found.fields) - 1e-6
        assert found.field_sweeps >= min(20, field_sweeps)


def test_efforts_have_limits():
    for arguments, word in (
        ({"fields": -1}, "fields=-1"),
        ({"pairs": -1}, "pairs=-1"),
        ({"repeats": 0}, "repeats=0"),
        ({"field_sweeps": 0}, "field_sweeps=0"),
        ({"cold": 0.0}, r"cold=0\.0"),
        ({"cold": 3.0}, r"cold=3\.0"),
    ):
        with pytest.raises(ValueError, match=word):
            Annealing(**arguments)
    Annealing(fields=0, sweeps=0, pairs=0, repeats=1, field_sweeps=1, heat=1.0, cold=1.0)


def test_the_most_correlated_inputs_are_partners():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 12)) @ rng.normal(size=(12, 12)) * 10.0 ** rng.uniform(-2, 2, 12)
    gram = (x.T @ x).astype(np.float32)
    correlation = np.abs(gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram))))
    partners = annealed._partners(gram)
    assert partners.shape == (12, 8)
    for i in range(12):
        ordered = sorted((j for j in range(12) if j != i), key=lambda j: -correlation[i, j])
        assert set(partners[i].tolist()) == set(ordered[:8])
    assert annealed._partners(gram[:1, :1]).tolist() == [[0]]
    assert annealed._partners(gram[:2, :2]).tolist() == [[1], [0]]
    assert annealed._partners(np.zeros((3, 3), dtype=np.float32)).shape == (3, 2)


def test_a_row_keeps_the_better_of_two():
    lattice = correlated(5, 3, 0, Grid(3))
    one, two = lattice.nearest(), gptq_codes(lattice)
    two[2] = one[2]
    best = one.copy()
    errors = annealed._keep_better(lattice, two, best, lattice.errors(one))
    for r in range(3):
        wanted = two if lattice.errors(two)[r] < lattice.errors(one)[r] else one
        assert np.array_equal(best[r], wanted[r])
    assert np.array_equal(errors, lattice.errors(best))


PARTS = [{"fields": 2}, {"sweeps": 200}, {"pairs": 3}]


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_the_search_gains_something(part):
    """On correlated inputs each of mean fields, heat bath and pairs finds what single steps from nearest do not."""
    lattice = correlated(30, 40, 3, Grid(2))
    nothing = {"fields": 0, "sweeps": 0, "pairs": 0}
    steps = lattice.errors(anneal_codes(lattice, Annealing(**nothing, start="nearest"), 0))
    more = lattice.errors(anneal_codes(lattice, Annealing(**{**nothing, **part}, start="nearest"), 0))
    nearest = lattice.errors(lattice.nearest())
    assert (steps <= nearest).all()
    assert "fields" in part or (more <= steps).all()  # fields start elsewhere
    assert steps.sum() < nearest.sum()
    assert more.sum() < 0.97 * steps.sum()


def test_repeats_and_seeds_go_on_from_the_best():
    lattice = correlated(30, 20, 4, Grid(2))
    effort = Annealing(fields=0, sweeps=60, pairs=0)
    once = lattice.errors(anneal_codes(lattice, effort, 0))
    thrice = lattice.errors(anneal_codes(lattice, replace(effort, repeats=3), 0))
    assert (thrice <= once).all()
    assert thrice.sum() < once.sum()
    start = lattice.nearest()
    given_start = lattice.errors(anneal_codes(lattice, replace(effort, sweeps=0), 0, start=start))
    assert (given_start <= lattice.errors(start)).all()
    rows = anneal_codes(lattice.rows(slice(5, 9)), effort, 0, first_row=5)
    assert np.array_equal(rows, anneal_codes(lattice, effort, 0)[5:9])


def test_cold_heat_baths_stay_and_hot_ones_leave():
    """A bath far too hot ends as bad as chance: then the row keeps what it had before."""
    lattice = correlated(20, 20, 5, Grid(3))
    descent = lattice.errors(anneal_codes(lattice, Annealing(fields=0, sweeps=0, pairs=0), 0))
    right = lattice.errors(anneal_codes(lattice, Annealing(fields=0, sweeps=300, pairs=0), 0))
    hot = lattice.errors(anneal_codes(lattice, Annealing(fields=0, sweeps=300, pairs=0, heat=1e4, cold=1e4), 0))
    frozen = lattice.errors(anneal_codes(lattice, Annealing(fields=0, sweeps=300, pairs=0, heat=1e-6, cold=1e-6), 0))
    assert right.sum() < 0.97 * hot.sum()
    assert right.sum() < 0.97 * frozen.sum()
    # from far too hot to far too cold it passes what is right
    through = lattice.errors(anneal_codes(lattice, Annealing(fields=0, sweeps=300, pairs=0, heat=1e3, cold=1e-3), 0))
    assert through.sum() < 0.97 * hot.sum()
    assert (frozen <= descent).all()


# Roundings of whole layers.


def layer(rows: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    lattice = correlated(n, rows, seed, Grid(3))
    return torch.from_numpy(lattice.weights), torch.from_numpy(lattice.gram)[None]


def test_every_row_takes_the_best_of_the_stretched_scales():
    lattice = correlated(12, 10, 0, Grid(2))
    rounding = AnnealedRounding(stretches=(0.7, 1.0, 1.3))
    for factor, chosen in ((None, lambda tried: tried.nearest()), (gram_rounding.gptq_factor(lattice), gptq_codes)):
        started, codes = rounding._started(lattice, factor)
        tried = [replace(lattice, scale=storable(lattice.scale * np.float32(f))) for f in (0.7, 1.0, 1.3)]
        for r in range(10):
            errors = [float(each.errors(chosen(each))[r]) for each in tried]
            best = tried[int(np.argmin(errors))]
            assert started.scale[r] == pytest.approx(best.scale[r])
            assert np.array_equal(codes[r], chosen(best)[r])
    kept, _ = AnnealedRounding(stretches=(1.0,))._started(lattice, None)
    assert np.array_equal(kept.scale, lattice.scale)


@pytest.mark.parametrize(("start", "chosen"), [("nearest", lambda lattice: lattice.nearest()), ("gptq", gptq_codes)])
def test_a_search_starts_from_the_codes_that_its_effort_names(start, chosen):
    lattice = correlated(12, 20, 1, Grid(2))
    assert (lattice.nearest() != gptq_codes(lattice)).any()
    least = Annealing(fields=0, sweeps=0, pairs=0, start=start)
    wanted = anneal_codes(lattice, least, 0, start=chosen(lattice))
    codes, _ = AnnealedRounding(effort=least, stretches=(1.0,), rounds=0).settle(lattice, 0)
    assert np.array_equal(codes, wanted)
    assert np.array_equal(anneal_codes(lattice, least, 0), wanted)


def test_pairs_that_just_fit_are_tried():
    asked = Annealing(fields=0, sweeps=10, pairs=1)
    for rows, pairs in ((12_500, 1), (12_501, 0)):  # a pass over pairs costs 8 products, 1e11 / (12 500 · 1000²)
        assert asked.within(rows, 1000).pairs == pairs


def test_refitting_rounds_lower_the_error_and_stop_when_nothing_gains(monkeypatch):
    weight, gram = layer(12, 20, 1)

    def error(rounds: int) -> np.ndarray:
        effort = Annealing(fields=0, sweeps=0, pairs=0)
        gap = (
            dequantize(AnnealedRounding(effort=effort, stretches=(1.0,), rounds=rounds)(weight, 3, gram)) - weight
        ).double()
        return ((gap @ gram[0].double()) * gap).sum(1).numpy()

    none, one, many = error(0), error(1), error(40)
    assert (one <= none * (1 + 1e-6)).all()
    assert (many <= one * (1 + 1e-6)).all()
    assert one.sum() < 0.99 * none.sum()
    assert many.sum() < one.sum()
    assert np.array_equal(many, error(41))
    tried: list[int] = []
    monkeypatch.setattr(gram_rounding, "anneal_codes", lambda *asked: tried.append(1) or anneal_codes(*asked))
    error(40)
    assert len(tried) < 20  # it ended long before


def test_the_quick_one_only_descends_from_gptq():
    weight, gram = layer(6, 10, 2)
    quick = AnnealedRounding(seed=4, symmetric=False).quick()
    assert (quick.effort.fields, quick.effort.sweeps, quick.effort.pairs) == (0, 0, 0)
    assert (quick.stretches, quick.rounds, quick.seed, quick.symmetric) == ((1.0,), 0, 4, False)
    assert GptqRounding(3).quick() == GptqRounding(3)
    assert NearestRounding(3).quick() == NearestRounding(3)
    rounded, plain = AnnealedRounding().quick()(weight, 3, gram), GptqRounding()(weight, 3, gram)
    assert torch.equal(rounded.scale, plain.scale)


def test_without_a_gram_matrix_layers_are_rounded_to_nearest():
    weight, _ = layer(4, 6, 3)
    for rounding in (GptqRounding(2, False), AnnealedRounding(2, False)):
        assert torch.equal(rounding(weight, 3).codes, NearestRounding(2, False)(weight, 3).codes)


@pytest.mark.parametrize("shape", [(4, 4), (1, 3, 4), (1, 4, 3), (4, 4, 4)])
def test_gram_matrices_of_other_shapes_are_refused(shape):
    weight = torch.ones(6, 4)
    with pytest.raises(ValueError, match="gram has shape"):
        layer_lattices(weight, Grid(3), torch.ones(shape))


def test_layers_are_cut_into_their_groups():
    weight, gram = layer(6, 4, 4)
    grams = torch.cat([gram, 2 * gram, 3 * gram])
    found = layer_lattices(weight, Grid(3), grams)
    assert len(found) == 3
    for number, lattice in enumerate(found):
        assert np.array_equal(lattice.weights, weight[2 * number : 2 * number + 2].numpy())
        assert np.array_equal(lattice.gram, grams[number].numpy())


def test_groups_draw_from_streams_of_their_own(monkeypatch):
    seen: list[tuple[int, int, int]] = []

    def noted(lattice, effort, seed, codes, first):
        seen.append((seed, len(codes), first))
        return codes

    monkeypatch.setattr(gram_rounding, "anneal_codes", noted)
    monkeypatch.setattr(gram_rounding, "_PIECE", 4)
    weight, gram = layer(10, 4, 5)
    AnnealedRounding(seed=1, rounds=0)(weight, 3, torch.cat([gram, gram]))
    assert [(rows, first) for _, rows, first in seen] == [(4, 0), (1, 4), (4, 0), (1, 4)]
    assert seen[0][0] == seen[1][0] != seen[2][0] == seen[3][0]
    first = seen[0][0]
    seen.clear()
    AnnealedRounding(seed=2, rounds=0)(weight, 3, gram)
    assert seen[0][0] != first
    assert [rows for _, rows, _ in seen] == [4, 4, 2]


def test_answers_depend_on_every_setting_but_the_workers():
    plain = AnnealedRounding()
    state = plain.fingerprint_state()
    assert replace(plain, workers=Workers("sequential", 1), device=plain.place).fingerprint_state() == state
    changes = {"group": 3, "symmetric": False, "effort": Annealing(1), "stretches": (1.0,), "rounds": 1, "seed": 1}
    for name, value in {**changes, "device": "meta"}.items():
        other = replace(plain, **{name: value}).fingerprint_state()
        assert {key for key in state if other[key] != state[key]} == {name}


@pytest.mark.parametrize("cuda", [False, True])
def test_cuda_is_taken_where_there_is_one_and_nothing_else_was_asked_for(monkeypatch, cuda):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    workers = Workers("sequential", 1)
    assert AnnealedRounding().place == ("cuda" if cuda else None)
    assert AnnealedRounding(workers=workers).place is None
    assert AnnealedRounding(device="cpu").place == AnnealedRounding(device="cpu", workers=workers).place == "cpu"


def test_stretches_and_rounds_have_limits():
    for arguments, word in (({"stretches": (0.0, 1.0)}, "stretches"), ({"rounds": -1}, "rounds=-1")):
        with pytest.raises(ValueError, match=word):
            AnnealedRounding(**arguments)
    AnnealedRounding(rounds=0, stretches=(1.0,))


@pytest.mark.parametrize("grid", [Grid(3), Grid(3, group=2, symmetric=False)])
def test_settled_lattices_stand_where_the_layer_was_rounded_to(grid):
    rng = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 4, generator=rng)
    grams = torch.stack([(x := torch.randn(9, 4, generator=rng)).T @ x for _ in range(3)])
    rounded = NearestRounding(grid.group, grid.symmetric)(weight, grid.bits)
    found = settled_lattices(weight, rounded, grams)
    assert len(found) == 3
    for number, (codes, lattice) in enumerate(found):
        own = slice(2 * number, 2 * number + 2)
        np.testing.assert_allclose(lattice.values(codes), dequantize(rounded)[own].numpy(), atol=1e-6)
        assert np.array_equal(lattice.weights, weight[own].numpy())
        assert np.array_equal(lattice.gram, grams[number].numpy())
