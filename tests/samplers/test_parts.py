"""What stands around the kernels: clocks and schedules, requests, enumeration in pieces, rounds of recombination, blocks."""

from __future__ import annotations

import itertools
import time
from types import SimpleNamespace

import dimod
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.energy import Cardinality, ConstrainedEnergy, DenseEnergy, FactoredEnergy, LinearBudget, SparseEnergy
from annealnet.samplers import (
    AnnealingSampler,
    BlockSampler,
    ExactSampler,
    RecombinationSampler,
    exact,
    native,
    recombination,
    schedule,
)
from annealnet.samplers import blocks as blocks_module
from annealnet.samplers.annealing import checked_beta_range, default_beta_range
from annealnet.samplers.blocks import _blocks, conditioned
from annealnet.samplers.compiled import compile_energy
from annealnet.samplers.kernels import crossing
from annealnet.samplers.native import Task
from annealnet.samplers.replicas import place
from annealnet.samplers.schedule import REFRESH, Clock, beta_chunks


def states_of(n: int) -> np.ndarray:
    return np.array(list(itertools.product((0, 1), repeat=n)), dtype=np.int8)


def dense(n: int, seed: int) -> DenseEnergy:
    rng = np.random.default_rng(seed)
    return DenseEnergy(rng.normal(size=(n, n)), rng.normal(size=n), 0.5)


def sparse(n: int, seed: int, degree: int = 2) -> SparseEnergy:
    rng = np.random.default_rng(seed)
    return SparseEnergy(*rng.integers(n, size=(2, degree * n)), rng.normal(size=degree * n), rng.normal(size=n), 0.5)


# Clocks and schedules.


@pytest.fixture
def now(monkeypatch) -> list[float]:
    """A time that only moves when a test moves it."""
    told = [0.0]
    monkeypatch.setattr(schedule, "time", SimpleNamespace(perf_counter=lambda: told[0]))
    return told


def test_a_clock_says_what_share_is_gone(now):
    clock, short, endless = Clock(1000.0, 0.0), Clock(2.0, 0.0), Clock(None, 0.0)
    assert (clock.share, clock.passed, clock.chunk_seconds) == (0.0, False, 0.1)
    assert short.chunk_seconds == 0.02
    now[0] = 500.0
    assert (clock.elapsed, clock.share, clock.passed) == (500.0, 0.5, False)
    now[0] = 1000.0
    assert (clock.share, clock.passed) == (1.0, True)
    assert (endless.elapsed, endless.share, endless.passed, endless.chunk_seconds) == (1000.0, 0.0, False, 0.1)
    for limit in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="time_limit"):
            Clock(limit)


@pytest.mark.parametrize("sweeps", [1, 2, 511, 512, 513, 1600])
def test_a_schedule_is_geometric_and_comes_in_pieces_that_end_at_refreshes(now, sweeps):
    told: list[float] = []
    pieces = list(beta_chunks(0.5, 8.0, sweeps, Clock(None), told.append))
    assert np.concatenate(pieces) == pytest.approx(np.geomspace(0.5, 8.0, sweeps))
    done = np.cumsum([len(piece) for piece in pieces])
    assert told == pytest.approx(list(done / sweeps))
    assert told[-1] == 1.0
    # sweeps that take no time: pieces grow fourfold, and none reaches across a refresh
    size, left, wanted = 1, sweeps, []
    while left:
        size = min(size, left, REFRESH - (sweeps - left) % REFRESH)
        wanted.append(size)
        left, size = left - size, 4 * size
    assert [len(piece) for piece in pieces] == wanted


def lengths(now: list[float], seconds: float, sweeps: int | None, limit: float | None) -> list[int]:
    """Of the pieces, where a sweep takes so many seconds."""
    began, found = now[0], []
    for piece in beta_chunks(0.5, 8.0, sweeps, Clock(limit, began)):
        found.append(len(piece))
        now[0] += seconds * len(piece)
    return found


def test_pieces_of_a_schedule_last_a_tenth_of_a_second_or_a_hundredth_of_the_limit(now):
    sweep = 1 / 32  # 3.2 sweeps fit into a tenth of a second
    assert lengths(now, sweep, 20, None) == [1, 3, 3, 3, 3, 3, 3, 1]
    assert lengths(now, sweep, 20, 100.0) == [1, 3, 3, 3, 3, 3, 3, 1]
    assert lengths(now, sweep, 10, 2.0) == [1] * 10
    assert lengths(now, sweep, 10, 1 / 4) == [1] * 8  # cut off
    assert lengths(now, 1 / 1024, 1000, 10.0) == [1, 4, 16, 64, 102, 102, 102, 102, 19, 76, 102, 102, 102, 102, 4]
    assert lengths(now, 1.0, 5, None) == [1] * 5


