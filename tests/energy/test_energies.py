"""Every form against its plain QUBO, every constraint against enumeration, every file format against what was written."""

from __future__ import annotations

import itertools
import json

import dimod
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.energy import (
    AffineCount,
    Cardinality,
    ConstrainedEnergy,
    DenseEnergy,
    Energy,
    FactoredEnergy,
    IntegerEncoding,
    LinearBudget,
    OneHot,
    ProductBudget,
    SharedGramEnergy,
    SparseEnergy,
    SumEnergy,
    Term,
    from_bqm,
    lower_bound,
    read_energy,
)

FORMS = ("dense", "sparse", "factored", "sum")


def make(form: str, n: int, seed: int) -> Energy:
    rng = np.random.default_rng(seed)
    if form == "dense":
        return DenseEnergy(rng.normal(size=(n, n)), rng.normal(size=n), float(rng.normal()))
    if form == "sparse":
        k = 2 * n
        return SparseEnergy(rng.integers(n, size=k), rng.integers(n, size=k), rng.normal(size=k), rng.normal(size=n), 0.5)
    if form == "factored":
        return FactoredEnergy(rng.normal(size=(3, n)), rng.normal(size=3), rng.normal(size=3), rng.normal(size=n), -1.0)
    return SumEnergy([make(kind, n, seed + i) for i, kind in enumerate(FORMS[:3])])


def every_state(n: int) -> np.ndarray:
    return np.array(list(itertools.product((0, 1), repeat=n)), dtype=np.uint8)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(FORMS), st.integers(1, 6), st.integers(0, 10_000))
def test_both_faces_have_the_same_energy(form, n, seed):
    energy = make(form, n, seed)
    states = every_state(n)
    values = energy.energy(states)
    for vartype in ("BINARY", "SPIN"):
        bqm = energy.to_bqm(vartype)
        shown = states if vartype == "BINARY" else 2 * states.astype(int) - 1
        assert np.allclose(bqm.energies((shown, list(range(n)))), values, atol=1e-9)
    back, labels = from_bqm(energy.to_bqm("SPIN"))
    assert np.allclose(back.energy(states[:, [int(v) for v in labels]]), values, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(FORMS), st.integers(1, 6), st.integers(0, 10_000))
def test_flip_deltas_and_bounds(form, n, seed):
    energy = make(form, n, seed)
    states = every_state(n)
    assert lower_bound(energy) <= energy.energy(states).min() + 1e-9
    for x in states[:8]:
        for i, delta in enumerate(energy.flip_deltas(x)):
            flipped = x.copy()
            flipped[i] ^= 1
            assert delta == pytest.approx(float(energy.energy(flipped) - energy.energy(x)), abs=1e-9)


def constraints_for(kind: str, n: int, rng: np.random.Generator) -> list:
    if kind == "one-hot":
        return [OneHot([0, 1])]
    if kind == "cardinality":
        return [Cardinality(list(range(n)), int(rng.integers(n + 1)))]
    if kind == "linear":
        return [LinearBudget(rng.integers(0, 3, size=n), int(rng.integers(0, 4)))]
    counts = (AffineCount(2, (0, 1), (-1, -1)), AffineCount(1, (2,), (1,)))
    return [ProductBudget(counts, (Term(1, (0, 1)),), int(rng.integers(0, 4)))]


@settings(max_examples=24, deadline=None)
@given(st.sampled_from(("one-hot", "cardinality", "linear", "product")), st.integers(0, 10_000))
def test_penalties_are_exact_on_feasible_states_and_sufficient_on_others(kind, seed):
    rng = np.random.default_rng(seed)
    n = 3
    model = ConstrainedEnergy(make("dense", n, seed), constraints_for(kind, n, rng))
    states = every_state(n)
    good = model.feasible(states)
    if not good.any():
        return
    bqm = model.to_bqm()
    assert bqm.num_variables <= 18
    found = dimod.ExactSolver().sample(bqm)
    where = [list(found.variables).index(i) for i in range(n)]
    best: dict[tuple[int, ...], float] = {}
    for sample, energy in zip(found.record.sample[:, where], found.record.energy, strict=True):
        key = tuple(int(v) for v in sample)
        best[key] = min(energy, best.get(key, np.inf))
    worst_feasible = model.energy(states[good]).max()
    for state, feasible in zip(states, good, strict=True):
        value = best[tuple(int(v) for v in state)]
        if feasible:
            assert value == pytest.approx(float(model.energy(state)), abs=1e-6)
        else:
            assert value > worst_feasible


