"""Training as a whole: digits, checkpoints, divergence, deployment, the scikit-learn face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from annealnet.datasets import digits
from annealnet.ising import (
    DeepStateRule,
    Descent,
    EpochRecord,
    GroundStateNetwork,
    IsingNetwork,
    IsingNetworkClassifier,
    Limits,
    MeanFieldNetwork,
    Pattern,
    Phases,
    Training,
    TrainingState,
    deployed,
)
from annealnet.samplers import DimodLayers, EmbeddedSampler, NoisyLayers, Schedule
from annealnet.samplers.layered_exact import all_states

SMALL = {"hidden": (48,), "epochs": 6, "random_state": 0}


def flat_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    s = digits(0)
    return s.x_train.reshape(-1, 64), s.y_train, s.x_test.reshape(-1, 64), s.y_test


@parametrize_with_checks([IsingNetworkClassifier(hidden=(24,), epochs=15, random_state=0)])
def test_it_is_a_scikit_learn_estimator(estimator: object, check: object) -> None:
    check(estimator)  # type: ignore[operator]


def test_digits_are_learned_and_the_deployed_network_keeps_it() -> None:
    x, y, test, wanted = flat_digits()
    model = IsingNetworkClassifier(hidden=(96,), epochs=20, random_state=1).fit(x, y)
    assert model.score_sampled(test, wanted) > 0.95
    assert model.score(test, wanted) > 0.93
    assert model.history_[-1].wrong < model.history_[0].wrong


def test_the_same_seed_repeats_and_a_checkpoint_resumes_to_the_same_network(tmp_path: Path) -> None:
    x, y, _, _ = flat_digits()
    whole = IsingNetworkClassifier(**SMALL).fit(x[:300], y[:300])
    again = clone(whole).fit(x[:300], y[:300])

    class Stop(Exception):
        pass

    def interrupt(record: EpochRecord) -> None:
        if record.epoch == 3:
            raise Stop

    path = tmp_path / "digits"
    with pytest.raises(Stop):
        IsingNetworkClassifier(**SMALL, checkpoint=path, progress=interrupt).fit(x[:300], y[:300])
    seen: list[EpochRecord] = []
    resumed = IsingNetworkClassifier(**SMALL, checkpoint=path, progress=seen.append).fit(x[:300], y[:300])
    assert [record.epoch for record in seen] == [4, 5, 6]
    for one, two, three in zip(*(m.network_.parameters for m in (whole, again, resumed)), strict=True):
        assert (one == two).all()
        assert (one == three).all()
    with pytest.raises(ValueError, match="other settings or data"):
        IsingNetworkClassifier(**SMALL, checkpoint=path).fit(x[:200], y[:200])


class OwnRule:
    """A user's own rule, whose repr is its address."""

    def __init__(self, reads: int) -> None:
        self.reads = reads

    def direction(self, *args: Any) -> Any:
        return DeepStateRule(self.reads).direction(*args)


def test_a_checkpoint_knows_the_sampler_and_the_rule_of_its_run(tmp_path: Path) -> None:
    x, y, _, _ = flat_digits()
    x, y = x[:40], y[:40]
    network = IsingNetwork.create((64, 6), 10, seed=0)

    def run(rule: OwnRule, phases: Phases) -> TrainingState:
        return Training(rule, phases, epochs=2, checkpoint=tmp_path).run(network, x, y)

    first = run(OwnRule(1), Phases())
    again = run(OwnRule(1), Phases())
    assert again.steps == first.steps
    assert all((one == two).all() for one, two in zip(first.network.parameters, again.network.parameters, strict=True))
    noisy = Phases(NoisyLayers(Phases().sampler, couplings=0.05))
    for rule, phases in ((OwnRule(1), noisy), (OwnRule(2), Phases())):
        with pytest.raises(ValueError, match="other settings or data"):
            run(rule, phases)


@pytest.mark.parametrize("rate", [float("inf"), 1e9])
def test_a_diverging_learning_rate_is_stopped_and_the_last_good_state_kept(rate: float) -> None:
    x, y, _, _ = flat_digits()
    network = IsingNetwork.create((64, 12), 10, seed=0)
    with pytest.warns(UserWarning, match="last good state"):
        state = Training(DeepStateRule(2), optimiser=Descent(rate, rate), epochs=3).run(network, x[:200], y[:200])
    assert state.stopped
    assert len(state.history) < 3
    assert all(np.isfinite(part).all() for part in state.network.parameters)
    assert np.abs(state.network.couplings[0]).max() < 1


def test_partial_fit_and_warm_start_go_on() -> None:
    x, y, test, wanted = flat_digits()
    model = IsingNetworkClassifier(**SMALL)
    for part in range(4):
        model.partial_fit(x[part::4], y[part::4], classes=np.arange(10))
    assert len(model.history_) == 4
    early = model.score(test, wanted)
    for part in range(8):
        model.partial_fit(x[part % 4 :: 4], y[part % 4 :: 4])
    assert model.score(test, wanted) > max(early, 0.85)
    with pytest.raises(ValueError, match="none of the classes"):
        model.partial_fit(x[:5], y[:5] + 20)
    warm = IsingNetworkClassifier(**SMALL, warm_start=True).fit(x, y)
    before = warm.history_[-1].wrong
    assert warm.fit(x, y).history_[-1].wrong < before
    answers = warm.predict(test)
    with pytest.raises(ValueError, match="warm_start"):
        warm.fit(x[y < 5], y[y < 5])
    for setting in ({"hidden": (9,)}, {"spins_per_class": 3}, {"hidden_couplings": True}, {"limits": (0.5, 4.0)}):
        kept = {name: getattr(warm, name) for name in setting}
        with pytest.raises(ValueError, match="warm_start"):
            warm.set_params(**setting).fit(x, y)
        warm.set_params(**kept)
    assert (warm.predict(test) == answers).all()


