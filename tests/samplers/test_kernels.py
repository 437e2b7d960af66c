"""Kernels against enumeration, Boltzmann's chances and published numbers; small enough to run interpreted as well."""

from __future__ import annotations

import itertools

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
    LinearBudget,
    ProductBudget,
    SparseEnergy,
    SumEnergy,
    Term,
)
from annealnet.samplers.compiled import compile_energy
from annealnet.samplers.kernels.gray import lowest_codes, tile_energies
from annealnet.samplers.kernels.lanes import LANES, lane_streams
from annealnet.samplers.kernels.random import below, next_state, seeded, streams, uniform
from annealnet.samplers.kernels.tabu import tabu_moves
from annealnet.samplers.replicas import Replicas, neighbour_lists, place

WORD = 2**64


def states_of(n: int) -> np.ndarray:
    return np.array(list(itertools.product((0, 1), repeat=n)), dtype=np.int8)


def dense(n: int, seed: int) -> DenseEnergy:
    rng = np.random.default_rng(seed)
    return DenseEnergy(rng.normal(size=(n, n)), rng.normal(size=n))


def sparse(n: int, seed: int) -> SparseEnergy:
    """A chain, with no more couplings than keep it sparse: a quarter of the matrix."""
    rng = np.random.default_rng(seed)
    links = min(n - 1, n * n // 8)
    return SparseEnergy(range(links), range(1, links + 1), rng.normal(size=links), rng.normal(size=n))


# Random streams.


def test_streams_are_splitmix64_and_xorshift64():
    """The first outputs of splitmix64 seeded with 0 are published (Vigna); streams are odd, so never 0."""
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]
    with np.errstate(over="ignore"):
        assert [int(seeded(np.uint64(0), read)) for read in range(4)] == [value | 1 for value in published]
        assert streams(np.uint64(0), 4).tolist() == [value | 1 for value in published]
        state = np.uint64(0x123456789ABCDEF1)
        x = int(state)
        for _ in range(20):
            x ^= x >> 12
            x = (x ^ (x << 25)) % WORD
            x ^= x >> 27
            state = np.uint64(next_state(state))
            assert int(state) == x
            wanted = ((x * 0x2545F4914F6CDD1D) % WORD >> 11) / 2**53
            assert float(uniform(state)) == wanted
            assert int(below(state, 10)) == int(wanted * 10)


def test_lanes_have_streams_of_their_own():
    with np.errstate(over="ignore"):
        words = lane_streams(np.uint64(5), 3)
        assert words.shape == (3, 4, LANES)
        assert len(np.unique(words)) == words.size
        assert (words % 2 == 1).all()
        stream = seeded(np.uint64(5), LANES + 2)
        for word in range(4):
            stream = np.uint64(next_state(stream))
            assert int(words[1, word, 2]) == (int(stream) >> 32) | 1


# Sweeps and descents.

LAYOUTS = {  # energy and reads
    "dense": (dense(3, 1), 12),
    "sparse": (sparse(3, 2), 6),
    "lanes": (sparse(3, 2), 16),
    "squares": (FactoredEnergy(np.array([[1.0, -0.5, 0.8]]), np.ones(1), np.array([0.3]), np.array([0.2, -0.4, 0.1])), 4),
}


def put(energy: Energy, reads: int, states: np.ndarray | None = None, rules: tuple = ()) -> Replicas:
    n = energy.num_variables
    return place(
        compile_energy(energy), rules, np.zeros((reads, n), dtype=np.int8) if states is None else states, np.uint64(3)
    )


CLASSES = {"dense": "_Dense", "sparse": "_Sparse", "lanes": "_Lanes", "squares": "_Compound"}


def current(replicas: Replicas) -> np.ndarray:
    """Where they are; compound moves give their best states to others."""
    return replicas._states.copy() if type(replicas).__name__ == "_Compound" else replicas.states()