@given(st.integers(-5, 5), st.integers(0, 40))
def test_encodings_reach_every_value_and_no_other(low, width):
    for encoding in (IntegerEncoding.binary(low, low + width), IntegerEncoding.unary(low, low + width)):
        assert encoding.high == low + width
        for value in range(low, low + width + 1):
            assert encoding.decode(encoding.encode(value)) == value
        with pytest.raises(ValueError, match="out of range"):
            encoding.encode(low + width + 1)


def test_files_round_trip(tmp_path):
    energy = make("dense", 4, 0)
    states = every_state(4)
    (tmp_path / "a.json").write_text(json.dumps(energy.to_bqm("SPIN").to_serializable()))
    (tmp_path / "a.bqm").write_bytes(energy.to_bqm().to_file().read())
    np.savez(tmp_path / "a.npz", quadratic=np.triu(energy.matrix, 1), linear=energy.linear, offset=energy.offset)
    for name in ("a.json", "a.bqm", "a.npz"):
        found, labels = read_energy(tmp_path / name)
        assert np.allclose(found.energy(states[:, [int(v) for v in labels]]), energy.energy(states))
    (tmp_path / "a.coo").write_text("# vartype=SPIN\n0 0 1.5  # field\n0 1 -2\n")
    found, _ = read_energy(tmp_path / "a.coo")
    assert found.energy(np.array([[0, 0], [1, 0], [1, 1]])).tolist() == [-3.5, 3.5, -0.5]


@pytest.mark.parametrize("text", ["0 1\n", "0 x 1\n", "0 1 nan\n", "-1 0 2\n", "", "0 1 2 3\n"])
def test_damaged_text_names_the_file(tmp_path, text):
    (tmp_path / "bad.coo").write_text(text)
    with pytest.raises(ValueError, match=r"bad\.coo"):
        read_energy(tmp_path / "bad.coo")


@pytest.mark.parametrize("name", ["bad.json", "bad.bqm", "bad.npz"])
def test_damaged_archives_name_the_file(tmp_path, name):
    (tmp_path / name).write_bytes(b'{"cut')
    with pytest.raises(ValueError, match="bad"):
        read_energy(tmp_path / name)
    with pytest.raises(ValueError, match="does not exist"):
        read_energy(tmp_path / "nowhere")


def test_bad_coefficients_are_refused():
    with pytest.raises(ValueError, match="quadratic"):
        DenseEnergy(np.array([[np.nan]]))
    with pytest.raises(ValueError, match="linear"):
        DenseEnergy(np.zeros((2, 2)), np.zeros(3))
    with pytest.raises(ValueError, match="rows and cols"):
        SparseEnergy([0], [5], [1.0], np.zeros(2))
    with pytest.raises(ValueError, match="weights"):
        FactoredEnergy(np.ones((1, 2)), np.array([np.inf]))
    with pytest.raises(ValueError, match="same bits"):
        SumEnergy([make("dense", 2, 0), make("dense", 3, 0)])
    with pytest.raises(ValueError, match="two cardinalities"):
        ConstrainedEnergy(make("dense", 3, 0), [OneHot([0, 1]), OneHot([1, 2])])
    with pytest.raises(ValueError, match="negative"):
        LinearBudget(np.array([-1]), 1)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([np.int8, np.uint8, np.int16, np.int32, np.int64, np.float32, np.float64, object]),
    st.lists(st.integers(0, 127), min_size=3, max_size=40),
    st.integers(0, 3000),
    st.integers(0, 10_000),
)
def test_budgets_of_any_type_of_numbers_count_as_python_does(dtype, coefficients, limit, seed):
    n = len(coefficients)
    states = np.random.default_rng(seed).integers(0, 2, (20, n), dtype=np.int8)
    exact = [sum(c for c, bit in zip(coefficients, state, strict=True) if bit) for state in states.tolist()]
    budget = LinearBudget(np.array(coefficients, dtype=dtype), np.int16(limit))
    assert budget.holds(states).tolist() == [value <= limit for value in exact]
    numbers = coefficients if dtype is object else np.array(coefficients, dtype=dtype)
    count = AffineCount(numbers[0], tuple(range(n)), tuple(numbers))
    cost = np.int8(100)
    product = ProductBudget((count, AffineCount(cost, (), ())), (Term(cost, (0, 1)),), limit * 1000)
    assert product.cost(states).tolist() == [10_000 * (coefficients[0] + value) for value in exact]
    assert product.holds(states).tolist() == [10_000 * (coefficients[0] + value) <= limit * 1000 for value in exact]


