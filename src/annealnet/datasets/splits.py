"""Seeded choices among samples in which every class has its share."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


class Split(NamedTuple):
    """A training and a test part: x float32, shape (N, C, H, W) or (N, features); y int64, shape (N,)."""

    x_train: Floats
    y_train: Labels
    x_test: Floats
    y_test: Labels

    @property
    def flat(self) -> Split:
        """The same with samples as rows ``(N, features)``."""
        return self._replace(
            x_train=self.x_train.reshape(len(self.x_train), -1), x_test=self.x_test.reshape(len(self.x_test), -1)
        )


def split(x: Floats, y: Labels, test_share: float, seed: int) -> Split:
    """A training and a test part of `x` and `y`; arguments and errors are those of `split_shares`.

    >>> import numpy as np
    >>> split(np.zeros((8, 1), np.float32), np.repeat([0, 1], 4), test_share=0.25, seed=0).y_test.tolist()
    [0, 1]
    """
    _check_lengths(x, y)
    train, test = split_shares(y, test_share, seed)
    return Split(x[train], y[train], x[test], y[test])


def subset(x: NDArray[Any], y: NDArray[Any], count: int, seed: int) -> tuple[NDArray[Any], Labels]:
    """`count` samples with the classes as equally represented as they can be, in a random order.

    Samples are taken in rounds: one of every class, again one of every class, until there are `count`;
    which sample of a class, and which classes in the last round, the seed decides. A class that runs out
    leaves its turn to the others.

    Args:
        x: samples, shape (N, ...).
        y: labels, shape (N,), integers.
        count: how many to take, 1 to N.
        seed: of the choice and of the order.

    Raises:
        ValueError: `count` is below 1 or above N, or the lengths of `x` and `y` differ.

    >>> import numpy as np
    >>> _, labels = subset(np.zeros((100, 1)), np.repeat([0, 1], [80, 20]), count=10, seed=0)
    >>> np.bincount(labels).tolist()
    [5, 5]
    """
    _check_lengths(x, y)
    if not 1 <= count <= len(x):
        raise ValueError(f"count is {count} but there are {len(x)} samples: give 1 to {len(x)}")
    rng = np.random.default_rng(seed)
    rank, _ = _rank_within_class(y, rng)
    chosen = np.lexsort((rng.random(len(y)), rank))[:count]
    chosen = rng.permutation(chosen)
    return x[chosen], y[chosen].astype(np.int64)


def split_shares(y: NDArray[Any], test_share: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of a training and a test part in which every class has its share.

    The test part has round(`test_share` * N) samples, at least one; each class's number in it is within
    one of its share wherever classes are large enough. Both index arrays are in random order.

    Args:
        y: labels, shape (N,), integers.
        test_share: part of the samples that go to the test part, between 0 and 1 (both excluded).
        seed: of the choice and of the order.

    Raises:
        ValueError: `test_share` is outside (0, 1), or there are fewer than two samples.

    >>> import numpy as np
    >>> train, test = split_shares(np.repeat([0, 1], [12, 4]), test_share=0.25, seed=0)
    >>> len(train), len(test), sorted(np.repeat([0, 1], [12, 4])[test].tolist())
    (12, 4, [0, 0, 0, 1])
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share is {test_share}: give a share between 0 and 1, for example 0.25")
    if len(y) < 2:
        raise ValueError(f"y has {len(y)} samples: at least 2 are needed to split them")
    rng = np.random.default_rng(seed)
    rank, size = _rank_within_class(y, rng)
    # (rank + ½) / size spreads each class evenly over (0, 1): any prefix holds every class in proportion
    order = np.lexsort((rng.random(len(y)), (rank + 0.5) / size))
    tests = min(max(round(test_share * len(y)), 1), len(y) - 1)
    return rng.permutation(order[tests:]), rng.permutation(order[:tests])


def _check_lengths(x: NDArray[Any], y: NDArray[Any]) -> None:
    if y.ndim != 1 or len(x) != len(y):
        raise ValueError(f"x has {len(x)} samples and y has shape {y.shape}: give one label per sample")


def _rank_within_class(y: NDArray[Any], rng: np.random.Generator) -> tuple[Labels, Labels]:
    """For each sample: its place (0, 1, …) in a random order of its class, and the size of its class."""
    rank = np.empty(len(y), dtype=np.int64)
    size = np.empty(len(y), dtype=np.int64)
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        rank[rng.permutation(members)] = np.arange(len(members))
        size[members] = len(members)
    return rank, size
