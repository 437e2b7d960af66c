"""How labels on channels pass through the operations of a network.

A rule says which labels an operation's result carries, ties labels that must be one, or raises
:class:`NotUnderstood`: then every label that touches the operation is pinned, so that nothing is broken
silently.
"""

from __future__ import annotations

import numpy as np

from annealnet.compression.network.call import Call, Rule
from annealnet.compression.network.channel_labels import Channels, Extent, Sizes
from annealnet.compression.network.passage import NotUnderstood, kept, spatial

__all__ = ["FUNCTION_RULES"]


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

#: What is known of functions and tensor methods, by name (in-place forms go by the plain name).
FUNCTION_RULES: dict[str, Rule] = {
    **dict.fromkeys(_KEPT.split(), lambda call: kept(call.passage())),
    **dict.fromkeys(_SPATIAL.split(), lambda call: spatial(call.passage())),
    **dict.fromkeys(_TIED.split(), _tied),
    **dict.fromkeys(("cat", "concat", "concatenate"), _concatenated),
}