@pytest.mark.parametrize("name", LAYOUTS)
def test_states_are_visited_with_boltzmanns_chances(name):
    energy, reads = LAYOUTS[name]
    beta = 0.9
    replicas = put(energy, reads)
    assert type(replicas).__name__ == CLASSES[name]
    counts = np.zeros(8)
    for step in range((9600 if name != "squares" else 4000) // reads):
        replicas.sweep(np.full(2, beta))
        if step >= 5:
            np.add.at(counts, current(replicas) @ np.array([4, 2, 1]), 1)
    weights = np.exp(-beta * energy.energy(states_of(3)))
    assert np.abs(counts / counts.sum() - weights / weights.sum()).sum() < 0.06


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("n", [1, 9])
def test_increments_stay_true_and_descents_end_where_no_flip_gains(name, n):
    energy = {"dense": dense, "squares": None}.get(name, sparse)
    made = (
        FactoredEnergy(np.random.default_rng(0).normal(size=(min(2, n), n)), np.array([1.0, -0.5])[:n])
        if energy is None
        else energy(n, 5)
    )
    reads = {"dense": 3, "sparse": 5, "lanes": 20, "squares": 3}[name]
    starts = np.random.default_rng(1).integers(0, 2, (reads, n), dtype=np.int8)
    replicas = put(made, reads, starts)
    assert type(replicas).__name__ == CLASSES[name]
    assert np.array_equal(current(replicas), starts)
    constant = made.energy(starts) - replicas.energies()
    assert constant == pytest.approx(constant[0], abs=1e-5)
    warm = np.geomspace(0.2, 3.0, 4)[None] * np.linspace(0.5, 2.0, reads)[:, None]
    replicas.sweep(warm)
    assert made.energy(current(replicas)) - replicas.energies() == pytest.approx(constant, abs=1e-4)
    before = made.energy(current(replicas))
    replicas.descend()
    after = replicas.states()
    if name != "squares":  # these descend by chance
        assert (made.energy(after) <= before + 1e-6).all()
        assert made.energy(after) - replicas.energies() == pytest.approx(constant, abs=1e-4)
        assert min(made.flip_deltas(x).min() for x in after) > -1e-4
    replicas.replace(starts)
    assert np.array_equal(current(replicas), starts)
    assert made.energy(starts) - replicas.energies() == pytest.approx(constant, abs=1e-5)


@pytest.mark.parametrize("name", ["dense", "sparse", "lanes"])
def test_every_read_has_a_temperature_of_its_own(name):
    """Cold reads stay in their minimum, hot ones leave it; a flip that costs nothing is taken half the time."""
    n = 6
    fields = np.array([1.0] * 5 + [0.0])
    energy = DenseEnergy(np.zeros((n, n)), fields) if name == "dense" else SparseEnergy([], [], [], fields)
    reads = {"dense": 40, "sparse": 7, "lanes": 48}[name]
    cold = np.arange(reads) % 2 == 0
    flips, seen = 0, []
    replicas = put(energy, reads)
    assert type(replicas).__name__ == CLASSES[name]
    for _ in range(20):
        replicas.sweep(np.where(cold, 100.0, 1e-3)[:, None])
        states = replicas.states()
        assert not states[cold, :5].any()
        seen.append(states[~cold, :5].mean())
        flips += int(states[:, 5].sum())
    assert np.mean(seen) == pytest.approx(0.5, abs=0.1)
    assert flips / (20 * reads) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("name", ["dense", "sparse", "lanes"])
def test_costly_flips_are_taken_as_rarely_as_they_should(name):
    """Of 40 equal bits at cost c each is on with chance 1 / (1 + e^βc)."""
    n, cost = 40, 2.0
    energy = (
        DenseEnergy(np.zeros((n, n)), np.full(n, cost)) if name == "dense" else SparseEnergy([], [], [], np.full(n, cost))
    )
    reads = {"dense": 10, "sparse": 7, "lanes": 16}[name]
    replicas = put(energy, reads)
    assert type(replicas).__name__ == CLASSES[name]
    seen = []
    for _ in range(30):
        replicas.sweep(np.full(1, 1.0))
        seen.append(replicas.states().mean())
    assert np.mean(seen[5:]) == pytest.approx(1 / (1 + np.exp(cost)), abs=0.025)


@pytest.mark.parametrize("name", ["dense", "sparse", "lanes"])
def test_every_second_flip_that_costs_nothing_is_taken(name):
    """At any temperature; bits that all flip at once would only swing to and fro."""
    n, reads = 80, 16 if name == "lanes" else 4
    flat = DenseEnergy(np.zeros((n, n))) if name == "dense" else SparseEnergy([], [], [], np.zeros(n))
    for beta in (0.1, 10.0):
        replicas = put(flat, reads)
        replicas.sweep(np.full(1, beta))
        assert current(replicas).mean() == pytest.approx(0.5, abs=0.12)


def test_streams_go_on_from_sweep_to_sweep_and_pieces_do_not_matter():
    for name, (energy, reads) in LAYOUTS.items():
        whole, pieces = put(energy, reads), put(energy, reads)
        betas = np.geomspace(0.1, 1.0, 6)
        whole.sweep(betas)
        for piece in (betas[:1], betas[1:4], betas[4:]):
            pieces.sweep(piece)
        assert np.array_equal(current(whole), current(pieces)), name
        assert whole.sweeps == pieces.sweeps == 6


# Compound moves.

RULES = (
    Cardinality([0, 1, 2], 1),
    LinearBudget(np.array([0, 1, 2, 1, 2]), 3),
    ProductBudget((AffineCount(3, (3, 4), (-1, -2)), AffineCount(1, (0,), (1,))), (Term(1, (0, 1)),), 3),
)


def squares_and_rules() -> ConstrainedEnergy:
    rng = np.random.default_rng(3)
    square = FactoredEnergy(rng.normal(size=(1, 5)), np.ones(1), rng.normal(size=1), 0.3 * rng.normal(size=5))
    return ConstrainedEnergy(SumEnergy([square, SparseEnergy([0, 3], [3, 4], [0.5, -0.7], np.zeros(5))]), RULES)


def test_compound_moves_visit_the_feasible_states_with_boltzmanns_chances():
    model = squares_and_rules()
    states = states_of(5)
    good = model.feasible(states)
    assert 4 < good.sum() < 24
    start = states[good][np.argmax(model.energy_part.energy(states[good]))]
    replicas = put(model.energy_part, 8, np.tile(start, (8, 1)), RULES)
    counts = np.zeros(32)
    for _ in range(400):
        replicas.sweep(np.full(2, 0.8))
        np.add.at(counts, current(replicas) @ np.array([16, 8, 4, 2, 1]), 1)
    assert counts[~good].sum() == 0
    weights = np.exp(-0.8 * model.energy_part.energy(states)) * good
    assert np.abs(counts / counts.sum() - weights / weights.sum()).sum() < 0.12
    constant = model.energy_part.energy(current(replicas)) - replicas.energies()
    assert constant == pytest.approx(constant[0], abs=1e-6)
    best = model.energy_part.energy(replicas.states())
    assert best == pytest.approx(model.energy_part.energy(states[good]).min())


@pytest.mark.parametrize("ruled", [True, False])
def test_a_hot_sweep_of_compound_moves_makes_as_many_as_there_are_bits(ruled):
    """Each is one flip or two, of 60 bits drawn anew: after a sweep nearly half are other than they were."""
    n = 60
    energy = FactoredEnergy(np.ones((1, n)), np.array([1e-9]), np.zeros(1))
    rules = (LinearBudget(np.ones(n), n),) if ruled else ()
    replicas = put(energy, 10, rules=rules)
    replicas.sweep(np.full(1, 1e-9))
    changed = current(replicas).mean()
    assert 0.4 < changed < 0.55


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_work_of_replicas_is_counted_in_steps(name, monkeypatch):
    """Numbers that are touched: a row's in eights, neighbours and bits one by one; twice that where a descent follows."""
    from contextlib import nullcontext

    from annealnet.samplers import replicas as module

    asked: list[float] = []
    monkeypatch.setattr(module, "threads_for", lambda steps: asked.append(steps) or nullcontext())
    energy, reads = {
        "dense": (dense(6, 0), 3), "sparse": (sparse(9, 0), 3), "lanes": (sparse(9, 0), 20), "squares": LAYOUTS["squares"],
    }[name]  # fmt: skip
    found = put(energy, reads)
    n = energy.num_variables
    touched = {
        "dense": reads * n * n / 8, "squares": 50 * reads * n,
        **dict.fromkeys(("sparse", "lanes"), reads * (energy.couplings().nnz + n)),
    }[name]  # fmt: skip
    assert asked == [touched]
    asked.clear()
    found.descend()
    assert asked == {
        "dense": [touched, touched], "sparse": [touched, 2 * touched], "lanes": [2 * touched, touched],
        "squares": [50 * reads * n * 10],
    }[name]  # fmt: skip
    seen = []
    monkeypatch.setattr(found.pace, "threads_for", lambda steps: seen.append(steps) or nullcontext())
    found.sweep(np.ones(7))
    assert seen == [{"lanes": 1, "squares": 50}.get(name, 3) * reads * n * 7]


def test_states_beyond_their_budgets_are_repaired_or_given_up():
    energy = SparseEnergy([], [], [], -np.ones(6))
    rules = (LinearBudget(np.array([1, 2, 3, 1, 2, 3]), 4), Cardinality([0, 3], 1))
    starts = np.array([[1, 1, 1, 0, 1, 1], [0, 0, 0, 1, 0, 0]], dtype=np.int8)
    replicas = put(energy, 2, starts, rules)
    assert all(rule.holds(current(replicas)).all() for rule in rules)
    assert np.array_equal(current(replicas)[1], starts[1])  # what is within stays
    assert replicas.energies() == pytest.approx(energy.energy(current(replicas)))
    hopeless = (LinearBudget(np.array([9, 0, 0, 9, 0, 0]), 4), Cardinality([0, 3], 1))
    lost = put(energy, 2, starts, hopeless)
    lost.sweep(np.ones(2))  # nothing moves that is given up
    with pytest.raises(ValueError, match=r"exceeds one by 125\.000%"):
        lost.states()
    with pytest.raises(ValueError, match="1 of 2 variables"):
        put(energy, 2, np.array([[1, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0]]), rules)
    some = put(
        energy, 2, np.array([[0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0]]), (LinearBudget(np.array([9, 0, 0, 0, 0, 0]), 4),)
    )
    assert len(some.states()) == 2


def test_a_repair_ends_where_the_budgets_hold():
    """All bits on, and one too many: a move turns off one or two, and no further one is made."""
    replicas = put(SparseEnergy([], [], [], np.zeros(12)), 8, np.ones((8, 12), np.int8), (LinearBudget(np.ones(12), 11),))
    assert set(current(replicas).sum(axis=1)) <= {10, 11}


def test_descents_of_compound_moves_do_not_rise():
    model = squares_and_rules()
    good = states_of(5)[model.feasible(states_of(5))]
    replicas = put(model.energy_part, len(good), good, RULES)
    before = replicas.energies()
    replicas.descend()
    assert (replicas.energies() <= before + 1e-9).all()
    assert replicas.energies().min() == pytest.approx(before.min())


# Enumeration.


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(0, 999))
def test_tiles_hold_the_energies_of_the_low_bits(n, seed):
    energy = dense(n, seed)
    low = 1 + seed % n
    table = tile_energies(energy.couplings().toarray(), energy.expanded_linear()[0], low)
    for code in range(2**low):
        x = np.array([(code >> i) & 1 for i in range(n)])
        assert table[code] == pytest.approx(float(energy.energy(x)), abs=1e-9)


