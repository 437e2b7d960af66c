"""Every native sampler against enumeration, on every form; crossover, temperatures, schedules, seeds."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.energy import Cardinality, ConstrainedEnergy, DenseEnergy, FactoredEnergy, SparseEnergy, SumEnergy
from annealnet.samplers import (
    NATIVE,
    AnnealingSampler,
    AutoSampler,
    BifurcationSampler,
    RecombinationSampler,
    TabuSampler,
    TemperingSampler,
)
from annealnet.samplers.annealing import default_beta_range
from annealnet.samplers.auto import _loaded
from annealnet.samplers.compiled import compile_energy
from annealnet.samplers.kernels.crossing import cross
from annealnet.samplers.native import Task
from annealnet.samplers.replicas import neighbour_lists, place
from annealnet.samplers.schedule import Clock, beta_chunks
from annealnet.samplers.tempering import _Ladders


def states_of(n: int) -> np.ndarray:
    return np.array(list(itertools.product((0, 1), repeat=n)), dtype=np.int8)


def make(form: str, n: int, seed: int, size: float = 1.0):
    rng = np.random.default_rng(seed)
    pairs = rng.integers(n, size=(2, 2 * n))
    sparse = SparseEnergy(*pairs, size * rng.normal(size=2 * n), size * rng.normal(size=n), offset=size)
    if form == "sparse":
        return sparse
    if form == "dense":
        return DenseEnergy(size * rng.normal(size=(n, n)), size * rng.normal(size=n))
    factored = FactoredEnergy(rng.normal(size=(2, n)), size * rng.normal(size=2), rng.normal(size=2))
    return factored if form == "factored" else SumEnergy([sparse, factored])


def ordered(answer) -> np.ndarray:
    return answer.record.sample[:, np.argsort(list(answer.variables))]


STOCHASTIC = [name for name in NATIVE if name != "exact"]


@pytest.mark.parametrize("name", STOCHASTIC)
@pytest.mark.parametrize("form", ["dense", "sparse", "factored", "sum"])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_default_settings_find_the_ground_state(name, form, size):
    seed = zlib.crc32(f"{name} {form} {size}".encode()) % 10_000  # another energy for each
    n = 1 + seed % 16
    energy = make(form, n, seed, size)
    if name == "recombination" and compile_energy(energy).factors.nnz:
        with pytest.raises(ValueError, match="AnnealingSampler"):
            NATIVE[name]().sample_energy(energy, seed=seed)
        return
    answer = NATIVE[name]().sample_energy(energy, seed=seed)
    assert np.allclose(answer.record.energy, energy.energy(ordered(answer)))
    assert answer.first.energy == pytest.approx(float(energy.energy(states_of(n)).min()), rel=1e-6, abs=1e-9 * size)
    certificate = answer.info["certificate"]
    assert certificate["lower_bound"] <= certificate["energy"] + 1e-9 * size


@pytest.mark.parametrize("sampler", [TabuSampler(), BifurcationSampler(), RecombinationSampler()])
def test_samplers_without_constraints_say_who_keeps_them(sampler):
    model = ConstrainedEnergy(make("dense", 4, 0), [Cardinality([0, 1], 1)])
    with pytest.raises(ValueError, match="AnnealingSampler"):
        sampler.sample_energy(model)


def test_tempering_and_the_default_keep_constraints():
    model = ConstrainedEnergy(make("sum", 22, 0), [Cardinality(range(10), 4)])
    for sampler in (TemperingSampler(), AutoSampler()):
        answer = sampler.sample_energy(model, num_sweeps=100, seed=0)
        assert model.feasible(ordered(answer)).all()


@pytest.mark.parametrize(
    ("sampler", "arguments", "words"),
    [
        (AnnealingSampler(), {"time_limit": 0.0}, "time_limit"),
        (AnnealingSampler(), {"num_sweeps": 0}, "num_sweeps"),
        (AnnealingSampler(), {"num_reads": 1.5}, "num_reads"),
        (AnnealingSampler(), {"seed": -1}, "seed"),
        (AutoSampler(), {"num_reads": 0}, "num_reads"),
        (TemperingSampler(), {"num_replicas": 1}, "num_replicas"),
        (TemperingSampler(), {"beta_range": (2.0, 1.0)}, "beta_range"),
        (TabuSampler(), {"tenure": 0}, "tenure"),
        (BifurcationSampler(), {"mode": "quantum"}, "mode"),
    ],
)
def test_bad_requests_name_the_argument(sampler, arguments, words):
    with pytest.raises(ValueError, match=words):
        sampler.sample_energy(make("dense", 5, 0), **arguments)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 12), st.integers(0, 10_000))
def test_a_crossed_child_is_the_best_mixture_of_components(n, seed):
    energy = make("sparse", n, seed)
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 2, (2, 3, n), dtype=np.int8)
    compiled = compile_energy(energy)
    child = a.copy()
    lost = cross(*neighbour_lists(compiled), child, b) * compiled.scale
    assert np.allclose(lost, energy.energy(a) - energy.energy(child), atol=1e-4)
    couplings = energy.couplings().toarray()
    for first, second, got in zip(a, b, child, strict=True):
        # by hand: components of the differing bits, every mixture
        left = set(np.flatnonzero(first != second).tolist())
        pieces = []
        while left:
            piece, edge = set(), [left.pop()]
            while edge:
                i = edge.pop()
                piece.add(i)
                near = {j for j in left if couplings[i, j]}
                left -= near
                edge += near
            pieces.append(sorted(piece))
        mixtures = []
        for taken in itertools.product((False, True), repeat=len(pieces)):
            mixed = first.copy()
            for piece, use in zip(pieces, taken, strict=True):
                if use:
                    mixed[piece] = second[piece]
            mixtures.append(mixed)
        assert energy.energy(got) == pytest.approx(energy.energy(np.array(mixtures)).min(), abs=1e-5)


@pytest.mark.parametrize(("form", "reads"), [("dense", 3), ("sparse", 3), ("sparse", 20), ("sum", 3)])
def test_energies_kept_by_increments_are_those_of_the_states(form, reads):
    energy = make(form, 40, 3)
    compiled = compile_energy(energy)
    states = np.random.default_rng(0).integers(0, 2, (reads, 40), dtype=np.int8)
    replicas = place(compiled, (), states, np.uint64(9))
    before = replicas.energies() - energy.energy(states)
    replicas.sweep(np.geomspace(0.1, 1.0, 50))
    if form != "sum":  # squares keep the best state apart from the current one
        after = replicas.energies() - energy.energy(replicas.states())
        assert np.ptp(np.concatenate([before, after])) < 1e-3
        replicas.descend()
        flips = np.array([energy.flip_deltas(x) for x in replicas.states()])
        assert flips.min() > -1e-4


def test_lanes_and_single_reads_sample_the_same_distribution():
    """At a fixed temperature both kernels must give Boltzmann's mean energy, known from enumeration."""
    energy = make("sparse", 8, 5)
    beta = 0.8
    values = energy.energy(states_of(8))
    weights = np.exp(-beta * (values - values.min()))
    mean = float((weights * values).sum() / weights.sum())
    spread = float(np.sqrt((weights * (values - mean) ** 2).sum() / weights.sum()))
    for reads, rounds in ((4, 4000), (64, 250)):
        replicas = place(compile_energy(energy), (), np.zeros((reads, 8), dtype=np.int8), np.uint64(1))
        seen = []
        for _ in range(rounds):
            replicas.sweep(np.full(2, beta))
            seen.append(energy.energy(replicas.states()).mean())
        assert np.mean(seen) == pytest.approx(mean, abs=0.05 * spread)


