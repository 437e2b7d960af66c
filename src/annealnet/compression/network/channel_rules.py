"""How labels on channels pass through the operations of a network.

A rule says which labels an operation's result carries, ties labels that must be one, or raises
:class:`NotUnderstood`: then every label that touches the operation is pinned, so that nothing is broken
silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import fx

from annealnet.compression.network.channel_labels import Channels, Extent, LabelClasses, Labelled, Sizes

__all__ = ["FUNCTION_RULES", "Call", "NotUnderstood", "Rule", "kept", "spatial"]


class NotUnderstood(Exception):
    """An operation whose effect on channels is not known; the message says why."""


@dataclass(frozen=True)
class Call:
    """One operation of the traced network.

    Attributes:
        node: its place in the graph.
        values: labels of everything computed so far.
        shapes: shapes of every tensor computed so far, this one included.
        classes: the labels' equivalence classes.
        pin: pins labels and notes the reason.
    """

    node: fx.Node
    values: dict[fx.Node, Labelled | None]
    shapes: dict[fx.Node, tuple[int, ...]]
    classes: LabelClasses
    pin: Callable[[np.ndarray, str], None]

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        if self.node not in self.shapes:
            raise NotUnderstood("it does not give one tensor")
        return self.shapes[self.node]

    def labelled(self) -> Iterator[Labelled]:
        """Every operand that carries labels."""
        for node in self.node.all_input_nodes:
            value = self.values.get(node)
            if value is not None:
                yield value

    def value(self, argument: Any) -> Labelled | None:
        """The labels of an argument, None for constants."""
        return self.values.get(argument) if isinstance(argument, fx.Node) else None

    def shape(self, argument: Any) -> tuple[int, ...] | None:
        """The shape of a tensor argument, None for other values."""
        return self.shapes.get(argument) if isinstance(argument, fx.Node) else None

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """An argument by position or keyword."""
        if len(self.node.args) > place:
            return self.node.args[place]
        return self.node.kwargs.get(name, default)

    def channels(self) -> Channels:
        """The first operand, which alone may carry labels."""
        value = self.value(self.argument(0, "input"))
        if not isinstance(value, Channels) or any(other is not value for other in self.labelled()):
            raise NotUnderstood("several operands carry channels")
        return value


def kept(call: Call) -> Channels:
    """Element by element: the labels stay where they are."""
    value, shape = call.channels(), call.out_shape
    if any(call.value(node) is None and call.shape(node) for node in call.node.all_input_nodes):
        raise NotUnderstood("it takes a second tensor")
    if len(shape) <= value.axis or shape[value.axis] != len(value.labels):
        raise NotUnderstood("it changes the number of channels")
    return value


def spatial(call: Call) -> Channels:
    """Pooling, resizing: works on the dimensions behind the channels."""
    value = kept(call)
    if value.axis != 1 or len(call.out_shape) < 3:
        raise NotUnderstood("the channels are not in dimension 1")
    return value


def _tied(call: Call) -> Channels | None:
    """Sums, products: both sides' channels become one, broadcasting from the right as torch does."""
    operands = [call.argument(0, "input"), call.argument(1, "other")]
    found = [(value, call.shape(operand)) for operand in operands if (value := call.value(operand)) is not None]
    shape, places = call.out_shape, set()
    for value, own in found:
        if not isinstance(value, Channels) or own is None:
            raise NotUnderstood("it computes with the number of channels")
        places.add(len(own) - value.axis)
    if len(places) != 1:
        raise NotUnderstood("its operands carry channels in different dimensions")
    place = places.pop()
    axis = len(shape) - place
    full: list[np.ndarray] = []
    for value, _ in found:
        if len(value.labels) == shape[axis]:
            full.append(value.labels)
        else:
            call.pin(value.labels, "one channel is spread over several")
    if not full:
        return None
    for labels in full[1:]:
        call.classes.tie(full[0], labels)
    for operand in operands:
        fixed = call.shape(operand)
        if call.value(operand) is None and fixed is not None and len(fixed) >= place and fixed[-place] != 1:
            call.pin(full[0], "combined with a tensor of a fixed number of channels")
    return Channels(axis, full[0])


def _concatenated(call: Call) -> Channels:
    tensors = call.argument(0, "tensors")
    if not isinstance(tensors, list | tuple):
        raise NotUnderstood("its operands are not listed")
    found = [(call.value(tensor), call.shape(tensor)) for tensor in tensors]
    axes = {value.axis for value, _ in found if isinstance(value, Channels)}
    if len(axes) != 1 or any(isinstance(value, Sizes | Extent) or shape is None for value, shape in found):
        raise NotUnderstood("its operands carry channels in different dimensions")
    axis = axes.pop()
    dim = call.argument(1, "dim", 0) % len(call.out_shape)
    parts = [
        value.labels if isinstance(value, Channels) else np.full((shape or ())[axis], -1, dtype=np.int64)
        for value, shape in found
    ]
    if dim == axis:
        return Channels(axis, np.concatenate(parts))
    for part in parts[1:]:
        call.classes.tie(parts[0], part)
    return Channels(axis, parts[0])


_KEPT = """
    relu relu6 leaky_relu elu selu celu gelu silu mish hardswish hardsigmoid hardtanh sigmoid tanh softplus
    softsign logsigmoid threshold dropout dropout1d dropout2d dropout3d feature_dropout alpha_dropout abs neg
    exp log sqrt rsqrt square clamp clip contiguous clone detach to float half double zeros_like
    ones_like erf sin cos
"""
_SPATIAL = """
    max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d lp_pool1d lp_pool2d adaptive_avg_pool1d
    adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
    interpolate upsample
"""
_TIED = "add sub mul div truediv true_divide multiply subtract divide maximum minimum pow rsub expand_as"
Rule = Callable[[Call], Labelled | None]

#: What is known of functions and tensor methods, by name (in-place forms go by the plain name).
FUNCTION_RULES: dict[str, Rule] = {
    **dict.fromkeys(_KEPT.split(), kept),
    **dict.fromkeys(_SPATIAL.split(), spatial),
    **dict.fromkeys(_TIED.split(), _tied),
    **dict.fromkeys(("cat", "concat", "concatenate"), _concatenated),
}