@settings(max_examples=40)
@given(st.integers(3, 7), st.integers(1, 5), st.integers(0, 999))
def test_every_part_gives_its_lowest_states(n, keep, seed):
    rng = np.random.default_rng(seed)
    energy = dense(n, seed)
    matrix, linear = energy.couplings().toarray(), energy.expanded_linear()[0]
    low = int(rng.integers(1, n))
    prefix = int(rng.integers(0, n - low + 1))
    first = int(rng.integers(0, 2**prefix))
    count = int(rng.integers(1, 2**prefix - first + 1))
    found, codes = lowest_codes(matrix, linear, tile_energies(matrix, linear, low), low, prefix, first, count, keep)
    assert found.shape == codes.shape == (count, keep)
    for part in range(count):
        of_part = [code for code in range(2**n) if code >> (n - prefix) == first + part]
        value = {code: float(energy.energy(np.array([(code >> i) & 1 for i in range(n)]))) for code in of_part}
        wanted = sorted(value.values())[:keep]
        assert found[part, : len(wanted)] == pytest.approx(wanted, abs=1e-9)
        assert np.isinf(found[part, len(wanted) :]).all()
        for code, told in zip(codes[part, : len(wanted)].tolist(), wanted, strict=True):
            assert value[code] == pytest.approx(told, abs=1e-9)


