"""Ctrl-C in any training: the best so far is kept, a warning says so, the estimator answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import annealnet as an
from annealnet.binary import Architecture, single_output
from annealnet.binary.formulation import Lean
from annealnet.binary.search import native
from annealnet.binary.search.rounds import dropout_rounds
from annealnet.gradients import descend, straight_through_sign
from annealnet.interruption import Interruption
from annealnet.ising import IsingNetwork, Training
from annealnet.ising.search.layerwise import train_windows
from annealnet.samplers import AnnealingSampler, LayeredAnnealing
from annealnet.selection.search import refining, solving

KEPT = "interrupted: the best so far is kept"


def interrupting(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    """The function, with Ctrl-C in place of its call number ``at``."""
    calls = 0

    def called(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        return function(*arguments, **named)

    return called


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 6))
    return x, np.array(["no", "yes"])[(x[:, :3].sum(axis=1) > 0).astype(int)]


def usable(model: Any) -> None:
    x, y = data()
    assert not model.complete_
    assert model.score(x, y) > 0.6
    assert len(model.small_.to_bytes()) == model.num_bytes_


def test_nothing_is_kept_where_nothing_is_worth_it() -> None:
    stop = Interruption()
    with pytest.raises(KeyboardInterrupt), stop.kept("it", lambda: False):
        raise KeyboardInterrupt
    assert not stop.happened
    with pytest.warns(RuntimeWarning, match="it was interrupted"), stop.kept("it"):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), stop.kept("the rest"):  # a second Ctrl-C
        raise KeyboardInterrupt


def test_binary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native._Run, "_chunk", interrupting(native._Run._chunk, 5))
    with pytest.warns(RuntimeWarning, match=KEPT):
        usable(an.BinaryNetworkClassifier(hidden=(4,), random_state=0).fit(*data()))


def test_ising_between_and_within_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(record: Any) -> None:
        if record.epoch == 3:
            raise KeyboardInterrupt

    with pytest.warns(RuntimeWarning, match=KEPT):
        model = an.IsingNetworkClassifier(hidden=(8,), progress=stop, random_state=0).fit(*data())
    usable(model)
    assert len(model.history_) == 3
    monkeypatch.setattr(LayeredAnnealing, "sample_layers", interrupting(LayeredAnnealing.sample_layers, 6))
    with pytest.warns(RuntimeWarning, match=KEPT):
        model = an.IsingNetworkClassifier(hidden=(8,), random_state=0).fit(*data())
    assert (model.complete_, model.history_) == (False, ())
    assert set(model.predict(data()[0])) <= {"no", "yes"}  # two steps have not learned anything yet


def test_an_interrupted_ising_training_resumes_to_the_same_network(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"hidden": (8,), "epochs": 5, "random_state": 0}
    whole = an.IsingNetworkClassifier(**settings).fit(*data())
    with monkeypatch.context() as patch:
        patch.setattr(LayeredAnnealing, "sample_layers", interrupting(LayeredAnnealing.sample_layers, 15))
        with pytest.warns(RuntimeWarning, match=KEPT):
            an.IsingNetworkClassifier(**settings, checkpoint=tmp_path / "run").fit(*data())
    resumed = an.IsingNetworkClassifier(**settings, checkpoint=tmp_path / "run").fit(*data())
    assert resumed.complete_
    for one, two in zip(whole.network_.parameters, resumed.network_.parameters, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("settings", "at"),
    [
        ({}, 2), ({}, 8), ({"scope": "layerwise", "depth": 2, "width": 12}, 3), ({"scope": "layerwise", "width": 12}, 12),
        ({"select": "neurons", "scope": "layerwise", "depth": 2}, 2),
    ],
)  # fmt: skip
def test_selection(settings: dict[str, Any], at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solving, "sample_masks", interrupting(solving.sample_masks, at))
    with pytest.warns(RuntimeWarning, match=KEPT):
        model = an.NeuronSelectionClassifier(**{"width": 32, "random_state": 0, **settings}).fit(*data())
    usable(model)


def test_selection_with_other_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data()
    monkeypatch.setattr(refining, "_sweep", interrupting(refining._sweep, 4))
    with pytest.warns(RuntimeWarning, match=KEPT):
        usable(an.NeuronSelectionClassifier(width=16, scope="layerwise", refine=30, random_state=0).fit(x, y))
    sampler = AnnealingSampler()
    monkeypatch.setattr(sampler, "sample_energy", interrupting(sampler.sample_energy, 1))
    with pytest.warns(RuntimeWarning, match=KEPT):
        usable(an.NeuronSelectionClassifier(width=16, scope="adjacent", sampler=sampler, random_state=0).fit(x, y))
    monkeypatch.setattr(sampler, "sample_energy", interrupting(AnnealingSampler().sample_energy, 1))
    walsh = an.NeuronSelectionClassifier(width=5, depth=2, select="neurons", order=2, sampler=sampler, random_state=0)
    with pytest.warns(RuntimeWarning, match=KEPT):
        usable(walsh.fit(x, y))


def test_before_anything_was_found_the_estimator_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = an.NeuronSelectionClassifier(width=16, random_state=0)
    monkeypatch.setattr(solving, "sample_masks", interrupting(solving.sample_masks, 1))
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data())
    assert not hasattr(model, "classes_")


def test_rounds_of_a_binary_network() -> None:
    sampler = AnnealingSampler()
    rng = np.random.default_rng(2)
    x, y = rng.choice(np.array([-1, 1], dtype=np.int8), (6, 5)), rng.integers(0, 2, 6)
    whole = sampler.sample_energy
    sampler.sample_energy = interrupting(whole, 3)  # type: ignore[method-assign]
    with pytest.warns(RuntimeWarning, match=KEPT):
        network = dropout_rounds(Lean(), sampler, Architecture((5, 3, 1)), single_output(), x, y, 0, rounds=9, num_reads=4)
    assert network.errors(x, y) < 6


def test_gradients_keep_what_they_have() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    steps = []

    def loss_of(batch: torch.Tensor) -> torch.Tensor:
        steps.append(len(batch))
        if len(steps) == 4:
            raise KeyboardInterrupt
        return (straight_through_sign(weight) + weight).square().sum()

    with pytest.warns(RuntimeWarning, match=KEPT):
        descend(torch.optim.SGD([weight], 0.01), loss_of, 10, epochs=9, batch_size=4, seed=0)
    assert steps == [4, 4, 2, 4]
    assert 0 < float(weight) < 1


def test_windows_have_checkpoints_of_their_own_and_resume(tmp_path: Any) -> None:
    x, y = data()
    inputs, labels = x.astype(np.float32), (y == "yes").astype(np.int64)
    network = IsingNetwork.create((6, 5, 4), 2, spins_per_class=1, seed=0)
    whole, records = train_windows(network, Training(epochs=2), inputs, labels)
    kept = Training(epochs=2, checkpoint=tmp_path / "run")

    def stop(record: Any) -> None:
        raise KeyboardInterrupt

    with pytest.warns(RuntimeWarning, match=KEPT):
        _, few = train_windows(network, Training(epochs=2, checkpoint=tmp_path / "run", say=stop), inputs, labels)
    assert len(few) == 1 < len(records)
    for _ in range(2):  # resumed, and read once more from what is finished
        again, same = train_windows(network, kept, inputs, labels)
        assert same == records
        for one, two in zip(again.parameters, whole.parameters, strict=True):
            np.testing.assert_array_equal(one, two)
