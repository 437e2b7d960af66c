"""Features of all units become inputs, labels of all kinds come back; NumPy, PyTorch and a file agree."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.datasets import digits
from annealnet.parts import Parts, bits_of, packed_bits
from annealnet.preparation import (
    Coding,
    Labels,
    Preparation,
    RealCoding,
    ScaledCoding,
    SignCoding,
    ThermometerCoding,
    coding_of,
)
from annealnet.preparation.module import prepared_module

SCALINGS = ["auto", "columns", "one"]


def table(seed: int, samples: int = 30, features: int = 5) -> np.ndarray:
    """Columns in all units, far from 0 or near it, some with few values and one that never changes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, features))
    x[:, 0] = rng.integers(0, 3, samples)
    x[:, -1] = 7.0
    x = (x + rng.normal(0, 3, features)) * 10.0 ** rng.integers(-6, 7, features)
    return x.astype(np.float32)


def codings(x: np.ndarray, scaling: str) -> list[Coding]:
    return [
        ScaledCoding.fit(x, 0.55, scaling), RealCoding.fit(x, scaling), ThermometerCoding.fit(x, 3),
        SignCoding.fit(np.where(x > np.median(x, axis=0), x.max(axis=0), x.min(axis=0))),
    ]  # fmt: skip


@given(st.integers(0, 999), st.sampled_from(SCALINGS))
@settings(max_examples=30)
def test_numpy_torch_and_parts_give_the_same_inputs(seed: int, scaling: str) -> None:
    x = table(seed)
    new = np.concatenate([x, table(seed + 1), 1e30 * np.ones((1, 5), np.float32)])
    for coding in codings(x, scaling):
        inputs = coding.encode(new)
        assert inputs.shape == (len(new), coding.width)
        assert np.isfinite(inputs).all()
        found = prepared_module(coding, torch.nn.Identity())(torch.from_numpy(new)).numpy()
        np.testing.assert_array_equal(found, inputs)
        parts = coding.to_parts()
        again = type(coding).from_parts(Parts(parts.arrays, json.loads(json.dumps(parts.facts))))
        np.testing.assert_array_equal(again.encode(new), inputs)


@given(st.integers(0, 999), st.integers(-4, 4), st.floats(-50, 50))
@settings(max_examples=30)
def test_a_column_in_another_unit_gives_the_same_inputs(seed: int, power: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 3)).astype(np.float32)
    other = x.copy()
    other[:, 1] = (x[:, 1] + np.float32(offset)) * np.float32(10.0**power)
    one, two = (ScaledCoding.fit(v, 1.0).encode(v) for v in (x, other))
    np.testing.assert_allclose(one, two, atol=0.06)  # half precision moves a centre by a hundredth of a spread
    one, two = (ThermometerCoding.fit(v, 4).encode(v) for v in (x, other))
    assert (one != two).mean() < 0.02


def test_constant_columns_and_outliers_are_harmless() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4)).astype(np.float32)
    x[:, 1] = 1e6
    x[7, 2] = 1e9
    for coding in (ScaledCoding.fit(x, 1.0), RealCoding.fit(x)):
        inputs = coding.encode(x).astype(float)
        assert (inputs[:, 1] == 0).all()
        assert (coding.encode(x + 5)[:, 1] == 0).all()
        assert inputs[:, 0].std() > 0.5 * inputs[:, 3].std() > 0
        assert np.abs(inputs[7, 2]) <= 5 * np.abs(inputs[:, [0, 3]]).max()
    with pytest.raises(ValueError, match="scaling='rows' is not known: there are auto, columns and one"):
        ScaledCoding.fit(x, 1.0, "rows")  # type: ignore[arg-type]
    nothing = ScaledCoding.fit(np.ones((3, 2), np.float32), 1.0)
    assert (nothing.encode(np.zeros((1, 2), np.float32)) == 0).all()


