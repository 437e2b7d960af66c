"""Tabu search's settings, branch and bound's rows, prefix blocks, names, and what machines are asked for."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import ClassVar

import dimod
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from annealnet.energy import Cardinality, ConstrainedEnergy, DenseEnergy, LinearBudget, SparseEnergy
from annealnet.samplers import AnnealingSampler, ExactSampler, TabuSampler, hardware, tabu
from annealnet.samplers.block_prefix import PrefixBlock, solve_blocks
from annealnet.samplers.branching import _products, _rounded_up, _rows, branch_and_bound
from annealnet.samplers.distribution import DistributedSampler, Workers
from annealnet.samplers.external import sample_energy, takes
from annealnet.samplers.hardware import _biclique, _least_qubits, find_embedding, fit, precision, topology_graph
from annealnet.samplers.kernels import tabu as kernel
from annealnet.samplers.naming import sampler_name


def states_of(n: int) -> np.ndarray:
    return np.array(list(itertools.product((0, 1), repeat=n)), dtype=np.int8)


# Tabu search.


@pytest.fixture
def moves(monkeypatch) -> list[tuple[int, int]]:
    """Numbers of moves and tenures that the kernel is asked for; nothing moves."""
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(kernel, "tabu_moves", lambda *given: seen.append(given[-3:-1]))
    return seen


@pytest.mark.parametrize(
    ("n", "asked", "pieces", "tenure"),
    [
        (1, {"num_sweeps": 3}, [3], 1),
        (4, {"num_sweeps": 30}, [120], 2),
        (30, {"num_sweeps": 25}, [300, 300, 150], 15),
        (50, {"num_sweeps": 4, "tenure": 49}, [200], 49),
        (60, {}, [600] * 16 + [400], 20),
        (300, {}, [1666] * 9 + [6], 20),
    ],
)
def test_moves_are_counted_by_bits_and_come_in_pieces(moves, n, asked, pieces, tenure):
    energy = SparseEnergy([], [], [], np.linspace(-1, 1, n))
    told: list[float] = []
    answer = TabuSampler().sample_energy(energy, seed=0, progress=told.append, **asked)
    assert [size for size, _ in moves] == pieces
    assert {kept for _, kept in moves} == {answer.info["tenure"]} == {tenure}
    assert told == pytest.approx(np.cumsum(pieces) / sum(pieces))


def test_tenures_leave_a_bit_to_move(moves):
    energy = SparseEnergy([], [], [], np.ones(5))
    for tenure in (0, 5):
        with pytest.raises(ValueError, match=r"tenure=.* from 1 to 4"):
            TabuSampler().sample_energy(energy, tenure=tenure)
    assert TabuSampler().sample_energy(energy, tenure=4, num_sweeps=1).info["tenure"] == 4
    assert TabuSampler().sample_energy(SparseEnergy([], [], [], np.ones(1)), tenure=1, num_sweeps=1).info["tenure"] == 1


def test_a_search_ends_with_its_time_and_keeps_the_best_it_saw():
    rng = np.random.default_rng(0)
    energy = DenseEnergy(rng.normal(size=(12, 12)), rng.normal(size=12))
    best = float(energy.energy(states_of(12)).min())
    assert TabuSampler().sample_energy(energy, num_reads=3, num_sweeps=300, seed=0).record.energy == pytest.approx(
        [best] * 3
    )
    assert TabuSampler().sample_energy(energy, time_limit=0.05, seed=0).first.energy == pytest.approx(best)
    with pytest.raises(ValueError, match="constraints"):
        TabuSampler().sample_energy(ConstrainedEnergy(energy, [Cardinality([0, 1], 1)]))


def test_the_work_of_a_search_is_counted(monkeypatch, moves):
    seen = []
    own = tabu.threads_for
    monkeypatch.setattr(tabu, "threads_for", lambda steps: seen.append(steps) or own(steps))
    energy = SparseEnergy([0, 1], [1, 2], [1.0, 2.0], np.ones(40))
    TabuSampler().sample_energy(energy, num_reads=3, num_sweeps=2, seed=0)
    assert seen == [3 * 4, 80 * 40 * 3]


# Branch and bound.


def test_bounds_of_whole_coefficients_are_whole():
    whole, half = np.array([1.0, -3.0]), np.array([1.5, 1.0])
    assert _rounded_up(-2.3, whole, 1e-6) == -2.0
    assert _rounded_up(2.0000005, whole, 1e-6) == 2.0
    assert _rounded_up(2.000002, whole, 1e-6) == 3.0
    assert _rounded_up(-2.3, half, 1e-6) == -2.3
    assert _rounded_up(-np.inf, whole, 1e-6) == -np.inf


@settings(max_examples=8)
@given(st.integers(2, 4), st.integers(0, 999))
def test_rows_hold_products_where_costs_pull(n, seed):
    rng = np.random.default_rng(seed)
    upper = sparse.triu(
        sparse.random(n, n, 0.7, random_state=seed, data_rvs=lambda k: rng.choice([-1.0, 2.0], k)), k=1
    ).tocoo()
    rows = _products(upper, n)
    for x in states_of(n):
        for y in itertools.product((0, 0.5, 1), repeat=upper.nnz):
            values = np.array([*x, *y])
            kept = all((row.A @ values <= row.ub + 1e-9).all() for row in rows)
            ends = list(zip(upper.row, upper.col, upper.data, y, strict=True))
            wanted = all(v <= min(x[i], x[j]) if cost < 0 else v >= x[i] + x[j] - 1 for i, j, cost, v in ends)
            assert kept == wanted


def test_rules_become_rows():
    rules = [Cardinality([0, 2], 1), LinearBudget(np.array([1.0, 2.0, 3.0]), 4)]
    one, two = _rows(rules, 5)
    assert one.A.toarray().tolist() == [[1, 0, 1, 0, 0]]
    assert (one.lb, one.ub) == (1, 1)
    assert two.A.toarray().tolist() == [[1, 2, 3, 0, 0]]
    assert (two.lb, two.ub) == (-np.inf, 4)


@settings(max_examples=12)
@given(st.integers(1, 6), st.integers(0, 999), st.booleans())
def test_proofs_agree_with_every_state(n, seed, ruled):
    rng = np.random.default_rng(seed)
    energy = DenseEnergy(rng.integers(-3, 4, (n, n)), rng.integers(-3, 4, n), 0.75)
    model = ConstrainedEnergy(energy, [LinearBudget(np.ones(n), n // 2)]) if ruled else energy
    states = states_of(n)
    good = model.feasible(states) if isinstance(model, ConstrainedEnergy) else np.ones(len(states), dtype=bool)
    found = branch_and_bound(model, 10.0)
    assert found.state is not None
    assert energy.energy(found.state) == pytest.approx(float(energy.energy(states[good]).min()))
    assert found.bound == pytest.approx(float(energy.energy(states[good]).min()), abs=1e-5)
    assert found.tolerance <= 1e-6 * 20


# Prefix blocks.


@settings(max_examples=25)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 999))
def test_prefix_blocks_have_the_least_of_all_choices(groups, width, seed):
    rng = np.random.default_rng(seed)
    blocks = [
        PrefixBlock(rng.uniform(0, 2, width), tuple(3 * rng.normal(size=(width + 1, 3)) for _ in range(2)))
        for _ in range(groups)
    ]
    found, total = solve_blocks(blocks)
    for block, (members, levels) in zip(blocks, found, strict=True):
        costs = [
            (block.values @ x) ** 2 + sum(table[x.sum(), r] for table, r in zip(block.tables, rs, strict=True))
            for x in states_of(width) for rs in itertools.product(range(3), repeat=2)
        ]  # fmt: skip
        own = (block.values @ members) ** 2 + sum(t[members.sum(), r] for t, r in zip(block.tables, levels, strict=True))
        assert own == pytest.approx(min(costs))
        total -= own
    assert total == pytest.approx(0, abs=1e-9)


def test_blocks_need_values_of_at_least_0_and_a_row_for_every_count():
    assert PrefixBlock(np.zeros(2), (np.zeros((3, 1)),)).values.tolist() == [0, 0]
    with pytest.raises(ValueError, match="negative"):
        PrefixBlock(np.array([-0.1, 1.0]), ())
    for rows in (1, 2, 4):
        with pytest.raises(ValueError, match=f"{rows} rows"):
            PrefixBlock(np.zeros(2), (np.zeros((rows, 1)),))


# Names and callers.


def test_names_say_what_is_wrapped_and_which_solver_answers():
    assert sampler_name(AnnealingSampler()) == "AnnealingSampler"
    device = SimpleNamespace(solver=SimpleNamespace(name="Advantage"), children=None, child=None)
    assert sampler_name(device) == "SimpleNamespace[Advantage]"
    assert sampler_name(SimpleNamespace(children=[device, AnnealingSampler()])) == (
        "SimpleNamespace(SimpleNamespace[Advantage], AnnealingSampler)"
    )
    assert sampler_name(SimpleNamespace(child=AnnealingSampler())) == "SimpleNamespace(AnnealingSampler)"
    assert sampler_name(SimpleNamespace(solver=SimpleNamespace(name=3))) == "SimpleNamespace"


def test_other_samplers_get_what_they_know():
    class Known(dimod.Sampler):
        parameters = None
        properties = None

        def sample(self, bqm, num_reads=1, **asked):
            self.asked = {"num_reads": num_reads, **asked}
            return dimod.ExactSolver().sample(bqm)

    energy = DenseEnergy(np.zeros((2, 2)), np.array([-1.0, 2.0]))
    child = Known()
    assert takes(child, "num_reads")
    assert not takes(child, "seed")
    answer = sample_energy(child, energy, num_reads=7, seed=3, other="x")
    assert child.asked == {"num_reads": 7, "other": "x"}
    assert answer.record.sample.tolist() == [[1, 0], [0, 0], [1, 1], [0, 1]]
    ours = sample_energy(ExactSampler(), energy, num_reads=2, seed=3)
    assert ours.record.energy.tolist() == [-1.0, 0.0]


class Timed(AnnealingSampler):
    """Remembers how long it was given."""

    given: ClassVar[list[float | None]] = []

    def sample_energy(self, energy, **asked):
        Timed.given.append(asked.get("time_limit"))
        return super().sample_energy(energy, num_sweeps=1, num_reads=asked["num_reads"], seed=asked.get("seed"))


def test_a_time_limit_is_shared_by_the_rounds_of_pieces(monkeypatch):
    energy = DenseEnergy(np.zeros((2, 2)), np.ones(2))
    for workers, share in ((1, 1 / 5), (2, 1 / 3), (5, 1.0), (9, 1.0)):
        monkeypatch.setattr(Workers, "count", workers)
        Timed.given.clear()
        answer = DistributedSampler(Timed(), Workers("sequential"), 2).sample_energy(
            energy, num_reads=9, seed=0, time_limit=6.0
        )
        assert Timed.given == pytest.approx([6.0 * share] * 5)
        assert answer.info["pieces"] == 5
        assert len(answer) == 9
    Timed.given.clear()
    one = DistributedSampler(Timed(), Workers("sequential"), 16).sample_energy(energy, seed=0)
    assert Timed.given == [None]
    assert len(one) == 10
    with pytest.raises(ValueError, match="'other' is no parameter"):
        DistributedSampler(Timed(), Workers("sequential")).sample_energy(energy, other=1)


@pytest.mark.parametrize(
    ("asked", "words"),
    [({"jobs": 0}, "jobs"), ({"jobs": -2}, "jobs"), ({"attempts": 0}, "attempts"), ({"address": "a"}, "backend='ray'")],
)
def test_workers_are_one_or_more_or_all(asked, words):
    assert Workers(jobs=-1, attempts=1).jobs == -1
    assert Workers(jobs=1).jobs == 1
    with pytest.raises(ValueError, match=words):
        Workers(**asked)


def test_the_first_error_of_the_work_is_told():
    def fails(piece: int) -> int:
        if piece > 1:
            raise ValueError(f"piece {piece}")
        return 2 * piece

    assert Workers("sequential").run(fails, [1, 0]) == [2, 0]
    with pytest.raises(ValueError, match="piece 3"):
        Workers("sequential").run(fails, [1, 3, 2])


# Machines.


def pairs_of(count: int) -> dimod.BinaryQuadraticModel:
    return dimod.BinaryQuadraticModel({}, dict.fromkeys(itertools.combinations(range(count), 2), 1.0), 0.0, "SPIN")


def test_the_time_of_reads_and_the_chains_are_told():
    pytest.importorskip("minorminer", reason="needs annealnet[dwave]")
    found = fit(pairs_of(8), "zephyr", reads=30, annealing_time=80.0)
    chains = find_embedding(pairs_of(8), topology_graph("zephyr"), 0)
    lengths = [len(chain) for chain in chains.values()]
    assert found.milliseconds == pytest.approx(30 * 200 / 1000)
    assert (found.bits, found.couplings, found.fits, found.qubits) == (8, 28, True, sum(lengths))
    assert (found.chain_mean, found.chain_longest) == (pytest.approx(sum(lengths) / 8), max(lengths))
    assert f"fits: {found.qubits} qubits" in found.describe()


def test_chains_have_couplers_for_all_their_neighbours():
    """A chain of L qubits with D neighbours each reaches L (D − 2) + 2 others."""
    networkx = pytest.importorskip("networkx")
    star = dimod.BinaryQuadraticModel({}, {(0, k): 1.0 for k in range(1, 10)}, 0.0, "SPIN")
    assert _least_qubits(star, networkx.random_regular_graph(4, 20, seed=0)) == 4 + 9  # ⌈7/2⌉
    assert _least_qubits(star, networkx.random_regular_graph(5, 20, seed=0)) == 3 + 9
    assert _least_qubits(star, networkx.cycle_graph(9)) == 7 + 9
    assert _least_qubits(pairs_of(3), networkx.random_regular_graph(4, 20, seed=0)) == 3


def test_only_complete_layers_of_two_and_more_are_bicliques():
    pytest.importorskip("minorminer", reason="needs annealnet[dwave]")
    graph = topology_graph("zephyr")

    def layers(a: int, b: int) -> dimod.BinaryQuadraticModel:
        return dimod.BinaryQuadraticModel({}, {(i, a + j): 1.0 for i in range(a) for j in range(b)}, 0.0, "SPIN")

    assert len(_biclique(layers(2, 2), graph)) == 4
    assert len(_biclique(layers(3, 4), graph)) == 7
    for other in (layers(1, 4), layers(4, 1), pairs_of(4), dimod.BinaryQuadraticModel("SPIN")):
        assert _biclique(other, graph) == {}
    more = layers(3, 3)
    more.add_quadratic(0, 1, 1.0)
    assert _biclique(more, graph) == {}
    inside = layers(3, 3)
    inside.add_quadratic(3, 4, 1.0)
    assert _biclique(inside, graph) == {}


@pytest.mark.parametrize(("couplings", "searched"), [(7, True), (8, False)])
def test_dense_models_are_cliques_and_sparse_ones_are_searched_for(couplings, searched, monkeypatch):
    minorminer = pytest.importorskip("minorminer", reason="needs annealnet[dwave]")
    calls = []
    own = minorminer.find_embedding
    monkeypatch.setattr(minorminer, "find_embedding", lambda *a, **k: calls.append(1) or own(*a, **k))
    bqm = dimod.BinaryQuadraticModel(dict.fromkeys(range(6), 0.0), {}, 0.0, "SPIN")  # half of the 15 pairs are 7.5
    bqm.add_quadratic_from((u, v, 1.0) for u, v in list(itertools.combinations(range(6), 2))[:couplings])
    chains = find_embedding(bqm, topology_graph("zephyr"))
    assert set(chains) == set(range(6))
    assert bool(calls) == searched


def test_precision_sees_steps_between_magnitudes():
    told = precision(dimod.BinaryQuadraticModel({"a": 1.0, "b": -0.75, "c": 0.5}, {"ab": 1e-15}, 0.0, "SPIN"))
    assert told == pytest.approx({"range": 2.0, "bits": 2.0, "lost": 0.0})
    edge = precision(dimod.BinaryQuadraticModel({"a": 64.0, "b": 1.0, "c": 0.9}, {}, 0.0, "SPIN"))
    assert edge["lost"] == pytest.approx(1 / 3)
    assert edge["bits"] == pytest.approx(np.log2(640))
    assert hardware.PRECISION_BITS == 6
