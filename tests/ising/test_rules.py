"""The rules against what they claim: gradients, relative energies, limits, clamped spins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.ising import (
    ContrastiveDivergence,
    DeepStateRule,
    Descent,
    EquilibriumPropagation,
    IsingNetwork,
    Limits,
    Pattern,
    Phases,
    Training,
)
from annealnet.samplers import BestOf, EnumeratedLayers, LayeredAnnealing, QuantumLayers, Schedule
from annealnet.samplers.seeds import Purpose, derived_seed

WARM = Schedule((0.7,))
EXACT = Phases(EnumeratedLayers(), WARM, WARM)


def network_of(seed: int, sizes: tuple[int, ...] = (3, 4), spins: int = 1, limits: Limits | None = None) -> IsingNetwork:
    network = IsingNetwork.create(sizes, 2, spins_per_class=spins, seed=seed, limits=limits or Limits(50.0, 50.0))
    rng = np.random.default_rng(seed)
    return network.with_parameters([rng.normal(0, 0.5, part.shape) for part in network.parameters])


def thermal_loss(network: IsingNetwork, x: np.ndarray, targets: np.ndarray) -> float:
    """Mean of −⟨target·s⟩ over the exact Boltzmann distribution, in float64."""
    found = EnumeratedLayers().sample_layers(network.model(x), WARM)
    overlaps = np.einsum("pro,po->pr", found.states[..., -targets.shape[1] :].astype(float), targets)
    return float(-(found.shares * overlaps).sum(1).mean())


@pytest.mark.parametrize(("centred", "tolerance"), [(False, 0.03), (True, 0.005)])
@pytest.mark.parametrize("sizes", [(3, 4), (2, 3, 3)])
def test_equilibrium_propagation_tends_to_the_gradient(centred: bool, tolerance: float, sizes: tuple[int, ...]) -> None:
    network, rng = network_of(1, sizes), np.random.default_rng(0)
    x = rng.normal(size=(3, sizes[0])).astype(np.float32)
    targets = network.targets(np.array([0, 1, 1]))
    rule = EquilibriumPropagation(nudge=0.05 if centred else 0.01, centred=centred, skip=False)
    steps = rule.direction(network, x, targets, EXACT, 0).steps
    slopes = []
    for index, part in enumerate(network.parameters):
        slope = np.zeros(part.shape)
        for place in np.ndindex(part.shape):
            values = []
            for change in (0.02, -0.02):
                moved = [p.copy() for p in network.parameters]
                moved[index][place] += change
                values.append(thermal_loss(network.with_parameters(moved), x, targets))
            slope[place] = (values[0] - values[1]) / 0.04
        slopes.append(slope.ravel())
    wanted, found = -np.concatenate(slopes), np.concatenate([step.ravel() for step in steps])
    assert np.linalg.norm(found - wanted) < tolerance * np.linalg.norm(wanted)


@given(st.integers(0, 10**6), st.sampled_from([None, 0.5]), st.floats(1e-4, 0.5), st.booleans())
@settings(max_examples=40)
def test_a_deep_state_step_always_lowers_the_right_state(
    seed: int, temperature: float | None, rate: float, tight: bool
) -> None:
    network = network_of(seed, limits=Limits(1.0, 50.0)) if tight else network_of(seed)
    rng = np.random.default_rng(seed)
    x, targets = rng.normal(size=(1, 3)).astype(np.float32), network.targets(np.array([seed % 2]))
    phases, rule = Phases(LayeredAnnealing(0), Schedule.forward(0.1, 1.0, 5)), DeepStateRule(5, 3.0, temperature)
    free = phases.free(network, x, reads=5, seed=derived_seed(seed, Purpose.FREE_PHASE))
    right = phases.clamped(network, x, targets, seed=derived_seed(seed, Purpose.CLAMPED_PHASE))
    learned = rule.direction(network, x, targets, phases, seed)
    bad = (free.states[0, :, -2:] != targets).any(1) & (free.energies[0] <= right.energies.min() + 3.0)
    assert learned.wrong == float(bad.any())
    if not bad.any():
        assert all((step == 0).all() for step in learned.steps)
        return
    moved, _ = Descent(rate, rate).move(network.parameters, learned.steps, (), 1, 1.0)
    after = network.with_parameters(moved)
    weights = np.ones(5) if temperature is None else np.exp(-(free.energies[0] - free.energies[0].min()) / temperature)
    weights = weights * bad / (weights * bad).sum()

    def gap(which: IsingNetwork) -> float:
        model = which.model(x)
        return float(model.energy(right.states)[0, 0] - weights @ model.energy(free.states)[0])

    assert gap(after) < gap(network) + 1e-6
    assert max(np.abs(block).max() for block in after.couplings) <= after.limits.coupling


def test_limits_and_patterns_hold_throughout_training() -> None:
    exists = np.random.default_rng(1).random((5, 4)) < 0.6
    network = IsingNetwork.create(
        (6, 5), 2, spins_per_class=2, limits=Limits(0.3, 0.5), patterns=(None, Pattern.sparse(exists)), seed=1
    )
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(40, 6)).astype(np.float32), rng.integers(0, 2, 40)
    fast = Training(DeepStateRule(3, 5.0), optimiser=Descent(0.3, 0.3), epochs=5, batch_size=8)
    after = fast.run(network, x, labels).network
    assert (after.couplings[0][~exists] == 0).all()
    assert np.abs(after.couplings[0]).max() <= 0.3 + 1e-6
    assert np.abs(after.couplings[0]).max() > 0.25, "the limit was never reached: the test proves nothing"
    assert max(np.abs(bias).max() for bias in after.biases) <= 0.5 + 1e-6
    assert max(np.abs(block).max() for block in after.model(100 * x).fields) <= 0.5 + 1e-6


@pytest.mark.parametrize("sampler", [LayeredAnnealing(), EnumeratedLayers(), QuantumLayers(5.0, 30)])
def test_clamped_outputs_never_move(sampler: object) -> None:
    network = network_of(3)
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    targets = network.targets(np.arange(6) % 2)
    found = Phases(sampler, WARM).clamped(network, x, targets, reads=4, seed=2)  # type: ignore[arg-type]
    possible = np.isfinite(found.energies)
    assert (found.states[..., -2:] == targets[:, None])[possible].all()
    assert possible.any()


def test_published_equilibrium_propagation_skips_what_is_right_and_learns() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(1, 0.4, (40, 4)), rng.normal(-1, 0.4, (40, 4))]).astype(np.float32)
    labels = np.repeat([0, 1], 40)
    network = IsingNetwork.create((4, 8), 2, spins_per_class=2, seed=0)
    phases = Phases(BestOf(LayeredAnnealing(), 5))
    training = Training(EquilibriumPropagation(5.0), phases, Descent(0.1, 0.01), epochs=8, batch_size=4)
    state = training.run(network, x, labels)
    untrained = training.rule.direction(network, x, network.targets(labels), phases, 0).wrong
    assert state.history[-1].wrong < 0.05 < 0.25 < untrained  # the first epoch's own share falls while it learns
    quiet = EquilibriumPropagation(5.0).direction(state.network, x[:1] * 5, state.network.targets(labels[:1]), phases, 0)
    assert quiet.wrong == 0
    assert all((step == 0).all() for step in quiet.steps)


def test_contrastive_divergence_from_long_chains_is_the_likelihood_gradient() -> None:
    network = network_of(2)
    x = np.random.default_rng(1).normal(size=(1, 3)).astype(np.float32)
    targets = network.targets(np.array([1]))
    one = Schedule((1.0,))
    exact = Phases(EnumeratedLayers(), one)
    right, free = exact.clamped(network, x, targets), exact.free(network, x)
    mean = [np.einsum("pr,pri->i", f.shares, f.states) for f in (right, free)]
    drawn = ContrastiveDivergence(60, 20_000).direction(network, x, targets, Phases(LayeredAnnealing(0), one), 0)
    np.testing.assert_allclose(np.concatenate(drawn.steps[2:]), mean[0] - mean[1], atol=0.04)


def test_bad_settings_and_targets_are_refused() -> None:
    network, x = network_of(0), np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="labels hold"):
        network.targets(np.array([0, 2]))
    with pytest.raises(ValueError, match="clamped to"):
        Phases().clamped(network, x, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="reads"):
        DeepStateRule(reads=0)
    with pytest.raises(ValueError, match="nudge"):
        EquilibriumPropagation(nudge=0.0)
    with pytest.raises(ValueError, match="couplings reach"):
        replace(network, limits=Limits(0.01, 1.0))
    with pytest.raises(ValueError, match="x has shape"):
        network.model(np.zeros((2, 5)))


def test_a_new_network_fits_a_tight_machine() -> None:
    network = IsingNetwork.create((20, 8), 2, limits=Limits(coupling=0.05, field=0.5), seed=3)
    assert max(np.abs(block).max() for block in network.couplings) <= 0.05
