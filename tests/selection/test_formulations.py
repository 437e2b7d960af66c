"""Energies of masks against the networks they model, by enumeration; adjacent landscapes against dynamic programming."""

from __future__ import annotations

import dimod
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.energy import Cardinality, ConstrainedEnergy, SharedGramEnergy
from annealnet.samplers import AnnealingSampler, ExactSampler, SharedGramSampler
from annealnet.samplers.gram_annealing import _Rows
from annealnet.selection import (
    AdjacentNK,
    EchoStateReservoir,
    RandomNetwork,
    ReadoutProblem,
    WalshPolynomial,
    adjacent_readout,
    class_targets,
    ensemble_energy,
    greedy_backward,
    greedy_forward,
    random_masks,
    walsh_coefficients,
)
from annealnet.selection.formulation.readout import kept_count, with_count
from annealnet.selection.search.solving import Effort, choose_gain, sample_masks
from annealnet.testing import conformance


def every_mask(n: int) -> np.ndarray:
    return (np.arange(1 << n)[:, None] >> np.arange(n)) & 1


def small_case(width: int, classes: int, seed: int, kind: str = "signed"):
    rng = np.random.default_rng(seed)
    x, codes = rng.normal(size=(30, 5)).astype(np.float32), rng.integers(classes, size=30)
    network = RandomNetwork(seed, 5, (width,), classes, kind)
    features, targets = network.features(x, 0), class_targets(codes, classes)
    return network, features, targets


def loss(features, targets, readout) -> float:
    """The true objective: squared error of the network with its best intercept."""
    wrong = features.astype(float) @ readout.T - targets
    wrong = wrong - wrong.mean(axis=0)
    return float((wrong**2).sum() / len(features))


@settings(max_examples=25)
@given(
    st.integers(1, 9), st.integers(2, 3), st.integers(0, 1000), st.sampled_from(["signed", "kaiming"]), st.floats(0.05, 2)
)
def test_the_energy_of_neurons_is_the_loss_of_the_network(width, classes, seed, kind, gain):
    network, features, targets = small_case(width, classes, seed, kind)
    energy = ReadoutProblem.of(features, targets, ridge=0.0).neuron_energy(network.readout(), gain)
    masks = every_mask(width)
    true = [loss(features, targets, gain * network.readout() * mask) for mask in masks]
    assert np.allclose(energy.energy(masks), true, rtol=1e-4, atol=1e-4)
    assert true[int(energy.energy(masks).argmin())] == pytest.approx(min(true), rel=1e-4, abs=1e-4)
    found = ExactSampler().sample_energy(energy)
    assert loss(features, targets, gain * network.readout() * found.record.sample[0]) == pytest.approx(
        min(true), rel=1e-4, abs=1e-4
    )


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(2, 3), st.integers(0, 1000), st.floats(0.05, 2))
def test_the_energy_of_weights_is_the_loss_and_falls_apart_into_outputs(width, classes, seed, gain):
    network, features, targets = small_case(width, classes, seed)
    problem = ReadoutProblem.of(features, targets, ridge=0.0)
    energy = problem.weight_energy(network.readout(), gain)
    masks = every_mask(width * classes)
    true = np.array([loss(features, targets, gain * network.readout() * mask.reshape(classes, width)) for mask in masks])
    assert np.allclose(energy.energy(masks), true, rtol=1e-4, atol=1e-4)
    alone = np.concatenate([ExactSampler().sample_energy(row).record.sample[0] for row in energy.rows()])
    assert float(energy.energy(alone)) == pytest.approx(true.min(), rel=1e-4, abs=1e-4)


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 1000))
def test_both_faces_of_shared_gram_energies_are_equal(width, rows, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(7, width))
    energy = SharedGramEnergy(x.T @ x, rng.normal(size=(rows, width)), rng.normal(size=(rows, width)), 0.7)
    masks = every_mask(width * rows)
    assert np.allclose(energy.to_bqm().energies((masks, range(width * rows))), energy.energy(masks))
    state = masks[int(rng.integers(len(masks)))]
    flipped = [energy.energy(state ^ np.eye(len(state), dtype=int)[i]) - energy.energy(state) for i in range(len(state))]
    assert np.allclose(energy.flip_deltas(state), flipped)


