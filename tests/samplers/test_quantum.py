"""Simulated quantum devices against exact exponentials, dense spectra, Qiskit Aer, enumeration and themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.linalg import expm
from scipy.sparse.linalg import expm_multiply

from annealnet.energy import Cardinality, ConstrainedEnergy, DenseEnergy, FactoredEnergy, SparseEnergy
from annealnet.samplers.kernels.statevector import turn_and_mix
from annealnet.samplers.quantum import (
    AdiabaticSampler,
    Angles,
    AnnealPath,
    Controls,
    Landscape,
    QAOASampler,
    TrotterSteps,
    anneal,
    entanglement_entropy,
    expected_cost,
    expected_cost_and_gradient,
    layered_circuit,
    lowest_levels,
    minimum_gap,
    qaoa_state,
    success_probability,
    trotter_circuit,
)
from annealnet.samplers.quantum.resources import count_resources
from annealnet.testing import conformance

LARGE = ("seeds_repeat", "threads_do_not_matter")  # they sample 200 bits; repeated below on fewer


def make(n: int, seed: int, form: str = "dense"):
    rng = np.random.default_rng(seed)
    if form == "sparse":
        rows = rng.integers(n, size=2 * n)
        return SparseEnergy(rows, rng.permutation(rows), rng.normal(size=2 * n), rng.normal(size=n), 0.5)
    if form == "factored":
        return FactoredEnergy(rng.normal(size=(3, n)), rng.normal(size=3), rng.normal(size=3), rng.normal(size=n), 1.0)
    return DenseEnergy(rng.normal(size=(n, n)), rng.normal(size=n), -2.0)


def every_state(n: int) -> np.ndarray:
    return (np.arange(1 << n)[:, None] >> np.arange(n)) & 1


def amplitudes(state: np.ndarray) -> np.ndarray:
    return state[0] + 1j * state[1]


def random_state(n: int, seed: int) -> np.ndarray:
    state = np.random.default_rng(seed).normal(size=(2, 1 << n))
    return state / np.sqrt((state**2).sum())


def transverse(n: int) -> sparse.csr_matrix:
    """ΣX as a sparse matrix."""
    codes = np.arange(1 << n)
    parts = [sparse.coo_matrix((np.ones(1 << n), (codes, codes ^ (1 << i))), shape=(1 << n,) * 2) for i in range(n)]
    return sparse.csr_matrix(sum(parts))


@settings(max_examples=30)
@given(st.integers(1, 13), st.integers(0, 1000), st.sampled_from(["dense", "sparse", "factored"]))
def test_the_diagonal_is_the_energy_of_every_state(n, seed, form):
    energy = make(n, seed, form)
    land = Landscape.of(energy)
    assert np.allclose(land.energies * land.unit + land.mean, energy.energy(every_state(n)), rtol=1e-9, atol=1e-9)
    assert abs(land.energies.mean()) < 1e-9 * 2**n


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 10, 11, 12, 13, 14, 16, 17])
def test_a_layer_is_the_product_of_single_exponentials(n):
    energies = np.random.default_rng(n).normal(size=1 << n)
    state = random_state(n, n)
    expected = (np.exp(-0.7j * energies) * amplitudes(state)).reshape((2,) * n)
    one = expm(1j * 0.4 * np.array([[0, 1], [1, 0]]))
    for qubit in range(n):
        expected = np.moveaxis(np.tensordot(one, expected, (1, qubit)), 0, qubit)
    turn_and_mix(state, energies, 0.7, 0.4)
    assert np.abs(amplitudes(state) - expected.ravel()).max() < 1e-14


@pytest.mark.parametrize("theta", [1e-9, 1.0, 1e5])
def test_phases_of_any_size_are_right(theta):
    energies = np.random.default_rng(0).normal(size=64)
    state = random_state(6, 1)
    expected = np.exp(-1j * theta * energies) * amplitudes(state)
    turn_and_mix(state, energies, theta, 0.0)
    assert np.abs(amplitudes(state) - expected).max() < 1e-15 * max(10.0, theta)


def test_eight_qubits_follow_the_schrodinger_equation():
    land = Landscape.of(make(8, 0))
    path, controls = AnnealPath.forward(3.0), Controls.linear()
    final = anneal(land, TrotterSteps.of(path, controls, 20_000))
    mixing, diagonal = transverse(8), sparse.diags(land.energies)
    psi = np.full(256, 1 / 16, dtype=complex)
    slices = 1500  # midpoint exponentials of the whole Hamiltonian: an error of the second order in their length
    for k in range(slices):
        s = (k + 0.5) / slices
        psi = expm_multiply(-1j * (3.0 / slices) * (s * diagonal - (1 - s) * mixing), psi)
    assert np.abs(amplitudes(final) - psi).max() < 1e-6


def test_the_error_of_the_splitting_falls_with_the_square_of_the_step():
    land = Landscape.of(make(7, 4))
    path = AnnealPath(((0, 0), (1.0, 0.5), (1.5, 0.5), (3.0, 1)))
    controls = Controls.from_functions(lambda s: (1 - s) ** 2, lambda s: s)
    exact = amplitudes(anneal(land, TrotterSteps.of(path, controls, 12_000)))
    errors = [np.abs(amplitudes(anneal(land, TrotterSteps.of(path, controls, k))) - exact).max() for k in (120, 240)]
    assert 3.5 < errors[0] / errors[1] < 4.5


def test_states_equal_those_of_aer():
    aer = pytest.importorskip("qiskit_aer", reason="needs annealnet[quantum]")
    land = Landscape.of(make(9, 1))
    steps = TrotterSteps.of(AnnealPath.forward(4.0), Controls.linear(), 25)
    angles = Angles(np.array([0.3, 0.5, 0.7]), np.array([0.6, 0.4, 0.2]))
    from annealnet.samplers.quantum.angles import field_size

    pairs = [
        (trotter_circuit(land, steps), anneal(land, steps)),
        (layered_circuit(land, angles.gammas / field_size(land), angles.betas), qaoa_state(land, angles)),
    ]
    for circuit, state in pairs:
        circuit.save_statevector()
        theirs = np.asarray(aer.AerSimulator(method="statevector").run(circuit).result().get_statevector())
        assert np.abs(theirs - amplitudes(state)).max() < 1e-6  # equal without any global phase left open


@settings(max_examples=20)
@given(st.integers(2, 7), st.integers(0, 1000), st.floats(0.0, 1.0))
def test_levels_are_those_of_the_dense_matrix(n, seed, s):
    land = Landscape.of(make(n, seed))
    dense = s * np.diag(land.energies) - (1 - s) * transverse(n).toarray()
    assert np.allclose(lowest_levels(land, s, 3), np.linalg.eigvalsh(dense)[:3], atol=1e-7)


def test_the_gap_is_the_least_on_a_fine_grid():
    land = Landscape.of(make(8, 3))
    found = minimum_gap(land)
    g = len(land.ground_states)
    levels = [lowest_levels(land, s, g + 1) for s in np.linspace(0.02, 1, 200)]
    assert found.gap <= min(level[g] - level[0] for level in levels) + 1e-6


def test_slow_anneals_end_in_the_ground_state_and_fast_ones_where_they_began():
    land = Landscape.of(make(8, 5))
    chances = [
        success_probability(
            anneal(land, TrotterSteps.of(AnnealPath.forward(t), Controls.linear(), max(200, int(20 * t)))), land
        )
        for t in (1e-4, 10.0, 600.0)
    ]
    assert chances[0] == pytest.approx(len(land.ground_states) / 256, rel=1e-2)
    assert chances[0] < chances[1] < chances[2]
    assert chances[2] > 0.9


def test_a_reverse_anneal_begins_in_the_given_state():
    energy = make(6, 2)
    land = Landscape.of(energy)
    start = land.states(np.array([21]))
    still = AdiabaticSampler().sample_energy(
        energy, anneal_schedule=[(0, 1), (5, 1)], initial_states=start, num_reads=20, seed=0
    )
    assert (still.record.sample == start).all()
    back = AdiabaticSampler().sample_energy(
        energy, anneal_schedule=[(0, 1), (5, 0.3), (10, 1)], initial_states=start, num_reads=20, seed=0
    )
    assert len(np.unique(back.record.sample, axis=0)) > 1


@pytest.mark.parametrize(
    "bad", [{"initial_states": None}, {"initial_states": np.ones(3)}, {"initial_states": np.full(6, 2)}]
)
def test_a_reverse_anneal_without_a_proper_state_is_refused(bad):
    with pytest.raises(ValueError, match="initial_states"):
        AdiabaticSampler().sample_energy(make(6, 2), anneal_schedule=[(0, 1), (5, 0.3), (10, 1)], **bad)


@pytest.mark.parametrize(
    "schedule", [[(0, 0)], [(0, 0), (5, 0.4)], [(0, 0), (5, 0.4), (5, 1)], [(0, 0.5), (1, 1)], [(1, 0), (2, 1)]]
)
def test_bad_schedules_are_refused(schedule):
    with pytest.raises(ValueError, match="anneal_schedule"):
        AdiabaticSampler().sample_energy(make(3, 0), anneal_schedule=schedule)


@pytest.mark.parametrize("bad", [{"anneal_time": 0.0}, {"steps": 0}, {"num_reads": 0}, {"seed": -1}])
def test_bad_numbers_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        AdiabaticSampler().sample_energy(make(3, 0), **bad)


def test_tables_drive_the_anneal(tmp_path):
    file = tmp_path / "controls.csv"
    file.write_text("s,A,B\n0,2,0\n0.5,0.5,1\n1,0,3\n", encoding="utf-8")
    a, b = Controls.from_table(file).at(np.array([0.25, 1.0]))
    assert a.tolist() == [1.25, 0.0]
    assert b.tolist() == [0.5, 3.0]
    with pytest.raises(ValueError, match="from 0 to 1"):
        Controls(np.array([0.1, 1.0]), np.zeros(2), np.zeros(2))


@settings(max_examples=15)
@given(st.integers(2, 9), st.integers(0, 1000), st.data())
def test_entropy_is_that_of_the_reduced_density_matrix(n, seed, data):
    cut = data.draw(st.integers(1, n - 1))
    state = random_state(n, seed)
    psi = amplitudes(state).reshape(1 << (n - cut), 1 << cut)
    p = np.linalg.svd(psi, compute_uv=False) ** 2
    assert entanglement_entropy(state, cut) == pytest.approx(-(p[p > 1e-15] * np.log2(p[p > 1e-15])).sum(), abs=1e-9)
    product = np.zeros((2, 1 << n))
    product[0] = 2 ** (-n / 2)
    assert abs(entanglement_entropy(product, cut)) < 1e-9


def test_entropy_rises_and_falls_along_an_anneal():
    answer = AdiabaticSampler().sample_energy(make(8, 5), anneal_time=600.0, entropy_points=25, seed=0)
    bits = [value for _, value in answer.info["entropy"]]
    assert len(bits) == 25
    assert max(bits) > bits[0]
    assert max(bits) > bits[-1]


@settings(max_examples=15)
@given(st.integers(1, 8), st.integers(1, 5), st.integers(0, 1000))
def test_gradients_equal_finite_differences(n, depth, seed):
    land = Landscape.of(make(n, seed))
    joined = np.random.default_rng(seed).uniform(0, 1, 2 * depth)
    value, slopes = expected_cost_and_gradient(land, Angles.split(joined))
    assert value == pytest.approx(expected_cost(land, Angles.split(joined)))
    for k in range(2 * depth):
        step = np.zeros(2 * depth)
        step[k] = 1e-5
        rise = expected_cost(land, Angles.split(joined + step)) - expected_cost(land, Angles.split(joined - step))
        assert slopes[k] == pytest.approx(rise / 2e-5, abs=1e-4)


@pytest.mark.parametrize("strategy", ["interp", "fourier"])
def test_more_layers_never_expect_more(strategy):
    energy = make(8, 9)
    costs = [
        QAOASampler().sample_energy(energy, depth=p, strategy=strategy, seed=0).info["expectation"] for p in (1, 2, 4, 8)
    ]
    assert costs == sorted(costs, reverse=True)


def test_angles_of_one_problem_help_another():
    small = QAOASampler().sample_energy(make(8, 1), depth=4, seed=0)
    angles = Angles(*(np.array(small.info["angles"][name]) for name in ("gammas", "betas")))
    for seed in range(3):
        carried = QAOASampler().sample_energy(make(12, seed), angles=angles, seed=0)
        assert carried.info["evaluations"] == 0
        chance = len(Landscape.of(make(12, seed)).ground_states) / 2**12
        assert carried.info["success_probability"] > 20 * chance


@pytest.mark.parametrize("bad", [{"depth": 0}, {"strategy": "guess"}])
def test_bad_qaoa_parameters_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        QAOASampler().sample_energy(make(3, 0), **bad)
    with pytest.raises(ValueError, match="one length"):
        Angles(np.zeros(2), np.zeros(3))


@pytest.mark.parametrize("sampler", [AdiabaticSampler(), QAOASampler()], ids=["adiabatic", "qaoa"])
def test_samplers_conform(sampler):
    assert [f for f in conformance(sampler, leave_out=LARGE) if f.passed is False] == []


@pytest.mark.parametrize("sampler", [AdiabaticSampler(), QAOASampler()], ids=["adiabatic", "qaoa"])
def test_seeds_repeat_and_threads_do_not_matter(sampler):
    energy = make(14, 0)
    short = {"steps": 50} if isinstance(sampler, AdiabaticSampler) else {"depth": 1, "iterations": 5}
    before = numba.get_num_threads()
    answers = []
    try:
        for threads in (1, numba.config.NUMBA_NUM_THREADS, 1):
            numba.set_num_threads(threads)
            answers.append(sampler.sample_energy(energy, seed=5, **short))
    finally:
        numba.set_num_threads(before)
    for other in answers[1:]:
        assert (other.record.sample == answers[0].record.sample).all()
        assert other.info["success_probability"] == answers[0].info["success_probability"]


@pytest.mark.parametrize("sampler", [AdiabaticSampler(), QAOASampler()], ids=["adiabatic", "qaoa"])
def test_only_shots_that_keep_the_rules_come_back(sampler):
    model = ConstrainedEnergy(make(6, 0), [Cardinality([0, 1, 2], 1)])
    answer = sampler.sample_energy(model, num_reads=200, seed=0)
    assert model.feasible(answer.record.sample).all()
    assert 0 < answer.info["kept_share"] <= 1


@pytest.mark.parametrize("sampler", [AdiabaticSampler(), QAOASampler()], ids=["adiabatic", "qaoa"])
def test_too_many_qubits_are_refused_with_the_memory_they_need(sampler):
    with pytest.raises(ValueError, match=r"60 qubits .* MB .* free"):
        sampler.sample_energy(SparseEnergy([0], [1], [1.0], np.zeros(60)))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_twenty_qubits_take_less_than_200_megabytes():
    script = (
        "import numpy as np\n"
        "from annealnet.energy import DenseEnergy\n"
        "from annealnet.samplers.quantum import AdiabaticSampler\n"
        "rng = np.random.default_rng(0)\n"
        "def run(n):\n"
        "    AdiabaticSampler().sample_energy(DenseEnergy(rng.normal(size=(n, n))), steps=3, seed=0)\n"
        "    peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "    return int(peak.split()[1]) / 1024\n"
        "run(14)\n"
        "print(run(14), run(20))\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, after = map(float, answer.stdout.split())
    assert 24 < after - before < 200  # the state and the energies alone are 25 MB


def test_resources_count_what_a_device_needs():
    pytest.importorskip("qiskit", reason="needs annealnet[quantum]")
    chain = Landscape.of(SparseEnergy(range(5), range(1, 6), np.ones(5), np.zeros(6)))
    dense = Landscape.of(make(6, 0))
    one = np.array([0.1])
    counts = {
        (name, topology): count_resources(layered_circuit(land, one, one), topology)
        for name, land in (("chain", chain), ("dense", dense))
        for topology in ("full", "line", "heavy_hex")
    }
    assert counts["chain", "full"].two_qubit_gates == 10
    assert counts["chain", "line"].two_qubit_gates == 10  # a chain needs no routing on a line
    assert counts["dense", "full"].two_qubit_gates == 30
    assert counts["dense", "line"].two_qubit_gates > 30
    assert counts["dense", "heavy_hex"].depth > counts["chain", "heavy_hex"].depth
    plain = layered_circuit(dense, one, one).count_ops()
    assert dense.logical_gates(1) == {"two_qubit": plain["rzz"], "one_qubit": plain["h"] + plain["rz"] + plain["rx"]}
    with pytest.raises(ValueError, match="topology"):
        count_resources(layered_circuit(chain, one, one), "torus")


def test_a_missing_qiskit_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "qiskit", None)
    with pytest.raises(ValueError, match=r"annealnet\[quantum\]"):
        layered_circuit(Landscape.of(make(3, 0)), np.array([0.1]), np.array([0.1]))
