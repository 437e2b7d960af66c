"""Element by element: labels stay where they are, and those of operands that meet become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from annealnet.compression.network.call import Call, Rule
from annealnet.compression.network.channel_labels import Channels
from annealnet.compression.network.passage import NotUnderstood, kept, spatial

__all__ = ["POINTWISE_RULES", "tied"]


def tied(call: Call, operands: Sequence[Any]) -> Channels | None:
    """Sums, products: all operands' channels become one, broadcasting from the right as torch does."""
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


def _of_two(call: Call) -> Channels | None:
    return tied(call, [call.argument(0, "input"), call.argument(1, "other")])


def _of_all(call: Call) -> Channels | None:
    """Whatever tensors it takes: ``where``, ``masked_fill``, ``addcmul``."""
    return tied(call, list(call.node.all_input_nodes))


_KEPT = """
    relu relu6 leaky_relu elu selu celu gelu silu mish hardswish hardsigmoid hardtanh sigmoid tanh softplus
    softsign logsigmoid log_sigmoid threshold dropout dropout1d dropout2d dropout3d feature_dropout alpha_dropout abs neg
    exp log sqrt rsqrt square clamp clip clamp_min clamp_max contiguous clone detach alias lift_fresh_copy to float half
    double bfloat16 zeros_like ones_like full_like erf sin cos reciprocal logical_not bitwise_not isnan nan_to_num exp2
    round floor native_dropout
"""
_SPATIAL = """
    max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d lp_pool1d lp_pool2d adaptive_avg_pool1d
    adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
    interpolate upsample upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d
    upsample_bicubic2d upsample_trilinear3d
"""
_TIED = """
    add sub mul div truediv true_divide multiply subtract divide maximum minimum pow rsub expand_as type_as eq ne lt le gt ge
    logical_and logical_or __and__ __or__ copy
"""

#: Sums, products, activations, pooling.
POINTWISE_RULES: dict[str, Rule] = {
    **dict.fromkeys(_KEPT.split(), lambda call: kept(call.passage())),
    **dict.fromkeys(_SPATIAL.split(), lambda call: spatial(call.passage())),
    **dict.fromkeys(_TIED.split(), _of_two),
    **dict.fromkeys(("where", "masked_fill", "addcmul", "lerp"), _of_all),
}