@settings(max_examples=25)
@given(st.integers(2, 10), st.integers(1, 3), st.integers(0, 1000), st.booleans())
def test_the_native_sampler_finds_the_ground_state(width, rows, seed, counted):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(12, width))
    energy = SharedGramEnergy(x.T @ x, rng.choice([-1.0, 1.0], (rows, width)), 3 * rng.normal(size=(rows, width)))
    count = int(rng.integers(1, width + 1)) if counted else None
    masks, value = sample_masks(energy, Effort(reads=8, sweeps=300, seed=seed), count)
    least = 0.0
    for row in energy.rows():
        states = every_mask(width)
        values = row.energy(states)
        least += values[states.sum(axis=1) == count].min() if counted else values.min()
    assert value == pytest.approx(least, abs=1e-5)
    if counted:
        assert (masks.sum(axis=2) == count).all()


def test_the_native_sampler_conforms():
    findings = conformance(SharedGramSampler(), leave_out=("time_limits_hold",))
    assert [finding for finding in findings if finding.passed is False] == []


def test_counts_are_those_of_the_general_sampler():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 40))
    energy = SharedGramEnergy(x.T @ x, rng.choice([-1.0, 1.0], (1, 40)), 20 * rng.normal(size=(1, 40)))
    model = ConstrainedEnergy(energy, [Cardinality(range(40), 11)])
    ours = SharedGramSampler().sample_energy(model, num_reads=8, num_sweeps=500, seed=0)
    general = AnnealingSampler().sample_energy(model, num_reads=8, seed=0)
    assert (ours.record.sample.sum(axis=1) == 11).all()
    assert ours.first.energy == pytest.approx(general.first.energy, rel=1e-6)
    with pytest.raises(ValueError, match="row"):
        SharedGramSampler().sample_energy(ConstrainedEnergy(energy, [Cardinality(range(20), 3)]))


@pytest.mark.parametrize("counted", [False, True])
def test_where_chunks_of_the_schedule_end_changes_nothing(counted):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 30))
    energy = SharedGramEnergy(x.T @ x, rng.choice([-1.0, 1.0], (3, 30)), 20 * rng.normal(size=(3, 30)))
    found = []
    for chunk in (1, 4, 20):
        rows = _Rows(energy, np.full(3, 9) if counted else None, 2, 5, None)
        schedule = np.geomspace(*rows.betas(), 20)
        for first in range(0, 20, chunk):
            rows.sweep(schedule[first : first + chunk])
        found.append(rows.finished())
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()


def test_other_samplers_get_the_rows_and_keep_the_counts():
    network, features, targets = small_case(6, 3, 0)
    energy = ReadoutProblem.of(features, targets).weight_energy(network.readout(), 0.3)
    for count in (None, 2):
        ours = sample_masks(energy, Effort(seed=0, reads=10, sweeps=500), count)[1]
        theirs, value = sample_masks(energy, Effort(dimod.ExactSolver(), 1, 1, 0), count)
        assert value == pytest.approx(ours, abs=1e-5)
        assert count is None or (theirs.sum(axis=2) == count).all()


@settings(max_examples=40)
@given(st.integers(0, 4), st.integers(1, 6), st.booleans(), st.integers(0, 10_000))
def test_dynamic_programming_is_exact(neighbours, extra, periodic, seed):
    rng = np.random.default_rng(seed)
    nk = AdjacentNK(rng.normal(size=(neighbours + extra, 2 << neighbours)), periodic)
    masks = every_mask(nk.num_variables)
    values = nk.values(masks)
    mask, least = nk.optimum()
    assert least == pytest.approx(values.min())
    assert float(nk.values(mask[None])[0]) == pytest.approx(least)


@settings(max_examples=20)
@given(st.integers(1, 4), st.integers(1, 5), st.booleans(), st.integers(0, 10_000))
def test_quadratised_landscapes_have_the_same_optimum(neighbours, extra, periodic, seed):
    rng = np.random.default_rng(seed)
    nk = AdjacentNK(rng.normal(size=(max(extra, neighbours + 1 if periodic else 1), 2 << neighbours)), periodic)
    polynomial, masks = nk.polynomial(), every_mask(nk.num_variables)
    assert np.allclose(polynomial.energies((masks, range(nk.num_variables))), nk.values(masks))
    energy = nk.to_energy()
    if neighbours == 1:
        assert energy.num_variables == nk.num_variables  # an Ising chain: nothing added
    if energy.num_variables <= 22:
        found = ExactSampler().sample_energy(energy)
        assert found.first.energy == pytest.approx(nk.optimum()[1])
        assert float(nk.values(found.record.sample[:, : nk.num_variables])[0]) == pytest.approx(nk.optimum()[1])


