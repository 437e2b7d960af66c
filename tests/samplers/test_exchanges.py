"""Replica exchange against its own formulas: chances, rungs, temperatures, and Boltzmann's energies at every rung."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from annealnet.energy import Cardinality, ConstrainedEnergy, DenseEnergy, SparseEnergy
from annealnet.samplers import TemperingSampler, tempering
from annealnet.samplers.native import Task


def states_of(n: int) -> np.ndarray:
    return np.array(list(itertools.product((0, 1), repeat=n)), dtype=np.int8)


def ladders(energy, reads: int, betas: list[float]) -> tempering._Ladders:
    return tempering._Ladders(Task.of(energy, reads, 0, None, None), np.array(betas))


def one_bit(reads: int, betas: list[float], states: list[int]) -> tempering._Ladders:
    """Ladders over one bit that costs 1; ``states`` of the replicas, from the hottest rung to the coldest."""
    found = ladders(DenseEnergy(np.zeros((1, 1)), np.array([1.0])), reads, betas)
    found.replicas.replace(np.tile(np.array(states, dtype=np.int8), reads)[:, None])
    return found


def test_neighbours_exchange_with_the_chance_of_metropolis():
    """min(1, exp((β_a − β_b)(E_a − E_b))): the lower energy always goes to the colder rung, the higher one at times."""
    reads = 4000
    falls = one_bit(reads, [0.5, 2.0], [0, 1])  # the cold replica lies higher
    falls._exchange(0)
    assert falls.rates().tolist() == [1.0]
    assert falls.rung[0].tolist() == [1, 0]
    rises = one_bit(reads, [0.5, 2.0], [1, 0])
    rises._exchange(0)
    assert rises.rates()[0] == pytest.approx(np.exp(-1.5), abs=0.03)
    equal = one_bit(reads, [0.5, 2.0], [1, 1])
    equal._exchange(0)
    assert equal.rates().tolist() == [1.0]


def test_exchanges_are_between_every_second_pair_of_neighbours():
    found = one_bit(3, [0.1, 0.2, 0.4, 0.8, 1.6], [0, 1, 0, 1, 0])
    found._exchange(0)  # pairs 0-1 and 2-3: the higher energy is on the colder rung, so both exchange
    assert found.rung.tolist() == [[1, 0, 3, 2, 4]] * 3
    assert found.tried.tolist() == [3, 0, 3, 0]
    assert found.taken.tolist() == [3, 0, 3, 0]
    found = one_bit(3, [0.1, 0.2, 0.4, 0.8, 1.6], [0, 0, 1, 0, 1])
    found._exchange(1)
    found._exchange(1)  # what lies at a rung is asked for, not what lay there first
    assert found.tried.tolist() == [0, 6, 0, 6]
    assert (np.sort(found.rung, axis=1) == np.arange(5)).all()


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_every_rung_has_boltzmanns_mean_energy(form):
    rng = np.random.default_rng(4)
    n = 5
    energy = DenseEnergy(rng.normal(size=(n, n)), rng.normal(size=n))
    if form == "sparse":
        energy = SparseEnergy(*rng.integers(n, size=(2, 6)), rng.normal(size=6), rng.normal(size=n))
    betas = [0.2, 0.7, 2.0]
    found = ladders(energy, 100, betas)
    seen: list[np.ndarray] = []
    for step in range(400):
        found.replicas.sweep(np.repeat(found.betas[found.rung].reshape(-1, 1), 1, axis=1))
        found._exchange(step % 2)
        energies = energy.energy(found.replicas.states()).reshape(100, 3)
        if step >= 20:
            seen.append(np.take_along_axis(energies, np.argsort(found.rung, axis=1), axis=1).mean(axis=0))
    values = energy.energy(states_of(n))
    for rung, beta in enumerate(betas):
        weights = np.exp(-beta * (values - values.min()))
        mean = (weights * values).sum() / weights.sum()
        spread = np.sqrt((weights * (values - mean) ** 2).sum() / weights.sum())
        assert np.mean(seen, axis=0)[rung] == pytest.approx(mean, abs=0.05 * spread)


def test_gaps_grow_with_the_rate_across_them():
    found = one_bit(1, [1.0, 2.0, 8.0, 16.0], [0, 0, 0, 0])
    found.tried[:], found.taken[:] = [10, 10, 10], [10, 0, 4]
    found._adapt()
    gaps = np.log([2.0, 4.0, 2.0]) * np.sqrt(np.array([1.0, 0.0, 0.4]) + 0.02)
    assert np.diff(np.log(found.betas)) == pytest.approx(gaps * np.log(16.0) / gaps.sum())
    assert found.betas[[0, -1]] == pytest.approx([1.0, 16.0])
    assert found.tried.tolist() == found.taken.tolist() == [0, 0, 0]
    assert found.rates().tolist() == [0, 0, 0]
    flat = one_bit(1, [3.0, 3.0, 3.0], [0, 0, 0])
    flat._adapt()
    assert flat.betas.tolist() == [3.0, 3.0, 3.0]
    pair = one_bit(1, [1.0, 5.0], [0, 0])
    pair._adapt()
    assert pair.betas == pytest.approx([1.0, 5.0])


def test_adaptation_evens_out_the_exchanges(monkeypatch):
    rng = np.random.default_rng(2)
    energy = DenseEnergy(np.triu(rng.choice([-1.0, 1.0], (40, 40)), 1))

    def evenness(adapting: float) -> float:
        monkeypatch.setattr(tempering, "_ADAPTING", adapting)
        answer = TemperingSampler().sample_energy(
            energy, num_reads=4, num_sweeps=4000, num_replicas=6, beta_range=(0.02, 2.0), seed=1
        )
        betas, rates = np.array(answer.info["betas"]), np.array(answer.info["exchanges"])
        assert betas[[0, -1]] == pytest.approx([0.02, 2.0])
        assert np.allclose(betas, np.geomspace(0.02, 2.0, 6), rtol=0.05) == (adapting == 0)
        assert answer.info["num_sweeps"] == 4000
        return float(rates.min() / rates.max())

    assert evenness(0.4) > 2 * evenness(0.0)


def test_the_coldest_quarter_is_descended_from_and_the_best_are_kept():
    energy = DenseEnergy(np.zeros((3, 3)), np.array([1.0, 2.0, 4.0]))
    found = ladders(energy, 2, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    found._look()
    assert found.best.tolist() == [[0, 0, 0]]  # every descent ends there, and states are distinct
    found.best = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=np.int8)
    found._look()
    assert found.best.tolist() == [[0, 0, 0], [1, 0, 0]]


def test_only_cold_rungs_are_looked_at():
    """A double well: the cold replica sits in the shallow one, hot ones in the deep one, which is not theirs to show yet."""
    energy = DenseEnergy(np.array([[0.0, -9.0], [0.0, 0.0]]), np.array([2.0, 2.0]))  # 00 at 0, 11 at −5
    found = ladders(energy, 1, [0.1, 0.2, 0.4, 0.8, 1.6])
    found.replicas.replace(np.array([[1, 1], [1, 1], [1, 1], [1, 1], [0, 0]], dtype=np.int8))
    found._look()
    assert found.best.tolist() == [[0, 0]]
    found.rung[:] = [[4, 3, 2, 1, 0]]
    found._look()
    assert found.best.tolist() == [[1, 1]]


def test_constrained_ladders_return_feasible_states_only():
    rng = np.random.default_rng(0)
    model = ConstrainedEnergy(DenseEnergy(rng.normal(size=(8, 8))), [Cardinality(range(8), 3)])
    good = states_of(8)[model.feasible(states_of(8))]
    answer = TemperingSampler().sample_energy(model, num_reads=2, num_sweeps=40, num_replicas=4, seed=0)
    assert model.feasible(answer.record.sample).all()
    assert answer.first.energy == pytest.approx(float(model.energy(good).min()))


@pytest.mark.parametrize("sweeps", [1, 3, 4, 5, 130, 515])
def test_sweeps_are_counted_in_whole_intervals_and_told(sweeps):
    told: list[float] = []
    energy = SparseEnergy([0, 1], [1, 2], [1.0, -2.0], np.array([0.1, -0.2, 0.3]))
    answer = TemperingSampler().sample_energy(
        energy, num_reads=1, num_replicas=2, num_sweeps=sweeps, seed=0, progress=told.append
    )
    assert sweeps <= answer.info["num_sweeps"] < sweeps + 4
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) == -(-sweeps // 4)
    assert answer.first.energy == pytest.approx(float(energy.energy(states_of(3)).min()))


def test_no_interval_reaches_across_a_refresh(monkeypatch):
    """Six sweeps to a refresh, four to an interval: four and two take turns, and every exchange follows one of them."""
    monkeypatch.setattr(tempering, "REFRESH", 6)
    found = ladders(SparseEnergy([0], [1], [1.0], np.zeros(2)), 1, [0.1, 1.0])
    sizes, parities = [], []
    own = found.replicas.sweep
    monkeypatch.setattr(found.replicas, "sweep", lambda betas: sizes.append(betas.shape[1]) or own(betas))
    monkeypatch.setattr(found, "_exchange", parities.append)
    found.run(22, None)
    assert sizes == [4, 2, 4, 2, 4, 2, 4]
    assert parities == [0, 1, 0, 1, 0, 1, 0]


def test_cold_states_are_looked_at_and_temperatures_adapt_now_and_then(monkeypatch):
    """Every sixteenth exchange and at the end; every 32nd during the first two fifths."""
    seen: list[tuple[str, int]] = []
    for name in ("_look", "_adapt"):
        own = getattr(tempering._Ladders, name)

        def noted(self, name=name, own=own):
            seen.append((name, self.replicas.sweeps))
            own(self)

        monkeypatch.setattr(tempering._Ladders, name, noted)
    energy = SparseEnergy([0, 1], [1, 2], [1.0, -2.0], np.array([0.1, -0.2, 0.3]))
    TemperingSampler().sample_energy(energy, num_reads=1, num_replicas=3, num_sweeps=500, seed=0)
    assert [sweeps for name, sweeps in seen if name == "_look"] == [64, 128, 192, 256, 320, 384, 448, 500]
    assert [sweeps for name, sweeps in seen if name == "_adapt"] == [128]
    seen.clear()  # two fifths of 320 are 128: it is too late then
    TemperingSampler().sample_energy(energy, num_reads=1, num_replicas=3, num_sweeps=320, seed=0)
    assert [sweeps for name, sweeps in seen if name == "_adapt"] == []


def test_ladders_have_limits():
    energy = SparseEnergy([0], [1], [1.0], np.zeros(2))
    for arguments, word in (({"num_replicas": 1}, "num_replicas=1"), ({"beta_range": (0.0, 1.0)}, "beta_range")):
        with pytest.raises(ValueError, match=word):
            TemperingSampler().sample_energy(energy, **arguments)
    assert len(TemperingSampler().sample_energy(energy, num_replicas=2, num_sweeps=4, seed=0).info["betas"]) == 2
    assert len(TemperingSampler().sample_energy(energy, num_sweeps=4, seed=0).info["exchanges"]) == 15
    timed = TemperingSampler().sample_energy(energy, time_limit=0.3, seed=0)
    assert timed.info["num_sweeps"] >= 4
