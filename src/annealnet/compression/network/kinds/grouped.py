"""Grouped and depthwise layers: what has to go together so that the groups stay equal."""

from __future__ import annotations

import numpy as np

from annealnet.compression.network.channel_labels import LabelClasses

__all__ = ["tie_groups"]


def tie_groups(classes: LabelClasses, reads: np.ndarray, outputs: np.ndarray, groups: int) -> None:
    """Depthwise: an output goes with its input. Grouped: equal places of all groups go together.

    Args:
        classes: the labels' classes.
        reads: ``(inputs,)`` labels.
        outputs: ``(outputs,)`` labels.
        groups: divides both; as many as inputs: depthwise. One group ties nothing.

    Example:
        >>> classes = LabelClasses()
        >>> reads, outputs = classes.fresh(2), classes.fresh(4)
        >>> tie_groups(classes, reads, outputs, 2)
        >>> classes.roots(outputs).tolist()
        [0, 0, 1, 1]
    """
    if groups == 1:
        return
    if groups == len(reads):
        classes.tie(np.repeat(reads, len(outputs) // groups), outputs)
        return
    for slots in (reads, outputs):
        by_group = slots.reshape(groups, -1)
        for group in by_group[1:]:
            classes.tie(by_group[0], group)
