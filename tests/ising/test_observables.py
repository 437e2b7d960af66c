"""Observables against textbook answers: paramagnet, ferromagnet, Sherrington–Kirkpatrick."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from annealnet.energy import DenseEnergy
from annealnet.ising import IsingNetwork, Phases, Training, deployed
from annealnet.ising.search.layerwise import signs_at, targets_at, train_windows, window_of
from annealnet.ising.search.observables import (
    distinct_minima,
    edwards_anderson,
    observe,
    output_gaps,
    overlap_distribution,
    overlaps,
)
from annealnet.samplers import AnnealingSampler, EnumeratedLayers, LayeredAnnealing, LayeredModel, Schedule


def couplings_of(n: int, rng: np.random.Generator) -> np.ndarray:
    upper = np.triu(rng.normal(0, 1 / np.sqrt(n), (n, n)), 1)
    return upper + upper.T


def heat_bath(couplings: np.ndarray, beta: float, sweeps: int, reads: int, rng: np.random.Generator) -> np.ndarray:
    """Plain Gibbs sampling of E = −½ s J s, float64, spin by spin."""
    spins = rng.choice(np.array([-1.0, 1.0]), (reads, len(couplings)))
    for _ in range(sweeps):
        for i in range(len(couplings)):
            up = 1 / (1 + np.exp(-2 * beta * (spins @ couplings[i])))
            spins[:, i] = np.where(rng.random(reads) < up, 1.0, -1.0)
    return spins


def test_the_sherrington_kirkpatrick_paramagnet_has_the_textbook_variance_of_overlaps() -> None:
    # above T = 1, n⟨q²⟩ → 1/(1 − β²)
    rng, n, beta = np.random.default_rng(0), 120, 0.5
    states = np.stack([heat_bath(couplings_of(n, rng), beta, 30, 60, rng) for _ in range(10)])
    assert n * np.mean(overlaps(states) ** 2) == pytest.approx(1 / (1 - beta**2), rel=0.08)
    assert abs(edwards_anderson(states).mean()) < 0.02


def test_the_sherrington_kirkpatrick_glass_has_many_minima_a_broad_overlap_and_its_ground_state_energy() -> None:
    rng, n = np.random.default_rng(1), 80
    energies, states = [], []
    for _ in range(12):
        couplings = couplings_of(n, rng)
        bits = AnnealingSampler().sample_energy(  # x = (1 + s)/2: −½ s J s = −2 x J x + 2 x J 1 − ½ Σ J
            DenseEnergy(-4 * np.triu(couplings, 1), 2 * couplings.sum(1), -0.5 * couplings.sum()), num_reads=20, seed=0
        )
        energies.append(bits.first.energy / n)
        states.append(2 * np.repeat(bits.record.sample, bits.record.num_occurrences, 0) - 1)
    # Parisi's −0.7632 with the known correction 0.70 n^(−2/3)
    assert np.mean(energies) == pytest.approx(-0.7632 + 0.70 * n ** (-2 / 3), abs=0.025)
    cold = np.stack([heat_bath(couplings_of(40, rng), 1 / 0.4, 200, 30, rng) for _ in range(10)])
    centres, density = overlap_distribution(cold)
    assert density[np.abs(centres) < 0.3].mean() > 0.1  # P(0) > 0 below T = 1: replica symmetry is broken
    quick = LayeredAnnealing().sample_layers(
        LayeredModel((rng.normal(size=(60, 60)),), (np.zeros((3, 60)), np.zeros((3, 60)))), Schedule((3.0,)), reads=50
    )
    assert distinct_minima(quick.states).min() > 20


def test_a_cold_ferromagnet_has_two_minima_and_overlaps_of_one() -> None:
    model = LayeredModel((np.full((30, 20), 0.2),), (np.zeros((1, 30)), np.zeros((1, 20))))
    found = LayeredAnnealing().sample_layers(model, Schedule.forward(0.05, 5.0, 60), reads=60, seed=0)
    assert distinct_minima(found.states).tolist() == [2]
    assert (np.abs(overlaps(found.states)) == 1).all()
    centres, density = overlap_distribution(found.states)
    assert density[np.abs(centres) < 0.9].sum() == 0
    assert found.energies.std() == pytest.approx(0, abs=1e-3)
    pulled = LayeredModel(model.couplings, (np.full((1, 30), 3.0), np.zeros((1, 20))))
    ordered = LayeredAnnealing().sample_layers(pulled, Schedule.forward(0.05, 5.0, 60), reads=60, seed=0)
    assert edwards_anderson(ordered.states) == pytest.approx(1.0)


def test_free_spins_have_overlaps_of_one_over_n() -> None:
    states = np.random.default_rng(0).choice([-1, 1], (1, 300, 50))
    assert 50 * np.mean(overlaps(states) ** 2) == pytest.approx(1.0, abs=0.05)


def test_gaps_are_those_of_enumeration() -> None:
    network = IsingNetwork.create((4, 6), 3, spins_per_class=1, seed=2)
    x, labels = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32), np.array([0, 1, 2, 0, 1])
    cold = Phases(LayeredAnnealing(), Schedule.forward(0.5, 50.0, 60))
    found = output_gaps(network, x, labels, cold, reads=10)
    everything = EnumeratedLayers().sample_layers(network.model(x), Schedule((1.0,)))
    for p in range(5):
        least = [everything.energies[p][(everything.states[p, :, -3:] == code).all(1)].min() for code in network.codes]
        right = least.pop(labels[p])
        assert found[p] == pytest.approx(min(least) - right, abs=1e-3)


def test_training_orders_the_glass() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    x = (np.eye(3)[labels] @ rng.normal(size=(3, 10)) + 0.2 * rng.normal(size=(90, 10))).astype(np.float32)
    network = IsingNetwork.create((10, 20), 3, seed=0)
    before = observe(network, x, labels, Phases())
    after = observe(Training(epochs=15).run(network, x, labels).network, x, labels, Phases())
    assert after.right > 0.95 > before.right
    assert after.gap > before.gap
    assert after.minima < before.minima
    assert after.order > before.order


def test_deep_networks_are_trained_through_windows_of_two_layers() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 120)
    x = (np.eye(3)[labels] @ rng.normal(size=(3, 10)) + 0.2 * rng.normal(size=(120, 10))).astype(np.float32)
    network = IsingNetwork.create((10, 24, 24, 24), 3, seed=0)
    seen: list[tuple[int, ...]] = []

    class Watching(LayeredAnnealing):
        def sample_layers(self, model, schedule, **parameters):  # type: ignore[no-untyped-def]
            seen.append(model.sizes)
            return super().sample_layers(model, schedule, **parameters)

    trained, records = train_windows(network, Training(phases=Phases(Watching()), epochs=6), x, labels)
    assert {len(sizes) for sizes in seen} == {2}
    assert len(records) == 6 * 5
    accuracy = [(deployed(n, 0)(torch.from_numpy(x)).argmax(1).numpy() == labels).mean() for n in (network, trained)]
    assert accuracy[1] > 0.95 > accuracy[0]
    for before, after in zip(network.parameters, trained.parameters, strict=True):
        assert before.shape == after.shape
    with pytest.raises(ValueError, match="window"):
        train_windows(network, Training(epochs=1), x, labels, window=9)


def test_a_window_is_the_whole_network_seen_through_frozen_layers() -> None:
    network = IsingNetwork.create((5, 6, 7), 2, seed=0)
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    whole = window_of(network, 0, 2)
    np.testing.assert_allclose(whole.model(signs_at(network, x, 0)).fields[0], network.model(x).fields[0], atol=1e-5)
    part = window_of(network, 1, 2)
    assert part.sizes == network.sizes[1:]
    inputs = signs_at(network, x, 1)
    assert (inputs == np.sign(network.model(x).fields[0])).all()
    # targets handed down are the least energy of that layer between its neighbours
    wanted = targets_at(network, x, network.targets(np.array([0, 1, 0, 1])), 1)
    own = inputs @ network.couplings[0] + network.biases[1]
    fields = own + network.targets(np.array([0, 1, 0, 1])) @ network.couplings[1].T
    assert (wanted * fields >= 0).all()