def test_pixels_keep_their_proportions_and_tables_do_not() -> None:
    x = np.random.default_rng(0).integers(0, 17, (300, 6)).astype(np.float32)
    x[:, 4] = x[:, 4] > 12  # never fully lit
    x[:, 5] = 0
    for kind in (lambda v: ScaledCoding.fit(v, 1.0), RealCoding.fit):
        pixels, table = (kind(v).encode(v).astype(float) for v in (x, np.concatenate([x, 20 * x[:, :1] - 5], axis=1)))
        assert pixels[:, 4].std() < 0.15 * pixels[:, 0].std()
        assert table[:, 4].std() > 0.5 * table[:, 0].std()
        assert table[:, 6].std() == pytest.approx(table[:, 0].std(), rel=0.02)
    assert ScaledCoding.fit(x, 1.0).gain.shape == (1,)
    for seed in range(3):
        split = digits(seed).flat
        for samples in (100, 300, None):  # among few samples a bright pixel is never quite dark
            assert ScaledCoding.fit(split.x_train[:samples], 1.0).gain.shape == (1,)


@settings(max_examples=30)
@given(st.integers(1, 8), st.integers(1, 4), st.floats(1e-4, 0.5), st.floats(1e-3, 0.4), st.integers(0, 999))
def test_indicators_do_not_drown_narrow_columns(on: int, narrow: int, start: float, width: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    indicators = rng.integers(0, 2, (100, on))
    indicators[:2] = [[0], [1]]
    x = np.concatenate([indicators, start + width * rng.random((100, narrow))], axis=1).astype(np.float32)
    for coding in (ScaledCoding.fit(x, 1.0), RealCoding.fit(x)):
        spread = coding.encode(x).astype(float).std(axis=0)
        assert spread.min() > 0.4 * spread.max()


@settings(max_examples=30)
@given(st.integers(2, 8), st.integers(0, 8), st.sampled_from([1.0, 255.0, 1e-9]), st.integers(0, 999))
def test_pixels_share_a_gain_whatever_does_not_change_beside_them(lit: int, dim: int, unit: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.random((60, lit)), 0.2 * rng.random((60, min(dim, lit))) * (rng.random((60, 1)) < 0.1)], axis=1)
    x[0], x[1, :lit] = 0, 1
    x = np.concatenate([x, np.full((60, 1), -3.0)], axis=1)  # a column that never changes has no say
    assert ScaledCoding.fit((unit * x).astype(np.float32), 1.0).gain.shape == (1,)


@settings(max_examples=60)
@given(st.integers(-45, 38), st.integers(-45, 38), st.sampled_from(SCALINGS), st.integers(0, 99))
def test_scales_are_float32_whatever_the_unit(power: int, other: int, scaling: str, seed: int) -> None:
    x = np.clip(np.random.default_rng(seed).normal(size=(40, 3)), -3, 3) * 10.0 ** np.array([power, other, power])
    x = x.astype(np.float32)
    for coding in (ScaledCoding.fit(x, 1.0, scaling), RealCoding.fit(x, scaling)):
        assert np.isfinite(coding.centre).all()
        assert np.isfinite(coding.gain).all()
        parts = coding.to_parts()
        again = type(coding).from_parts(Parts(parts.arrays, json.loads(json.dumps(parts.facts))))
        np.testing.assert_array_equal(again.encode(x), coding.encode(x))
        if min(power, other) > -29 and scaling == "columns":
            assert coding.encode(x).std(axis=0).min() > 0  # nothing that has a float32 gain is lost


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 99), st.sampled_from(SCALINGS))
def test_codings_keep_their_promises(features: int, levels: int, seed: int, scaling: str) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(20, features)) * 10 ** rng.uniform(-3, 3)).astype(np.float32)
    real = RealCoding.fit(x, scaling)
    codes, gain = real.encode(x), real.gain.astype(np.float64)
    assert np.abs(codes.astype(int)).sum(axis=1).max() <= 24_020 + features
    np.testing.assert_allclose(codes / gain + real.centre, x, atol=float((0.6 / gain).max()) + 1e-3 * np.abs(x).max())
    steps = ThermometerCoding.fit(x, levels)
    coded = steps.encode(x).reshape(20, features, levels)
    assert set(np.unique(coded)) <= {-1, 1}
    assert (np.diff(coded, axis=2) <= 0).all()  # once below a threshold, below all higher ones