def test_without_sweeps_the_schedule_follows_the_clock(now):
    told: list[float] = []
    clock, betas = Clock(1.0, 0.0), []
    for piece in beta_chunks(0.5, 8.0, None, clock, told.append):
        betas += piece.tolist()
        now[0] += len(piece) / 32
    # a sweep has the temperature of the share that will be gone when it ends, as far as it was known before
    assert betas == pytest.approx([0.5, 0.5, *(0.5 * 16 ** (k / 32) for k in range(2, 32))])
    assert told == pytest.approx([k / 32 for k in range(1, 33)])
    now[0] = 0.0
    large = [
        piece
        for piece in beta_chunks(0.5, 8.0, None, Clock(64.0, 0.0))
        if now.__setitem__(0, now[0] + len(piece) / 32) is None
    ]
    assert [len(piece) for piece in large[:3]] == [1, 3, 3]
    assert large[2] == pytest.approx(0.5 * 16 ** np.linspace(np.log(large[1][-1] / 0.5) / np.log(16), 7 / 32 / 64, 3))
    assert list(beta_chunks(0.5, 8.0, 100, Clock(1.0, now[0] - 2.0))) == []
    with pytest.raises(ValueError, match="give one of them"):
        next(beta_chunks(0.5, 8.0, None, Clock(None)))


def test_progress_stays_within_one_however_late_it_is(now):
    told: list[float] = []
    for _ in beta_chunks(0.5, 8.0, None, Clock(1.0, 0.0), told.append):
        now[0] += 0.7
    assert told == pytest.approx([0.7, 1.0])


# Requests.


def test_whole_numbers_are_asked_for():
    energy = dense(3, 0)
    for value in (1, 2, np.int64(5)):
        assert Task.of(energy, value, 0, None, None, value).reads == value
    for value in (0, -1, 1.5, 2.0, True, "2"):
        with pytest.raises(ValueError, match="num_reads="):
            Task.of(energy, value, 0, None, None)
        with pytest.raises(ValueError, match="num_sweeps="):
            Task.of(energy, 1, 0, None, None, value)


def test_a_request_knows_its_seed_starts_and_limits():
    energy = dense(5, 0)
    model = ConstrainedEnergy(energy, [Cardinality([0, 1, 2], 2), LinearBudget(np.ones(5), 4)])
    task = Task.of(model, 7, 3, None, None)
    assert task.plain is energy
    assert len(task.constraints) == 2
    states = task.starts(None)
    assert states.shape == (7, 5)
    assert (states[:, :3].sum(axis=1) == 2).all()
    assert len(np.unique(states, axis=0)) > 2
    assert np.array_equal(states, Task.of(model, 7, 3, None, None).starts(None))
    assert not np.array_equal(states, Task.of(model, 7, 4, None, None).starts(None))
    assert task.stream == Task.of(energy, 1, 3, None, None).stream != Task.of(energy, 1, 4, None, None).stream
    assert task.starts(None, 3).shape == (3, 5)
    drawn = task.random_states(np.random.default_rng(0), 400)
    assert drawn[:, 3:].mean() == pytest.approx(0.5, abs=0.06)
    assert drawn[:, :3].mean(axis=0) == pytest.approx([2 / 3] * 3, abs=0.08)
    given_states = np.ones((7, 5))
    assert task.starts(given_states).dtype == np.int8
    for bad in (np.ones((6, 5)), np.ones((7, 4)), np.diag(np.full(7, 2))[:, :5], np.full((7, 5), -1)):
        with pytest.raises(ValueError, match=r"initial_states.*\(7, 5\)"):
            task.starts(bad)
    assert Task.of(energy, 1, None, None, None).seed >= 0
    assert Task.of(energy, 1, 0, None, None).seed == 0
    for arguments, word in (
        ((0, 0, None, None), "num_reads"),
        ((1, -1, None, None), "seed=-1"),
        ((1, 0, -1.0, None), "time_limit"),
    ):
        with pytest.raises(ValueError, match=word):
            Task.of(energy, *arguments)
    with pytest.raises(ValueError, match="num_sweeps"):
        Task.of(energy, 1, 0, None, None, 0)


def test_answers_are_scored_by_the_energy_itself():
    energy = dense(4, 1)
    answer = Task.of(energy, 2, 3, None, None).answer("S", np.array([[1, 0, 1, 1], [0, 0, 0, 0]], dtype=np.int8), rounds=7)
    assert answer.record.energy == pytest.approx(energy.energy(answer.record.sample))
    certificate = answer.info["certificate"]
    assert certificate["energy"] == pytest.approx(answer.record.energy.min())
    assert certificate["lower_bound"] <= energy.energy(states_of(4)).min()
    assert (certificate["proven"], certificate["sampler"], certificate["seed"], certificate["reads"]) == (False, "S", 3, 2)
    assert (answer.info["rounds"], answer.info["seed"]) == (7, 3)
    assert answer.info["timing"]["total"] >= 0