@pytest.mark.parametrize(
    ("make_it", "words"),
    [
        (lambda: LinearBudget(np.array([np.inf]), 1), "finite"),
        (lambda: LinearBudget(np.array([np.nan]), 1), "finite"),
        (lambda: LinearBudget(np.array([[1]]), 1), r"shape \(1, 1\)"),
        (lambda: LinearBudget(np.array([1]), np.inf), "limit=inf"),
        (lambda: LinearBudget(np.array([1]), float("nan")), "limit=nan"),
        (lambda: LinearBudget(np.array([1]), 0.5), "limit=0.5"),
        (lambda: LinearBudget(np.array([1]), -1), "limit=-1"),
        (lambda: LinearBudget(np.array([0.5]), 1), "whole"),
        (lambda: LinearBudget([2**53], 1), "2\\^53"),
        (lambda: LinearBudget([2**52, 2**52], 1), "2\\^53"),
        (lambda: Cardinality([0, 1], 0.5), "count=0.5"),
        (lambda: AffineCount(0.5, (), ()), "constant=0.5"),
        (lambda: AffineCount(np.inf, (), ()), "constant=inf"),
        (lambda: AffineCount(1, (0,), (0.5,)), "coefficients=0.5"),
        (lambda: AffineCount(1, (-1,), (1,)), "variables=-1"),
        (lambda: AffineCount(0, (0,), (-1,)), "can become -1"),
        (lambda: Term(np.inf, (0,)), "cost=inf"),
        (lambda: Term(-1, (0,)), "cost=-1"),
        (lambda: Term(1, (-1,)), "counts=-1"),
        (lambda: Term(1, (0, 0)), "different"),
        (lambda: ProductBudget((), (Term(1, (0,)),), 1), "count 0"),
        (lambda: ProductBudget((AffineCount(1, (), ()),), (), np.inf), "limit=inf"),
        (lambda: ProductBudget((AffineCount(2**30, (), ()),), (Term(2**30, (0,)),), 1), "2\\^53"),
        (lambda: ConstrainedEnergy(make("dense", 3, 0), [Cardinality([3], 1)]), "variable 3"),
        (lambda: ConstrainedEnergy(make("dense", 3, 0), [Cardinality([-1], 1)]), "variable -1"),
        (lambda: ConstrainedEnergy(make("dense", 3, 0), [LinearBudget(np.ones(2), 1)]), "2 coefficients"),
        (
            lambda: ConstrainedEnergy(
                make("dense", 3, 0), [ProductBudget((AffineCount(1, (0, 7), (1, 1)),), (Term(1, (0,)),), 3)]
            ),
            "variable 7",
        ),
    ],
)
def test_constraints_that_make_no_sense_are_refused(make_it, words):
    with pytest.raises(ValueError, match=words):
        make_it()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [-1, 2, 0.5, np.nan])
def test_states_of_anything_but_bits_are_refused(form, bad):
    energy = make(form, 3, 0)
    state = np.array([0, 1, bad])
    model = ConstrainedEnergy(energy, [OneHot([0, 1])])
    for ask in (energy.energy, energy.flip_deltas, model.energy, model.feasible, model.is_feasible):
        with pytest.raises(ValueError, match="give bits of 0 and 1"):
            ask(state)
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        model.feasible(np.zeros(2))
    assert energy.energy(np.array([True, False, True])) == energy.energy(np.array([1.0, 0.0, 1.0]))


def test_a_gram_matrix_must_be_symmetric():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 300)).astype(np.float32)
    gram = x.T @ x.copy()  # another array: the product need not be symmetric to the last bit
    signs, linear = np.ones((2, 300)), np.zeros((2, 300))
    assert SharedGramEnergy(gram, signs, linear).num_variables == 600
    gram[280, 3] += 1.0
    with pytest.raises(ValueError, match="gram is not symmetric"):
        SharedGramEnergy(gram, signs, linear)
    nearly, one = np.diag([1.0, 2.0]), np.ones((1, 2))
    nearly[0, 1] = 1e-5  # a hundred-thousandth of the largest entry would be 2e-5
    assert SharedGramEnergy(nearly, one, one).shape == (1, 2)
    nearly[0, 1] = 3e-5
    with pytest.raises(ValueError, match="gram is not symmetric"):
        SharedGramEnergy(nearly, one, one)
    for place in range(4):
        parts: list = [np.eye(2), np.ones((1, 2)), np.ones((1, 2)), 0.0]
        parts[place] = np.array(parts[place])
        parts[place].ravel()[0] = np.nan  # one number is enough
        with pytest.raises(ValueError, match="NaN"):
            SharedGramEnergy(*parts)
