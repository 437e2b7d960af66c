"""The estimator: scikit-learn's checks, scopes, files, conversions, refusals."""

from __future__ import annotations

import dimod
import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import check_estimator

import annealnet
from annealnet.datasets import digits
from annealnet.preparation import ScaledCoding
from annealnet.samplers import AdiabaticSampler, QAOASampler
from annealnet.selection import NeuronSelectionClassifier, RandomNetwork
from annealnet.selection.baselines.edge_popup import EdgePopup, edge_popup
from annealnet.selection.network.draws import normals, signs, words
from annealnet.selection.search.refining import _change, refine_masks

SCOPES = [
    {"select": "weights", "scope": "global"},
    {"select": "weights", "scope": "neuronwise", "kept": 0.25},
    {"select": "weights", "scope": "layerwise", "width": 24, "depth": 2},
    {"select": "weights", "scope": "layerwise", "width": 24, "teacher": "trained"},
    {"select": "weights", "scope": "layerwise", "refine": 20},
    {"select": "weights", "scope": "adjacent", "neighbours": 1},
    {"select": "neurons", "scope": "global", "kept": 10},
    {"select": "neurons", "scope": "global", "width": 5, "depth": 2, "order": 2},
    {"select": "neurons", "scope": "global", "width": 9, "depth": 2, "order": 1},
    {"select": "neurons", "scope": "layerwise", "depth": 2},
    {"select": "neurons", "scope": "adjacent", "neighbours": 3},
    {"select": "weights", "scope": "global", "image_shape": (1, 8, 8), "width": 4, "weights": "kaiming"},
    {"select": "neurons", "scope": "global", "image_shape": (1, 8, 8), "width": 4},
]


@pytest.fixture(scope="module")
def data():
    split = digits(seed=0)
    return split.x_train.reshape(-1, 64)[:400], split.y_train[:400], split.x_test.reshape(-1, 64), split.y_test


def fitted(data, **settings):
    small = {"width": 48, "num_sweeps": 40, "num_reads": 2, "random_state": 0}
    return NeuronSelectionClassifier(**{**small, **settings}).fit(data[0], data[1])


def test_scikit_learn_accepts_it():
    check_estimator(NeuronSelectionClassifier(width=64, num_sweeps=50, random_state=0))


@pytest.mark.parametrize("settings", SCOPES, ids=lambda s: "-".join(map(str, s.values())))
def test_every_scope_learns_and_is_the_same_after_saving_and_conversion(settings, data, tmp_path):
    model = fitted(data, **settings)
    network = model.network_
    if "order" not in settings:  # ten bits hold no good network, however they are set
        assert model.score(data[2], data[3]) > (0.15 if settings["select"] == "neurons" else 0.25)  # chance is 0.1
    assert model.error_ == pytest.approx(1 - model.score(data[0], data[1]))
    path, scores = model.save(tmp_path / "net.bin"), model.decision_function(data[2])
    assert path.stat().st_size == model.num_bytes_ < 900 + network.mask_bits / 8 + 1
    back = annealnet.load(path)
    assert np.array_equal(back.predict(data[2]), model.predict(data[2]))
    assert np.array_equal(back.decision_function(data[2]), scores)
    module = model.to_module()
    with torch.no_grad():
        answers = module(torch.from_numpy(data[2])).numpy()
    assert np.allclose(answers, scores, atol=1e-3)
    assert module[-1][-1].in_features == len(network.alive()) <= network.network.layer_width(network.network.depth - 1)
    assert np.array_equal(fitted(data, **settings).decision_function(data[2]), scores)


@pytest.mark.parametrize("settings", [{}, {"image_shape": (1, 8, 8), "width": 3}, {"scope": "layerwise", "depth": 2}])
def test_onnx_gives_the_same_answers(settings, data, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="needs annealnet[onnx]")
    pytest.importorskip("onnxscript", reason="needs annealnet[onnx]")
    model = fitted(data, **settings)
    session = runtime.InferenceSession(model.export_onnx(tmp_path / "net.onnx"))
    answers = session.run(None, {"input": data[2][:50]})[0]
    assert np.allclose(answers, model.decision_function(data[2][:50]), atol=1e-3)


def test_wider_networks_hold_better_subnetworks(data):
    scores = [fitted(data, width=w, num_sweeps=100).score(data[2], data[3]) for w in (16, 64, 512)]
    assert scores == sorted(scores)
    assert scores[-1] > 0.93


def test_annealing_on_the_loss_lowers_it_and_helps(data):
    plain, refined = (fitted(data, scope="layerwise", refine=sweeps, width=64) for sweeps in (0, 40))

    def loss(model) -> float:
        targets = np.where(np.arange(10) == data[1][:, None], 1.0, -1.0)
        return float(((model.decision_function(data[0]) - targets) ** 2).sum(axis=1).mean())

    assert loss(refined) < 0.7 * loss(plain)
    assert refined.score(data[2], data[3]) > plain.score(data[2], data[3])


