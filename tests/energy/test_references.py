"""Energies, bounds, penalties and files against sums written out term by term."""

from __future__ import annotations

import itertools
import json

import dimod
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from annealnet.energy import (
    AffineCount,
    Cardinality,
    Certificate,
    ConstrainedEnergy,
    DenseEnergy,
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
from annealnet.energy.penalties import sufficient_penalty

sizes, seeds = st.integers(1, 5), st.integers(0, 9999)


def states_of(n: int) -> np.ndarray:
    return np.array(list(itertools.product((0, 1), repeat=n)), dtype=np.uint8)


# Forms.


@settings(max_examples=30)
@given(sizes, seeds)
def test_a_dense_energy_counts_the_whole_matrix(n, seed):
    rng = np.random.default_rng(seed)
    q, linear, offset = rng.normal(size=(n, n)), rng.normal(size=n), float(rng.normal())
    energy = DenseEnergy(q, linear, offset)
    for x in states_of(n):
        wanted = offset + sum(float(linear[i]) * x[i] for i in range(n))
        wanted += sum(float(q[i, j]) * x[i] * x[j] for i in range(n) for j in range(n))
        assert float(energy.energy(x)) == pytest.approx(wanted, abs=1e-9)
    assert float(DenseEnergy(q).energy(np.ones(n))) == pytest.approx(q.sum())
    assert np.diagonal(energy.couplings().toarray()).tolist() == [0.0] * n


@settings(max_examples=30)
@given(sizes, seeds)
def test_a_sparse_energy_adds_its_entries_up(n, seed):
    rng = np.random.default_rng(seed)
    rows, cols, values = rng.integers(n, size=7), rng.integers(n, size=7), rng.normal(size=7)
    linear = rng.normal(size=n)
    given_linear = linear.copy()
    energy = SparseEnergy(rows, cols, values, linear, 0.25)
    for x in states_of(n):
        wanted = 0.25 + sum(float(v) * x[i] * x[j] for i, j, v in zip(rows, cols, values, strict=True)) + float(linear @ x)
        assert float(energy.energy(x)) == pytest.approx(wanted, abs=1e-9)
    assert np.array_equal(linear, given_linear)  # what was given stays as it was
    assert float(SparseEnergy([], [], [], linear).energy(np.ones(n))) == pytest.approx(linear.sum())


@settings(max_examples=30)
@given(sizes, st.integers(1, 3), seeds)
def test_a_factored_energy_is_a_sum_of_squares(n, rank, seed):
    rng = np.random.default_rng(seed)
    a, c, b, linear = rng.normal(size=(rank, n)), rng.normal(size=rank), rng.normal(size=rank), rng.normal(size=n)
    energy = FactoredEnergy(a, c, b, linear, 0.5)
    expanded, offset = energy.expanded_linear()
    for x in states_of(n):
        wanted = 0.5 + float(linear @ x)
        wanted += sum(float(c[r]) * (sum(float(a[r, i]) * x[i] for i in range(n)) + float(b[r])) ** 2 for r in range(rank))
        assert float(energy.energy(x)) == pytest.approx(wanted, abs=1e-9)
        assert offset + expanded @ x + 0.5 * x @ (energy.couplings() @ x) == pytest.approx(wanted, abs=1e-9)
        for i, change in enumerate(energy.flip_deltas(x)):
            other = x.copy()
            other[i] ^= 1
            assert change == pytest.approx(float(energy.energy(other)) - wanted, abs=1e-8)
    assert float(FactoredEnergy(a, c).energy(np.zeros(n))) == 0.0


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 3), seeds)
def test_rows_under_one_gram_matrix_are_sums_over_rows(rows, width, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4, width))
    gram, signs, linear = x.T @ x, rng.normal(size=(rows, width)), rng.normal(size=(rows, width))
    energy = SharedGramEnergy(gram, signs, linear, 0.75)
    assert energy.shape == (rows, width)
    assert energy.num_variables == rows * width
    expanded, offset = energy.expanded_linear()
    parts = energy.rows()
    assert offset == sum(part.offset for part in parts) == 0.75
    for state in states_of(rows * width)[:: max(1, 2 ** (rows * width) // 16)]:
        bits = state.reshape(rows, width)
        wanted = 0.75
        for d in range(rows):
            u = [float(signs[d, h]) * bits[d, h] for h in range(width)]
            wanted += sum(u[g] * float(gram[g, h]) * u[h] for g in range(width) for h in range(width))
            wanted += sum(float(linear[d, h]) * bits[d, h] for h in range(width))
        assert float(energy.energy(state)) == pytest.approx(wanted, abs=1e-9)
        assert offset + expanded @ state + 0.5 * state @ (energy.couplings() @ state) == pytest.approx(wanted, abs=1e-9)
        assert sum(float(part.energy(own)) for part, own in zip(parts, bits, strict=True)) == pytest.approx(wanted, abs=1e-9)


def test_sums_add_every_face_of_their_parts():
    one, two = (
        DenseEnergy(np.array([[1.0, 2.0], [0.0, 3.0]]), offset=1.0),
        SparseEnergy([0], [1], [5.0], np.array([1.0, 2.0]), 2.0),
    )
    both = (one + two) + one
    assert len(both.parts) == 3
    assert float(both.energy(np.array([1, 1]))) == 2 * 7.0 + 10.0
    assert both.expanded_linear()[1] == both.offset == 4.0
    assert both.expanded_linear()[0].tolist() == both.linear.tolist() == [3.0, 8.0]
    assert both.couplings().toarray().tolist() == [[0.0, 9.0], [9.0, 0.0]]
    assert both.flip_deltas(np.array([1, 1])).tolist() == [-12.0, -17.0]


def test_states_come_alone_or_in_many():
    energy = DenseEnergy(np.zeros((3, 3)), np.array([1.0, 2.0, 4.0]))
    assert float(energy.energy(np.array([1, 0, 1]))) == 5.0
    assert energy.energy(np.array([1, 0, 1])).shape == ()
    assert energy.energy(np.array([[1, 0, 1], [0, 0, 0]])).tolist() == [5.0, 0.0]
    for shape in ((2,), (3, 2), (4,)):
        with pytest.raises(ValueError, match="3 variables"):
            energy.energy(np.zeros(shape))


def test_models_become_dense_where_a_quarter_of_their_pairs_are_there():
    def ring(n: int, pairs: int) -> dimod.BinaryQuadraticModel:
        chosen = list(itertools.combinations(range(n), 2))[:pairs]
        return dimod.BinaryQuadraticModel(dict.fromkeys(range(n), 0.5), dict.fromkeys(chosen, -1.0), 0.25, "BINARY")

    for pairs, form in ((8, SparseEnergy), (9, DenseEnergy), (0, SparseEnergy)):
        energy, labels = from_bqm(ring(8, pairs))
        assert type(energy) is form
        assert labels == list(range(8))
        assert float(energy.energy(np.ones(8))) == 0.25 + 4.0 - pairs


def test_bad_coefficients_name_the_argument():
    zeros, eye = np.zeros(2), np.eye(2)
    for bad, word in (
        (lambda: DenseEnergy(np.zeros(2)), "quadratic has shape"),
        (lambda: DenseEnergy(np.zeros((2, 3))), "quadratic has shape"),
        (lambda: DenseEnergy(eye, np.array([np.nan, 0])), "linear holds NaN"),
        (lambda: DenseEnergy(eye, offset=np.inf), "offset holds NaN"),
        (lambda: SparseEnergy([0], [1, 0], [1.0], zeros), "three of one length"),
        (lambda: SparseEnergy([[0]], [[1]], [[1.0]], zeros), "three of one length"),
        (lambda: SparseEnergy([0], [1], [1.0, 2.0], zeros), "three of one length"),
        (lambda: SparseEnergy([-1], [1], [1.0], zeros), "between 0 and 1"),
        (lambda: SparseEnergy([0], [-1], [1.0], zeros), "between 0 and 1"),
        (lambda: SparseEnergy([2], [1], [1.0], zeros), "between 0 and 1"),
        (lambda: SparseEnergy([0], [2], [1.0], zeros), "between 0 and 1"),
        (lambda: SparseEnergy([0], [1], [np.nan], zeros), "values holds NaN"),
        (lambda: SparseEnergy([0], [1], [1.0], zeros, np.nan), "offset holds NaN"),
        (lambda: FactoredEnergy(np.array([[np.nan, 0]]), np.ones(1)), "factors holds NaN"),
        (lambda: FactoredEnergy(eye, np.ones(2), np.ones(1)), "shifts has shape"),
        (lambda: FactoredEnergy(eye, np.ones(2), linear=np.ones(3)), "linear has shape"),
        (lambda: FactoredEnergy(eye, np.ones(2), offset=np.nan), "offset holds NaN"),
        (lambda: SumEnergy([]), "same bits"),
        (lambda: SharedGramEnergy(np.ones((2, 3)), np.ones((1, 2)), np.ones((1, 2))), "give .H, H."),
        (lambda: SharedGramEnergy(eye, np.ones(2), np.ones(2)), "give .H, H."),
        (lambda: SharedGramEnergy(eye, np.ones((1, 3)), np.ones((1, 3))), "give .H, H."),
        (lambda: SharedGramEnergy(eye, np.ones((1, 2)), np.ones((2, 2))), "linear has shape"),
        (lambda: SharedGramEnergy(eye, np.ones((1, 2)), np.full((1, 2), np.nan)), "linear holds NaN"),
        (lambda: SharedGramEnergy(eye, np.ones((1, 2)), np.ones((1, 2)), np.inf), "offset holds NaN"),
    ):
        with pytest.raises(ValueError, match=word):
            bad()


# Bounds.


@settings(max_examples=40)
@given(sizes, seeds)
def test_bounds_share_each_coupling_between_its_bits(n, seed):
    rng = np.random.default_rng(seed)
    q, linear = rng.normal(size=(n, n)), rng.normal(size=n)
    energy = DenseEnergy(q, linear, 1.5)
    wanted = 1.5
    for i in range(n):
        shared = sum(min(0.0, float(q[i, j] + q[j, i])) for j in range(n) if j != i) / 2
        wanted += min(0.0, float(linear[i] + q[i, i]) + shared)
    assert lower_bound(energy) == pytest.approx(wanted)
    again = SparseEnergy(*np.nonzero(q), q[np.nonzero(q)], linear, 1.5)
    assert lower_bound(again) == pytest.approx(wanted)
    assert lower_bound(ConstrainedEnergy(energy, [])) == pytest.approx(wanted)
    assert lower_bound(SumEnergy([energy, again])) == pytest.approx(2 * wanted)
    assert lower_bound(energy) <= energy.energy(states_of(n)).min() + 1e-9


@settings(max_examples=40)
@given(sizes, seeds)
def test_bounds_of_squares_take_the_largest_square_of_negative_weights(n, seed):
    rng = np.random.default_rng(seed)
    a, c, b, linear = rng.normal(size=(2, n)), rng.normal(size=2), rng.normal(size=2), rng.normal(size=n)
    energy = FactoredEnergy(a, c, b, linear, 1.5)
    levels = states_of(n) @ a.T + b
    wanted = 1.5 + sum(min(0.0, float(v)) for v in linear)
    wanted += sum(min(0.0, float(c[r])) * float((levels[:, r] ** 2).max()) for r in range(2))
    assert lower_bound(energy) == pytest.approx(wanted)


def test_certificates_say_what_is_known():
    told = Certificate(-1.0, -3.0, False, "S", 4, 10, 0.5)
    assert told.gap == 2.0
    assert told.describe() == "not proven: energy -1, lower bound -3, gap 2 (S, 10 reads, seed 4, 0.50 s)"
    unknown = Certificate(-1.0, None, False, "S", None, 10, 0.5)
    assert unknown.gap is None
    assert unknown.describe() == "no bound: energy -1 (S, 10 reads, seed None, 0.50 s)"
    proven = Certificate(-1.0, -1.0, True, "S", 4, 1, 0.5)
    assert proven.gap == 0.0
    assert proven.describe() == "proven optimal: energy -1 (S, 1 reads, seed 4, 0.50 s)"
    for certificate in (told, unknown, proven):
        assert Certificate.from_document(json.loads(json.dumps(certificate.to_document()))) == certificate


@settings(max_examples=30)
@given(sizes, seeds)
def test_a_sufficient_penalty_is_a_hundredth_above_the_sum_of_absolute_coefficients(n, seed):
    rng = np.random.default_rng(seed)
    q, linear = np.triu(rng.normal(size=(n, n)), 1), rng.normal(size=n)
    energy = DenseEnergy(q, linear, 9.0)
    wanted = sum(abs(float(v)) for v in linear) + sum(abs(float(v)) for v in q.ravel())
    assert sufficient_penalty(energy) == pytest.approx(1.01 * wanted or 1.0)
    assert np.ptp(energy.energy(states_of(n))) <= wanted + 1e-9


# Constraints.


def test_constraints_hold_where_their_sums_say():
    states = states_of(4)
    assert Cardinality([0, 2], 1).holds(states).tolist() == [bool(x[0] + x[2] == 1) for x in states]
    assert OneHot([1, 2, 3]).holds(states).tolist() == [bool(x[1:].sum() == 1) for x in states]
    budget = LinearBudget(np.array([1, 2, 0, 3]), 3)
    assert budget.holds(states).tolist() == [bool(x[0] + 2 * x[1] + 3 * x[3] <= 3) for x in states]
    counts = (AffineCount(3, (0, 1), (-1, -2)), AffineCount(1, (2, 3), (4, 1)))
    assert [(count.low, count.high) for count in counts] == [(0, 3), (1, 6)]
    products = ProductBudget(counts, (Term(2, (0, 1)), Term(1, (1,)), Term(5, (0,))), 11)
    for x, cost, good in zip(states, products.cost(states), products.holds(states), strict=True):
        one, two = 3 - int(x[0]) - 2 * int(x[1]), 1 + 4 * int(x[2]) + int(x[3])
        assert (counts[0].at(x[None])[0], counts[1].at(x[None])[0]) == (one, two)
        assert cost == 2 * one * two + two + 5 * one
        assert good == (cost <= 11)
    model = ConstrainedEnergy(DenseEnergy(np.zeros((4, 4)), np.arange(4.0)), [budget, OneHot([0, 1]), products])
    wanted = budget.holds(states) & OneHot([0, 1]).holds(states) & products.holds(states)
    assert model.feasible(states).tolist() == wanted.tolist()
    assert [model.is_feasible(x) for x in states] == wanted.tolist()
    assert model.energy(states[5]) == model.energy_part.energy(states[5])


def test_limits_of_constraints():
    energy = DenseEnergy(np.zeros((3, 3)))
    Cardinality([0, 1], 0), Cardinality([0, 1], 2), LinearBudget(np.array([0, 2]), 0), Term(0, (0, 1, 2))
    AffineCount(2, (0, 1), (-1, -1)), ConstrainedEnergy(energy, [OneHot([0, 2]), OneHot([1])])
    counts = (AffineCount(0, (), ()),)
    ProductBudget(counts, (Term(1, (0,)),), 0)
    for bad, word in (
        (lambda: Cardinality([0, 0], 1), "once"),
        (lambda: Cardinality([0, 1], -1), "count=-1"),
        (lambda: Cardinality([0, 1], 3), "count=3"),
        (lambda: LinearBudget(np.array([-1, 2]), 1), "negative"),
        (lambda: LinearBudget(np.array([0.5, 2]), 1), "whole"),
        (lambda: LinearBudget(np.array([1, 2]), -1), "limit=-1"),
        (lambda: LinearBudget(np.array([1, 2]), 1.5), r"limit=1\.5"),
        (lambda: AffineCount(1, (0, 1), (-1, -1)), "become -1"),
        (lambda: AffineCount(1, (0, 1), (1,)), "differ in length"),
        (lambda: Term(1, ()), "one to three"),
        (lambda: Term(1, (0, 1, 2, 3)), "one to three"),
        (lambda: Term(1, (0, 0)), "different"),
        (lambda: Term(-1, (0,)), "cost=-1"),
        (lambda: ProductBudget(counts, (Term(1, (1,)),), 0), "count 1"),
        (lambda: ProductBudget(counts, (), -1), "limit=-1"),
        (lambda: ConstrainedEnergy(energy, [OneHot([0, 3])]), "variable 3: there are 0 … 2"),
        (lambda: ConstrainedEnergy(energy, [OneHot([-1, 1])]), "variable -1: there are 0 … 2"),
        (lambda: ConstrainedEnergy(energy, [LinearBudget(np.ones(2), 1)]), "2 coefficients"),
        (lambda: ConstrainedEnergy(energy, [OneHot([0, 1]), OneHot([2]), OneHot([1, 2])]), "variable 1 is in two"),
    ):
        with pytest.raises(ValueError, match=word):
            bad()


# Penalties.


def least_over_auxiliaries(model: ConstrainedEnergy) -> np.ndarray:
    """The least energy of the plain QUBO for every setting of the n bits, by trying all settings of the others."""
    bqm, n = model.to_bqm(), model.num_variables
    extra = [v for v in bqm.variables if v not in range(n)]
    assert len(extra) <= 9
    assert extra == [f"aux{k}" for k in range(len(extra))]
    others = states_of(len(extra)) if extra else np.zeros((1, 0), dtype=np.uint8)
    found = []
    for x in states_of(n):
        rows = np.hstack([np.repeat(x[None], len(others), axis=0), others])
        found.append(bqm.energies((rows, [*range(n), *extra])).min())
    return np.array(found)


COUNTS = (AffineCount(1, (0, 1), (1, 1)), AffineCount(2, (2,), (-1,)), AffineCount(0, (1, 2), (1, 2)))
PENALISED = [
    [OneHot([0, 1])],
    [Cardinality([0, 1, 2], 2)],
    [Cardinality([], 0)],
    [LinearBudget(np.array([1, 2, 3]), limit) for limit in (0,)],
    [LinearBudget(np.array([1, 2, 3]), 4)],
    [LinearBudget(np.array([1, 2, 3]), 5)],
    [LinearBudget(np.array([1, 2, 3]), 6)],
    [LinearBudget(np.array([0, 0, 1]), 0), OneHot([0, 1])],
    [ProductBudget(COUNTS[:1], (Term(2, (0,)),), 4)],
    [ProductBudget(COUNTS[:2], (Term(1, (0, 1)),), 3)],
    [ProductBudget(COUNTS[1:], (Term(1, (0, 1)), Term(1, (1,))), 3)],
    [ProductBudget((AffineCount(3, (0,), (-1,)), AffineCount(1, (1, 2), (1, 1))), (Term(1, (0, 1)),), 6)],
]


@pytest.mark.parametrize("rules", PENALISED)
def test_penalties_leave_feasible_states_alone_and_lift_all_others_above(rules):
    rng = np.random.default_rng(1)
    energy = DenseEnergy(np.triu(rng.normal(size=(3, 3)), 1), rng.normal(size=3), 0.5)
    model = ConstrainedEnergy(energy, rules)
    states = states_of(3)
    good, found, plain = model.feasible(states), least_over_auxiliaries(model), energy.energy(states)
    assert found[good] == pytest.approx(plain[good], abs=1e-8)
    # all numbers are whole: a broken constraint costs at least one unit of D + 1
    assert (found[~good] >= plain[~good] + sufficient_penalty(energy) - 1e-8).all()
    assert (found[~good] > plain.max()).all()


def test_budgets_that_always_hold_cost_no_bits():
    energy = DenseEnergy(np.zeros((3, 3)), np.ones(3))
    for limit, extra in ((6, 0), (7, 0), (5, 3), (3, 2), (0, 0)):
        model = ConstrainedEnergy(energy, [LinearBudget(np.array([1, 2, 3]), limit)])
        assert model.to_bqm().num_variables == 3 + extra
    assert ConstrainedEnergy(energy, [OneHot([0, 1])]).to_bqm().num_variables == 3


def test_products_of_the_same_bits_are_held_once():
    """Two terms over one pair of counts: the second needs no further auxiliaries."""
    counts = (AffineCount(1, (0,), (1,)), AffineCount(1, (1,), (1,)))
    energy = DenseEnergy(np.zeros((2, 2)))

    def size(*terms: Term) -> int:
        return ConstrainedEnergy(energy, [ProductBudget(counts, terms, 2)]).to_bqm().num_variables

    assert size(Term(1, (0, 1))) == 2 + 2 + 1 + 1  # a register bit each, their product, one bit of slack
    assert size(Term(1, (0, 1)), Term(1, (1, 0))) == 2 + 2 + 1


# Integers.


@settings(max_examples=60)
@given(st.integers(-20, 20), st.integers(0, 70))
def test_binary_codes_are_as_short_as_can_be(low, width):
    encoding = IntegerEncoding.binary(low, low + width)
    assert len(encoding.coefficients) == width.bit_length()
    assert encoding.coefficients[:-1] == tuple(2**k for k in range(max(0, width.bit_length() - 1)))
    assert sum(encoding.coefficients) == width
    assert IntegerEncoding.unary(low, low + width).coefficients == (1,) * width
    for value in (low, low + width // 2, low + width):
        bits = encoding.encode(value)
        assert low + sum(int(b) * c for b, c in zip(bits, encoding.coefficients, strict=True)) == value
        assert encoding.decode(bits) == value
    for value in (low - 1, low + width + 1):
        with pytest.raises(ValueError, match="out of range"):
            encoding.encode(value)
    for kind in (IntegerEncoding.binary, IntegerEncoding.unary):
        with pytest.raises(ValueError, match="below"):
            kind(low, low - 1)


# Files.


def test_archives_hold_a_matrix_or_triples(tmp_path):
    q = np.array([[0.0, 2.0], [0.0, 5.0]])
    for name, arrays, at_ones in (
        ("q", {"Q": q}, 7.0),
        ("whole", {"quadratic": q, "linear": np.array([1.0, 1.0]), "offset": 3.0}, 12.0),
        ("triples", {"row": [0, 1], "col": [1, 1], "value": [2.0, 5.0]}, 7.0),
        ("rest", {"row": [0], "col": [1], "value": [2.0], "linear": [1.0, 1.0, 1.0], "offset": -1.0}, 4.0),
        ("upper", {"row": [2], "col": [0], "value": [2.0]}, 2.0),
        ("lower", {"row": [0, 0], "col": [1, 2], "value": [2.0, 1.0]}, 3.0),
        ("none", {"row": np.zeros(0, dtype=int), "col": np.zeros(0, dtype=int), "value": np.zeros(0)}, 0.0),
    ):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        energy, labels = read_energy(tmp_path / f"{name}.npz")
        assert labels == list(range(energy.num_variables))
        assert energy.num_variables == {"rest": 3, "upper": 3, "lower": 3, "none": 0}.get(name, 2)
        assert float(energy.energy(np.ones(energy.num_variables))) == at_ones
    np.savez(tmp_path / "other.npz", matrix=q)
    with pytest.raises(ValueError, match="holds matrix"):
        read_energy(tmp_path / "other.npz")
    np.savez(tmp_path / "empty.npz")
    with pytest.raises(ValueError, match="holds nothing"):
        read_energy(tmp_path / "empty.npz")


def test_text_says_fields_couplings_and_comments(tmp_path):
    place = tmp_path / "a.coo"
    place.write_text("# a comment\n\n3 3 1.5\n0 3 -2  # a coupling\n3 0 1\n1 1 0.5\n1 1 0.25\n")
    energy, labels = read_energy(place)
    assert labels == [0, 1, 3]
    assert energy.energy(states_of(3)).tolist() == [0.0, 1.5, 0.75, 2.25, 0.0, 0.5, 0.75, 1.25]
    for text, words in (
        ("0 0 1\n0 1 inf\n", "line 2"),
        ("0 -1 1\n", "line 1"),
        ("-1 0 1\n", "line 1"),
        ("0 1 1 1\n", "line 1"),
        ("0 1\n", "line 1"),
        ("# only this\n", "nothing to minimise"),
    ):
        place.write_text(text)
        with pytest.raises(ValueError, match=words):
            read_energy(place)
    place.write_text("0 1 1 # vartype=SPIN\n")  # not a comment line of its own
    assert float(read_energy(place)[0].energy(np.array([0, 0]))) == 0.0
    place.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not text"):
        read_energy(place)


def test_factors_may_be_sparse():
    a = np.array([[1.0, 0.0, -2.0]])
    one, two = FactoredEnergy(sparse.csr_matrix(a), np.ones(1)), FactoredEnergy(a, np.ones(1))
    assert np.array_equal(one.energy(states_of(3)), two.energy(states_of(3)))
