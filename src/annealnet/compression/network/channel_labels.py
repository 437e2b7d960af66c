"""Labels on channels, and which of them are the same: a union-find with pins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Channels", "Extent", "LabelClasses", "Labelled", "Parts", "Sizes"]


@dataclass(frozen=True, eq=False)
class Channels:
    """A labelled tensor: dimension ``axis`` has ``labels`` int64 ``(extent,)``, -1 where a channel stays."""

    axis: int
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Sizes:
    """The shape of a labelled tensor of ``ndim`` dimensions, as a value of the program."""

    axis: int
    labels: np.ndarray
    ndim: int


@dataclass(frozen=True, eq=False)
class Extent:
    """The number of a labelled tensor's channels, as a value of the program: it falls when channels go."""

    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Parts:
    """Several labelled tensors, as an operation that splits gives them: all labelled in dimension ``axis``."""

    axis: int
    parts: tuple[np.ndarray, ...]

    @property
    def labels(self) -> np.ndarray:
        """Of all of them."""
        return np.concatenate([np.empty(0, dtype=np.int64), *self.parts])


Labelled = Channels | Sizes | Extent | Parts


class LabelClasses:
    """Equivalence classes of labels; a class is pinned when one of its channels has to stay.

    Example:
        >>> classes = LabelClasses()
        >>> a, b = classes.fresh(2), classes.fresh(2)
        >>> classes.tie(a, b)
        >>> classes.tie(a[:1], np.array([-1]))
        >>> classes.roots(b).tolist()
        [-1, 1]
    """

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._pinned: list[bool] = []

    def fresh(self, count: int) -> np.ndarray:
        """New labels ``(count,)``, each a class of its own."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        self._pinned.extend([False] * count)
        return np.arange(first, first + count, dtype=np.int64)

    def _find(self, label: int) -> int:
        while self._parent[label] != label:
            self._parent[label] = self._parent[self._parent[label]]
            label = self._parent[label]
        return label

    def tie(self, left: np.ndarray, right: np.ndarray) -> None:
        """Makes the labels at equal positions one class; beside -1 a class is pinned."""
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            if a < 0 or b < 0:
                if max(a, b) >= 0:
                    self._pinned[self._find(max(a, b))] = True
                continue
            first, second = sorted((self._find(a), self._find(b)))
            self._parent[second] = first
            self._pinned[first] |= self._pinned[second]

    def pin(self, labels: np.ndarray) -> bool:
        """Pins the labels' classes; tells whether any of them was still free."""
        news = False
        for label in labels.tolist():
            if label >= 0:
                root = self._find(label)
                news |= not self._pinned[root]
                self._pinned[root] = True
        return news

    def roots(self, labels: np.ndarray) -> np.ndarray:
        """The class of each label, -1 where it is pinned."""
        found = [-1 if label < 0 else self._find(label) for label in labels.tolist()]
        return np.array([-1 if root < 0 or self._pinned[root] else root for root in found], dtype=np.int64)

    def same(self, left: np.ndarray, right: np.ndarray) -> bool:
        """Whether the labels are of the same classes, position by position."""
        return len(left) == len(right) and bool(np.array_equal(self.roots(left), self.roots(right)))
