"""Flat arrays against the energies and rules they stand for, over every state; bifurcation against its equations."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.energy import (
    AffineCount,
    Cardinality,
    DenseEnergy,
    Energy,
    FactoredEnergy,
    LinearBudget,
    ProductBudget,
    SparseEnergy,
    SumEnergy,
    Term,
)
from annealnet.samplers import BifurcationSampler, bifurcation, compiled, schedule
from annealnet.samplers.compiled import CompiledEnergy, compile_constraints, compile_energy
from annealnet.samplers.native import Task
from annealnet.samplers.schedule import Clock

FORMS = ["dense", "sparse", "one square", "squares", "sum", "many squares"]


def states_of(n: int) -> np.ndarray:
    return np.array(list(itertools.product((0, 1), repeat=n)), dtype=np.int8)


def make(form: str, n: int, seed: int) -> Energy:
    rng = np.random.default_rng(seed)
    size = 3.0 ** rng.integers(-3, 4)
    links = SparseEnergy(range(n - 1), range(1, n), size * rng.normal(size=n - 1), size * rng.normal(size=n))
    rows = {"one square": 1, "many squares": n + 1}.get(form, 2)
    squares = FactoredEnergy(
        rng.normal(size=(rows, n)), size * rng.normal(size=rows), rng.normal(size=rows), size * rng.normal(size=n)
    )
    if form == "dense":
        return DenseEnergy(size * rng.normal(size=(n, n)), size * rng.normal(size=n))
    return {"sparse": links, "sum": SumEnergy([links, squares])}.get(form, squares)


def told(flat: CompiledEnergy, x: np.ndarray) -> np.ndarray:
    """The energy of flat arrays, without what all states have in common."""
    couplings = flat.couplings.toarray() if flat.dense is None else flat.dense.astype(np.float64)
    levels = x @ flat.factors.toarray().T + flat.shifts
    values = x @ flat.linear + 0.5 * np.einsum("si,ij,sj->s", x, couplings, x) + levels**2 @ flat.weights
    return np.asarray(flat.scale * (values - values[0]))


def local_fields(energy: Energy, n: int) -> np.ndarray:
    """∂E/∂x at every state, ``(2ⁿ, n)``: bits may lie between 0 and 1, and squares see their own bit as well."""
    x = states_of(n).astype(np.float64)
    if isinstance(energy, FactoredEnergy):
        levels = x @ energy.factors.toarray().T + energy.shifts
        return np.asarray(2 * (levels * energy.weights) @ energy.factors.toarray() + energy.linear)
    return np.asarray(x @ energy.couplings().toarray() + energy.expanded_linear()[0])


@settings(max_examples=40)
@given(st.sampled_from(FORMS), st.integers(2, 6), st.integers(0, 999))
def test_flat_arrays_have_the_energy_of_every_state(form, n, seed):
    energy, x = make(form, n, seed), states_of(n)
    flat = compile_energy(energy)
    values = energy.energy(x) - energy.energy(x[:1])
    largest = np.abs(values).max()
    assert told(flat, x) == pytest.approx(values, abs=1e-5 * largest)
    plain = flat.expanded()
    assert plain.factors.nnz == 0
    assert plain.scale == flat.scale
    assert told(plain, x) == pytest.approx(values, abs=1e-5 * largest)


@settings(max_examples=30)
@given(st.sampled_from(["dense", "sparse", "one square"]), st.integers(2, 7), st.integers(0, 999))
def test_the_unit_is_the_power_of_two_nearest_the_root_mean_square_field(form, n, seed):
    energy = make(form, n, seed)
    fields = np.sqrt(np.mean(local_fields(energy, n) ** 2, axis=0))
    flat = compile_energy(energy)
    assert flat.scale * flat.field_scales() == pytest.approx(fields, rel=1e-5)
    assert np.log2(flat.scale) == pytest.approx(round(float(np.log2(np.sqrt(np.mean(fields**2))))))


def test_bits_without_fields_do_not_count_and_energies_without_any_stay_as_they_are():
    assert compile_energy(SparseEnergy([], [], [], np.array([4.0, 0.0, 0.0, 0.0]))).scale == 4.0
    assert compile_energy(SparseEnergy([], [], [], np.zeros(3))).scale == 1.0
    tiny = compile_energy(SparseEnergy([0], [1], [1e-140], np.zeros(2)))
    assert 0.5 < tiny.field_scales().max() < 2


def test_layouts_follow_how_full_a_matrix_is(monkeypatch):
    n = 8  # a quarter of the matrix are 16 numbers, 8 couplings
    rng = np.random.default_rng(0)
    pairs = np.array(list(itertools.combinations(range(n), 2)))
    for count, is_dense in ((8, False), (9, True)):
        rows, columns = pairs[:count].T
        assert (compile_energy(SparseEnergy(rows, columns, np.ones(count), np.zeros(n))).dense is not None) == is_dense
    full = DenseEnergy(rng.normal(size=(n, n)), rng.normal(size=n))
    factored = FactoredEnergy(rng.normal(size=(8, n)), np.ones(8), np.zeros(8))
    assert compile_energy(factored).factors.nnz == 64  # as many as couplings: kept
    longer = FactoredEnergy(rng.normal(size=(9, n)), np.ones(9), np.zeros(9))
    assert compile_energy(longer).factors.nnz == 0
    monkeypatch.setattr(compiled, "_DENSE_LIMIT", n)
    assert compile_energy(full).dense is not None
    assert compile_energy(longer).dense is not None
    monkeypatch.setattr(compiled, "_DENSE_LIMIT", n - 1)
    assert compile_energy(full).dense is None
    assert compile_energy(longer).factors.nnz == 72
    assert compile_energy(full + full).dense is None


@settings(max_examples=30)
@given(st.integers(0, 999))
def test_flat_rules_hold_where_the_rules_do(seed):
    rng = np.random.default_rng(seed)
    n = 6
    counts = tuple(
        AffineCount(int(rng.integers(0, 4)), tuple(rng.permutation(n)[:2].tolist()), tuple(rng.integers(1, 3, 2).tolist()))
        for _ in range(3)
    )
    rules = [
        Cardinality([4, 1], 1),
        LinearBudget(rng.integers(0, 3, n), int(rng.integers(0, 6))),
        ProductBudget(counts, (Term(2, (0, 1)), Term(1, (2,)), Term(1, (0, 1, 2))), int(rng.integers(5, 60))),
        Cardinality([0, 2, 5], 2),
        LinearBudget(rng.integers(0, 3, n), int(rng.integers(0, 6))),
    ]
    flat = compile_constraints(n, rules)
    (set_of, set_start, set_var), (start, index, value) = flat.sets, flat.counts
    assert set_of.tolist() == [1, 0, 1, -1, 0, 1]
    assert [set_var[set_start[k] : set_start[k + 1]].tolist() for k in range(2)] == [[4, 1], [0, 2, 5]]
    term_start, term_count, cost, budget_start, limits = flat.budgets
    assert len(limits) == 3
    for x in states_of(n):
        levels = flat.constants.copy()
        for i in np.flatnonzero(x):
            for k in range(start[i], start[i + 1]):
                levels[index[k]] += value[k]
        spent = [
            sum(
                cost[t] * np.prod(levels[term_count[term_start[t] : term_start[t + 1]]])
                for t in range(budget_start[b], budget_start[b + 1])
            )
            for b in range(3)
        ]
        budgets = [rule for rule in rules if not isinstance(rule, Cardinality)]
        assert [s <= limit for s, limit in zip(spent, limits, strict=True)] == [
            bool(rule.holds(x[None])[0]) for rule in budgets
        ]


# Bifurcation.


@settings(max_examples=30)
@given(st.sampled_from(FORMS), st.integers(2, 6), st.integers(0, 999))
def test_spins_see_the_energy_as_couplings_and_fields(form, n, seed):
    """E = ½ sᵀAs + h·s and a constant, with nothing on A's diagonal, for one read or many."""
    energy, x = make(form, n, seed), states_of(n)
    flat = compile_energy(energy)
    product, field, norm = bifurcation._spin_form(flat, torch.device("cpu"))
    spins = torch.tensor(2.0 * x.T - 1, dtype=torch.float32)
    values = (0.5 * (spins * product(spins)).sum(0) + field @ spins).double().numpy()
    wanted = energy.energy(x) / flat.scale
    assert values - values[0] == pytest.approx(wanted - wanted[0], abs=1e-4 * max(1.0, np.abs(wanted - wanted[0]).max()))
    matrix = product(torch.eye(n)).double().numpy()
    assert np.diagonal(matrix) == pytest.approx(np.zeros(n), abs=1e-5 * max(1.0, np.abs(matrix).max()))
    h = field.double().numpy()
    if form == "one square":
        a, w = flat.factors.toarray()[0], flat.weights[0]
        rows = 0.25 * w**2 * a**2 * (a**2).sum() if flat.factors.nnz else (matrix**2).sum(1)
    else:
        rows = (matrix**2).sum(1)
    if form != "squares" and form != "sum":
        assert norm == pytest.approx(float(np.sqrt(np.mean(rows + h**2))), rel=1e-4)