# Tabu search.


@pytest.mark.parametrize("tenure", [1, 3])
def test_tabu_search_makes_the_best_move_that_is_free_or_leads_to_a_new_best(tenure):
    from annealnet.samplers.kernels.free import start_sparse

    n, reads = 8, 2
    energy = SparseEnergy(
        *np.triu_indices(n, 1), np.random.default_rng(1).normal(size=28), np.random.default_rng(2).normal(size=n)
    )
    linear, *lists = neighbour_lists(compile_energy(energy).expanded())
    scale = compile_energy(energy).scale
    states = np.random.default_rng(3).integers(0, 2, (reads, n), dtype=np.int8)
    deltas, now = np.empty((reads, n), dtype=np.float32), np.empty(reads)
    start_sparse(linear, *lists, states, deltas, now)
    until, clocks = np.zeros((reads, n), dtype=np.int64), np.zeros(reads, dtype=np.int64)
    energies, best, random = np.stack([now, now], axis=1), states.copy(), streams(np.uint64(4), reads)
    forbidden, waits = 0, set()
    for step in range(60):
        before, least = states.copy(), energies[:, 1].copy()
        free = until <= clocks[:, None]
        tabu_moves(*lists, states, deltas, until, clocks, best, energies, 1, tenure, random)
        assert clocks.tolist() == [step + 1] * reads
        for r in range(reads):
            costs = energy.flip_deltas(before[r]) / scale
            (moved,) = np.flatnonzero(states[r] != before[r])
            value = float(energy.energy(before[r])) / scale
            # float32 cannot tell whether a move only leads back to the best state: either will do
            surely = min(costs[i] for i in range(n) if free[r, i] or value + costs[i] < least[r] - 1e-4)
            at_most = min(costs[i] for i in range(n) if free[r, i] or value + costs[i] < least[r] + 1e-4)
            assert at_most - 1e-4 <= costs[moved] <= surely + 1e-4
            forbidden += costs[moved] > costs.min() + 1e-4
            waits.add(int(until[r, moved]) - (step + 1))
            assert energies[r, 0] == pytest.approx(float(energy.energy(states[r])) / scale, abs=1e-4)
            assert energies[r, 1] == pytest.approx(float(energy.energy(best[r])) / scale, abs=1e-4)
            assert energies[r, 1] == pytest.approx(min(least[r], energies[r, 0]), abs=1e-4)
    assert forbidden > 10
    assert waits == set(range(tenure, 2 * tenure + 1))


def test_tabu_search_waits_where_every_bit_is_forbidden():
    lists = (np.zeros(3, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32))
    states, deltas = np.zeros((1, 2), dtype=np.int8), np.ones((1, 2), dtype=np.float32)
    until, clocks = np.full((1, 2), 2, dtype=np.int64), np.zeros(1, dtype=np.int64)
    energies, best = np.zeros((1, 2)), np.zeros((1, 2), dtype=np.int8)
    tabu_moves(*lists, states, deltas, until, clocks, best, energies, 2, 1, streams(np.uint64(0), 1))
    assert states.tolist() == [[0, 0]]
    assert clocks.tolist() == [2]
    tabu_moves(*lists, states, deltas, until, clocks, best, energies, 1, 1, streams(np.uint64(0), 1))
    assert states.sum() == 1
    assert best.tolist() == [[0, 0]]
    assert energies.tolist() == [[1.0, 0.0]]
