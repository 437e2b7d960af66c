"""The value: file, packed inference, PyTorch and ONNX give one answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.binary import (
    Architecture,
    BinaryNetwork,
    PackedNetwork,
    RealCoding,
    SignCoding,
    ThermometerCoding,
    one_per_class,
    random_codes,
    single_output,
)
from annealnet.binary.deploy import export_onnx, to_module


def a_network(sizes: tuple[int, ...], skips: bool, bias: bool, seed: int) -> BinaryNetwork:
    """Random weights, biases and codes."""
    extra = tuple(tuple(k for k in range(m - 1)) for m in range(1, len(sizes))) if skips else ()
    shape = Architecture(sizes, extra, bias)
    codes = single_output() if sizes[-1] == 1 else random_codes(3, sizes[-1], seed) if seed % 2 else one_per_class(sizes[-1])
    rng = np.random.default_rng(seed)
    w = rng.choice(np.array([-1, 1], dtype=np.int8), shape.num_weights)
    return BinaryNetwork.from_flat(shape, codes, w, rng.integers(-9, 10, shape.num_biases).astype(np.int16))


networks = st.builds(
    a_network, st.lists(st.integers(1, 130), min_size=2, max_size=4).map(lambda s: (*s[:-1], s[-1] % 5 + 2)), st.booleans(),
    st.booleans(), st.integers(0, 99),
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(networks, st.booleans())
def test_packed_and_plain_scores_are_equal(network: BinaryNetwork, whole: bool) -> None:
    rng = np.random.default_rng(1)
    width = network.shape.sizes[0]
    x = rng.integers(-128, 128, (7, width)) if whole else rng.choice([-1, 1], (7, width))
    x = x.astype(np.int8)
    np.testing.assert_array_equal(PackedNetwork(network, whole_inputs=whole).scores(x), network.scores(x))


@settings(max_examples=30, deadline=None)
@given(networks)
def test_a_file_holds_the_same_network(network: BinaryNetwork) -> None:
    again = BinaryNetwork.from_bytes(network.to_bytes())
    assert again.shape == network.shape
    np.testing.assert_array_equal(again.flat_weights, network.flat_weights)
    np.testing.assert_array_equal(again.flat_biases, network.flat_biases)
    np.testing.assert_array_equal(again.codes, network.codes)


def test_a_64_256_10_network_takes_2_4_kilobytes(tmp_path: Path) -> None:
    network = BinaryNetwork.random(Architecture((64, 256, 10)), one_per_class(10), seed=0)
    path = network.save(tmp_path / "new" / "network.anb")
    assert path.stat().st_size == network.num_bytes
    assert 64 * 256 / 8 + 256 * 10 / 8 <= network.num_bytes < 2450
    assert (BinaryNetwork.load(path).flat_weights == network.flat_weights).all()


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    content = bytearray(BinaryNetwork.random(Architecture((9, 2)), one_per_class(2), 0).to_bytes())
    with pytest.raises(ValueError, match="cut off or damaged"):
        BinaryNetwork.from_bytes(bytes(content[:-1]))
    content[-6] ^= 1
    with pytest.raises(ValueError, match="cut off or damaged"):
        BinaryNetwork.from_bytes(bytes(content))
    (tmp_path / "x").write_bytes(b"something else")
    with pytest.raises(ValueError, match="is no binary network"):
        BinaryNetwork.load(tmp_path / "x")


@settings(max_examples=10, deadline=None)
@given(networks)
def test_the_torch_module_gives_the_same_scores(network: BinaryNetwork) -> None:
    x = np.random.default_rng(2).integers(-127, 128, (5, network.shape.sizes[0])).astype(np.int8)
    found = to_module(network)(torch.from_numpy(x.astype(np.float32)))
    np.testing.assert_array_equal(found.numpy(), network.scores(x))


@pytest.mark.parametrize("kind", [None, RealCoding, ThermometerCoding, SignCoding])
def test_onnx_runtime_gives_the_same_scores(tmp_path: Path, kind: type | None) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40, 6)).astype(np.float32)
    if kind is SignCoding:
        x = np.sign(x)
    coding = None if kind is None else kind.fit(x, 3)
    width = 6 if coding is None else coding.width
    network = a_network((width, 5, 7, 3), skips=True, bias=True, seed=2)
    path = export_onnx(network, tmp_path / "n.onnx", coding)
    inputs = np.sign(x) if coding is None else x
    found = onnxruntime.InferenceSession(path).run(None, {"input": inputs})[0]
    encoded = inputs.astype(np.int8) if coding is None else coding.encode(x)
    np.testing.assert_array_equal(found, network.scores(encoded))


def test_ties_are_minus_one_and_the_first_class_wins() -> None:
    shape = Architecture((2, 1, 2))
    network = BinaryNetwork.from_flat(shape, one_per_class(2), np.array([1, 1, 1, 1], dtype=np.int8))
    assert network.scores(np.array([[1, -1]], dtype=np.int8)).tolist() == [[-1, -1]]
    assert network.predict(np.array([[1, -1]], dtype=np.int8)).tolist() == [0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Architecture((3,)), "at least two layers"),
        (lambda: Architecture((3, 0)), "at least two layers"),
        (lambda: Architecture((3, 2, 1), skips=((),)), "give one for each of the 2 layers"),
        (lambda: Architecture((3, 2, 1), skips=((), (1,))), "give different layers from 0 to 0"),
        (lambda: random_codes(5, 2, 0), "at most 4 classes"),
        (
            lambda: BinaryNetwork(Architecture((1, 1)), (np.zeros((1, 1), np.int8),), (), single_output()),
            "something else than",
        ),
        (lambda: BinaryNetwork(Architecture((1, 1)), (), (), single_output()), "weights have shapes"),
        (lambda: PackedNetwork(a_network((3, 2), False, False, 0)).scores(np.zeros((1, 3))), "give int8 of shape"),
        (lambda: a_network((3, 2), False, False, 0).scores(np.zeros((1, 4))), r"give \(samples, 3\)"),
    ],
)
def test_bad_networks_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 99))
def test_codings_keep_their_promises(features: int, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(20, features)) * 10 ** rng.uniform(-3, 3)).astype(np.float32)
    real = RealCoding.fit(x)
    assert np.abs(real.encode(x).astype(int)).sum(axis=1).max() <= 24_000 + features
    np.testing.assert_allclose(real.encode(x) / real.gain + real.mean, x, atol=0.51 / real.gain + 1e-3 * np.abs(x).max())
    steps = ThermometerCoding.fit(x, levels)
    coded = steps.encode(x).reshape(20, features, levels)
    assert set(np.unique(coded)) <= {-1, 1}
    assert (np.diff(coded, axis=2) <= 0).all()  # once below a threshold, below all higher ones
