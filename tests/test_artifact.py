"""A file holds all that an answer needs, for all three small jobs; hostile files are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save
from sklearn.datasets import load_iris, load_wine

import annealnet as an
from annealnet.artifact import SmallNetwork, _checksum
from annealnet.datasets import digits, split
from annealnet.estimators import NetworkClassifier

MAKERS: dict[str, Callable[..., NetworkClassifier]] = {
    "binary": lambda **more: an.BinaryNetworkClassifier(**{"hidden": (16,), "sweeps": 120, "random_state": 0, **more}),
    "selection": lambda **more: an.NeuronSelectionClassifier(
        **{"width": 128, "num_sweeps": 40, "num_reads": 2, "random_state": 0, **more}
    ),
    "ising": lambda **more: an.IsingNetworkClassifier(**{"hidden": (16,), "epochs": 10, "random_state": 0, **more}),
}
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("binary", {}), ("binary", {"inputs": "thermometer"}), ("binary", {"hidden": (), "bias": False}),
    ("binary", {"outputs": 5}), ("binary", {"scaling": "one"}), ("selection", {}),
    ("selection", {"weights": "kaiming", "scaling": "one"}), ("selection", {"scope": "layerwise", "width": 12, "depth": 2}),
    ("selection", {"select": "neurons"}), ("ising", {}), ("ising", {"hidden": (8, 6)}),
    ("ising", {"hidden_couplings": True}),
       ("ising", {"sweeps": 0}), ("ising", {"spins_per_class": 1, "scaling": "one"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings"), SETTINGS, ids=lambda value: str(value))
def test_a_loaded_file_answers_as_the_estimator(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    x, y = load_wine(return_X_y=True)
    labels = np.array(["red", "rose", "white"])[y]
    model = MAKERS[name](**settings).fit(x, labels)
    path = model.save(tmp_path / "new" / "net.an")
    assert path == tmp_path / "new" / "net.an"
    assert path.stat().st_size == model.num_bytes_ == an.load(path).num_bytes
    again = an.load(path)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    np.testing.assert_array_equal(again.decision_function(x), model.decision_function(x))
    assert again.predict(x.tolist()).dtype == labels.dtype
    assert again.to_bytes() == path.read_bytes()
    with torch.no_grad():
        scores = again.to_module()(torch.from_numpy(x.astype(np.float32))).numpy()
    np.testing.assert_allclose(scores, model.decision_function(x), rtol=1e-4, atol=1e-4)
    assert list(path.parent.iterdir()) == [path]


#: As small as they get: only what the file holds of the features matters.
SMALLEST: dict[str, dict[str, Any]] = {
    "binary": {"hidden": (2,), "sweeps": 1, "reads": 1}, "selection": {"width": 4, "num_sweeps": 1, "num_reads": 1},
    "ising": {"hidden": (2,), "epochs": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("power", [-45, -42, -38, -33, -30, -20, 0, 20, 37, 38])
def test_whatever_fit_accepts_load_accepts(name: str, power: int, tmp_path: Path) -> None:
    x = (np.clip(np.random.default_rng(0).normal(size=(12, 3)), -3, 3) * 10.0**power).astype(np.float32)
    for scaling in ("auto", "columns", "one"):
        model = MAKERS[name](**SMALLEST[name], scaling=scaling).fit(x, np.arange(12) % 2)
        again = an.load(model.save(tmp_path / "net"))
        np.testing.assert_array_equal(again.decision_function(x), model.decision_function(x))


def test_auto_scaling_keeps_narrow_columns_beside_indicators() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.integers(0, 2, (400, 6)), 0.40 + 0.02 * rng.random((400, 2))], axis=1)
    y = np.where(x[:, 6] + x[:, 7] > 0.82, "p", "q")
    for name in ("selection", "ising"):
        assert MAKERS[name]().fit(x[:300], y[:300]).score(x[300:], y[300:]) > 0.8  # 0.5 is chance


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("classes", [np.array([5, 7]), np.array([-1.0, 2.0]), np.array([False, True])], ids=str)
def test_two_classes_and_labels_that_do_not_begin_with_0(name: str, classes: np.ndarray, tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True)
    x, y = x[y > 0], classes[y[y > 0] - 1]
    model = MAKERS[name]().fit(x, y)
    again = an.load(model.save(tmp_path / "net"))
    found = again.predict(x)
    np.testing.assert_array_equal(found, model.predict(x))
    assert found.dtype == y.dtype
    assert model.score(x, y) > 0.85


@pytest.mark.parametrize(("name", "before"), [("selection", 0.667), ("ising", 0.622), ("binary", 0.644)])
def test_a_table_in_its_own_units_is_learned(name: str, before: float) -> None:
    x, y = load_wine(return_X_y=True)
    data = split(x.astype(np.float32), y, 0.25, 0)
    more = {"hidden": (32,)} if name != "selection" else {"width": 512}
    model = MAKERS[name](**more).fit(data.x_train, data.y_train)
    assert model.score(data.x_test, data.y_test) > 0.93 > before


@pytest.mark.parametrize("name", MAKERS)
def test_onnx_reads_raw_features(name: str, tmp_path: Path) -> None:
    x, y = load_wine(return_X_y=True)
    model = MAKERS[name]().fit(x, y)
    session = onnxruntime.InferenceSession(model.export_onnx(tmp_path / "net.onnx"))
    for rows in (x[:1], x):
        (scores,) = session.run(None, {"input": rows.astype(np.float32)})
        np.testing.assert_allclose(scores, model.decision_function(rows), rtol=1e-4, atol=1e-4)


def test_small_networks_have_small_files() -> None:
    data = digits(0).flat
    sizes = {name: MAKERS[name]().fit(data.x_train[:300], data.y_train[:300]) for name in ("binary", "selection")}
    binary, chosen = sizes["binary"], sizes["selection"]
    payload = 2 * 64 + (64 * 16 + 16 * 10) / 8 + 2 * 16
    assert binary.num_bytes_ - payload < 340
    payload = 2 * 64 + 1280 / 8 + 4 * 11
    assert chosen.num_bytes_ - payload < 420
    columns = MAKERS["selection"](scaling="columns").fit(data.x_train[:300], data.y_train[:300])
    assert chosen.num_bytes_ < columns.num_bytes_ - 50  # pixels share a gain


# ---- hostile files ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=list(MAKERS))
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    x, y = load_iris(return_X_y=True)
    model = MAKERS[request.param]().fit(x, np.array(["a", "b", "c"])[y])
    return model.save(tmp_path_factory.mktemp("files") / "net")


def opened(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in list(file.keys())}, dict(file.metadata())


def refused(path: Path) -> bool:
    """Whether a file is refused as it should be; one that is taken must answer."""
    try:
        small = an.load(path)
    except ValueError as error:
        return str(path) in str(error)
    x = np.zeros((2, small.preparation.coding.features))
    assert len(small.predict(x)) == 2
    return False


def test_damaged_files_are_refused(written: Path, tmp_path: Path) -> None:
    content, path = written.read_bytes(), tmp_path / "damaged"
    rng = np.random.default_rng(0)
    for length in (0, 1, 7, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert refused(path)
    for _ in range(300):
        changed = bytearray(content)
        changed[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        # a flip inside the header's padding or spelling may say the same
        assert refused(path) or SmallNetwork.load(path).to_bytes() == content


VALUES: list[Any] = [
    -1, 0, 1, 2, 3, 7, 2**31, 2**40, 10**30, 1.5, 1e308, "", "x", "binary", "selection", "ising", "real", "scaled", "each",
    None, True, [], [1], [-1, 2], [2**40, 3], [1.5, 2], ["a", "b"], ["a", "b", "c"], [[]], {},
    {"a": 1}, [0, 0, 0], [1, 1, 1],    [4, 2**24, 3], [2**26], [16, 3], [12, 16], [64] * 70,
]  # fmt: skip


def test_hostile_facts_are_refused_and_nothing_is_allocated(written: Path, tmp_path: Path) -> None:
    arrays, text = opened(written)
    names, path = [name for name in text if name not in ("crc", "annealnet")], tmp_path / "hostile"
    rng, seen = np.random.default_rng(0), 0
    for step in range(900):
        changed, kept = dict(text), dict(arrays)
        changed.pop("crc")
        version = changed.pop("annealnet")
        for _ in range(1 + step % 2):
            changed[str(rng.choice(names))] = json.dumps(VALUES[rng.integers(len(VALUES))])
        if step % 3 == 0:
            name = str(rng.choice(list(kept)))
            some = kept[name]
            choices = (some[:-1], some[None], some.astype(np.float64), np.zeros(0, some.dtype), np.full_like(some, 255))
            kept[name] = np.ascontiguousarray(choices[rng.integers(5)])
        if step % 5 == 0:
            changed.pop(str(rng.choice(list(changed))))
        crc = str(_checksum(kept, changed))
        path.write_bytes(save(kept, {**changed, "annealnet": version, "crc": crc}))
        seen += refused(path)
    assert seen > 600


@pytest.mark.parametrize("wrong", ["[", "NaN", "1e999", "[" * 100_000, '{"a":', "9" * 5000])
def test_facts_that_are_no_json_are_refused(written: Path, tmp_path: Path, wrong: str) -> None:
    arrays, text = opened(written)
    for name in text.keys() - {"annealnet", "crc", "limit"}:
        changed = {**text, name: wrong}
        changed.pop("annealnet")
        changed.pop("crc")
        path = tmp_path / "wrong"
        path.write_bytes(save(arrays, {**changed, "annealnet": "1", "crc": str(_checksum(arrays, changed))}))
        assert refused(path)


def test_what_is_no_file_of_ours_is_said_so(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(save({"w": np.ones(3, np.float32)}))
    with pytest.raises(ValueError, match="is no network file of annealnet"):
        an.load(other)
    other.write_bytes(save({"w": np.ones(3, np.float32)}, {"annealnet": "7"}))
    with pytest.raises(ValueError, match="is of version 7, this annealnet reads version 1"):
        an.load(other)
    with pytest.raises(ValueError, match="is a folder: give dense_model"):
        an.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        an.load(tmp_path / "nothing")


def test_what_is_not_fitted_cannot_be_saved(tmp_path: Path) -> None:
    for make in MAKERS.values():
        with pytest.raises(ValueError, match="not fitted"):
            make().save(tmp_path / "net")
        with pytest.raises(ValueError, match="not fitted"):
            _ = make().num_bytes_
