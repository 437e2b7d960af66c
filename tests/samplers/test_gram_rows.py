"""Rows under one Gram matrix: kernels against Boltzmann's chances and enumeration, the sampler against its energy's rows."""

from __future__ import annotations

import contextlib
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.energy import Cardinality, ConstrainedEnergy, DenseEnergy, LinearBudget, SharedGramEnergy, SparseEnergy
from annealnet.samplers import SharedGramSampler, gram_annealing
from annealnet.samplers.gram_annealing import _counts, _one_row, _Rows
from annealnet.samplers.kernels.gram_rows import sweep_rows


def states_of(n: int) -> np.ndarray:
    return np.array(list(itertools.product((0, 1), repeat=n)), dtype=np.int8)


def rows_of(depth: int, width: int, seed: int) -> SharedGramEnergy:
    """Couplings as large as what bits have alone, so that no bit can be told from its own numbers."""
    rng = np.random.default_rng(seed)
    half, size = rng.normal(size=(width, width)), (depth, width)
    return SharedGramEnergy(half + half.T, rng.choice([-1.5, -0.7, 0.6, 1.2], size), rng.normal(size=size), 0.25)


def counted(energy: SharedGramEnergy, counts: list[int]) -> ConstrainedEnergy:
    width = energy.shape[1]
    rules = [Cardinality(range(row * width, (row + 1) * width), count) for row, count in enumerate(counts)]
    return ConstrainedEnergy(energy, rules)


def work_of(energy: SharedGramEnergy, reads: int, counts: list[int] | None = None, given: np.ndarray | None = None) -> _Rows:
    return _Rows(energy, None if counts is None else np.array(counts), reads, 5, given)


def true_fields(work: _Rows) -> np.ndarray:
    gram = 2 * work.energy.gram * (1 - np.eye(work.energy.shape[1]))
    return (work.states * work.signs) @ gram


def chances_of(energy: SharedGramEnergy, row: int, beta: float, states: np.ndarray) -> np.ndarray:
    """Boltzmann's, of one row that no other row sees."""
    width = energy.shape[1]
    whole = np.zeros((len(states), energy.num_variables))
    whole[:, row * width : (row + 1) * width] = states
    values = energy.energy(whole)
    weights = np.exp(-beta * (values - values.min()))
    return weights / weights.sum()


@pytest.mark.parametrize(("counts", "width"), [(None, 3), ([2, 1], 4)])
def test_rows_are_visited_with_boltzmanns_chances_and_fields_stay_true(counts, width):
    energy, reads, beta = rows_of(2, width, 1), 60, 0.35
    work = work_of(energy, reads, counts)
    assert work.fields == pytest.approx(true_fields(work), abs=1e-4)
    every = states_of(width)
    seen = np.zeros((2, 1 << width))
    for step in range(45):
        work.sweep(np.full(4, beta))
        if step >= 5:
            codes = (work.states @ (1 << np.arange(width)[::-1])).reshape(reads, 2)
            for row in range(2):
                seen[row] += np.bincount(codes[:, row], minlength=1 << width)
    assert work.fields == pytest.approx(true_fields(work), abs=1e-3)
    for row in range(2):
        kept = np.ones(len(every), dtype=bool) if counts is None else every.sum(axis=1) == counts[row]
        wanted = np.zeros(len(every))
        wanted[kept] = chances_of(energy, row, beta, every[kept])
        assert np.abs(seen[row] / seen[row].sum() - wanted).sum() < 0.09


def test_cold_swaps_end_where_no_swap_gains():
    """And none is counted that does not gain: with a chance of e^(−1000) only falls and ties are left."""
    energy, pool = rows_of(1, 6, 4), states_of(6)
    pool = pool[pool.sum(axis=1) == 3]
    work = work_of(energy, len(pool), [3], pool)
    before = energy.energy(work.states)
    for _ in range(8):
        work.sweep(np.full(5, 1e5))
        after = energy.energy(work.states)
        assert (after <= before + 1e-4).all()
        before = after
    for state, value in zip(work.states, after, strict=True):
        near = pool[np.abs(pool - state).sum(axis=1) == 2]
        assert (energy.energy(near) >= value - 1e-4).all()
    assert work.fields == pytest.approx(true_fields(work), abs=1e-3)


@pytest.mark.parametrize("blocks", [1, 2, 3, 5])
def test_every_row_is_swept_once_whatever_blocks_they_come_in(blocks):
    energy = rows_of(5, 4, 2)
    alone, together = work_of(energy, 1), work_of(energy, 1)
    betas = np.full((5, 3), 0.5)
    for work, count in ((alone, 1), (together, blocks)):
        sweep_rows(work.gram, work.signs, work.alone, work.states, work.fields, betas, work.random, count)
    assert (together.states == alone.states).all()
    assert (together.random == alone.random).all()


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e-3])
def test_what_counts_as_a_gain_follows_the_scale_of_the_energy(scale):
    """Numbers below a millionth of the usual cost are rounding; a hundredth of it is not, however small the energy."""
    linear = scale * np.array([[-1e-2, -1e-8, 1e-2, 1.0]])
    bits = SharedGramEnergy(np.zeros((4, 4)), np.ones((1, 4)), linear)
    assert work_of(bits, 1, given=np.array([[0, 0, 1, 1]])).finished().tolist() == [[1, 0, 0, 0]]


