"""One tensor goes through one operation: what labels see of it, whoever traced the network.

Rules that need no more than this (element by element, pooling, flattening, the kinds of layer) work on a
:class:`Passage`; nothing here knows a tracer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from annealnet.compression.network.channel_labels import Channels, LabelClasses, Labelled

__all__ = ["NotUnderstood", "Passage", "flattened", "kept", "spatial"]


class NotUnderstood(Exception):
    """An operation whose effect on channels is not known; the message says why."""


@dataclass(frozen=True, eq=False)
class Passage:
    """A tensor on its way through an operation.

    Attributes:
        value: the labels it carries; None where all of it stays.
        shape: its shape, None where it is no tensor.
        out_shape: shape of the result.
        classes: the labels' equivalence classes.
        pin: pins labels and notes the reason.

    Example:
        >>> classes = LabelClasses()
        >>> image = Channels(1, classes.fresh(3))
        >>> passage = Passage(image, (2, 3, 4, 4), (2, 48), classes, lambda labels, reason: None)
        >>> flattened(passage, 1, -1).labels[14:18].tolist(), passage.read(1, 3).tolist()
        ([0, 0, 1, 1], [0, 1, 2])
    """

    value: Labelled | None
    shape: tuple[int, ...] | None
    out_shape: tuple[int, ...]
    classes: LabelClasses
    pin: Callable[[np.ndarray, str], None]

    def channels(self) -> Channels:
        """The labelled channels that go in."""
        if not isinstance(self.value, Channels):
            raise NotUnderstood("it computes with the number of channels")
        return self.value

    def read(self, axis: int, count: int) -> np.ndarray:
        """Labels of ``count`` channels in dimension ``axis``, -1 where they stay; labels that lie elsewhere are pinned."""
        if isinstance(self.value, Channels) and self.value.axis == axis:
            return self.value.labels
        if self.value is not None:
            self.pin(self.value.labels, "it works along another dimension than the channels")
        return np.full(count, -1, dtype=np.int64)


def kept(passage: Passage) -> Channels:
    """Element by element: the labels stay where they are."""
    value, shape = passage.channels(), passage.out_shape
    if len(shape) <= value.axis or shape[value.axis] != len(value.labels):
        raise NotUnderstood("it changes the number of channels")
    return value


def spatial(passage: Passage) -> Channels:
    """Pooling, resizing: works on the dimensions behind the channels."""
    value = kept(passage)
    if value.axis != 1 or len(passage.out_shape) < 3:
        raise NotUnderstood("the channels are not in dimension 1")
    return value


def flattened(passage: Passage, start: int, end: int) -> Channels:
    """Dimensions ``start`` … ``end`` become one; a label is repeated for each position behind its channel."""
    value, shape = passage.channels(), passage.shape
    if shape is None:
        raise NotUnderstood("its operand is not a tensor")
    start, end = start % len(shape), end % len(shape)
    if not start <= value.axis <= end:
        return Channels(value.axis if value.axis < start else value.axis - (end - start), value.labels)
    behind, before = math.prod(shape[value.axis + 1 : end + 1]), math.prod(shape[start : value.axis])
    return Channels(start, np.tile(np.repeat(value.labels, behind), before))