def test_annealing_on_the_loss_is_near_the_best_of_all_masks():
    rng = np.random.default_rng(0)
    network, x = RandomNetwork(0, 3, (2,), 2), rng.normal(size=(25, 3)).astype(np.float32)
    targets = np.where(np.arange(2) == rng.integers(2, size=25)[:, None], 1.0, -1.0).astype(np.float32)
    start = (np.ones((2, 3), dtype=bool), np.ones((2, 2), dtype=bool))

    def loss(first, last) -> float:
        h = network.features(x, 0, first).astype(np.float64)
        a = h - h.mean(axis=0)
        y = targets - targets.mean(axis=0)
        scores = a @ (network.readout() * last).T
        size = (scores**2).sum()
        gain = (scores * y).sum() / size if size > 0 else 0.0
        return float(((gain * scores - y) ** 2).sum() / len(x))

    bits = (np.arange(1 << 10)[:, None] >> np.arange(10)) & 1
    every = [loss(b[:6].reshape(2, 3), b[6:].reshape(2, 2)) for b in bits.astype(bool)]
    found = min(loss(*refine_masks(network, x, targets, *start, 200, seed)) for seed in range(8))
    assert found <= np.quantile(every, 0.05)
    assert found < loss(*start)
    z, along = rng.normal(size=(2, 25)).astype(np.float32)
    h, moved = np.maximum(z, 0), np.maximum(z + 0.3 * x[:, 0], 0)
    expected = (along @ (moved - h), (moved - h) @ (moved - h))
    assert np.allclose(_change(z, h, x[:, 0].copy(), np.float32(0.3), along), expected, rtol=1e-4)


def test_counts_are_kept(data):
    weights = fitted(data, kept=7).network_.readout
    assert weights.sum(axis=1).tolist() == [7] * 10
    assert fitted(data, select="neurons", kept=0.5).network_.neurons[-1].sum() == 24


@pytest.mark.parametrize("sampler", [dimod.ExactSolver(), AdiabaticSampler(), QAOASampler()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("scope", ["global", "adjacent"])
def test_any_sampler_selects(sampler, scope, data):
    quick = NeuronSelectionClassifier(width=8, select="neurons", scope=scope, sampler=sampler, num_reads=20, random_state=0)
    model = quick.fit(data[0], data[1])
    native = fitted(data, width=8, select="neurons", scope=scope, num_sweeps=300)
    assert model.energy_ <= native.energy_ + 0.2 * abs(native.energy_)


@pytest.mark.parametrize(
    ("settings", "words_"),
    [
        ({"width": 0}, "width"),
        ({"depth": 0}, "depth"),
        ({"kept": 60}, "kept"),
        ({"kept": 0.0}, "kept"),
        ({"select": "neurons", "scope": "neuronwise"}, "scope"),
        ({"select": "synapses"}, "select"),
        ({"select": "neurons", "depth": 2, "width": 4}, "order"),
        ({"scope": "adjacent", "neighbours": 48}, "neighbours"),
        ({"scope": "adjacent", "kept": 0.5}, "kept"),
        ({"teacher": "kind"}, "teacher"),
        ({"refine": 5, "kept": 0.5}, "kept"),
        ({"refine": 5, "depth": 2}, "refine"),
        ({"refine": 5, "select": "neurons"}, "refine"),
        ({"ridge": -1.0}, "ridge"),
        ({"image_shape": (1, 8, 9)}, "image_shape"),
        ({"select": "neurons", "width": 60, "sampler": AdiabaticSampler()}, "60 qubits"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, words_, data):
    with pytest.raises(ValueError, match=words_):
        fitted(data, **settings)


def test_constant_labels_are_refused(data):
    with pytest.raises(ValueError, match="one class"):
        NeuronSelectionClassifier(width=8).fit(data[0], np.zeros(len(data[0])))


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: bytes([b[0] ^ 8]) + b[1:],
        lambda b: b[:-3],
        lambda b: b[:4],
        lambda b: b[:12] + b"#" + b[13:],
        lambda b: b[:-9] + b"####" + b[-5:],
    ],
)
def test_damaged_files_are_refused(damage, data, tmp_path):
    file = tmp_path / "net.bin"
    fitted(data).save(file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=r"net\.bin"):
        annealnet.load(file)


def test_draws_are_fixed_for_ever():
    assert words(7, 3, 3).tolist() == [5918937556381207561, 3997155106180410670, 2375667851330550213]
    assert signs(7, 3, 8).tolist() == [-1.0, -1.0, -1.0, 1.0, -1.0, -1.0, -1.0, -1.0]
    assert abs(float(normals(0, 0, 100_000).std()) - 1) < 0.01
    assert abs(float(signs(0, 1, 100_000).mean())) < 0.01
    correlation = np.corrcoef(normals(0, 0, 50_000), normals(0, 1, 50_000))[0, 1]
    assert abs(correlation) < 0.02


def test_edge_popup_learns_and_keeps_its_share(data):
    network = RandomNetwork(0, 64, (48,), 10)
    coding = ScaledCoding.fit(data[0], rms=1.0)
    small = edge_popup(network, coding.encode(data[0]), data[1], 0, EdgePopup(epochs=15))
    assert (small.scores(coding.encode(data[2])).argmax(axis=1) == data[3]).mean() > 0.8
    assert small.hidden[0].mean() == pytest.approx(0.5, abs=0.01)
    assert small.readout.mean() == pytest.approx(0.5, abs=0.01)