def test_spins_start_where_they_are_told():
    bqm = dimod.BinaryQuadraticModel({"b": 0.0, "a": 0.0}, {("b", "a"): 1.0}, 0.0, "SPIN")
    starts = np.array([[1, -1], [-1, 1]])
    answer = AnnealingSampler().sample(bqm, num_reads=2, num_sweeps=1, beta_range=(1e9, 1e9), seed=0, initial_states=starts)
    assert answer.variables == ["b", "a"]
    assert sorted(answer.record.sample.tolist()) == [[-1, 1], [1, -1]]
    bits = bqm.change_vartype("BINARY", inplace=False)
    answer = AnnealingSampler().sample(
        bits, num_reads=1, num_sweeps=1, beta_range=(1e9, 1e9), initial_states=[[0, 1]], seed=0
    )
    assert answer.record.sample.tolist() == [[0, 1]]


def test_temperatures_are_the_given_ones_or_follow_the_fields():
    compiled = compile_energy(DenseEnergy(np.zeros((4, 4)), np.full(4, 8.0)))
    assert default_beta_range(compiled) == pytest.approx((1 / 8, 20 / 8))
    assert checked_beta_range((0.5, 2), compiled) == (0.5, 2.0)
    assert checked_beta_range(None, compiled) == default_beta_range(compiled)
    assert checked_beta_range((2.0, 2.0), compiled) == (2.0, 2.0)
    for bad in ((0.0, 1.0), (2.0, 1.0), (1.0, np.inf), (-1.0, 1.0)):
        with pytest.raises(ValueError, match="beta_range"):
            checked_beta_range(bad, compiled)
    nothing = compile_energy(DenseEnergy(np.zeros((3, 3))))
    assert default_beta_range(nothing) == (1.0, 20.0)
    pair = compile_energy(DenseEnergy(np.zeros((3, 3)), np.array([3.0, 4.0, 0.0])))
    assert default_beta_range(pair) == pytest.approx((12.5**-0.5, 20 / 3.5))  # the median cost after a descent
    square = compile_energy(FactoredEnergy(np.full((1, 50), 3.0), np.array([2.0]), np.array([-75.0])))
    # a level of ±10.6 about 0 makes fields of 2 · 2 · 3 · 10.6; a term of its own is worth 2 · 3²
    assert default_beta_range(square) == pytest.approx((1 / (12 * 1.5 * 50**0.5), 20 / 18), rel=1e-3)
    uneven = compile_energy(DenseEnergy(np.zeros((100, 100)), np.array([100.0] + [1.0] * 99)))
    hot, cold = default_beta_range(uneven)
    assert hot == pytest.approx(4 / 100)  # a quarter of the largest is more than the root mean square, √100.99
    assert cold == pytest.approx(20 / 1.0)


def test_small_energies_are_annealed_more_often():
    for n, reads in ((1, 40), (64, 40), (65, 10)):
        energy = SparseEnergy([], [], [], np.ones(n))
        assert len(AnnealingSampler().sample_energy(energy, num_sweeps=1, seed=0)) == reads
    assert len(AnnealingSampler().sample_energy(sparse(5, 0), num_reads=3, num_sweeps=1, seed=0)) == 3


# Enumeration.


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(1, 6), st.integers(1, 4), st.integers(0, 999))
def test_feasible_states_are_enumerated_in_blocks(n, count, block, seed):
    rng = np.random.default_rng(seed)
    energy = dense(n, seed)
    rules = [LinearBudget(rng.integers(0, 3, n), int(rng.integers(0, n + 1)))]
    if n > 2:
        rules.append(Cardinality([0, n - 1], 1))
    model = ConstrainedEnergy(energy, rules)
    before = exact._BLOCK_BITS
    exact._BLOCK_BITS = block
    try:
        states, whole = exact._lowest_feasible(model, count, Clock(None))
    finally:
        exact._BLOCK_BITS = before
    wanted = np.sort(energy.energy(states_of(n)[model.feasible(states_of(n))]))[:count]
    assert whole
    assert model.feasible(states).all() if len(states) else not len(wanted)
    assert np.sort(energy.energy(states)) == pytest.approx(wanted)


