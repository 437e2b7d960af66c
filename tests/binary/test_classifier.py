"""The estimator, and the loops over batches that train it through a QUBO."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import dimod
import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

import annealnet as an
from annealnet.binary import Architecture, one_per_class, single_output
from annealnet.binary.baselines.reference import least_errors
from annealnet.binary.baselines.straight_through import train_straight_through
from annealnet.binary.formulation import Lean, Published
from annealnet.binary.search.rounds import best_of, dropout_rounds, vote_over_batches
from annealnet.datasets import digits
from annealnet.preparation import RealCoding
from annealnet.samplers import AnnealingSampler, RecombinationSampler


@parametrize_with_checks([an.BinaryNetworkClassifier(hidden=(8,), sweeps=200, reads=1, random_state=0)])
def test_it_is_a_scikit_learn_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


def digits_data() -> tuple[np.ndarray, ...]:
    split = digits(seed=0)
    return split.x_train.reshape(-1, 64), split.y_train, split.x_test.reshape(-1, 64), split.y_test


def test_digits_are_learned_and_deployed_everywhere(tmp_path: Path) -> None:
    x, y, x_test, y_test = digits_data()
    model = an.BinaryNetworkClassifier(hidden=(64,), sweeps=150, random_state=0).fit(x, y)
    assert model.score(x_test, y_test) > 0.93
    assert model.errors_ == (model.predict(x) != y).sum()
    scores = model.decision_function(x_test)
    np.testing.assert_array_equal(model.to_module()(torch.from_numpy(x_test)).detach().numpy(), scores)
    session = onnxruntime.InferenceSession(model.export_onnx(tmp_path / "m.onnx"))
    np.testing.assert_array_equal(session.run(None, {"input": x_test})[0], scores)
    path = model.save(tmp_path / "m.anb")
    np.testing.assert_array_equal(an.load(path).decision_function(x_test), scores)
    weights, biases, columns, header = 64 * 64 / 8 + 64 * 10 / 8, 2 * 64, 2 * 64, 400
    assert path.stat().st_size == model.num_bytes_ < weights + biases + columns + header


@pytest.mark.parametrize(
    "more",
    [
        {"inputs": "thermometer", "levels": 2}, {"outputs": 7}, {"hidden": (12, 12)}, {"schedule": "exchange", "reads": 3},
        {"batch_size": 64}, {"loss": "errors", "bias": False},
    ],
)  # fmt: skip
def test_every_way_of_training_learns_something(more: dict[str, Any]) -> None:
    x, y, x_test, y_test = digits_data()
    settings = {"hidden": (12,), "sweeps": 40, "random_state": 1, **more}
    model = an.BinaryNetworkClassifier(**settings).fit(x[:400], y[:400])
    assert model.score(x_test, y_test) > 0.4  # chance is 0.1
    again = clone(model).fit(x[:400], y[:400])
    assert (again.network_.flat_weights == model.network_.flat_weights).all()


@pytest.mark.parametrize("method", ["lean", "published"])
def test_a_qubo_in_batches_learns_a_majority(method: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (60, 3)).astype(float)
    y = np.where(x.sum(axis=1) > 1, "many", "few")
    model = an.BinaryNetworkClassifier(
        (3,), method=method, inputs="binary", bias=False, rounds=4, batch_size=4, sampler_parameters={"num_reads": 30},
        random_state=0,
    ).fit(x, y)  # fmt: skip
    assert model.score(x, y) > 0.9
    assert model.complete_


def test_an_interrupted_fit_keeps_the_batches_already_paid_for() -> None:
    class Stopping(AnnealingSampler):
        calls = 0

        def sample_energy(self, *args: Any, **more: Any) -> Any:
            Stopping.calls += 1
            if Stopping.calls == 3:
                raise KeyboardInterrupt
            return super().sample_energy(*args, **more)

    x = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], dtype=float)
    y = (x.sum(axis=1) > 1).astype(int)
    model = an.BinaryNetworkClassifier((1,), sampler=Stopping(), inputs="binary", bias=False, batch_size=4, random_state=0)
    with pytest.warns(RuntimeWarning, match="interrupted: the best so far is kept"):
        model.fit(x, y)
    assert not model.complete_
    assert model.score(x, y) > 0.5


def test_the_sampler_found_the_proven_optimum_of_a_batch() -> None:
    rng = np.random.default_rng(3)
    shape, codes = Architecture((3, 3, 1)), single_output()
    for seed in range(3):
        x = rng.choice(np.array([-1, 1], dtype=np.int8), (4, 3))
        y = rng.integers(0, 2, 4)
        exact = least_errors(shape, codes, x, y)
        assert exact.proven
        assert exact.network is not None
        assert exact.network.errors(x, y) == exact.errors
        for formulation in (Lean(), Published()):
            training = formulation.energy(shape, codes, x, y)
            found = best_of(training, RecombinationSampler(), x, y, seed, num_reads=20)
            assert found.errors == exact.errors
            assert found.energy >= exact.errors - 1e-6  # no state is below the true optimum


@pytest.mark.parametrize("sizes", [(3, 1), (3, 2, 1), (4, 2, 2)])
def test_the_exact_reference_against_enumeration(sizes: tuple[int, ...]) -> None:
    shape = Architecture(sizes)
    codes = single_output() if sizes[-1] == 1 else one_per_class(2)
    rng = np.random.default_rng(1)
    x, y = rng.choice(np.array([-1, 1], dtype=np.int8), (7, sizes[0])), rng.integers(0, 2, 7)
    training = Lean().energy(shape, codes, x, y)
    w = ((np.arange(2**shape.num_weights)[:, None] >> np.arange(shape.num_weights)) & 1).astype(np.uint8)
    least = training.energy.energy(training.complete(w)).min()
    found = least_errors(shape, codes, x, y)
    assert (found.errors, found.bound, found.proven, found.gap) == (round(least), round(least), True, 0)
    assert found.certificate.proven


def test_no_time_means_no_claim() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.choice(np.array([-1, 1], dtype=np.int8), (200, 21)), rng.integers(0, 2, 200)
    found = least_errors(Architecture((21, 9, 1)), single_output(), x, y, time_limit=0.05)
    assert not found.proven
    assert found.bound <= 100
    assert found.errors is None or found.gap is not None


def test_dropout_rounds_never_lose_what_they_have() -> None:
    rng = np.random.default_rng(2)
    shape, codes = Architecture((5, 3, 1)), single_output()
    x, y = rng.choice(np.array([-1, 1], dtype=np.int8), (6, 5)), rng.integers(0, 2, 6)
    sampler, more = AnnealingSampler(), {"num_reads": 4, "num_sweeps": 50}
    once = best_of(Lean().energy(shape, codes, x, y), sampler, x, y, 0, **more)
    many = dropout_rounds(Lean(), sampler, shape, codes, x, y, 0, rounds=6, **more)
    assert many.errors(x, y) <= once.errors


def test_straight_through_learns_the_same_networks() -> None:
    x, y, x_test, y_test = digits_data()
    coding = RealCoding.fit(x)
    shape = Architecture((64, 32, 10), bias=True)
    network = train_straight_through(shape, one_per_class(10), coding.encode(x), y, 0, epochs=20)
    assert (network.predict(coding.encode(x_test)) == y_test).mean() > 0.75


class Hybrid(AnnealingSampler):
    """Says how many variables it takes, as D-Wave's hybrid solvers do."""

    def __init__(self) -> None:
        super().__init__()
        self.properties = {"maximum_number_of_variables": 30}