@pytest.mark.parametrize("sweeps", [None, 0, 6])
def test_the_exported_network_answers_as_the_module(tmp_path: Path, sweeps: int) -> None:
    runtime = pytest.importorskip("onnxruntime")
    x, y, test, _ = flat_digits()
    model = IsingNetworkClassifier(**SMALL, sweeps=sweeps).fit(x, y)
    session = runtime.InferenceSession(model.export_onnx(tmp_path / "net.onnx"))
    (found,) = session.run(None, {"input": test[:77].astype(np.float32)})
    np.testing.assert_allclose(found, model.decision_function(test[:77]), atol=1e-4)


@given(st.integers(1, 6), st.integers(1, 2), st.integers(2, 4), st.integers(0, 10**6))
@settings(max_examples=40)
def test_ground_states_of_all_classes_are_those_of_enumeration(hidden: int, per_class: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = IsingNetwork.create((3, hidden), classes, spins_per_class=per_class, seed=seed, limits=Limits(2.0, 3.0))
    network = network.with_parameters([rng.normal(size=part.shape).astype(np.float32) for part in network.parameters])
    x = rng.normal(size=(5, 3)).astype(np.float32)
    found = deployed(network)(torch.from_numpy(x)).numpy()
    model = network.model(x)
    states = np.repeat(all_states(model.num_variables)[None], 5, axis=0)
    energies = model.energy(states)
    for number, code in enumerate(network.codes):
        right = (states[0][:, -len(code) :] == code).all(1)
        np.testing.assert_allclose(-found[:, number], energies[:, right].min(1), rtol=1e-4, atol=1e-3)


def test_ground_states_out_of_reach_are_refused_and_replaced() -> None:
    deep = IsingNetwork.create((3, 4, 4), 2, seed=0)
    coupled = IsingNetwork.create((3, 4), 2, seed=0, inner=True)
    for network in (deep, coupled):
        with pytest.raises(ValueError, match="ground states need one hidden layer"):
            GroundStateNetwork(network)
        assert isinstance(deployed(network), MeanFieldNetwork)


def test_one_pass_of_signs_is_what_it_says() -> None:
    network = IsingNetwork.create((5, 7, 6), 3, seed=0)
    x = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    spins = np.where(network.model(x).fields[0] < 0, -1.0, 1.0)
    spins = np.where(spins @ network.couplings[0] + network.biases[1] < 0, -1.0, 1.0)
    wanted = network.scores(spins @ network.couplings[1] + network.biases[2])
    np.testing.assert_allclose(deployed(network, 0)(torch.from_numpy(x)).numpy(), wanted, atol=1e-4)


def test_a_convolutional_first_layer_keeps_its_shared_kernel() -> None:
    x, y, _, _ = flat_digits()
    pattern = Pattern.convolution(8, 3, 4, stride=2)
    network = IsingNetwork.create((64, pattern.groups.shape[1]), 10, patterns=(pattern, None), seed=0)
    after = Training(epochs=2).run(network, x, y).network
    for name in range(pattern.groups.max() + 1):
        assert np.ptp(after.inputs[pattern.groups == name]) == 0
    assert (after.inputs[pattern.groups < 0] == 0).all()
    assert not np.allclose(after.inputs, network.inputs)


def test_training_through_an_embedded_machine_with_one_embedding() -> None:
    testing = pytest.importorskip("dwave.system.testing")
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(1, 0.3, (4, 3)), rng.normal(-1, 0.3, (4, 3))]).astype(np.float32)
    mock = testing.MockDWaveSampler(topology_type="zephyr", topology_shape=[2], substitute_kwargs={"seed": 1})
    device = EmbeddedSampler(mock)
    layers = NoisyLayers(DimodLayers(device), fields=0.02, couplings=0.01)
    phases = Phases(layers, Schedule((1.0,)))
    network = IsingNetwork.create((3, 4), 2, spins_per_class=1, seed=0)
    training = Training(DeepStateRule(4, 1.0), phases, Descent(0.1, 0.1), epochs=3, batch_size=8)
    state = training.run(network, x, np.repeat([0, 1], 4))
    assert state.history[-1].wrong <= state.history[0].wrong
    assert phases.free(state.network, x, reads=2).info["embeddings"][0]["reused"]
    assert len(device._found) == 2  # one graph with free outputs, one with clamped ones


def test_bad_data_is_refused_before_work() -> None:
    with pytest.raises(ValueError, match="one class"):
        IsingNetworkClassifier().fit(np.zeros((3, 2)), [1, 1, 1])
    for hidden in ((), (0,), (4, -1)):
        with pytest.raises(ValueError, match=r"^hidden=\(.*\) does not do: give layers of whole numbers of at least 1"):
            IsingNetworkClassifier(hidden=hidden).fit(np.eye(2), [0, 1])
    network = IsingNetwork.create((2, 3), 2)
    with pytest.raises(ValueError, match="NaN"):
        Training().run(network, np.full((2, 2), np.nan), np.array([0, 1]))
    with pytest.raises(ValueError, match="at least one"):
        Training().run(network, np.zeros((0, 2)), np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="sizes"):
        IsingNetwork.create((4,), 2)