@pytest.mark.parametrize("chunk", [11, 12, 14, 27])
def test_all_states_are_enumerated_in_chunks(monkeypatch, chunk):
    monkeypatch.setattr(exact, "_CHUNK_BITS", chunk)
    energy = dense(14, 2)
    states, whole = exact._lowest(energy, 5, Clock(None))
    assert whole
    values = energy.energy(states_of(14))
    assert energy.energy(states) == pytest.approx(np.sort(values)[:5])
    cut, whole = exact._lowest(energy, 5, Clock(1.0, time.perf_counter() - 2.0))
    assert whole == (chunk >= 14)
    assert len(cut) == 5


@pytest.mark.parametrize("n", [1, 3, 10, 11, 13])
def test_as_many_states_as_there_are(n):
    energy = sparse(n, n)
    answer = ExactSampler().sample_energy(energy, num_reads=5000)
    assert len(answer) == min(5000, 2**n)
    assert answer.record.energy == pytest.approx(np.sort(energy.energy(states_of(n)))[:5000])
    certificate = answer.info["certificate"]
    assert certificate["proven"]
    assert certificate["energy"] == certificate["lower_bound"] == pytest.approx(float(energy.energy(states_of(n)).min()))
    assert (answer.info["method"], certificate["reads"], certificate["seed"]) == ("enumeration", 1, None)


def test_enumeration_has_limits():
    free, ruled = sparse(37, 0), ConstrainedEnergy(sparse(29, 0), [Cardinality([0, 1], 1)])
    for energy, words in ((free, "37 bits, enumeration ends at 36"), (ruled, "29 bits, enumeration ends at 28")):
        with pytest.raises(ValueError, match=words):
            ExactSampler().sample_energy(energy)
    impossible = ConstrainedEnergy(dense(3, 0), [Cardinality([0, 1, 2], 3), LinearBudget(np.ones(3), 1)])
    with pytest.raises(ValueError, match="loosen"):
        ExactSampler().sample_energy(impossible)
    assert ExactSampler().sample_energy(ConstrainedEnergy(dense(3, 0), [])).info["certificate"]["proven"]
    with pytest.raises(ValueError, match="num_reads"):
        ExactSampler().sample_energy(dense(3, 0), num_reads=0)


def test_bits_of_codes():
    assert exact._bits(np.array([0, 1, 6]), 3).tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 1]]


def test_beyond_enumeration_the_answer_is_the_best_found_and_the_bound_what_was_proven():
    ring = SparseEnergy(range(40), [(i + 1) % 40 for i in range(40)], np.full(40, 2.0), -np.ones(40))
    answer = ExactSampler().sample_energy(ring, num_reads=3, time_limit=5.0, seed=0)
    assert answer.first.energy == -20.0
    assert len(answer) == 3
    assert (np.diff(answer.record.energy) >= 0).all()
    assert answer.info["certificate"]["proven"]
    assert answer.info["certificate"]["lower_bound"] == pytest.approx(-20.0, abs=1e-3)


def test_as_many_bits_as_the_limit_are_enumerated_and_one_more_is_not(monkeypatch):
    monkeypatch.setattr(exact, "MAX_BITS", 5)
    monkeypatch.setattr(exact, "MAX_CONSTRAINED_BITS", 4)
    for n, ruled, method in ((5, False, "enumeration"), (6, False, "branch and bound"), (4, True, "enumeration"),
                             (5, True, "branch and bound")):  # fmt: skip
        model = ConstrainedEnergy(dense(n, 0), [Cardinality([0, 1], 1)]) if ruled else dense(n, 0)
        answer = ExactSampler().sample_energy(model, time_limit=20.0, seed=0)
        assert answer.info["method"] == method
        assert answer.info["certificate"]["proven"]


def test_bounds_get_the_time_that_annealing_left_and_prove_what_they_reach(monkeypatch, now):
    """A tenth for annealing; then the rest of the limit, and never nothing."""
    asked: dict[str, float] = {}
    bound = [0.0]

    class Annealing:
        def sample_energy(self, energy, *, num_reads, seed, time_limit):
            asked.update(reads=num_reads, annealing=time_limit)
            now[0] += 30.0
            return AnnealingSampler().sample_energy(energy, num_reads=num_reads, num_sweeps=50, seed=seed)

    def branch_and_bound(energy, seconds):
        asked["bounding"] = seconds
        return exact.Bounded(None, bound[0], 0.5)

    monkeypatch.setattr(native, "Clock", lambda limit: Clock(limit, 0.0))
    monkeypatch.setattr(exact, "AnnealingSampler", Annealing)
    monkeypatch.setattr(exact, "branch_and_bound", branch_and_bound)
    monkeypatch.setattr(exact, "MAX_BITS", 3)
    energy = SparseEnergy([], [], [], np.array([-1.0, -1.0, -1.0, 1.0]), 8.0)  # from 5 on
    monkeypatch.setattr(exact, "lower_bound", lambda energy: -100.0)
    for told, limit, left, proven in ((4.5, 100.0, 70.0, True), (4.25, 100.0, 70.0, False), (5.0, 20.0, 1e-3, True)):
        now[0], bound[0] = 0.0, told
        answer = ExactSampler().sample_energy(energy, num_reads=3, time_limit=limit, seed=0)
        assert asked == {"reads": 8, "annealing": limit / 10, "bounding": pytest.approx(left)}
        certificate = answer.info["certificate"]
        assert (answer.first.energy, certificate["proven"]) == (5.0, proven)
        assert certificate["lower_bound"] == (5.0 if proven else told)
        assert len(answer) == 3