@pytest.mark.parametrize("n", [40, 64])
def test_lists_of_couplings_give_the_norm_of_their_rows(n):
    """Small chains are laid out as full matrices; this one is not."""
    flat = compile_energy(make("sparse", n, n))
    assert flat.dense is None
    assert flat.couplings.nnz
    product, field, norm = bifurcation._spin_form(flat, torch.device("cpu"))
    rows, h = (product(torch.eye(n)).double().numpy() ** 2).sum(1), field.double().numpy()
    assert norm == pytest.approx(float(np.sqrt(np.mean(rows + h**2))), rel=1e-4)


@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_oscillators_follow_their_equations(form, discrete):
    energy, reads, steps = make(form, 5, 3), 6, 9
    task = Task.of(energy, reads, 4, None, None, steps)
    found, done = bifurcation._bifurcate(task, torch.device("cpu"), steps, discrete, None)
    assert done == steps
    product, field, norm = bifurcation._spin_form(task.compiled, torch.device("cpu"))
    a = np.zeros((6, 6))
    a[:5, :5], a[:5, 5], a[5, :5] = product(torch.eye(5)).numpy(), field.numpy(), field.numpy()
    p, m = np.random.default_rng(4).uniform(-0.1, 0.1, (2, 6, reads))
    for step in range(steps):
        drive = np.sign(p) if discrete else p
        m -= 0.5 * ((1 - (step + 1) / steps) * p + 0.5 / norm * (a @ drive))
        p += 0.5 * m
        m[np.abs(p) > 1] = 0
        p = np.clip(p, -1, 1)
    wanted = (p[:5] * np.where(p[5] < 0, -1, 1) > 0).T
    sure = np.abs(p[:5]).min(0) > 1e-3
    assert sure.sum() >= 3
    assert (found[sure] == wanted[sure]).all()


