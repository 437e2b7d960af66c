"""The parts of the simulated quantum devices against their formulas written out, and every number at its limits."""

from __future__ import annotations

import contextlib
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.energy import Cardinality, ConstrainedEnergy, DenseEnergy, LinearBudget, SparseEnergy
from annealnet.samplers.quantum import (
    AdiabaticSampler,
    Angles,
    AnnealPath,
    Controls,
    GroverSampler,
    Landscape,
    QAOASampler,
    TrotterSteps,
    durr_hoyer_bound,
    entanglement_entropy,
    find_minimum,
    grover_circuit,
    landscape,
    lowest_levels,
    marked_chance,
    minimum_gap,
    optimise_angles,
    probabilities,
    qaoa,
    success_probability,
)
from annealnet.samplers.quantum.angles import field_size, fourier_basis
from annealnet.samplers.quantum.evolution import basis_state
from annealnet.samplers.quantum.grover import _ordered
from annealnet.samplers.quantum.measurement import Request, _feasible, measured
from annealnet.samplers.quantum.resources import count_resources, coupling_map


def make(n: int, seed: int) -> DenseEnergy:
    rng = np.random.default_rng(seed)
    return DenseEnergy(rng.normal(size=(n, n)), rng.normal(size=n), -2.0)


def every_state(n: int) -> np.ndarray:
    return (np.arange(1 << n)[:, None] >> np.arange(n)) & 1


def same_or_refused(made, words: str | None) -> None:
    with pytest.raises(ValueError, match=words) if words else contextlib.nullcontext():
        made()


# Controls and paths.


@pytest.mark.parametrize(
    ("s", "a", "words"),
    [
        ([0.0, 1.0], [1.0, 0.0], None),
        ([0.0, 0.5, 1.0], [1.0, 0.5, 0.0], None),
        ([1.0], [1.0], "2 or more"),
        ([0.0, 1.0], [1.0, 0.0, 0.0], "one length"),
        ([0.0, 0.9], [1.0, 0.0], "ascending"),
        ([0.1, 1.0], [1.0, 0.0], "ascending"),
        ([0.0, 0.5, 0.5, 1.0], [1.0, 0.5, 0.4, 0.0], "ascending"),
        ([0.0, 0.7, 0.5, 1.0], [1.0, 0.5, 0.4, 0.0], "ascending"),
        ([0.0, 1.0], [np.inf, 0.0], "finite"),
    ],
)
def test_tables_run_from_0_to_1(s, a, words):
    same_or_refused(lambda: Controls(np.array(s), np.array(a), np.array(a)), words)


@pytest.mark.parametrize(
    ("points", "is_good"),
    [
        ([(0, 0), (1, 1)], True), ([(0, 1), (1, 0), (2, 1)], True), ([(0, 1), (1, 1)], True), ([(0, 0)], False),
        ([(0.5, 0), (1, 1)], False), ([(0, 0), (0, 1)], False), ([(0, 0), (np.inf, 1)], False),
        ([(0, 0), (1, 0.9)], False), ([(0, 0.5), (1, 1)], False), ([(0, 0), (1, 1.2), (2, 1)], False),
        ([(0, 0), (1, -0.2), (2, 1)], False), ([(0, 0), (2, 0.5), (1, 1)], False),
    ],
)  # fmt: skip
def test_paths_ascend_in_time_and_stay_between_0_and_1(points, is_good):
    same_or_refused(lambda: AnnealPath(points), None if is_good else "anneal_schedule")


def test_a_path_knows_its_length_and_where_it_begins():
    path = AnnealPath([(0, 1), (4, 0.5), (10, 1)])
    assert (path.duration, path.is_reverse, AnnealPath.forward(3.0).is_reverse) == (10.0, True, False)
    assert path.at(np.array([0.0, 2.0, 7.0])).tolist() == [1.0, 0.75, 0.75]
    for bad in (0.0, -1.0, np.inf):
        with pytest.raises(ValueError, match="anneal_time"):
            AnnealPath.forward(bad)