@pytest.mark.parametrize("neighbours", [1, 2, 3, 4])
def test_adjacent_readouts_are_the_sum_of_local_losses(neighbours):
    for seed in range(5):
        network, features, targets = small_case(9, 3, seed)
        nk = adjacent_readout(ReadoutProblem.of(features, targets, ridge=0.0), network.readout(), 0.4, neighbours)
        constant = float(((targets - targets.mean(axis=0)) ** 2).sum() / len(targets)) * len(nk.tables)
        masks = every_mask(9)
        true = [
            sum(
                loss(features[:, j : j + neighbours + 1], targets, 0.4 * (network.readout() * m)[:, j : j + neighbours + 1])
                for j in range(9 - neighbours)
            )
            for m in masks
        ]
        assert np.allclose(nk.values(masks) + constant, true, rtol=1e-4)
        assert nk.optimum()[1] + constant == pytest.approx(min(true), rel=1e-4)
        chain = nk.to_energy()
        assert chain.num_variables == 9  # local losses are quadratic: a band, no auxiliary bits
        assert np.allclose(chain.energy(masks), nk.values(masks), atol=1e-4)
        assert all(abs(i - j) <= neighbours for i, j in zip(*chain.couplings().nonzero(), strict=True))


@settings(max_examples=20)
@given(st.integers(1, 8), st.integers(0, 1000))
def test_walsh_expansions_give_back_the_function(bits, seed):
    values = np.random.default_rng(seed).normal(size=1 << bits)
    masks = every_mask(bits)
    whole = WalshPolynomial.from_values(values, bits)
    assert np.allclose(whole.values(masks), values)
    assert whole.explained == pytest.approx(1.0)
    coefficients = walsh_coefficients(values)
    assert np.sum(coefficients**2) == pytest.approx(np.mean(values**2))  # Parseval
    for order in range(1, bits):
        cut = WalshPolynomial.from_values(values, order)
        rest = values - cut.values(masks)
        assert 1 - cut.explained == pytest.approx(np.mean(rest**2) / np.var(values), abs=1e-9)


@settings(max_examples=10)
@given(st.integers(2, 5), st.integers(1, 3), st.integers(0, 1000))
def test_walsh_models_have_the_same_ground_state(bits, order, seed):
    cut = WalshPolynomial.from_values(np.random.default_rng(seed).normal(size=1 << bits), min(order, bits))
    found = ExactSampler().sample(cut.to_bqm()).first
    mask = np.array([[found.sample[i] for i in range(bits)]])
    assert found.energy == pytest.approx(cut.values(every_mask(bits)).min())
    assert float(cut.values(mask)[0]) == pytest.approx(found.energy)


def test_fitted_walsh_expansions_find_a_quadratic_function():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(24, 24))
    function = lambda m: np.einsum("ri,ij,rj->r", m, matrix, m)  # noqa: E731
    fitted = WalshPolynomial.fitted(function, 24, 2, 1000, seed=0)
    assert fitted.explained > 1 - 1e-9
    assert WalshPolynomial.fitted(function, 24, 1, 1000, seed=0).explained < 0.99
    with pytest.raises(ValueError, match="coefficients"):
        WalshPolynomial.fitted(function, 24, 3, 1000, seed=0)
    with pytest.raises(ValueError, match="order"):
        WalshPolynomial.from_values(np.zeros(8), 4)


def test_ensembles_are_masked_like_neurons():
    rng = np.random.default_rng(0)
    outputs, targets = rng.normal(size=(20, 6, 3)), rng.normal(size=(20, 3))
    masks = every_mask(6)
    true = [(((0.3 * np.tensordot(m, outputs, (0, 1))) - targets) ** 2).sum() / 20 + 0.1 * m.sum() for m in masks]
    assert np.allclose(ensemble_energy(outputs, targets, 0.3, 0.1).energy(masks), true)


def test_greedy_search_ends_where_no_flip_of_its_kind_helps_and_keeps_counts():
    network, features, targets = small_case(12, 3, 1)
    energy = ReadoutProblem.of(features, targets).weight_energy(network.readout(), 0.2)
    for greedy, kind in ((greedy_forward, 0), (greedy_backward, 1)):
        mask = greedy(energy)
        costs = energy.flip_deltas(mask.ravel())
        assert (costs[mask.ravel() == bool(kind)] >= -1e-6).all()
        assert (greedy(energy, 4).sum(axis=1) == 4).all()
    best = min(float(energy.energy(m.ravel())) for m in random_masks((3, 12), 0.5, 50, 0))
    assert sample_masks(energy, Effort(seed=0))[1] < best