def test_work_is_counted_in_steps(monkeypatch):
    """A descent reads an eighth of rows × width numbers a step; a proposal is five steps, whatever the layout."""
    asked = []
    monkeypatch.setattr(gram_annealing, "threads_for", lambda steps: asked.append(steps) or contextlib.nullcontext())
    work = work_of(rows_of(2, 4, 0), 3)
    work.sweep(np.ones(7))
    work.finished()
    assert asked == [6 * 4 * 4 / 8, 5 * 6 * 4 * 7, 6 * 4 * 4 / 8]


@pytest.mark.parametrize("cost", [0.0, 1.5])
def test_flips_and_swaps_that_cost_nothing_or_little_are_taken_as_often_as_they_should(cost):
    width = 80
    bits = SharedGramEnergy(np.zeros((width, width)), np.ones((1, width)), np.full((1, width), cost))
    free = work_of(bits, 4, given=np.zeros((4, width)))
    free.sweep(np.ones(1))
    first = 0.5 if cost == 0 else math.exp(-cost)
    assert free.states.mean() == pytest.approx(first, abs=0.09)
    for _ in range(20):
        free.sweep(np.ones(1))
    assert free.states.mean() == pytest.approx(1 / (1 + math.exp(cost)), abs=0.09)
    frozen = work_of(bits, 1, given=np.zeros((1, width)))
    if cost:
        frozen.sweep(np.full(5, 25.0))  # a chance of e^(−37.5) is never drawn
        assert not frozen.states.any()


def test_swaps_of_equal_bits_are_all_taken_and_a_full_row_has_none():
    width = 40
    bits = SharedGramEnergy(np.zeros((width, width)), np.ones((3, width)), np.zeros((3, width)))
    start = np.zeros((1, 3 * width), dtype=np.int8)
    start[0, :20] = start[0, 2 * width :] = 1
    work = work_of(bits, 1, [20, 0, width], start)
    work.sweep(np.ones(1))
    assert work.states.sum(axis=1).tolist() == [20, 0, width]
    assert 3 < work.states[0, :20].sum() < 17


@settings(max_examples=25)
@given(st.integers(1, 3), st.integers(1, 7), st.integers(1, 4), st.integers(0, 999))
def test_a_descent_ends_where_no_flip_gains_and_rows_are_sorted(depth, width, reads, seed):
    energy = rows_of(depth, width, seed)
    start = np.random.default_rng(seed).integers(0, 2, (reads, depth * width), dtype=np.int8)
    found = work_of(energy, reads, given=start).finished()
    assert min(energy.flip_deltas(x).min() for x in found) > -1e-3
    alone = np.zeros((depth, reads, depth * width))
    for row in range(depth):
        part = slice(row * width, (row + 1) * width)
        alone[row, :, part] = found[:, part]
        assert (np.diff(energy.energy(alone[row])) >= -1e-9).all()
    assert energy.energy(found[0]) <= energy.energy(start).min() + 1e-3


def test_finished_rows_with_counts_are_sorted_and_not_moved():
    energy = rows_of(2, 4, 3)
    pool = states_of(4)[states_of(4).sum(axis=1) == 2]
    start = np.concatenate([pool, pool[::-1]], axis=1)
    found = work_of(energy, len(pool), [2, 2], start).finished()
    for row in range(2):
        part = slice(4 * row, 4 * row + 4)
        alone = np.zeros((len(pool), 8))
        alone[:, part] = found[:, part]
        assert (np.diff(energy.energy(alone)) >= 0).all()
        assert {tuple(x) for x in found[:, part].tolist()} == {tuple(x) for x in pool.tolist()}


@pytest.mark.parametrize("counts", [None, [3, 1]])
def test_starts_are_random_bits_or_random_members(counts):
    work = work_of(rows_of(2, 30, 0), 40, counts)
    assert work.states.shape == (80, 30)
    if counts is None:
        assert work.states.mean() == pytest.approx(0.5, abs=0.05)
    else:
        assert work.states.sum(axis=1).tolist() == counts * 40
        assert (work.states.any(axis=0)).all()


