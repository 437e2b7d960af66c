"""Proofs: enumeration and branch and bound against every state, and what they say when they run out of time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.energy import Cardinality, ConstrainedEnergy, DenseEnergy, LinearBudget, SparseEnergy
from annealnet.samplers import AnnealingSampler, ExactSampler
from annealnet.samplers import exact as exact_module
from annealnet.samplers.branching import branch_and_bound


def every_state(n: int) -> np.ndarray:
    return np.array(list(itertools.product((0, 1), repeat=n)), dtype=np.int8)


def ring(n: int, seed: int) -> SparseEnergy:
    rng = np.random.default_rng(seed)
    pairs = [(i, (i + d) % n) for i in range(n) for d in (1, 5)]
    rows, cols = zip(*pairs, strict=True)
    return SparseEnergy(rows, cols, rng.choice([-2.0, 2.0], len(pairs)), rng.choice([-1.0, 1.0], n), 0.5)


@settings(max_examples=25, deadline=None)
@given(st.integers(11, 15), st.integers(1, 9), st.integers(0, 10_000))
def test_enumeration_past_the_table_gives_the_lowest_states(n, count, seed):
    rng = np.random.default_rng(seed)
    energy = DenseEnergy(rng.normal(size=(n, n)), rng.normal(size=n), 3.0)
    answer = ExactSampler().sample_energy(energy, num_reads=count)
    assert np.allclose(answer.record.energy, np.sort(energy.energy(every_state(n)))[:count])
    assert np.allclose(answer.record.energy, energy.energy(answer.record.sample))


def test_enumeration_asks_for_all_states_of_a_small_energy():
    energy = DenseEnergy(np.zeros((3, 3)), np.array([1.0, 2.0, 4.0]))
    answer = ExactSampler().sample_energy(energy, num_reads=20)
    assert answer.record.energy.tolist() == list(range(8))


@settings(max_examples=25, deadline=None)
@given(st.integers(6, 10), st.integers(0, 10_000), st.booleans())
def test_branch_and_bound_agrees_with_every_state(n, seed, ruled):
    rng = np.random.default_rng(seed)
    energy = DenseEnergy(rng.normal(size=(n, n)), rng.normal(size=n), 1.5)
    rules = [Cardinality([0, 1, 2], 1), LinearBudget(np.arange(n), n)] if ruled else []
    model = ConstrainedEnergy(energy, rules)
    states = every_state(n)
    least = energy.energy(states[model.feasible(states)]).min()
    found = branch_and_bound(model, 60.0)
    assert found.state is not None
    assert energy.energy(found.state) == pytest.approx(least, abs=1e-6)
    assert found.bound == pytest.approx(least, abs=1e-5)


@pytest.mark.parametrize("ruled", [False, True])
def test_large_sparse_energies_are_proven_inside_the_time_limit(ruled):
    energy = ring(38, 3)
    model = ConstrainedEnergy(energy, [Cardinality(range(8), 3)]) if ruled else energy
    answer = ExactSampler().sample_energy(model, num_reads=2, time_limit=20.0, seed=0)
    certificate = answer.info["certificate"]
    assert answer.info["method"] == "branch and bound"
    assert certificate["proven"]
    annealed = AnnealingSampler().sample_energy(model, num_reads=20, num_sweeps=2000, seed=1)
    assert certificate["energy"] <= annealed.first.energy + 1e-9
    assert certificate["energy"] == pytest.approx(certificate["lower_bound"])


def test_a_dense_energy_keeps_its_gap_when_time_is_short():
    rng = np.random.default_rng(0)
    energy = DenseEnergy(np.triu(rng.choice([-1.0, 1.0], (60, 60)), 1))
    answer = ExactSampler().sample_energy(energy, time_limit=1.0, seed=0)
    certificate = answer.info["certificate"]
    assert not certificate["proven"]
    assert certificate["lower_bound"] < certificate["energy"]


def test_an_enumeration_cut_off_is_not_called_proven(monkeypatch):
    monkeypatch.setattr(exact_module, "_CHUNK_BITS", 11)
    energy = DenseEnergy(np.triu(np.ones((18, 18)), 1), -np.ones(18))
    whole = ExactSampler().sample_energy(energy)
    assert whole.info["certificate"]["proven"]
    cut = ExactSampler().sample_energy(energy, time_limit=1e-9)
    assert not cut.info["certificate"]["proven"]
    assert cut.info["certificate"]["lower_bound"] <= whole.first.energy
    model = ConstrainedEnergy(energy, [Cardinality([17], 1)])
    with pytest.raises(ValueError, match="time_limit"):
        ExactSampler().sample_energy(model, time_limit=1e-9)
    assert ExactSampler().sample_energy(model).first.sample[17] == 1
