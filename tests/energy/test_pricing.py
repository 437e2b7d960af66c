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
    Cardinality,
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


@given(st.integers(0, 10_000))
def test_no_local_minimum_breaks_a_cardinality_of_any_size_or_a_limit_of_nothing(seed):
    """Strong couplings of one sign or of both; sets with no bit on, some, or all."""
    rng = np.random.default_rng(seed)
    signs = [1.0] if seed % 3 == 0 else [-1.0] if seed % 3 == 1 else [-1.0, 1.0]
    matrix = np.triu(rng.choice(signs, (N, N)) * rng.exponential(3.0, (N, N)), 1)
    order = rng.permutation(N)
    members, none = order[: int(rng.integers(1, 6))], order[6:]
    never = np.zeros(N, dtype=int)
    never[none] = rng.integers(1, 4, 2)
    rules = [Cardinality(members.tolist(), int(rng.integers(0, len(members) + 1))), LinearBudget(never, 0)]
    model = ConstrainedEnergy(DenseEnergy(matrix, rng.normal(size=N)), rules)
    priced = priced_energy(model, [], np.zeros(N, dtype=int))
    for state in STATES:
        if (priced.flip_deltas(state) >= 0).all():
            assert model.is_feasible(state)


@pytest.mark.parametrize(("linear", "scaled"), [([0.5, -0.25], [1, -0.5]), ([1.0, -4.0], [0.25, -1]), ([0, 0], [0, 0])])
def test_the_largest_coefficient_becomes_one(linear, scaled):
    model = ConstrainedEnergy(DenseEnergy(np.zeros((2, 2)), np.array(linear)), [])
    assert priced_energy(model, [], np.zeros(2)).linear.tolist() == scaled


def test_a_cardinality_that_holds_by_itself_gets_a_thousandth_of_the_largest_coefficient():
    energy = DenseEnergy(np.zeros((3, 3)), np.array([-1.0, 1.0, 10.0]))
    states = STATES[:8, -3:]
    priced = priced_energy(ConstrainedEnergy(energy, [OneHot([0, 1])]), [], np.array([1, 0, 0])).energy(states)
    breaks = (states[:, :2].sum(axis=1) - 1.0) ** 2
    assert priced * 10 == pytest.approx(energy.energy(states) + 0.01 * breaks - 0.01, abs=1e-6)


@given(st.integers(0, 10_000))
def test_products_of_two_counts_are_exact_though_they_share_bits(seed):
    """Counts over any bits, the same ones too: E + price · C / limit, up to unit and constant."""
    rng = np.random.default_rng(seed)
    counts = []
    for _ in range(3):
        held = rng.choice(N, int(rng.integers(1, 5)), replace=False)
        factors = rng.integers(-2, 4, len(held))
        counts.append(AffineCount(int(rng.integers(0, 3) - factors[factors < 0].sum()), tuple(held), tuple(factors)))
    terms = [Term(int(rng.integers(1, 6)), places) for places in ((0, 1), (1, 2), (2, 0), (1,))]
    budget = ProductBudget(tuple(counts), tuple(terms[: int(rng.integers(1, 5))]), int(rng.integers(0, 30)))
    energy = DenseEnergy(np.triu(rng.integers(-3, 4, (N, N)), 1).astype(float), rng.integers(-3, 4, N).astype(float))
    price = float(rng.uniform(0.5, 20.0))
    priced = priced_energy(ConstrainedEnergy(energy, [budget]), [price], rng.integers(0, 2, N))
    wanted = energy.energy(STATES) + price / max(1, budget.limit) * budget.cost(STATES)
    bqm = priced.to_bqm()
    largest = max(abs(v) for v in [*bqm.linear.values(), *bqm.quadratic.values()])
    found, rise = priced.energy(STATES) - priced.energy(STATES)[0], wanted - wanted[0]
    if np.abs(rise).max() > 0:
        assert largest == pytest.approx(1.0)
        unit = float(found @ rise) / float(rise @ rise)
        assert unit > 0
        assert found == pytest.approx(unit * rise, abs=1e-4 * float(np.abs(found).max()))