def test_steps_are_counted_or_follow_the_clock(monkeypatch):
    assert list(bifurcation._shares(4, Clock(None))) == [0.25, 0.5, 0.75, 1.0]
    now = [0.0]
    monkeypatch.setattr(schedule, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    shares = []
    for share in bifurcation._shares(None, Clock(10.0, 0.0)):
        shares.append(share)
        now[0] += 2.5
    assert shares == [0.0, 0.25, 0.5, 0.75]
    now[0] = 0.0
    assert list(bifurcation._shares(2, Clock(10.0, 0.0))) == [0.5, 1.0]


def test_a_reheat_is_kept_only_where_it_is_lower():
    energy = make("dense", 60, 1)
    task = Task.of(energy, 20, 4, None, None, 5)
    starts = np.random.default_rng(0).integers(0, 2, (20, 60), dtype=np.int8)
    from annealnet.samplers.replicas import place

    descended = place(task.compiled, (), starts, task.stream)
    descended.descend()
    found = bifurcation._polished(task, starts)
    assert (energy.energy(found) <= energy.energy(descended.states()) + 1e-9).all()
    assert (energy.energy(found) < energy.energy(descended.states()) - 1e-3).any()
    assert min(energy.flip_deltas(x).min() for x in found) > -1e-3


def test_reheats_are_short_where_bits_are_many(monkeypatch):
    asked = []
    own = bifurcation.beta_chunks

    def noted(hot, cold, sweeps, clock):
        asked.append((cold / hot, sweeps))
        return own(hot, cold, 1, clock)

    monkeypatch.setattr(bifurcation, "beta_chunks", noted)
    for n, sweeps in ((10, 2000), (400, 50), (500, 50)):
        energy = SparseEnergy([], [], [], np.linspace(0.001, 1, n))
        task = Task.of(energy, 1, 0, None, None, 1)
        bifurcation._polished(task, np.zeros((1, n), dtype=np.int8))
        assert asked[-1][0] == pytest.approx(14.0)
        assert asked[-1][1] == sweeps


def test_bifurcation_keeps_to_its_time_and_tells_its_progress():
    shares: list[float] = []
    answer = BifurcationSampler().sample_energy(
        make("dense", 5, 0), num_reads=3, num_sweeps=8, seed=0, progress=shares.append
    )
    assert shares == pytest.approx([k / 8 for k in range(1, 9)])
    assert answer.info["num_sweeps"] == 8
    assert BifurcationSampler().sample_energy(make("dense", 5, 0), seed=0).info["num_sweeps"] == 1000
    timed = BifurcationSampler().sample_energy(make("dense", 5, 0), num_reads=1, seed=0, time_limit=0.2)
    assert timed.info["num_sweeps"] >= 1
    flat = BifurcationSampler().sample_energy(DenseEnergy(np.zeros((3, 3))), num_reads=2, num_sweeps=2, seed=0)
    assert (flat.record.energy == 0).all()
