"""The value: file, packed inference, PyTorch and ONNX give one answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.artifact import SmallNetwork
from annealnet.binary import (
    Architecture,
    BinaryNetwork,
    one_per_class,
    random_codes,
    single_output,
)
from annealnet.binary.deploy import DeployedBinary, to_module
from annealnet.preparation import Labels, Preparation, RealCoding, SignCoding, ThermometerCoding


def a_network(sizes: tuple[int, ...], skips: bool, bias: bool, seed: int) -> BinaryNetwork:
    """Random weights, biases and codes."""
    extra = tuple(tuple(k for k in range(m - 1)) for m in range(1, len(sizes))) if skips else ()
    shape = Architecture(sizes, extra, bias)
    codes = single_output() if sizes[-1] == 1 else random_codes(3, sizes[-1], seed) if seed % 2 else one_per_class(sizes[-1])
    rng = np.random.default_rng(seed)
    w = rng.choice(np.array([-1, 1], dtype=np.int8), shape.num_weights)
    return BinaryNetwork.from_flat(shape, codes, w, rng.integers(-9, 10, shape.num_biases).astype(np.int16))


def plain_scores(network: BinaryNetwork, x: np.ndarray) -> np.ndarray:
    """The definition: f_l = sign(W_l f + b_l) of what layer l reads, scores C · (W_L f)."""
    shape, layers = network.shape, [x.astype(np.int64)]
    for m, w in enumerate(network.weights, start=1):
        z = np.concatenate([layers[k] for k in shape.sources(m)], axis=1) @ w.T.astype(np.int64)
        if m < shape.depth:
            layers.append(np.where(z + (network.biases[m - 1] if network.biases else 0) > 0, 1, -1))
    return z @ network.codes.T.astype(np.int64)


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
    np.testing.assert_array_equal(network.packed(whole_inputs=whole).scores(x), plain_scores(network, x))
    np.testing.assert_array_equal(network.scores(x), plain_scores(network, x))
    y = rng.integers(0, len(network.codes), 7)
    assert network.errors(x, y) == (plain_scores(network, x).argmax(axis=1) != y).sum()


@settings(max_examples=30, deadline=None)
@given(networks)
def test_the_parts_of_a_file_hold_the_same_network(network: BinaryNetwork) -> None:
    coding, labels = SignCoding(np.zeros(network.shape.sizes[0], np.float32)), Labels(np.arange(len(network.codes)))
    again = DeployedBinary.from_parts(DeployedBinary(network, whole=False).to_parts(), Preparation(coding, labels)).network
    assert again.shape == network.shape
    np.testing.assert_array_equal(again.flat_weights, network.flat_weights)
    np.testing.assert_array_equal(again.flat_biases, network.flat_biases)
    np.testing.assert_array_equal(again.codes, network.codes)


@settings(max_examples=10, deadline=None)
@given(networks)
def test_the_torch_module_gives_the_same_scores(network: BinaryNetwork) -> None:
    x = np.random.default_rng(2).integers(-127, 128, (5, network.shape.sizes[0])).astype(np.int8)
    found = to_module(network)(torch.from_numpy(x.astype(np.float32)))
    np.testing.assert_array_equal(found.numpy(), plain_scores(network, x))


@pytest.mark.parametrize("kind", [RealCoding, ThermometerCoding, SignCoding])
def test_onnx_runtime_gives_the_same_scores(tmp_path: Path, kind: type) -> None:
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(40, 6)) * 10.0 ** np.arange(-3, 3)).astype(np.float32)
    if kind is SignCoding:
        x = np.sign(x)
    coding = kind.fit(x)
    network = a_network((coding.width, 5, 7, 3), skips=True, bias=True, seed=2)
    small = SmallNetwork(Preparation(coding, Labels(np.arange(3))), DeployedBinary(network, coding.whole))
    found = onnxruntime.InferenceSession(small.export_onnx(tmp_path / "n.onnx")).run(None, {"input": x})[0]
    np.testing.assert_array_equal(found, plain_scores(network, coding.encode(x)))


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
        (lambda: a_network((3, 2), False, False, 0).packed().scores(np.zeros((1, 3))), "give int8 of shape"),
        (lambda: a_network((3, 2), False, False, 0).scores(np.full((1, 3), 200)), "whole numbers from -128 to 127"),
        (lambda: a_network((3, 2), False, False, 0).scores(np.full((1, 3), 0.5)), "whole numbers from -128 to 127"),
        (lambda: a_network((3, 2), False, False, 0).scores(np.zeros((1, 4))), r"give \(samples, 3\)"),
    ],
)
def test_bad_networks_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