def test_energies_are_annealed_for_a_thousand_sweeps_unless_told():
    energy = sparse(5, 0)
    for asked, sweeps in (({}, 1000), ({"num_sweeps": 7}, 7), ({"num_sweeps": 7, "time_limit": 60.0}, 7)):
        assert AnnealingSampler().sample_energy(energy, num_reads=1, seed=0, **asked).info["num_sweeps"] == sweeps
    assert AnnealingSampler().sample_energy(energy, num_reads=1, seed=0, time_limit=0.2).info["num_sweeps"] > 0


def test_annealed_timing_adds_up(monkeypatch):
    """Preparing and sampling are parts of the whole, on a clock that ticks at every look."""
    ticks = itertools.count()
    monkeypatch.setattr(schedule, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    monkeypatch.setattr(native, "Clock", lambda limit: Clock(limit, float(next(ticks))))
    timing = AnnealingSampler().sample_energy(sparse(5, 0), num_reads=2, num_sweeps=3, seed=0).info["timing"]
    assert min(timing.values()) > 0
    assert timing["preprocessing"] + timing["sampling"] + 1 == timing["total"]


# Recombination.


def search(energy: SparseEnergy, reads: int, sweeps: int | None, limit: float | None = None) -> recombination._Search:
    task = Task.of(energy, reads, 1, limit, None, sweeps)
    replicas = place(task.compiled, (), task.starts(None), task.stream)
    hot, cold = checked_beta_range(None, task.compiled)
    return recombination._Search(task, replicas, hot, cold, sweeps, None)


def test_a_round_never_loses_and_says_what_it_gained():
    energy = sparse(80, 1)
    found = search(energy, 6, 1000)
    for _ in range(9):
        before = energy.energy(found.population)
        gained = found._round()
        after = energy.energy(found.population)
        assert (after <= before + 1e-4).all()
        assert gained * found.task.compiled.scale == pytest.approx(float((before - after).sum()), abs=1e-2)
        assert np.array_equal(found.replicas.states(), found.population)
    assert found.rounds == 9
    assert found.replicas.sweeps == 9 * 30
    assert (found.gains >= 0.02 * found.gains.max() - 1e-12).all()
    assert (found.gains < 10).all()


def test_every_fourth_round_crosses_different_reads():
    """Two blocks without couplings between them, each read at the optimum of one of them: together they have both."""
    # each block at 000, energy 0, or 111, energy −9, with 3 to climb between them
    chain = SparseEnergy([0, 1, 3, 4], [1, 2, 4, 5], [-9.0] * 4, np.full(6, 3.0))
    best = float(chain.energy(np.ones(6)))
    for mixing in (True, False):
        found = search(chain, 2, 1000)
        found.hot = found.cold = 1e6  # nothing moves by itself
        found.population = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]], dtype=np.int8)
        found.replicas.replace(found.population)
        found.rounds = 3 if mixing else 2
        found.rng = np.random.default_rng(4)
        for _ in range(12 if mixing else 1):
            found.rounds = 3 if mixing else 2
            found._round()
        assert (chain.energy(found.population).min() == best) == mixing


def test_what_different_reads_gain_is_part_of_a_rounds_gain():
    """Two blocks as above: reheated at no temperature nothing gains, crossed with each other each read gains a block."""
    chain = SparseEnergy([0, 1, 3, 4], [1, 2, 4, 5], [-9.0] * 4, np.full(6, 3.0))
    found = search(chain, 2, 1000)
    found.hot = found.cold = 1e6
    gained = 0.0
    for _ in range(12):  # until the reads are not crossed with themselves
        found.population = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]], dtype=np.int8)
        found.replicas.replace(found.population)
        found.rounds = 3
        gained += (now := found._round())
        assert now * found.task.compiled.scale == pytest.approx(
            float(
                chain.energy(np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])).sum() - chain.energy(found.population).sum()
            ),
            abs=1e-3,
        )
    assert gained > 0


