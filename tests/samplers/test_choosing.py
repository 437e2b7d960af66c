"""The default sampler: who enters, who wins, what it costs, and which states it returns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.energy import Cardinality, ConstrainedEnergy, DenseEnergy, Energy, FactoredEnergy, SparseEnergy
from annealnet.samplers import NATIVE, AutoSampler, TabuSampler, auto
from annealnet.samplers.native import Task
from annealnet.samplers.seeds import Purpose, derived_seed


def dense(n: int, seed: int) -> DenseEnergy:
    rng = np.random.default_rng(seed)
    return DenseEnergy(np.triu(rng.choice([-1.0, 1.0], (n, n)), 1), rng.normal(size=n))


def sparse(n: int, seed: int, degree: int = 2) -> SparseEnergy:
    rng = np.random.default_rng(seed)
    return SparseEnergy(*rng.integers(n, size=(2, degree * n)), rng.normal(size=degree * n), rng.normal(size=n), 900.0)


def squares(n: int) -> FactoredEnergy:
    return FactoredEnergy(np.ones((1, n)), np.ones(1), np.array([-n / 3]), np.arange(n) / n)


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_the_winner_of_the_trials_has_the_least_energy(seed):
    answer = AutoSampler().sample_energy(dense(300, seed), num_reads=2, num_sweeps=7, seed=seed)
    trials = answer.info["trials"]
    assert set(trials) == {"AnnealingSampler", "TemperingSampler"}  # no pieces to exchange where all is coupled
    assert len(set(trials.values())) == 2
    assert answer.info["chosen"] == min(trials, key=trials.__getitem__)
    assert "least energy" in answer.info["reason"]
    assert "polished" in answer.info["reason"]
    assert answer.first.energy <= min(trials.values()) + 1e-9


def test_the_winner_goes_on_with_all_its_sweeps(monkeypatch):
    monkeypatch.setattr(auto, "_TABU", 10)  # no polish
    energy = dense(300, 0)
    answer = AutoSampler().sample_energy(energy, num_reads=1, num_sweeps=60, seed=5)
    winner = NATIVE[{"AnnealingSampler": "annealing", "TemperingSampler": "tempering"}[answer.info["chosen"]]]()
    alone = winner.sample_energy(energy, num_sweeps=60, seed=derived_seed(5, Purpose.WINNER))
    assert alone.first.energy < min(answer.info["trials"].values())
    assert answer.first.energy == pytest.approx(alone.first.energy)


@pytest.mark.parametrize("seed", range(6))
def test_crossover_may_be_a_little_behind(seed):
    energy = sparse(150, seed)
    answer = AutoSampler().sample_energy(energy, num_reads=2, num_sweeps=40, seed=seed)
    trials = answer.info["trials"]
    assert set(trials) == {"AnnealingSampler", "TemperingSampler", "RecombinationSampler"}
    least = min(trials.values())
    random_states = np.random.default_rng(1).integers(0, 2, (400, 150))
    lead = 0.005 * (float(energy.energy(random_states).mean()) - least)  # of the way from random states to the best
    behind = trials["RecombinationSampler"] - least
    if abs(behind - lead) > 0.3 * lead:  # the mean of other random states differs a little
        assert (answer.info["chosen"] == "RecombinationSampler") == (behind < lead)
    if answer.info["chosen"] != "RecombinationSampler":
        assert trials[answer.info["chosen"]] == least
    assert ("near the least energy" in answer.info["reason"]) == (trials[answer.info["chosen"]] > least)


def test_the_form_and_size_say_who_is_asked():
    for energy, constrained, chosen in (
        (dense(24, 0), False, "ExactSampler"),
        (dense(20, 0), True, "ExactSampler"),
        (dense(21, 0), True, "AnnealingSampler"),
        (squares(30), False, "AnnealingSampler"),
    ):
        model: Energy | ConstrainedEnergy = energy
        if constrained:
            model = ConstrainedEnergy(energy, [Cardinality(range(5), 2)])
        answer = AutoSampler().sample_energy(model, num_reads=3, num_sweeps=20, seed=0)
        assert answer.info["chosen"] == chosen
        assert answer.info["trials"] == {}
        assert len(answer) == 3
    assert AutoSampler().sample_energy(dense(25, 0), num_sweeps=7, seed=0).info["trials"]
    starts = np.zeros((2, 8), dtype=np.int8)
    given_starts = AutoSampler().sample_energy(dense(8, 0), num_reads=2, num_sweeps=5, initial_states=starts, seed=0)
    assert given_starts.info["chosen"] == "AnnealingSampler"
    many = sparse(40, 0, degree=60)
    assert "RecombinationSampler" not in AutoSampler().sample_energy(many, num_sweeps=7, seed=0).info["trials"]


def test_constraints_that_hold_nobody_are_none():
    answer = AutoSampler().sample_energy(ConstrainedEnergy(dense(22, 0), []), num_reads=1)
    assert answer.info["chosen"] == "ExactSampler"
    assert answer.info["certificate"]["proven"]


@settings(max_examples=60)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 8), st.integers(0, 999))
def test_the_lowest_states_are_distinct_as_far_as_there_are_enough(n, size, count, seed):
    rng = np.random.default_rng(seed)
    value = rng.permutation(2**n).astype(float)  # every state has an energy of its own
    pool = []
    for _ in range(2):
        states = rng.integers(0, 2, (size, n)).astype(np.int8)
        pool.append((states, value[states @ (1 << np.arange(n))]))
    found = auto._lowest(pool, count)
    energies = value[found @ (1 << np.arange(n))]
    assert (np.diff(energies) >= 0).all()
    everything = np.concatenate([energies_of for _, energies_of in pool])
    distinct = np.unique(everything)
    assert len(found) == min(count, 2 * size)
    assert set(distinct[:count]) <= set(energies)
    # repeats only fill up, the lowest ones first
    assert sorted(energies) == sorted([*distinct[:count], *_surplus(everything)[: max(0, len(found) - len(distinct))]])


def _surplus(values: np.ndarray) -> list[float]:
    left = sorted(values.tolist())
    for value in np.unique(values).tolist():
        left.remove(value)
    return left


def test_effort_is_a_share_of_the_sweeps_or_of_the_seconds_left():
    assert auto._effort(0.15, 1000, None, 0.0) == {"num_sweeps": 150}
    assert auto._effort(0.15, 3, None, 0.0) == {"num_sweeps": 1}
    assert auto._effort(0.5, None, 10.0, 1.0) == {"time_limit": 5.0}
    assert auto._effort(0.5, None, 10.0, 8.0) == {"time_limit": 2.0}
    assert auto._effort(0.5, None, 10.0, 11.0) == {"time_limit": 1e-3}
    assert auto._effort(0.5, 70, 10.0, 0.0) == {"time_limit": 5.0, "num_sweeps": 70}


def test_random_states_lie_where_most_states_do():
    energy = DenseEnergy(np.zeros((40, 40)), np.ones(40), 5.0)
    assert auto._typical(Task.of(energy, 50, 0, None, None)) == pytest.approx(25.0, abs=2.0)


def test_a_time_limit_holds_for_trials_winner_and_polish_together():
    told: list[float] = []
    AutoSampler().sample_energy(dense(60, 1), num_reads=2, num_sweeps=10, seed=0)  # kernels are loaded
    answer = AutoSampler().sample_energy(dense(60, 1), num_reads=2, time_limit=0.4, seed=0, progress=told.append)
    assert len(answer.info["trials"]) == 2
    assert told
    assert max(told) <= 1.0


def test_the_polish_keeps_to_the_sweeps_and_to_the_time_that_is_left(monkeypatch):
    """A fiftieth of the sweeps, also under a time limit; without sweeps the time says when to end."""
    asked = []

    class Noted(TabuSampler):
        def sample_energy(self, energy, **parameters):
            if "initial_states" in parameters:
                asked.append((parameters["num_sweeps"], parameters["time_limit"]))
            return super().sample_energy(energy, **parameters)

    monkeypatch.setattr(auto, "TabuSampler", Noted)
    for sweeps, limit in ((100, None), (7, None), (100, 30.0), (None, 0.3)):
        AutoSampler().sample_energy(dense(40, 1), num_reads=2, num_sweeps=sweeps, time_limit=limit, seed=0)
    assert [sweeps for sweeps, _ in asked] == [2, 1, 2, None]
    assert asked[0][1] is asked[1][1] is None
    assert 20.0 < asked[2][1] <= 30.0
    assert 0.003 <= asked[3][1] <= 0.1


def test_sweeps_are_counted_for_the_trials_and_the_winner():
    answer = AutoSampler().sample_energy(dense(300, 3), num_reads=1, num_sweeps=200, seed=2)
    again = AutoSampler().sample_energy(dense(300, 3), num_reads=1, num_sweeps=200, seed=2)
    assert answer.info["trials"] == again.info["trials"]
    assert np.array_equal(answer.record.sample, again.record.sample)
    other = AutoSampler().sample_energy(dense(300, 3), num_reads=1, num_sweeps=7, seed=2)
    assert sum(answer.info["trials"].values()) < sum(other.info["trials"].values())


def test_pieces_are_looked_for_up_to_64_neighbours_a_bit():
    """A ring where every bit has so many neighbours on either side."""
    n = 300
    for either_side, asked in ((32, True), (33, False)):
        rows = np.tile(np.arange(n), either_side)
        cols = (rows + np.repeat(np.arange(1, either_side + 1), n)) % n
        ring = SparseEnergy(rows, cols, np.resize([1.0, -1.0, -1.0], len(rows)), np.zeros(n))
        trials = AutoSampler().sample_energy(ring, num_reads=1, num_sweeps=7, seed=0).info["trials"]
        assert ("RecombinationSampler" in trials) == asked


def test_kernels_are_loaded_for_the_layout_of_the_energy(monkeypatch):
    seen = []

    class Noted(TabuSampler):
        def sample_energy(self, energy, **parameters):
            seen.append(type(energy))
            return super().sample_energy(energy, **parameters)

    monkeypatch.setattr(auto, "TabuSampler", Noted)
    for energy, form in ((dense(40, 0), DenseEnergy), (sparse(150, 0), SparseEnergy)):
        seen.clear()
        AutoSampler().sample_energy(energy, num_reads=1, num_sweeps=7, time_limit=30.0, seed=0)
        assert seen == [form, type(energy)]  # the tiny one, then the polish