def test_balance_pulls_the_signs_together():
    network, features, targets = small_case(16, 2, 3)
    spreads = []
    for balance in (0.0, 100.0):
        problem = ReadoutProblem.of(features, targets, 0.01, balance)
        mask = sample_masks(problem.weight_energy(network.readout(), 0.2), Effort(seed=0, reads=8))[0][0]
        spreads.append(np.abs((network.readout() * mask).sum(axis=1)).mean())
    assert spreads[1] <= spreads[0]
    assert spreads[1] <= 1


def test_the_gain_that_is_chosen_is_near_the_best_of_a_grid():
    network, features, targets = small_case(20, 3, 5)
    problem = ReadoutProblem.of(features, targets)
    effort = Effort(reads=4, sweeps=400, seed=0)
    of = lambda gain: problem.weight_energy(network.readout(), gain)  # noqa: E731
    gain = choose_gain(of, 4 * problem.typical_weight(), effort, None)
    here = sample_masks(of(gain), effort)[1]
    grid = [sample_masks(of(g), effort)[1] for g in 2.0 ** np.arange(-8, 3, 0.5)]
    assert here <= min(grid) + 0.05 * (problem.target_square - min(grid))


def test_typical_weights_are_those_of_ridge_regression():
    _, features, targets = small_case(12, 3, 5)
    problem = ReadoutProblem.of(features, targets, ridge=0.1)
    assert problem.typical_weight(40) == pytest.approx(np.abs(problem.ridge_readout()).mean(), rel=1e-3)


@pytest.mark.parametrize("kept", [0, 9, -1, 0.0, 1.5])
def test_counts_that_cannot_be_are_refused(kept):
    with pytest.raises(ValueError, match="kept"):
        kept_count(kept, 8)
    assert with_count(SharedGramEnergy(np.eye(2), np.ones((1, 2)), np.zeros((1, 2))), None).num_variables == 2


def test_reservoirs_repeat_forget_and_are_read_by_neighbours():
    rng = np.random.default_rng(0)
    sequences = rng.normal(size=(40, 30, 2)).astype(np.float32)
    reservoir = EchoStateReservoir(3, 2, 24)
    other = sequences.copy()
    other[:, 0] += 1
    assert np.allclose(reservoir.features(sequences), reservoir.features(sequences))
    late, early = (
        np.abs(reservoir.features(s) - reservoir.features(t)).max()
        for s, t in ((other, sequences), (other[:, :2], sequences[:, :2]))
    )
    assert late < 0.5 * early
    targets = class_targets((sequences[:, -1, 0] > 0).astype(int), 2)
    nk = adjacent_readout(
        ReadoutProblem.of(reservoir.features(sequences), targets), np.ones((2, 24)) * [[-1.0], [1.0]], 0.3, 3
    )
    assert nk.optimum()[1] <= nk.values(random_masks((1, 24), 0.5, 500, 0)[:, 0]).min()
    with pytest.raises(ValueError, match="leak"):
        EchoStateReservoir(0, 1, 4, leak=0.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: AdjacentNK(np.zeros((3, 5))),
        lambda: AdjacentNK(np.full((3, 4), np.nan)),
        lambda: AdjacentNK(np.zeros((2, 8)), periodic=True),
        lambda: SharedGramEnergy(np.eye(2), np.ones((1, 3)), np.zeros((1, 3))),
        lambda: SharedGramEnergy(np.eye(2), np.ones((1, 2)), np.zeros((2, 2))),
        lambda: ReadoutProblem.of(np.zeros((2, 2), np.float32), np.zeros((2, 1), np.float32), ridge=-1),
        lambda: RandomNetwork(0, 4, (0,), 2),
        lambda: RandomNetwork(0, 4, (2,), 2, "uniform"),
        lambda: RandomNetwork(0, 4, (2,), 2, "signed", (1, 3, 3)),
        lambda: RandomNetwork(0, 9, (2,), 2, "signed", (1, 3, 3)),
    ],
)
def test_values_that_cannot_be_are_refused(make):
    with pytest.raises(ValueError, match=r"\w"):
        make()