def test_tables_of_two_columns_are_refused(tmp_path):
    file = tmp_path / "controls.csv"
    file.write_text("s,A\n0,2\n1,0\n", encoding="utf-8")
    with pytest.raises(ValueError, match="2 columns"):
        Controls.from_table(file)


# Steps and states.


@settings(max_examples=20)
@given(st.integers(1, 9), st.floats(0.5, 20.0))
def test_a_step_takes_its_strengths_in_its_middle_and_halves_of_neighbours_are_one_turn(steps, duration):
    path, controls = (
        AnnealPath([(0, 0), (duration / 4, 0.6), (duration, 1)]),
        Controls.from_functions(lambda s: 2 - s, np.sqrt),
    )
    plan = TrotterSteps.of(path, controls, steps)
    d = duration / steps
    middles = [(k + 0.5) * d for k in range(steps)]
    a, b = zip(
        *[(float(x[0][0]), float(x[1][0])) for x in (controls.at(path.at(np.array([t]))) for t in middles)], strict=True
    )
    assert plan.phis == pytest.approx([d * x for x in a])
    assert plan.thetas == pytest.approx([d * b[0] / 2, *[d * (x + y) / 2 for x, y in itertools.pairwise(b)]])
    assert plan.last == pytest.approx(d * b[-1] / 2)
    assert plan.s == pytest.approx([float(path.at(np.array([(k + 1) * d]))[0]) for k in range(steps)])
    for count in range(1, steps + 1):
        pieces = list(plan.pieces(count))
        assert len(pieces) == count
        assert pieces[0][0] == 0
        assert pieces[-1][1] == steps
        assert all(one[1] == other[0] for one, other in itertools.pairwise(pieces))
        assert max(last - first for first, last in pieces) <= min(last - first for first, last in pieces) + 2


@pytest.mark.parametrize("steps", [0, -1, 1.5])
def test_steps_are_whole_numbers(steps):
    with pytest.raises(ValueError, match="steps"):
        TrotterSteps.of(AnnealPath.forward(1.0), Controls.linear(), steps)


def test_chances_are_squares_of_both_parts():
    state = np.array([[0.6, 0.0, 0.0, 0.0], [0.0, 0.8, 0.0, 0.0]])
    assert probabilities(state) == pytest.approx([0.36, 0.64, 0, 0])
    assert basis_state(2, 2).tolist() == [[0, 0, 1, 0], [0, 0, 0, 0]]
    second = SimpleNamespace(ground_states=np.array([1]))
    both = SimpleNamespace(ground_states=np.array([0, 1]))
    assert success_probability(state, second) == pytest.approx(0.64)
    assert success_probability(state, both) == pytest.approx(1.0)
    for cut in (0, 2, -1):
        with pytest.raises(ValueError, match="1 to 1"):
            entanglement_entropy(state, cut)


# Landscapes.