def test_what_was_learnt_of_heights_fades_to_a_fiftieth_of_the_best():
    nothing = SparseEnergy([], [], [], np.ones(30))  # one minimum, where all reads are: nothing gains
    found = search(nothing, 3, 1000)
    found.population = np.zeros((3, 30), dtype=np.int8)
    found.replicas.replace(found.population)
    found.gains = np.array([100.0, 50.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 4.0])
    found._round()
    assert found.gains == pytest.approx([95.0, 47.5, 1.9, 1.9, 1.9, 1.9, 1.9, 1.9, 3.8])


def test_no_piece_of_a_reheat_is_longer_than_what_is_left_of_it():
    found = search(sparse(20, 2), 2, 10**6)
    pieces, sweep = [], found.replicas.sweep
    found.replicas.sweep = lambda betas: (pieces.append(betas.shape[1]), sweep(betas))
    for done, wanted in ((0, [30]), (REFRESH - 30, [30]), (REFRESH - 29, [29, 1]), (REFRESH - 1, [1, 29])):
        pieces.clear()
        found.replicas.sweeps = done
        found._round()
        assert pieces == wanted


def test_the_clock_of_rounds(now):
    """A round's length is the longest of late, and the first anneal takes a tenth of the time."""
    found = search(sparse(20, 2), 2, None, 50.0)
    sweep = found.replicas.sweep

    def slow(betas):
        sweep(betas)
        now[0] += betas.shape[-1] / 100

    found.replicas.sweep = slow
    now[0] += 20.0
    found._round()
    assert found.round_seconds == pytest.approx(0.3)
    found.round_seconds = 10.0
    found._round()
    assert found.round_seconds == pytest.approx(9.0)
    now[0] = found.task.clock.began + 41.0
    assert found._left(1)  # just fits
    now[0] += 1e-6
    assert not found._left(1)
    again = search(sparse(20, 2), 2, None, 50.0)
    anneals = []
    again._anneal = lambda sweeps, clock: anneals.append((sweeps, clock.limit, clock.began))
    now[0] = again.task.clock.began + 60.0  # nothing fits after it
    again.run()
    assert anneals == [(None, 5.0, again.task.clock.began)]


def test_without_sweeps_or_seconds_there_are_three_thousand_sweeps():
    answer = RecombinationSampler().sample_energy(sparse(20, 2), num_reads=2, seed=0)
    assert answer.info["num_sweeps"] == 3000


def test_a_reheat_starts_from_a_height_and_ends_at_the_last_temperature():
    found = search(sparse(20, 2), 40, 1000)
    given_betas, sweep = [], found.replicas.sweep
    found.replicas.sweep = lambda betas: (given_betas.append(betas.copy()), sweep(betas))
    for _ in range(18):  # a refresh at 512 sweeps lies within the last one
        given_betas.clear()
        found._round()
        betas = np.concatenate(given_betas, axis=1)
        assert betas.shape == (40, 30)
        starts = np.maximum(found.cold / np.geomspace(3.0, 24.0, 9), found.hot)
        assert np.isclose(betas[:, :1], starts[None]).any(axis=1).all()
        assert betas[:, -1] == pytest.approx(found.cold)
        assert np.allclose(np.diff(np.log(betas), axis=1), np.log(betas[:, 1:2] / betas[:, :1]))
    assert [part.shape[1] for part in given_betas] == [2, 28]
    assert len(np.unique(betas[:, 0].round(9))) > 3


def test_heights_that_gained_are_drawn_more_often():
    energy = sparse(60, 3)
    found = search(energy, 8, 10**6)
    replicas, hot = found.replicas, {}
    for _ in range(3):
        before = found.gains.copy()
        population = found.population.copy()
        found._round()
        gained = energy.energy(population) - energy.energy(found.population)
        if gained.sum() > 1e-3 and found.rounds % 4:
            grown = found.gains - np.maximum(0.95 * before, 0)
            assert grown.sum() == pytest.approx(1.0, abs=1e-3)  # shares of what was gained
            hot[found.rounds] = grown
    assert hot
    assert replicas.sweeps == 90