@pytest.mark.parametrize("reads", [4, 20])
def test_domain_walls_of_a_ring_meet(reads):
    """Flips that cost nothing move walls; taken always and in order, all walls would move alike and never vanish."""
    n = 30
    ring = SparseEnergy(range(n), [(i + 1) % n for i in range(n)], np.full(n, -4.0), np.full(n, 4.0), offset=-float(n))
    answer = AnnealingSampler().sample_energy(ring, num_reads=reads, seed=0)
    assert answer.first.energy == -n
    assert (answer.record.energy == -n).mean() > 0.5


def test_temperatures_follow_sweeps_or_the_clock():
    chunks = np.concatenate(list(beta_chunks(0.1, 10.0, 3000, Clock(None))))
    assert np.allclose(chunks, np.geomspace(0.1, 10.0, 3000))
    timed = np.concatenate([chunk.copy() for chunk in beta_chunks(0.1, 10.0, None, Clock(0.05))])
    assert (np.diff(timed) >= 0).all()
    assert 0.1 <= timed[0] <= timed[-1] <= 10.0
    with pytest.raises(ValueError, match="num_sweeps"):
        next(beta_chunks(0.1, 1.0, None, Clock(None)))


@pytest.mark.parametrize("name", ["annealing", "tempering", "recombination", "bifurcation", "tabu", "auto"])
def test_progress_is_told_and_ends_at_the_end(name):
    told: list[float] = []
    NATIVE[name]().sample_energy(make("sparse", 30, 0), seed=0, num_sweeps=120, progress=told.append)
    assert told
    assert told == sorted(told)
    assert 0.0 < told[-1] <= 1.0


