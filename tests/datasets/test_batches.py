"""Arrays become batches and come back unchanged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from annealnet.datasets import ArrayBatches, batches, normalise


@given(count=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_the_batches_put_together_are_the_arrays(count: int, batch_size: int) -> None:
    x = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
    y = np.arange(count, dtype=np.int32)
    data = batches(x, y, batch_size)
    for _ in range(2):  # re-iterable: the second pass sees the same
        parts = list(data)
        assert len(parts) == len(data)
        assert torch.equal(torch.cat([part for part, _ in parts]), torch.from_numpy(x))
        labels = torch.cat([label for _, label in parts])
        assert labels.dtype == torch.int64
        assert labels.tolist() == y.tolist()
        assert all(len(part) == batch_size for part, _ in parts[:-1])


@given(seed=st.integers(0, 2**32 - 1))
def test_shuffling_keeps_pairs_together_and_repeats_under_its_seed(seed: int) -> None:
    data = batches(np.arange(20, dtype=np.float32)[:, None], np.arange(20), batch_size=7)
    first, second = ([(x[:, 0].tolist(), y.tolist()) for x, y in data.shuffled(order_seed)] for order_seed in (seed, seed))
    assert first == second
    assert all(x == y for x, y in first)
    assert sorted(label for _, y in first for label in y) == list(range(20))


def test_two_seeds_give_two_orders() -> None:
    data = batches(np.zeros((50, 1)), np.arange(50), batch_size=50)
    assert data.shuffled(0).y.tolist() != data.shuffled(1).y.tolist()


def test_a_batch_is_a_copy_so_that_training_cannot_change_the_data() -> None:
    x = np.zeros((4, 2), np.float32)
    for part, _ in batches(x, None, batch_size=2):
        part += 1
    assert not x.any()


def test_without_labels_every_batch_says_so() -> None:
    assert [y for _, y in batches(np.zeros((3, 2)), None, batch_size=2)] == [None, None]


@pytest.mark.parametrize(
    ("x", "y", "batch_size", "message"),
    [
        (np.zeros((0, 3)), None, 4, "x is empty"),
        (np.zeros((3, 3)), np.zeros(2, int), 4, r"y has shape \(2,\) for 3 samples"),
        (np.zeros((3, 3)), np.zeros((3, 1), int), 4, r"y has shape \(3, 1\)"),
        (np.zeros((3, 3)), None, 0, "batch_size=0 does not do"),
    ],
)
def test_bad_batches_are_refused(x: np.ndarray, y: np.ndarray | None, batch_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArrayBatches(x, y, batch_size)


def test_normalised_channels_have_mean_zero_and_spread_one() -> None:
    x = np.random.default_rng(0).uniform(size=(50, 3, 4, 4)).astype(np.float32) * [[[[1]], [[5]], [[9]]]][0]
    normal = normalise(x.mean((0, 2, 3)).tolist(), x.std((0, 2, 3)).tolist())(x)
    assert normal.dtype == np.float32
    np.testing.assert_allclose(normal.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std((0, 2, 3)), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.5, 0.5], [0.2], "differ in length"),
        ([0.5], [0.0], "must be positive"),
        ([0.5], [float("nan")], "must be positive"),
        ([float("inf")], [1.0], "finite"),
    ],
)
def test_impossible_normalisations_are_refused(mean: list[float], std: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalise(mean, std)


def test_normalising_images_of_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x has shape \(2, 1, 4, 4\), mean and std have 3 channels"):
        normalise([0.5] * 3, [0.2] * 3)(np.zeros((2, 1, 4, 4)))