@settings(max_examples=20)
@given(st.integers(1, 7), st.integers(0, 999))
def test_a_landscape_is_the_energy_in_spins_scaled_to_1(n, seed):
    energy = make(n, seed)
    land = Landscape.of(energy)
    s = 2 * every_state(n) - 1
    told = s @ land.fields + np.einsum("si,ij,sj->s", s, land.couplings, s)
    values = energy.energy(every_state(n))
    assert told * land.unit + land.mean == pytest.approx(values, abs=1e-9)
    assert land.energies == pytest.approx(told, abs=1e-9)
    assert max(np.abs(land.fields).max(), np.abs(land.couplings).max()) == pytest.approx(1.0)
    assert not np.tril(land.couplings).any()
    assert set(land.ground_states) == set(np.flatnonzero(values <= values.min() + 1e-9 * land.unit))
    gates = land.logical_gates(3)
    assert gates == {"two_qubit": 3 * n * (n - 1) // 2, "one_qubit": n + 3 * 2 * n}


def test_equal_least_states_are_all_ground_states_and_flat_energies_have_a_unit_of_1():
    pair = Landscape.of(DenseEnergy(np.array([[0.0, 2.0], [0.0, 0.0]]), np.array([-1.0, -1.0])))
    assert pair.ground_states.tolist() == [1, 2]
    assert pair.logical_gates(2) == {"two_qubit": 2, "one_qubit": 6}  # the fields cancel
    flat = Landscape.of(DenseEnergy(np.zeros((2, 2)), None, 3.0))
    assert (flat.unit, flat.mean, flat.energies.tolist()) == (1.0, 3.0, [0.0] * 4)
    small = Landscape.of(DenseEnergy(np.zeros((1, 1)), np.array([0.5])))
    assert (small.unit, small.mean) == (0.25, 0.25)
    assert pair.states(np.array([1, 2])).tolist() == [[1, 0], [0, 1]]
    assert pair.states(np.array([1, 2]), 1).tolist() == [[1], [0]]


def test_own_bits_come_first_in_penalised_landscapes():
    model = ConstrainedEnergy(make(4, 1), [LinearBudget(np.array([1, 2, 1, 2]), 3)])
    land = Landscape.of(model)
    assert land.num_qubits > 4
    values = (land.energies * land.unit + land.mean).reshape(-1, 16).min(axis=0)
    good = model.feasible(every_state(4))
    assert values[good] == pytest.approx(model.energy_part.energy(every_state(4))[good], abs=1e-6)
    assert (values[~good] > model.energy_part.energy(every_state(4))[~good]).all()
    assert Landscape.of(ConstrainedEnergy(make(4, 1), [])).num_qubits == 4


def test_what_fits_into_eight_tenths_of_the_free_memory_is_let_through(monkeypatch):
    free = {"SC_AVPHYS_PAGES": 1000, "SC_PAGE_SIZE": 1000}
    monkeypatch.setattr(landscape, "os", SimpleNamespace(sysconf=free.__getitem__))
    landscape.check_memory(15)
    with pytest.raises(ValueError, match=r"16 qubits .* take 1\.6 MB, 1\.0 MB are free"):
        landscape.check_memory(16)
    landscape.check_memory(5, 25_000)
    with pytest.raises(ValueError, match=r"5 qubits .* take 0\.8 MB"):
        landscape.check_memory(5, 25_001)


# Shots.


def test_shots_follow_the_chances_and_the_expectation_is_exact():
    energy = make(3, 0)
    land = Landscape.of(energy)
    chances = np.array([0.0, 0.5, 0.0, 0.2, 0.0, 0.0, 0.3, 0.0])
    answer = measured("x", Request.of(energy, 4000, 1), land, chances, {"more": 7})
    codes = answer.record.sample @ np.array([1, 2, 4])
    shares = np.zeros(8)
    np.add.at(shares, codes, answer.record.num_occurrences / 4000)
    assert shares == pytest.approx(chances, abs=0.03)
    assert answer.info["expectation"] == pytest.approx(float(chances @ energy.energy(every_state(3))))
    assert (answer.info["kept_share"], answer.info["qubits"], answer.info["more"], answer.info["seed"]) == (1.0, 3, 7, 1)
    assert answer.info["certificate"]["reads"] == 4000


def test_shots_that_break_rules_are_thrown_away_and_counted():
    model = ConstrainedEnergy(make(3, 0), [Cardinality([0, 1, 2], 1)])
    land = Landscape.of(model)
    chances = np.zeros(1 << land.num_qubits)
    chances[[1, 3, 4]] = 0.1, 0.6, 0.3
    answer = measured("x", Request.of(model, 4000, 1), land, chances, {})
    ones = answer.record.sample[:, 0] @ answer.record.num_occurrences / 4000
    assert answer.info["kept_share"] == pytest.approx(0.4)
    assert ones == pytest.approx(0.25, abs=0.03)
    assert model.feasible(answer.record.sample).all()
    with pytest.raises(ValueError, match="no shot keeps"):
        measured("x", Request.of(model, 5, 1), land, np.eye(1 << land.num_qubits)[0], {})


def test_rules_are_looked_up_for_every_state_of_the_own_bits():
    """Seventeen bits are two blocks; a qubit of a penalty changes nothing."""
    model = ConstrainedEnergy(SparseEnergy([], [], [], np.ones(17)), [LinearBudget(np.arange(17.0), 60)])
    land = Landscape(18, np.zeros(18), np.zeros((18, 18)), 1.0, 0.0)
    found = _feasible(model, land)
    wanted = (every_state(17) @ np.arange(17.0)) <= 60
    assert (found == np.tile(wanted, 2)).all()
    order, values = _ordered(model)
    energies = np.where(wanted, every_state(17).sum(axis=1), np.inf)
    assert (values == np.sort(energies)).all()
    assert (energies[order] == values).all()


# Angles.


@settings(max_examples=15)
@given(st.integers(1, 6), st.integers(0, 999))
def test_the_unit_of_angles_is_the_root_mean_square_field_over_all_states(n, seed):
    land = Landscape.of(make(n, seed))
    s = 2 * every_state(n) - 1
    local = land.fields + s @ (land.couplings + land.couplings.T)
    assert field_size(land) == pytest.approx(float(np.sqrt(np.mean(local**2))))


def test_flat_landscapes_have_a_unit_of_angles_too():
    assert field_size(Landscape.of(DenseEnergy(np.zeros((2, 2))))) == 1.0


@settings(max_examples=15)
@given(st.integers(1, 6), st.integers(0, 999))
def test_one_layer_more_keeps_the_ends_and_mixes_the_middle(p, seed):
    u = np.random.default_rng(seed).normal(size=(2, p))
    longer = Angles(u[0], u[1]).interpolated()
    for before, after in zip(u, (longer.gammas, longer.betas), strict=True):
        padded = [0.0, *before, 0.0]
        wanted = [((i - 1) * padded[i - 1] + (p - i + 1) * padded[i]) / p for i in range(1, p + 2)]
        assert after == pytest.approx(wanted)
    assert longer.depth == p + 1
    again = Angles.split(longer.joined())
    assert (again.gammas == longer.gammas).all()
    assert (again.betas == longer.betas).all()
    basis = fourier_basis(p)
    for i, k in itertools.product(range(p), repeat=2):
        turn = (k + 0.5) * (i + 0.5) * math.pi / p
        assert basis[i, k] == pytest.approx(math.sin(turn))
        assert basis[p + i, p + k] == pytest.approx(math.cos(turn))
        assert basis[i, p + k] == basis[p + i, k] == 0
    with pytest.raises(ValueError, match="one length"):
        Angles(np.zeros(p), np.zeros(p + 1))


def test_empty_and_square_angles_are_refused():
    for bad in (np.zeros(0), np.zeros((2, 2))):
        with pytest.raises(ValueError, match="1 or more"):
            Angles(bad, bad)
    assert Angles.first().joined() == pytest.approx([0.5, math.pi / 8])


def test_growing_a_fourier_series_keeps_its_amplitudes():
    amplitudes = np.array([0.4, -0.2, 0.7, 0.1])
    longer = qaoa._one_more_amplitude(amplitudes)
    assert longer.depth == 3
    assert np.linalg.solve(fourier_basis(3), longer.joined()) == pytest.approx([0.4, -0.2, 0.0, 0.7, 0.1, 0.0], abs=1e-12)


def test_angles_grow_from_those_given_to_the_depth_asked_for():
    land = Landscape.of(make(4, 2))
    two, spent = optimise_angles(land, 2)
    assert two.depth == 2
    assert spent > 2
    same, few = optimise_angles(land, 2, start=two, iterations=1)
    assert same.depth == 2
    assert few < spent
    with pytest.raises(ValueError, match="angles have 2 layers, depth=1"):
        optimise_angles(land, 1, start=two)


def test_qaoa_says_what_it_did():
    answer = QAOASampler().sample_energy(make(3, 0), depth=2, seed=0, iterations=3)
    assert answer.info["logical_gates"] == Landscape.of(make(3, 0)).logical_gates(2)
    assert 0 < answer.info["entropy"] <= 1
    alone = QAOASampler().sample_energy(make(1, 0), depth=1, seed=0)
    assert alone.info["entropy"] == 0.0
    two = Landscape.of(make(2, 0))
    state = qaoa.qaoa_state(two, Angles.first())
    asked = QAOASampler().sample_energy(make(2, 0), angles=Angles.first(), seed=0)
    assert asked.info["entropy"] == pytest.approx(entanglement_entropy(state, 1))


# Spectra.


@pytest.mark.parametrize(("n", "levels"), [(1, 2), (2, 3), (3, 7), (3, 8), (6, 2), (7, 3)])
def test_levels_are_those_of_the_matrix_from_the_first_to_the_last(n, levels):
    land = Landscape.of(make(n, n))
    codes = np.arange(1 << n)
    for s in (0.0, 0.4, 1.0):
        matrix = np.diag(s * land.energies)
        for qubit in range(n):
            matrix[codes, codes ^ (1 << qubit)] -= 1 - s
        assert lowest_levels(land, s, levels) == pytest.approx(np.linalg.eigvalsh(matrix)[:levels], abs=1e-7)
    for bad in (0, (1 << n) + 1):
        with pytest.raises(ValueError, match=f"between 1 and {1 << n}"):
            lowest_levels(land, 0.5, bad)


def gap_at(land: Landscape, s: float) -> float:
    g = len(land.ground_states)
    levels = lowest_levels(land, s, g + 1)
    return float(levels[g] - levels[0])


@pytest.mark.parametrize("seed", range(6))
def test_the_least_gap_is_found_and_where_it_is(seed):
    land = Landscape.of(make(5, seed))
    grid = np.linspace(0.001, 1, 2000)
    values = [gap_at(land, float(s)) for s in grid]
    found = minimum_gap(land)
    assert found.gap == pytest.approx(min(values), abs=1e-5)
    assert found.s == pytest.approx(grid[int(np.argmin(values))], abs=2e-3)
    assert found.degeneracy == 1


def test_levels_that_end_together_are_no_gap():
    """Two states of least energy: the gap is to the third level."""
    found = minimum_gap(Landscape.of(SparseEnergy([0], [1], [2.0], -np.ones(2))))
    assert found.degeneracy == 2
    assert found.gap > 0.5
    nearly = Landscape.of(DenseEnergy(np.zeros((2, 2)), np.array([2.0, 0.02])))
    assert minimum_gap(nearly).gap == pytest.approx(0.02, abs=1e-3)
    with pytest.raises(ValueError, match="no gap"):
        minimum_gap(Landscape.of(DenseEnergy(np.zeros((2, 2)))))


# Grover's search.


class Scripted:
    """Draws what a test says, and remembers the limits it was asked for."""

    def __init__(self, whole: list[int], shares: list[float]) -> None:
        self.whole, self.shares, self.limits = whole, shares, []

    def integers(self, limit: int) -> int:
        self.limits.append(limit)
        return self.whole.pop(0)

    def random(self) -> float:
        return self.shares.pop(0)


def test_every_call_of_the_oracle_is_charged():
    order, values = np.array([3, 1, 0, 2]), np.array([1.0, 2.0, 3.0, 4.0])
    # three of four states are marked: ¾ without iterations, sin²(3 · 60°) = 0 with one
    draws = Scripted([3, 0, 1, 0, 0, 0, 1], [0.76, 1e-9, 0.74, 1e-9])
    run = find_minimum(order, values, 7, draws)
    assert (run.code, run.calls, run.calls_to_best, run.rounds) == (3, 6, 5, 4)
    assert draws.limits == [4, 1, 2, 2, 3, 1, 2]
    # the last call that the budget has is made
    assert find_minimum(order, values, 6, Scripted([3, 0, 1, 0, 0, 0], [0.76, 1e-9, 0.74, 1e-9])).calls == 6
    assert find_minimum(order, values, 1, Scripted([2], [])).rounds == 0


def test_iterations_grow_to_the_root_of_the_number_of_states():
    draws = Scripted([0] * 60, [0.5] * 60)  # at the minimum nothing is marked
    find_minimum(np.arange(16), np.arange(16.0), 50, draws)
    assert draws.limits == [16, *[math.ceil(min(1.2**k, 4.0)) for k in range(49)]]


def test_states_as_low_as_the_threshold_are_not_marked():
    draws = Scripted([1, 0, 0, 0], [1e-9, 1e-9, 1e-9])
    run = find_minimum(np.arange(4), np.array([0.0, 0.0, 5.0, 5.0]), 3, draws)
    assert run.calls_to_best == 1
    assert draws.limits == [4, 1, 2]


def test_chances_and_bounds_are_the_published_ones():
    assert [durr_hoyer_bound(n) for n in (0, 2, 10)] == pytest.approx([22.5, 45 + 5.6, 860.0])
    assert marked_chance(1, 4, 0) == pytest.approx(0.25)
    assert marked_chance(1, 4, 1) == pytest.approx(1.0)
    assert marked_chance(2, 16, 3) == pytest.approx(math.sin(7 * math.asin(math.sqrt(1 / 8))) ** 2)
    assert marked_chance(0, 16, 3) == 0.0


def test_reads_are_told_by_ascending_energy_with_their_calls():
    energy = make(6, 0)
    few = GroverSampler().sample_energy(energy, num_reads=6, budget=3, seed=0)
    assert (np.diff(few.record.energy) >= 0).all()
    assert all(calls <= 3 for calls in few.info["oracle_calls"])
    least = float(energy.energy(every_state(6)).min())
    assert few.info["success"] == pytest.approx(float(np.mean(few.record.energy <= least + 1e-9)))
    assert few.info["success"] < 1
    one = GroverSampler().sample_energy(energy, budget=1, seed=0)
    assert (one.info["oracle_calls"], one.info["calls_to_best"], len(one)) == ([1], [1], 1)
    whole = GroverSampler().sample_energy(energy, num_reads=4, seed=1)
    assert whole.info["success"] == 1.0
    assert (whole.info["bound"], whole.info["qubits"]) == (durr_hoyer_bound(6), 6)
    assert all(
        best <= calls <= 231 for best, calls in zip(whole.info["calls_to_best"], whole.info["oracle_calls"], strict=True)
    )
    assert max(whole.info["oracle_calls"]) > 200
    by_energy = GroverSampler().sample_energy(energy, num_reads=3, budget=30, seed=5)
    order, values = _ordered(energy)
    rng = np.random.default_rng(5)
    runs = sorted((find_minimum(order, values, 30, rng) for _ in range(3)), key=lambda run: values[order == run.code][0])
    assert by_energy.record.sample @ (1 << np.arange(6)) == pytest.approx([run.code for run in runs])
    assert by_energy.info["oracle_calls"] == [run.calls for run in runs]
    assert by_energy.info["calls_to_best"] == [run.calls_to_best for run in runs]


def test_no_feasible_read_says_what_to_raise():
    model = ConstrainedEnergy(make(8, 0), [Cardinality(range(8), 8)])
    with pytest.raises(ValueError, match="raise budget=1"):
        GroverSampler().sample_energy(model, budget=1, seed=0)


# Anneals.


def test_an_anneal_takes_twenty_steps_a_unit_of_time_and_a_hundred_at_least():
    for asked, steps in (({"anneal_time": 1.0}, 100), ({"anneal_time": 5.01}, 101), ({"anneal_time": 5.0, "steps": 7}, 7)):
        info = AdiabaticSampler().sample_energy(make(2, 0), seed=0, **asked).info
        assert (info["steps"], info["anneal_time"]) == (steps, asked["anneal_time"])
        assert info["logical_gates"] == Landscape.of(make(2, 0)).logical_gates(steps)
        assert info["entropy"] == []


def test_entropy_is_measured_where_asked_for():
    land = Landscape.of(make(4, 1))
    info = AdiabaticSampler().sample_energy(make(4, 1), steps=10, anneal_time=2.0, entropy_points=5, seed=0).info
    assert [s for s, _ in info["entropy"]] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(0 < bits <= 2 for _, bits in info["entropy"])
    plan = TrotterSteps.of(AnnealPath.forward(2.0), Controls.linear(), 10)
    from annealnet.samplers.kernels.statevector import evolve_layers

    state = landscape.uniform_state(4)
    evolve_layers(state, land.energies, plan.thetas[:2], plan.phis[:2])
    assert info["entropy"][0][1] == pytest.approx(entanglement_entropy(state, 2))
    many = AdiabaticSampler().sample_energy(make(2, 1), steps=3, entropy_points=50, seed=0).info["entropy"]
    assert len(many) == 3
    assert AdiabaticSampler().sample_energy(make(1, 1), steps=3, entropy_points=2, seed=0).info["entropy"] == []


def test_forward_anneals_take_no_state_and_reverse_ones_begin_in_theirs():
    with pytest.raises(ValueError, match="reverse anneals"):
        AdiabaticSampler().sample_energy(make(2, 0), initial_states=np.zeros(2))
    for bits in every_state(3):
        found = AdiabaticSampler().sample_energy(
            make(3, 0), anneal_schedule=[(0, 1), (1, 1)], initial_states=bits, num_reads=3, steps=2, seed=0
        )
        assert (found.record.sample == bits).all()


# What devices need.


def test_devices_are_the_smallest_of_their_family():
    pytest.importorskip("qiskit", reason="needs annealnet[quantum]")
    assert coupling_map("full", 9) is None
    assert [coupling_map("line", n).size() for n in (2, 7)] == [2, 7]
    # as square as can be, and no row too many
    assert [coupling_map("grid", n).size() for n in (1, 2, 4, 5, 6, 7, 9, 10)] == [1, 2, 4, 6, 6, 9, 9, 12]
    assert [coupling_map("heavy_hex", n).size() for n in (1, 19, 20, 57)] == [19, 19, 57, 57]


def test_gates_are_counted_by_their_qubits():
    qiskit = pytest.importorskip("qiskit", reason="needs annealnet[quantum]")
    circuit = qiskit.QuantumCircuit(3, 2)
    circuit.x(0)
    circuit.barrier()
    circuit.cz(0, 1)
    circuit.measure(0, 0)
    found = count_resources(circuit, "full", queries=4, effort=0)
    assert (found.qubits, found.one_qubit_gates, found.two_qubit_gates, found.queries) == (3, 1, 1, 4)
    assert found.to_document()["topology"] == "full"


def test_circuits_of_grover_have_1_to_12_qubits():
    pytest.importorskip("qiskit", reason="needs annealnet[quantum]")
    assert grover_circuit(np.array([True, False]), 1).num_qubits == 1
    assert grover_circuit(np.arange(1 << 12) == 5, 0).num_qubits == 12
    for size in (1, 3, 1 << 13):
        with pytest.raises(ValueError, match="n from 1 to 12"):
            grover_circuit(np.zeros(size, dtype=bool), 1)