def test_reads_are_turned_over_where_that_makes_them_more_alike(monkeypatch):
    """Without fields a state and its opposite are the same: reads that are crossed differ in at most half of the bits."""
    n = 60
    ring = dimod.BinaryQuadraticModel({}, {(i, (i + 1) % n): -1.0 for i in range(n)}, 0.0, "SPIN")
    linear, (rows, cols, values), offset = ring.binary.to_numpy_vectors(variable_order=range(n))
    found = search(SparseEnergy(rows, cols, values, linear, offset), 4, 1000)
    apart, cross = [], crossing.cross

    def noted(*arrays):
        apart.append((arrays[-2] != arrays[-1]).mean(axis=1))
        return cross(*arrays)

    monkeypatch.setattr(crossing, "cross", noted)
    found.hot = found.cold = 1e6  # only walls move
    half = (np.arange(n) < n // 2).astype(np.int8)
    found.population = np.stack([half, 1 - half, half, 1 - half])
    found.replicas.replace(found.population)
    for _ in range(8):
        found._round()
    assert found.symmetric
    assert len(apart) == 10  # every fourth round crosses twice
    assert np.max(apart) <= 0.5


def test_the_best_state_of_each_read_is_kept():
    energy = sparse(20, 2)
    found = search(energy, 4, 1000)
    good = found.replicas.states()
    found.population = good
    found._keep()
    assert found.best_energies == pytest.approx(energy.energy(good))
    worse = good.copy()
    for x in worse:
        x[int(np.argmax(energy.flip_deltas(x)))] ^= 1
    found.population = worse
    found._keep()
    assert np.array_equal(found.best, good)


def test_rounds_end_where_no_further_one_fits():
    found = search(sparse(20, 2), 2, 100)
    assert found._left(100)
    assert not found._left(101)
    timed = search(sparse(20, 2), 2, None, 1000.0)
    assert timed._left(10**9)
    timed.round_seconds = 1001.0
    assert not timed._left(1)
    told: list[float] = []
    answer = RecombinationSampler().sample_energy(sparse(20, 2), num_reads=3, num_sweeps=220, seed=0, progress=told.append)
    assert answer.info["num_sweeps"] == 22 + 6 * 30
    assert answer.info["rounds"] == 6
    assert answer.info["anneals"] == 1
    assert told == pytest.approx([(22 + 30 * k) / 220 for k in range(1, 7)])


def test_where_nothing_gains_all_reads_are_annealed_anew_and_twice_as_long(monkeypatch):
    monkeypatch.setattr(recombination, "_PATIENCE", 2)
    answer = RecombinationSampler().sample_energy(
        SparseEnergy([0], [1], [1.0], -np.ones(2)), num_reads=2, num_sweeps=400, seed=0
    )
    # 40, two rounds of 30, 80, 60, 160, and no room for two rounds more: 400 − 400
    assert answer.info["num_sweeps"] == 40 + 60 + 80 + 60 + 160
    assert answer.info["anneals"] == 3
    assert answer.info["rounds"] == 4
    assert answer.first.energy == -1.0


def test_flipping_everything_changes_nothing_without_fields():
    spins = dimod.BinaryQuadraticModel({}, {(0, 1): 1.0, (1, 2): -2.0}, 0.0, "SPIN")
    fields = dimod.BinaryQuadraticModel({0: 0.1}, {(0, 1): 1.0, (1, 2): -2.0}, 0.0, "SPIN")
    for bqm, wanted in ((spins, True), (fields, False)):
        linear, (rows, cols, values), offset = bqm.binary.to_numpy_vectors()
        energy = SparseEnergy(rows, cols, values, linear, offset)
        assert len(set(np.round(energy.energy(states_of(3)), 9))) <= (4 if wanted else 8)
        task = Task.of(SparseEnergy(rows, cols, values, np.concatenate([linear, np.zeros(20)]), offset), 1, 0, None, None)
        assert task.compiled.dense is None
        assert recombination._symmetric(task) == wanted
    assert not recombination._symmetric(Task.of(dense(6, 0), 1, 0, None, None))


def test_recombination_runs_by_the_clock():
    told: list[float] = []
    RecombinationSampler().sample_energy(sparse(30, 0), num_reads=4, num_sweeps=400, seed=0)  # kernels are loaded
    answer = RecombinationSampler().sample_energy(sparse(30, 0), num_reads=4, time_limit=0.5, seed=0, progress=told.append)
    assert answer.info["rounds"] > 0
    assert told
    assert max(told) <= 1.0


# Blocks.


@settings(max_examples=30)
@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 999), st.booleans())
def test_blocks_hold_every_bit_once(n, size, seed, coupled):
    rng = np.random.default_rng(seed)
    couplings = (dense(n, seed) if coupled else sparse(n, seed, 1)).couplings()
    blocks = _blocks(couplings, size, rng)
    assert sorted(np.concatenate(blocks).tolist()) == list(range(n))
    assert [len(block) for block in blocks] == [size] * (n // size) + ([n % size] if n % size else [])


def test_blocks_of_sparse_energies_are_neighbourhoods():
    """On a line of 60 bits a block of 20 is at most three pieces of it; drawn at random it would be about thirteen."""
    line = SparseEnergy(range(59), range(1, 60), -np.ones(59), np.zeros(60))
    for seed in range(5):
        for block in _blocks(line.couplings(), 20, np.random.default_rng(seed)):
            assert (np.diff(np.sort(block)) > 1).sum() <= 3
    full = [np.sort(block) for block in _blocks(dense(60, 0).couplings(), 20, np.random.default_rng(0))]
    assert max((np.diff(block) > 1).sum() for block in full) > 5


def test_a_block_is_given_the_rest_and_its_answer_taken_when_no_worse():
    energy = dense(6, 3)
    sampler = BlockSampler(ExactSampler(), 3)
    state, block = np.zeros(6, dtype=np.int8), np.array([4, 0, 2])
    before = float(energy.energy(state))
    changed = sampler._improve(energy, state, block, {})
    settings_of = states_of(6)
    reach = settings_of[(settings_of[:, [1, 3, 5]] == 0).all(axis=1)]
    assert float(energy.energy(state)) == pytest.approx(float(energy.energy(reach).min()))
    assert changed == (float(energy.energy(state)) < before)
    assert not sampler._improve(energy, state, block, {})  # at its optimum already
    part = conditioned(energy, state, block)
    assert part.num_variables == 3
    assert part.num_interactions == 3
    # a fall counts from a billionth of the energy on, and is taken either way
    for size, fall, counts in ((1e6, 1e-4, False), (1e6, 1e-2, True), (0.5, 1e-6, True)):
        state = np.ones(2, dtype=np.int8)
        falling = DenseEnergy(np.zeros((2, 2)), np.array([-size, fall]))
        assert sampler._improve(falling, state, np.array([0, 1]), {}) == counts
        assert state.tolist() == [1, 0]


def test_rounds_of_blocks_end_after_four_quiet_ones():
    bqm = DenseEnergy(np.zeros((6, 6)), np.arange(6) - 2.5).to_bqm()
    answer = BlockSampler(ExactSampler(), 3).sample(
        bqm, num_reads=2, seed=0, initial_states=[[0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0]]
    )
    optimum = [1, 1, 1, 0, 0, 0]
    assert answer.record.sample.tolist() == [optimum] * 2
    # two blocks a round: the first read needs one round that changes something and four that do not
    assert answer.info["calls"] == 2 * 5 + 2 * 4
    few = BlockSampler(ExactSampler(), 3, rounds=2).sample(bqm, num_reads=1, seed=0)
    assert few.info["calls"] == 4
    spins = bqm.change_vartype("SPIN", inplace=False)
    same = BlockSampler(ExactSampler(), 3).sample(spins, num_reads=1, seed=0, initial_states=[[1, 1, 1, -1, -1, -1]])
    assert same.info["calls"] == 2 * 4
    assert same.record.sample.tolist() == [[1, 1, 1, -1, -1, -1]]


def test_ways_to_cut_into_blocks_take_turns(monkeypatch):
    """And every call of a child that takes one has a seed of its own."""
    seen: list[tuple[int, ...]] = []
    seeds: list[int] = []

    def noted(self, energy, state, block, parameters):
        seen.append(tuple(sorted(block.tolist())))
        seeds.append(parameters["seed"])
        return len(seen) < 5

    monkeypatch.setattr(BlockSampler, "_improve", noted)
    BlockSampler(ExactSampler(), 3, rounds=6, partitions=2).sample(dense(6, 0).to_bqm(), seed=3)
    rounds = [set(seen[i : i + 2]) for i in range(0, len(seen), 2)]
    assert len(rounds) == 6
    assert rounds[0] != rounds[1]
    assert rounds[0::2] == [rounds[0]] * 3
    assert rounds[1::2] == [rounds[1]] * 3
    assert len(set(seeds)) == len(seeds)


def test_a_quarter_of_all_pairs_makes_blocks_random(monkeypatch):
    """Eight bits have 64 entries: with 14 of them neighbours come together, with 16 they say nothing."""
    walks = []
    monkeypatch.setattr(blocks_module, "breadth_first_order", lambda *a, **k: walks.append(1) or np.arange(8))
    for count, walked in ((7, True), (8, False)):
        pairs = np.array(list(itertools.combinations(range(8), 2)))[:count]
        energy = SparseEnergy(pairs[:, 0], pairs[:, 1], np.ones(count), np.zeros(8))
        walks.clear()
        _blocks(energy.couplings(), 3, np.random.default_rng(0))
        assert bool(walks) == walked


def test_blocks_have_limits():
    for arguments, word in (((0,), "block_bits"), ((3, 0), "rounds"), ((3, 1, 0), "partitions")):
        with pytest.raises(ValueError, match=word):
            BlockSampler(ExactSampler(), *arguments)
    with pytest.raises(ValueError, match=r"give \(2, 3\)"):
        BlockSampler(ExactSampler()).sample(dense(3, 0).to_bqm(), num_reads=2, initial_states=np.zeros((1, 3)))