def test_the_default_range_scales_with_the_energy_and_temperatures_adapt():
    small, large = (default_beta_range(compile_energy(make("dense", 30, 1, size))) for size in (1.0, 1000.0))
    assert np.allclose(np.array(small) / 1000, large)
    answer = TemperingSampler().sample_energy(make("dense", 60, 1), num_sweeps=2000, seed=0)
    assert np.all(np.diff(answer.info["betas"]) > 0)
    rates = np.array(answer.info["exchanges"])
    assert rates.min() > 0.02


@pytest.mark.parametrize("dense", [True, False])
def test_samplers_that_could_not_be_loaded_in_time_do_not_compete(dense):
    every = [RecombinationSampler(), AnnealingSampler(), TabuSampler()]
    assert _loaded(every, dense, Clock(None)) == every
    assert _loaded(every, dense, Clock(3600.0)) == every
    assert _loaded(every, dense, Clock(1e-6)) == every[:1]
    answer = AutoSampler().sample_energy(make("sparse", 60, 0), seed=0, time_limit=1e-4)
    assert list(answer.info["trials"]) == ["RecombinationSampler"]
    assert "polished" not in answer.info["reason"]


@pytest.mark.parametrize("form", ["dense", "sparse", "sum"])
@pytest.mark.parametrize("constrained", [True, False])
def test_a_look_at_the_best_leaves_the_replicas_as_they_are(form, constrained):
    """Were the ladder quenched at a look, hot replicas would be as low as cold ones."""
    energy = make(form, 40, 2)
    model = ConstrainedEnergy(energy, [Cardinality(range(20), 7)]) if constrained else energy
    ladders = _Ladders(Task.of(model, 2, 1, None, None, 8), np.geomspace(0.01, 1.0, 8))
    ladders.replicas.sweep(np.full(4, 0.01))
    before = ladders.replicas.energies().copy()
    for _ in range(2):
        ladders._look()
        assert np.array_equal(ladders.replicas.energies(), before)
    assert len(ladders.best) == 2


def test_the_default_says_what_it_chose_and_why():
    chosen = {
        "small": AutoSampler().sample_energy(make("dense", 8, 0), seed=0),
        "large": AutoSampler().sample_energy(make("sparse", 60, 0), seed=0, num_sweeps=100),
        "squares": AutoSampler().sample_energy(make("factored", 30, 0), seed=0, num_sweeps=100),
    }
    assert chosen["small"].info["chosen"] == "ExactSampler"
    assert chosen["small"].info["certificate"]["proven"]
    assert len(chosen["large"].info["trials"]) == 3
    assert chosen["large"].info["chosen"] in chosen["large"].info["reason"]
    assert chosen["squares"].info["chosen"] == "AnnealingSampler"
    for answer in chosen.values():
        assert len(answer) == 10
        assert np.all(np.diff(answer.record.energy) >= -1e-12)
