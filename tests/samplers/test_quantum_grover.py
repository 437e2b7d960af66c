"""Grover minimum finding: its statistics against Aer's circuit, its calls against Dürr and Høyer's bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.energy import Cardinality, ConstrainedEnergy, DenseEnergy, SparseEnergy
from annealnet.samplers.quantum import GroverSampler, durr_hoyer_bound, find_minimum, grover_circuit, marked_chance
from annealnet.testing import conformance


@settings(max_examples=12)
@given(st.integers(2, 6), st.integers(0, 5), st.integers(0, 100))
def test_the_plane_gives_the_circuits_chance(n, iterations, seed):
    aer = pytest.importorskip("qiskit_aer", reason="needs annealnet[quantum]")
    marked = np.random.default_rng(seed).random(1 << n) < 0.2
    circuit = grover_circuit(marked, iterations).decompose(reps=4)
    circuit.save_statevector()
    state = np.asarray(aer.AerSimulator(method="statevector").run(circuit).result().get_statevector())
    chances = np.abs(state) ** 2
    assert chances[marked].sum() == pytest.approx(marked_chance(int(marked.sum()), 1 << n, iterations), abs=1e-9)
    for side in (chances[marked], chances[~marked]):  # uniform on either side, as the simulation draws them
        assert np.ptp(side) < 1e-9 if len(side) else True


def test_calls_stay_within_the_bound_on_200_landscapes():
    rng = np.random.default_rng(0)
    found, calls, bounds = [], [], []
    for _ in range(200):
        n = int(rng.integers(6, 13))
        values = np.sort(rng.normal(size=1 << n))
        run = find_minimum(np.arange(1 << n), values, int(durr_hoyer_bound(n)), rng)
        found.append(run.code == 0)
        calls.append(run.calls_to_best)
        bounds.append(durr_hoyer_bound(n) / 2)
        assert run.calls <= durr_hoyer_bound(n)
    assert np.mean(found) >= 0.9
    assert np.mean(np.array(calls) / np.array(bounds)) < 1


def test_calls_grow_with_the_root_of_the_number_of_states():
    rng = np.random.default_rng(1)
    means = []
    for n in (8, 12, 16):
        order, values = np.arange(1 << n), np.arange(float(1 << n))
        runs = [find_minimum(order, values, int(durr_hoyer_bound(n)), rng).calls_to_best for _ in range(60)]
        means.append(np.mean(runs))
    assert 2.5 < means[1] / means[0] < 6
    assert 2.5 < means[2] / means[1] < 6


def test_the_sampler_conforms_and_repeats():
    findings = conformance(GroverSampler(), leave_out=("seeds_repeat", "threads_do_not_matter"))
    assert [f for f in findings if f.passed is False] == []
    energy = DenseEnergy(np.random.default_rng(0).normal(size=(9, 9)))
    one, two = (GroverSampler().sample_energy(energy, num_reads=5, seed=3) for _ in range(2))
    assert (one.record.sample == two.record.sample).all()
    assert one.info["oracle_calls"] == two.info["oracle_calls"]


def test_infeasible_states_are_never_marked():
    energy = DenseEnergy(np.zeros((8, 8)), -np.ones(8))
    answer = GroverSampler().sample_energy(ConstrainedEnergy(energy, [Cardinality(range(8), 3)]), num_reads=10, seed=0)
    assert answer.info["success"] >= 0.9
    assert answer.record.sample.sum(axis=1).tolist() == [3] * len(answer)


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="budget"):
        GroverSampler().sample_energy(DenseEnergy(np.zeros((2, 2))), budget=0)
    with pytest.raises(ValueError, match="60 qubits"):
        GroverSampler().sample_energy(SparseEnergy([0], [1], [1.0], np.zeros(60)))
    with pytest.raises(ValueError, match="n from 1 to 12"):
        grover_circuit(np.zeros(3, dtype=bool), 1)
