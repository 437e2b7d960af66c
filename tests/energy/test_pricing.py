"""Prices against enumeration: ground states are constrained optima; repairs keep what they promise."""

from __future__ import annotations

import itertools

import dimod
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.energy import (
    AffineCount,
    ConstrainedEnergy,
    DenseEnergy,
    LinearBudget,
    OneHot,
    ProductBudget,
    Repair,
    Term,
    coefficient_range,
    priced_energy,
)

N = 8
STATES = np.array(list(itertools.product((0, 1), repeat=N)), dtype=np.uint8)
#: Two groups of removable channels (0, 1 and 2, 3) and two one-hot sets of widths (4, 5 and 6, 7).
COUNTS = (
    AffineCount(3, (0, 1), (-1, -1)), AffineCount(2, (2, 3), (-1, -1)), AffineCount(0, (4, 5), (2, 5)),
    AffineCount(0, (6, 7), (3, 8)),
)  # fmt: skip
KEEP_ONE = LinearBudget(np.array([1, 1, 0, 0, 0, 0, 0, 0]), 1)


def plan_model(seed: int, limit: int, terms: tuple[Term, ...]) -> ConstrainedEnergy:
    """Removing channels and narrow widths cost; couplings of both signs, some of them tiny."""
    rng = np.random.default_rng(seed)
    matrix = np.triu(rng.normal(size=(N, N)) * 10.0 ** rng.uniform(-9, 0, (N, N)), 1)
    energy = DenseEnergy(matrix, rng.uniform(0, 3, N))
    budget = ProductBudget(COUNTS, terms, limit)
    return ConstrainedEnergy(energy, [OneHot([4, 5]), OneHot([6, 7]), KEEP_ONE, budget])


PAIRS = (Term(3, (0, 2)), Term(2, (1, 3)), Term(1, (0, 1)), Term(4, (1,)))
TRIPLES = (Term(3, (0, 1, 2)), Term(2, (1, 3)), Term(5, (0,)))


def kept(model: ConstrainedEnergy, states: np.ndarray) -> np.ndarray:
    """Which states keep all but the product budget."""
    return np.all([c.holds(states) for c in model.constraints if not isinstance(c, ProductBudget)], axis=0)


@given(st.integers(0, 10_000), st.floats(0.01, 30.0))
def test_a_ground_state_is_the_optimum_of_the_budget_that_it_uses(seed, price):
    model = plan_model(seed, 40, PAIRS)
    reference = np.array([0, 0, 0, 0, 1, 0, 1, 0])
    values = priced_energy(model, [price], reference).energy(STATES)
    best = STATES[[int(np.argmin(values))]]
    assert kept(model, best).all()
    held = [bit for bit in (0, 1) if best[0, bit] == 0]
    budget = model.constraints[-1]
    assert isinstance(budget, ProductBudget)
    rivals = STATES[kept(model, STATES) & (budget.cost(STATES) <= budget.cost(best)[0])]
    rivals = rivals[(rivals[:, held] == 0).all(axis=1)]
    assert model.energy(best)[0] <= model.energy(rivals).min() + 1e-4


@given(st.integers(0, 10_000), st.floats(0.01, 30.0), st.sampled_from((PAIRS, TRIPLES)), st.integers(0, 255))
def test_no_local_minimum_breaks_a_cardinality_or_an_empty_group(seed, price, terms, start):
    model = plan_model(seed, 40, terms)
    references = STATES[kept(model, STATES)]
    priced = priced_energy(model, [price], references[start % len(references)])
    for state in STATES:
        if (priced.flip_deltas(state) >= 0).all():
            assert kept(model, state[None]).all()


@given(st.integers(0, 10_000))
def test_triple_products_are_exact_where_a_count_stands_as_in_the_reference(seed):
    model = plan_model(seed, 40, TRIPLES)
    feasible = STATES[kept(model, STATES)]
    reference = feasible[seed % len(feasible)]
    bare = ConstrainedEnergy(DenseEnergy(np.zeros((N, N))), [model.constraints[-1]])
    priced = priced_energy(bare, [40.0], reference).energy(STATES)
    same = np.array([any(count.at(x[None]) == count.at(reference[None]) for count in COUNTS[:3]) for x in STATES])
    costs = bare.constraints[0].cost(STATES).astype(float)
    spread = costs[same] - costs[same][0]
    scaled = priced[same] - priced[same][0]
    factor = float(scaled @ spread) / float(spread @ spread)
    assert np.allclose(scaled, factor * spread, atol=1e-4)


def test_coefficients_lie_in_one_range_and_noise_is_left_out():
    model = plan_model(3, 40, PAIRS)
    priced = priced_energy(model, [1.0], np.array([0, 0, 0, 0, 1, 0, 1, 0]))
    bqm = priced.to_bqm()
    assert bqm.num_variables == N
    assert max(abs(v) for v in [*bqm.linear.values(), *bqm.quadratic.values()]) == pytest.approx(1.0)
    assert coefficient_range(bqm) < 1e8 < coefficient_range(model.to_bqm())


def test_prices_are_checked():
    model = plan_model(0, 40, PAIRS)
    for prices in ([], [1.0, 2.0], [-1.0], [np.nan]):
        with pytest.raises(ValueError, match="prices"):
            priced_energy(model, prices, np.zeros(N))


def test_the_range_of_nothing_is_one():
    assert coefficient_range(dimod.BinaryQuadraticModel("SPIN")) == 1.0


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 120), st.sampled_from((PAIRS, TRIPLES)))
def test_a_repair_ends_within_every_constraint_or_says_that_it_cannot(seed, start, limit, terms):
    model = plan_model(seed, limit, terms)
    repair, state = Repair(model), STATES[start]
    mended = repair.mended(state)
    if mended is None:
        assert not model.is_feasible(state)
        return
    assert model.is_feasible(mended)
    if model.is_feasible(state):
        assert np.array_equal(mended, state)
    better = repair.improved(mended)
    assert model.is_feasible(better)
    assert model.energy(better) <= model.energy(mended) + 1e-12
    neighbours = [better ^ np.eye(N, dtype=int)[i] for i in range(4)]
    for members in ((4, 5), (6, 7)):
        swapped = better.copy()
        swapped[list(members)] ^= 1
        neighbours.append(swapped)
    assert all(model.energy(x) >= model.energy(better) - 1e-9 for x in neighbours if model.is_feasible(x))


def test_excess_is_told_as_a_share_of_the_limit():
    model = plan_model(0, 40, PAIRS)
    state = np.array([0, 0, 0, 0, 0, 1, 0, 1])
    cost = int(model.constraints[-1].cost(state[None])[0])
    assert Repair(model).excess(state) == [0.0, pytest.approx((cost - 40) / 40)]