class Device(AnnealingSampler, dimod.Structured):
    """Has qubits with names, as devices do."""

    nodelist: ClassVar = list(range(30))
    edgelist: ClassVar = [(a, b) for b in range(30) for a in range(b)]


@pytest.mark.parametrize("sampler", [Hybrid(), Device()], ids=lambda sampler: type(sampler).__name__)
def test_what_a_sampler_says_it_takes_is_asked_for(sampler: Any) -> None:
    x = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], dtype=float)
    model = an.BinaryNetworkClassifier((2,), sampler=sampler, inputs="binary", bias=False, batch_size=8, random_state=0)
    with pytest.raises(
        ValueError, match=r"needs \d+ bits for batches of 8 samples, the sampler takes 30: batch_size=\d+ takes"
    ):
        model.fit(x, (x.sum(axis=1) > 1).astype(int))


X = np.array([[0.0, 1.0], [1.0, 0.5], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("settings", "x", "y", "message"),
    [
        ({}, X, [1, 1, 1], "y has one class only, 1"),
        ({}, np.array([[np.nan], [1.0]]), [0, 1], "NaN"),
        ({"inputs": "binary"}, X, [0, 1, 0], "feature 1 has 3 different values.*give inputs='thermometer'"),
        ({"inputs": "hex"}, X, [0, 1, 0], "inputs='hex' is not known"),
        ({"levels": 0, "inputs": "thermometer"}, X, [0, 1, 0], "levels=0 does not do: give a whole number of at least 1"),
        ({"method": "exact"}, X, [0, 1, 0], "method='exact' is not known"),
        ({"method": "native", "sampler": AnnealingSampler()}, X, [0, 1, 0], "method='native' needs none"),
        ({"hidden": (0,)}, X, [0, 1, 0], r"hidden=\(0,\) does not do: give \(\), or layers"),
        ({"sweeps": 0}, X, [0, 1, 0], "sweeps=0"),
        ({"outputs": 1, "hidden": (2,)}, X, [0, 1, 2], "tell at most 2 classes apart"),
        (
            {"method": "lean", "hidden": (900,)},
            X,
            [0, 1, 0],
            r"needs \d+ bits for batches of 3 samples, the sampler takes 20000",
        ),
    ],
)
def test_bad_input_is_refused_before_work(settings: dict[str, Any], x: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        an.BinaryNetworkClassifier(**settings).fit(x, y)


@pytest.mark.parametrize(
    ("more", "message"),
    [({"batch_size": 9}, "batch_size=9 does not do: give a whole number from 1 to 4"), ({"rounds": 0}, "rounds=0")],
)
def test_bad_rounds_are_refused(more: dict[str, int], message: str) -> None:
    x, y = np.ones((4, 3), dtype=np.int8), np.zeros(4, dtype=np.int64)
    with pytest.raises(ValueError, match=message):
        vote_over_batches(
            Lean(), AnnealingSampler(), Architecture((3, 1)), single_output(), x, y, 0, **{"batch_size": 2, **more}
        )


def test_biases_have_no_exact_reference() -> None:
    with pytest.raises(ValueError, match="knows none"):
        least_errors(Architecture((2, 1, 1), bias=True), single_output(), np.ones((1, 2), np.int8), np.array([0]))