def test_temperatures_follow_the_cost_of_flips():
    energy = rows_of(2, 4, 7)
    start = np.random.default_rng(0).integers(0, 2, (3, 8), dtype=np.int8)
    work = work_of(energy, 3, given=start)
    costs = np.concatenate([np.abs(energy.flip_deltas(x)) for x in start])
    scale = float(np.sqrt(np.mean(costs**2)))
    assert work.betas() == pytest.approx((0.3 / scale, 300 / scale), rel=1e-5)
    flat = SharedGramEnergy(np.zeros((3, 3)), np.ones((1, 3)), np.zeros((1, 3)))
    assert work_of(flat, 1).betas() == (0.3, 300.0)


@settings(max_examples=10)
@given(st.integers(1, 2), st.integers(1, 4), st.integers(0, 999), st.booleans())
def test_the_optimum_of_every_row_is_put_together(depth, width, seed, ruled):
    energy = rows_of(depth, width, seed)
    model = counted(energy, [1 + seed % width] * depth) if ruled else energy
    states = states_of(depth * width)
    kept = model.feasible(states) if isinstance(model, ConstrainedEnergy) else np.ones(len(states), dtype=bool)
    answer = SharedGramSampler().sample_energy(model, num_reads=8, num_sweeps=40, seed=seed)
    assert answer.first.energy == pytest.approx(float(energy.energy(states[kept]).min()), abs=1e-3)
    assert (np.diff(answer.record.energy) >= 0).all()
    assert (answer.info["seed"], answer.info["certificate"]["reads"], answer.info["certificate"]["proven"]) == (
        seed,
        8,
        False,
    )


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_any_energy_is_one_row(form):
    rng = np.random.default_rng(2)
    energy = (
        DenseEnergy(rng.normal(size=(4, 4)), rng.normal(size=4), 1.5)
        if form == "dense"
        else SparseEnergy([0, 1, 2], [1, 2, 3], rng.normal(size=3), rng.normal(size=4), 1.5)
    )
    assert _one_row(energy).energy(states_of(4)) == pytest.approx(energy.energy(states_of(4)), abs=1e-12)


def test_counts_are_one_per_whole_row():
    energy = rows_of(2, 3, 0)
    assert _counts(energy, (2, 3)) is None
    assert _counts(ConstrainedEnergy(energy, []), (2, 3)) is None
    found = _counts(ConstrainedEnergy(energy, [Cardinality([5, 3, 4], 1), Cardinality([0, 1, 2], 3)]), (2, 3))
    assert found is not None
    assert found.tolist() == [3, 1]
    bad = (
        [Cardinality([0, 1], 1)], [Cardinality([1, 2, 3], 1)], [Cardinality(range(6), 1)], [LinearBudget(np.ones(6), 2)],
    )  # fmt: skip
    for rules in bad:
        with pytest.raises(ValueError, match="all bits of each row"):
            _counts(ConstrainedEnergy(energy, rules), (2, 3))
    with pytest.raises(ValueError, match="leave a row free"):
        _counts(counted(energy, [1]), (2, 3))
    zero = _counts(counted(energy, [0, 2]), (2, 3))
    assert zero is not None
    assert zero.tolist() == [0, 2]


def test_bad_requests_name_the_argument():
    energy = rows_of(2, 3, 0)
    for asked, words in (
        ({"num_reads": 0}, "num_reads"), ({"num_sweeps": 0}, "num_sweeps"), ({"beta_range": (2.0, 1.0)}, "beta_range"),
        ({"beta_range": (0.0, 1.0)}, "beta_range"), ({"beta_range": (1.0, np.inf)}, "beta_range"),
        ({"initial_states": np.zeros((1, 6))}, "initial_states"), ({"initial_states": np.full((4, 6), 2)}, "initial_states"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            SharedGramSampler().sample_energy(energy, **asked)
    with pytest.raises(ValueError, match="break the counts"):
        SharedGramSampler().sample_energy(counted(energy, [1, 1]), initial_states=np.zeros((4, 6)))
    cold = SharedGramSampler().sample_energy(
        energy, num_reads=1, num_sweeps=3, beta_range=(2.0, 2.0), initial_states=np.zeros((1, 6)), seed=0
    )
    assert cold.info["beta_range"] == (2.0, 2.0)
    assert len(SharedGramSampler().sample_energy(energy, seed=0)) == 4


def test_three_hundred_sweeps_or_as_many_as_the_time_allows(monkeypatch):
    asked = []
    monkeypatch.setattr(_Rows, "sweep", lambda self, betas: asked.append(len(betas)))
    SharedGramSampler().sample_energy(rows_of(1, 3, 0), seed=0)
    assert sum(asked) == 300
    asked.clear()
    SharedGramSampler().sample_energy(rows_of(1, 3, 0), num_sweeps=7, time_limit=100.0, seed=0)
    assert sum(asked) == 7
    asked.clear()
    SharedGramSampler().sample_energy(rows_of(1, 3, 0), time_limit=0.05, seed=0)
    assert asked
