"""Couplings between the spins of one hidden layer: gradients, limits, training, deployment, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.estimator_checks import parametrize_with_checks

from annealnet.ising import (
    ContrastiveDivergence,
    DeepStateRule,
    Descent,
    EquilibriumPropagation,
    IsingNetwork,
    IsingNetworkClassifier,
    Limits,
    Pattern,
    Phases,
    Training,
    TrainingRule,
    deployed,
)
from annealnet.ising.search.layerwise import train_windows
from annealnet.samplers import EnumeratedLayers, LayeredAnnealing, Schedule
from annealnet.samplers.seeds import Purpose, derived_seed

WARM = Schedule((0.7,))
EXACT = Phases(EnumeratedLayers(), WARM, WARM)
RULES = [DeepStateRule(3, 5.0), EquilibriumPropagation(), ContrastiveDivergence(3, 2)]


def coupled(
    seed: int, sizes: tuple[int, ...] = (3, 4), limits: Limits | None = None, inner: object = True, width: float = 0.5
) -> IsingNetwork:
    network = IsingNetwork.create(
        sizes, 2, spins_per_class=1, seed=seed, limits=limits or Limits(50.0, 50.0), inner=inner  # type: ignore[arg-type]
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    return network.with_parameters([rng.normal(0, width, part.shape) for part in network.parameters])


def thermal_loss(network: IsingNetwork, x: np.ndarray, targets: np.ndarray) -> float:
    """Mean of −⟨target·s⟩ over the exact Boltzmann distribution."""
    found = EnumeratedLayers().sample_layers(network.model(x), WARM)
    overlaps = np.einsum("pro,po->pr", found.states[..., -targets.shape[1] :].astype(float), targets)
    return float(-(found.shares * overlaps).sum(1).mean())


def learning(count: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, features)).astype(np.float32), rng.integers(0, 2, count)


@pytest.mark.parametrize("inner", [(True, True), (True, None)])
def test_equilibrium_propagation_tends_to_the_gradient_of_couplings_inside_layers(inner: tuple[bool | None, ...]) -> None:
    network, (x, _) = coupled(1, (3, 4), inner=inner), learning(3, 3)
    targets = network.targets(np.array([0, 1, 1]))
    rule = EquilibriumPropagation(nudge=0.05, centred=True, skip=False)
    steps = rule.direction(network, x, targets, EXACT, 0).steps
    assert len(steps) == len(network.parameters) == 4 + len(network.inner_blocks)
    for index, (part, step) in enumerate(zip(network.parameters, steps, strict=True)):
        inside, slope = index >= 4, np.zeros(part.shape)
        for place in np.ndindex(part.shape):
            if inside and place[0] == place[1]:
                continue
            values = []
            for change in (0.02, -0.02):
                moved = [p.copy() for p in network.parameters]
                moved[index][place] += change
                if inside:  # one coupling stands in two places
                    moved[index][place[::-1]] += change
                values.append(thermal_loss(network.with_parameters(moved), x, targets))
            slope[place] = (values[0] - values[1]) / 0.04
        assert np.linalg.norm(step + slope) < 0.01 * np.linalg.norm(slope), index


def test_contrastive_divergence_from_long_chains_is_the_likelihood_gradient_of_couplings_inside_layers() -> None:
    network, (x, _) = coupled(2), learning(1, 3)
    targets, one = network.targets(np.array([1])), Schedule((1.0,))
    exact = Phases(EnumeratedLayers(), one)
    right, free = exact.clamped(network, x, targets), exact.free(network, x)
    moments = [np.einsum("pr,pri,prj->ij", f.shares, f.states, f.states)[:4, :4] for f in (right, free)]
    drawn = ContrastiveDivergence(60, 20_000).direction(network, x, targets, Phases(LayeredAnnealing(0), one), 0)
    np.testing.assert_allclose(drawn.steps[-1], moments[0] - moments[1], atol=0.04)
    assert np.abs(moments[0] - moments[1]).max() > 0.1, "no slope: the test proves nothing"


@given(st.integers(0, 10**6), st.floats(1e-4, 0.5))
@settings(max_examples=25)
def test_a_deep_state_step_lowers_the_right_state_with_couplings_inside_layers(seed: int, rate: float) -> None:
    network, x = coupled(seed), np.random.default_rng(seed).normal(size=(1, 3)).astype(np.float32)
    targets = network.targets(np.array([seed % 2]))
    phases, rule = Phases(LayeredAnnealing(0), Schedule.forward(0.1, 1.0, 5)), DeepStateRule(5, 3.0)
    free = phases.free(network, x, reads=5, seed=derived_seed(seed, Purpose.FREE_PHASE))
    right = phases.clamped(network, x, targets, seed=derived_seed(seed, Purpose.CLAMPED_PHASE))
    learned = rule.direction(network, x, targets, phases, seed)
    bad = (free.states[0, :, -2:] != targets).any(1) & (free.energies[0] <= right.energies.min() + 3.0)
    if not bad.any():
        assert all((step == 0).all() for step in learned.steps)
        return
    moved, _ = Descent(rate, rate).move(network.parameters, learned.steps, (), 1, 1.0)

    def gap(which: IsingNetwork) -> float:
        model = which.model(x)
        return float(model.energy(right.states)[0, 0] - model.energy(free.states)[0, bad].mean())

    assert gap(network.with_parameters(moved)) < gap(network) + 1e-6


@pytest.mark.parametrize("rule", RULES)
def test_limits_symmetry_and_patterns_hold_throughout_training(rule: TrainingRule) -> None:
    upper = np.triu(np.random.default_rng(1).random((6, 6)) < 0.6, 1)
    exists = upper | upper.T
    network = IsingNetwork.create(
        (5, 6), 2, spins_per_class=2, limits=Limits(0.5, 2.0), inner=(Pattern.sparse(exists), True), seed=1
    )
    x, labels = learning(40, 5)
    phases = Phases(LayeredAnnealing(0))
    after = Training(rule, phases, Descent(0.1, 0.1), epochs=4, batch_size=8).run(network, x, labels).network
    for block in after.inner_blocks:
        assert (block == block.T).all()
        assert (np.diagonal(block) == 0).all()
        assert np.abs(block).max() <= 0.5
    assert (after.inner_blocks[0][~exists] == 0).all()
    assert (after.inner_blocks[0][exists] != 0).any()
    far = after.with_parameters([part + 9 for part in after.parameters])
    assert (far.inner_blocks[0] == np.where(exists, np.float32(0.5), 0)).all()


@pytest.mark.parametrize("rule", RULES)
def test_outputs_that_are_clamped_never_move_and_couplings_of_zero_train_as_none(rule: TrainingRule) -> None:
    network, (x, labels) = coupled(3, inner=(True, True)), learning(6, 3)
    targets = network.targets(labels)
    found = Phases(LayeredAnnealing(), WARM).clamped(network, x, targets, reads=4, seed=2)
    assert (found.states[..., -2:] == targets[:, None]).all()
    plain = replace(network, inner=())
    zeros = replace(network, inner=tuple(np.zeros((n, n), np.float32) for n in network.sizes))
    one, two = (rule.direction(n, x, targets, Phases(LayeredAnnealing(0)), 5).steps for n in (plain, zeros))
    assert len(two) == len(one) + 2
    assert all((a == b).all() for a, b in zip(one, two, strict=False))


def test_groups_that_are_shared_stay_shared_and_symmetric() -> None:
    distance = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    ring = Pattern(np.where(distance == 0, -1, distance - 1))  # one coupling for each distance
    network = coupled(0, (3, 5), inner=(ring, None))
    for gap in range(1, 5):
        assert np.ptp(network.inner_blocks[0][distance == gap]) == 0
    assert len(np.unique(network.inner_blocks[0])) == 5


@pytest.mark.parametrize("sweeps", [1, 40])
def test_mean_field_sweeps_follow_couplings_inside_layers(sweeps: int) -> None:
    network, (x, _) = coupled(4, (3, 5), width=0.2), learning(7, 3)
    plain = deployed(replace(network, inner=()), sweeps)(torch.from_numpy(x))
    module = deployed(network, sweeps)
    assert not torch.allclose(plain, module(torch.from_numpy(x)), atol=1e-3)
    if sweeps == 1:
        return
    module.betas = [0.5] * 200  # type: ignore[assignment]  # long at one temperature: the mean-field equations hold
    found = module(torch.from_numpy(x)).detach().numpy()
    fields, (own, _) = network.model(x).fields, (np.zeros((7, 5)), None)
    out = np.zeros((7, 2))
    for _ in range(500):
        own = 0.5 * own + 0.5 * np.tanh(0.5 * (fields[0] + out @ network.couplings[0].T + own @ network.inner_blocks[0]))
        out = np.tanh(0.5 * (fields[1] + own @ network.couplings[0]))
    np.testing.assert_allclose(found, network.scores(fields[1] + own @ network.couplings[0]), atol=1e-4)


@parametrize_with_checks([IsingNetworkClassifier(hidden=(16,), epochs=15, hidden_couplings=True, random_state=0)])
def test_it_is_a_scikit_learn_estimator(estimator: object, check: object) -> None:
    check(estimator)  # type: ignore[operator]


def test_the_classifier_learns_exports_and_resumes_to_the_same_network(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(1, 0.6, (40, 6)), rng.normal(-1, 0.6, (40, 6))]).astype(np.float32)
    y = np.repeat(["a", "b"], 40)
    settings_ = {"hidden": (12,), "hidden_couplings": True, "epochs": 15, "random_state": 0, "sweeps": 5}
    whole = IsingNetworkClassifier(**settings_).fit(x, y)
    assert whole.score(x, y) > 0.95
    assert whole.score_sampled(x, y) > 0.95
    assert np.abs(whole.network_.inner_blocks[0]).max() > 0

    class Stop(Exception):
        pass

    def interrupt(record: object) -> None:
        if record.epoch == 2:  # type: ignore[attr-defined]
            raise Stop

    path = tmp_path / "net.npz"
    with pytest.raises(Stop):
        IsingNetworkClassifier(**settings_, checkpoint=path, progress=interrupt).fit(x, y)
    resumed = IsingNetworkClassifier(**settings_, checkpoint=path).fit(x, y)
    for one, two in zip(whole.network_.parameters, resumed.network_.parameters, strict=True):
        assert (one == two).all()
    with pytest.raises(ValueError, match="other settings or data"):
        IsingNetworkClassifier(**(settings_ | {"hidden_couplings": False}), checkpoint=path).fit(x, y)
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(whole.export_onnx(tmp_path / "net.onnx"))
    (found,) = session.run(None, {"input": x})
    with torch.no_grad():
        np.testing.assert_allclose(found, whole.to_module()(torch.from_numpy(x)).numpy(), atol=1e-4)


def test_what_cannot_be_done_with_couplings_inside_layers_is_refused_before_work() -> None:
    x, labels = learning(8, 3)
    with pytest.raises(ValueError, match="sweeps=0"):
        deployed(coupled(0), 0)
    model = IsingNetworkClassifier(hidden=(4,), hidden_couplings=True, sweeps=0)
    for fit in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match="sweeps=0"):
            fit(x, labels)
    assert not hasattr(model, "network_")
    deep = coupled(0, (3, 4, 4))
    with pytest.raises(ValueError, match="frozen"):
        train_windows(deep, Training(epochs=1), x, labels, window=2)
    whole, records = train_windows(deep, Training(epochs=1), x, labels, window=3)
    assert len(records) == 1
    assert (whole.inner_blocks[1] != deep.inner_blocks[1]).any()
    with pytest.raises(ValueError, match="couplings reach"):
        replace(deep, limits=Limits(0.01, 50.0), couplings=tuple(0 * block for block in deep.couplings))
    with pytest.raises(ValueError, match="one way"):
        IsingNetwork.create((3, 2), 2, inner=(Pattern(np.array([[-1, 0], [-1, -1]])), None))
    with pytest.raises(ValueError, match="diagonal"):
        IsingNetwork.create((3, 2), 2, inner=(Pattern(np.array([[0, 1], [2, 0]])), None))
    with pytest.raises(ValueError, match="transpose"):
        IsingNetwork.create((3, 3), 2, inner=(Pattern(np.array([[-1, 0, 0], [1, -1, 2], [2, 3, -1]])), None))
    with pytest.raises(ValueError, match="inner has 1 entries"):
        IsingNetwork.create((3, 2), 2, inner=(True,))
    with pytest.raises(ValueError, match="parameters has 4"):
        coupled(0).with_parameters(coupled(0).parameters[:-1])