def test_numbers_are_short_where_that_is_enough() -> None:
    x = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    assert ScaledCoding.fit(x, 1.0).centre.dtype == ScaledCoding.fit(x, 1.0).gain.dtype == np.float16
    far = ScaledCoding.fit(x + 3000, 1.0)
    assert (far.centre.dtype, far.gain.dtype) == (np.float32, np.float16)
    assert ScaledCoding.fit(1e-7 * x, 1.0).gain.dtype == np.float32


LABELS: list[Any] = [
    np.array(["cat", "dog", "zebra"]), np.array([0, 1, 2]), np.array([3, 5]), np.array([-1.5, 2.0]), np.array([False, True]),
    np.array(["cat", "dog"], dtype=object), np.array([3, 5], dtype=np.uint8), np.array([0.1, 0.2], np.float32),
]  # fmt: skip


@pytest.mark.parametrize("classes", LABELS, ids=lambda classes: str(classes.dtype))
def test_labels_of_all_kinds_come_back(classes: np.ndarray) -> None:
    labels = Labels(classes)
    y = classes[[1, 0, 1]]
    assert labels.encode(y).tolist() == [1, 0, 1]
    again = Labels.from_parts(Parts(facts=json.loads(json.dumps(labels.to_parts().facts))))
    found = again.decode(np.eye(len(classes))[[1, 0, 1]])
    assert found.dtype == y.dtype
    assert found.tolist() == y.tolist()


def test_strange_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="y holds 'emu', which is none of the classes"):
        Labels(np.array(["cat", "dog"])).encode(["cat", "emu"])
    with pytest.raises(ValueError, match="numbers, text and truth values only"):
        Labels(np.array([(1,), (2,)], dtype=object)).to_parts()
    with pytest.raises(ValueError, match="a file holds up to"):
        Labels(np.arange(10_000)).to_parts()


@pytest.mark.parametrize(
    "facts",
    [
        {}, {"classes": 1}, {"classes": 2**40}, {"classes": True}, {"classes": ["a", "b"]}, {"classes": ["a"]},
        {"classes": ["a", 1], "labels": "U1"}, {"classes": [[1], [2]], "labels": "i8"}, {"classes": [1, 2], "labels": "V9"},
        {"classes": [1, 900], "labels": "u1"}, {"classes": [1.5, 2], "labels": "i8"}, {"classes": [None, 1], "labels": "O"},
        {"classes": [1, 2], "labels": "i8,i8"}, {"classes": [1, 10**400], "labels": "f8"}, {"classes": {}, "labels": "O"},
    ],
)  # fmt: skip
def test_hostile_labels_are_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="these parts"):
        Labels.from_parts(Parts(facts=facts))


def test_bad_features_are_refused() -> None:
    preparation = Preparation(ScaledCoding.fit(np.eye(3, dtype=np.float32), 1.0), Labels(np.arange(2)))
    with pytest.raises(ValueError, match=r"X has shape \(2, 4\): give \(samples, 3\)"):
        preparation.inputs(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        preparation.inputs([[np.nan, 0, 0]])
    with pytest.raises(ValueError, match="could not convert"):
        preparation.inputs([["a", "b", "c"]])
    for name, message in (("hex", "inputs='hex' is not known"), ("binary", "feature 0 has 3 different values")):
        with pytest.raises(ValueError, match=message):
            coding_of(name, np.arange(3, dtype=np.float32)[:, None], 2)


@given(st.lists(st.booleans(), max_size=40))
def test_packed_bits_come_back(bits: list[bool]) -> None:
    packed = packed_bits(np.array(bits, dtype=bool))
    parts = Parts({"m": packed} if len(packed) else {})
    assert bits_of(parts, "m", len(bits)).tolist() == bits
    with pytest.raises(ValueError, match="array 'm'"):
        bits_of(parts, "m", len(bits) + 8)