def steps_of(model: ConstrainedEnergy, x: np.ndarray) -> list[np.ndarray]:
    """States after one flip of a bit that no cardinality holds, or one swap within a cardinality."""
    sets = [c.variables for c in model.constraints if isinstance(c, Cardinality)]
    flips = [(i,) for i in range(len(x)) if not any(i in members for members in sets)]
    flips += [(i, j) for members in sets for i in members for j in members if x[i] == 1 and x[j] == 0]
    moved = []
    for bits in flips:
        y = x.copy()
        y[list(bits)] ^= 1
        moved.append(y)
    return moved


def greedy(model: ConstrainedEnergy, x: np.ndarray) -> np.ndarray | None:
    """Step by step: the least energy per share of a budget saved, and no budget broken that holds."""

    def shares(state: np.ndarray) -> list[float]:
        return [max(0.0, float(b.coefficients @ state - b.limit) / max(1, b.limit)) for b in budgets]

    budgets = [c for c in model.constraints if isinstance(c, LinearBudget)]
    while sum(now := shares(x)) > 0:
        usable = []
        for y in steps_of(model, x):
            then = shares(y)
            saved = sum(now) - sum(then)
            if saved > 0 and all(b == 0 or a > 0 for a, b in zip(now, then, strict=True)):
                usable.append(((model.energy(y) - model.energy(x)) / saved, y))
        if not usable:
            return None
        x = min(usable, key=lambda pair: pair[0])[1]
    return x


@settings(max_examples=60)
@given(st.integers(0, 10_000))
def test_a_repair_takes_the_move_that_costs_least_per_share_saved(seed):
    rng = np.random.default_rng(seed)
    energy = DenseEnergy(np.triu(rng.normal(size=(N, N)), 1), rng.normal(size=N))
    budgets = [LinearBudget(rng.integers(0, 6, N), int(rng.integers(0, 12))) for _ in range(2)]
    model = ConstrainedEnergy(energy, [Cardinality([5, 2, 6], 1), *budgets])
    x = rng.integers(0, 2, N)
    x[[5, 2, 6]] = rng.permutation([1, 0, 0])
    wanted, found = greedy(model, x), Repair(model).mended(x)
    assert (found is None) == (wanted is None)
    if wanted is not None:
        assert found is not None
        assert found.tolist() == wanted.tolist()


@settings(max_examples=60)
@given(st.integers(0, 10_000))
def test_sets_with_too_few_or_too_many_bits_are_mended_by_their_cheapest_flips(seed):
    rng = np.random.default_rng(seed)
    energy = DenseEnergy(np.triu(rng.normal(size=(N, N)), 1), rng.normal(size=N))
    members, count = [6, 1, 3, 4], int(rng.integers(0, 5))
    x = rng.integers(0, 2, N)
    found = Repair(ConstrainedEnergy(energy, [Cardinality(members, count)])).mended(x)
    while (lit := int(x[members].sum())) != count:
        wrong = [i for i in members if x[i] == int(lit > count)]
        x = min((x ^ (np.arange(N) == i) for i in wrong), key=lambda y: float(energy.energy(y)))
    assert found is not None
    assert found.tolist() == x.tolist()


def test_going_downhill_takes_the_best_move_first():
    """Each of two bits alone gains, both together do not: the one that gains more is turned on."""
    energy = DenseEnergy(np.array([[0.0, 9.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), np.array([-1.0, -2.0, 1.0]))
    assert Repair(ConstrainedEnergy(energy, [])).improved(np.array([0, 0, 1])).tolist() == [0, 1, 0]


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_going_downhill_does_not_depend_on_the_unit_of_the_energy(seed, start):
    """All coefficients times a power of two, exactly."""
    rng = np.random.default_rng(seed)
    matrix, linear, found = np.triu(rng.normal(size=(N, N)), 1), rng.normal(size=N), []
    for unit in (1.0, 2.0**-40, 2.0**40):
        model = ConstrainedEnergy(DenseEnergy(unit * matrix, unit * linear), [OneHot([4, 5]), KEEP_ONE])
        state = STATES[start].copy()
        state[[0, 4, 5]] = 0, 1, 0
        found.append(Repair(model).improved(state).tolist())
    assert found[0] == found[1] == found[2]
