"""Splits and subsets give every class its share, under a seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annealnet.datasets import digits, split_shares, subset

labels = st.lists(st.integers(0, 4), min_size=2, max_size=60).map(np.array)
seeds = st.integers(0, 1000)


@given(y=labels, seed=seeds, share=st.floats(0.01, 0.99))
def test_a_split_is_a_partition(y: np.ndarray, seed: int, share: float) -> None:
    train, test = split_shares(y, share, seed)
    assert sorted([*train, *test]) == list(range(len(y)))
    assert len(train) >= 1
    assert len(test) >= 1
    assert abs(len(test) - share * len(y)) <= 1


@given(y=labels, seed=seeds, share=st.floats(0.1, 0.9))
def test_every_class_has_its_share_within_one(y: np.ndarray, seed: int, share: float) -> None:
    _, test = split_shares(y, share, seed)
    cut = len(test) / len(y)
    for label in np.unique(y):
        size = np.sum(y == label)
        assert abs(np.sum(y[test] == label) - cut * size) <= 1.5 + 1e-9


@given(y=labels, seed=seeds, data=st.data())
def test_a_subset_is_as_balanced_as_the_classes_allow(y: np.ndarray, seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(y)))
    x = np.arange(len(y))
    chosen, chosen_labels = subset(x, y, count, seed)
    assert len(set(chosen.tolist())) == count
    assert chosen_labels.tolist() == y[chosen].tolist()
    taken = {label: int(np.sum(chosen_labels == label)) for label in np.unique(y)}
    # a class may only have two fewer than another if it has no more samples to give
    most = max(taken.values())
    assert all(n >= most - 1 or n == np.sum(y == label) for label, n in taken.items())


@given(y=labels, seed=seeds)
def test_the_same_seed_gives_the_same_subset(y: np.ndarray, seed: int) -> None:
    x = np.arange(len(y))
    first, _ = subset(x, y, len(y) // 2, seed)
    second, _ = subset(x, y, len(y) // 2, seed)
    assert first.tolist() == second.tolist()


def test_digits_are_split_without_overlap_and_repeat_under_a_seed() -> None:
    one, again, other = digits(seed=3), digits(seed=3), digits(seed=4)
    assert np.array_equal(one.x_train, again.x_train)
    assert not np.array_equal(one.y_train, other.y_train)
    assert one.x_train.dtype == np.float32
    assert (one.x_train.min(), one.x_train.max()) == (0, 1)
    assert len(one.x_train) + len(one.x_test) == 1797
    together = np.concatenate([one.y_train, one.y_test])
    assert np.bincount(together).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 3.0])
def test_an_impossible_share_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="test_share is"):
        digits(seed=0, test_share=share)


def test_a_single_sample_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        split_shares(np.array([0]), 0.5, seed=0)


@pytest.mark.parametrize("count", [0, 5])
def test_a_subset_of_impossible_size_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"count is {count} but there are 4 samples"):
        subset(np.zeros((4, 1)), np.zeros(4, int), count, seed=0)


def test_a_subset_needs_one_label_per_sample() -> None:
    with pytest.raises(ValueError, match="one label per sample"):
        subset(np.zeros((4, 1)), np.zeros(3, int), 2, seed=0)
