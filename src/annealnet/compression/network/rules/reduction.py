"""Over some dimensions: sums and means, softmax, norms. Labels pass where their own dimension is not among them."""

from __future__ import annotations

from typing import Any

from annealnet.compression.network.call import Call, Rule
from annealnet.compression.network.channel_labels import Channels
from annealnet.compression.network.passage import NotUnderstood, kept

__all__ = ["REDUCTION_RULES"]


def _dimensions(call: Call, place: int = 1) -> set[int]:
    """The dimensions an operation works over, counted from the left."""
    shape, dims = call.shape(call.argument(0, "input")), call.argument(place, "dim")
    dims = [dims] if isinstance(dims, int) else dims
    if shape is None or not isinstance(dims, list | tuple) or not all(isinstance(dim, int) for dim in dims):
        raise NotUnderstood("it does not say over which dimensions")
    return {dim % len(shape) for dim in dims}


def _reduced(call: Call) -> Channels:
    """Mean, sum, maximum over dimensions that are not the channels'."""
    value, gone = call.channels(), _dimensions(call)
    if value.axis in gone:
        raise NotUnderstood("it mixes the channels")
    if call.argument(2, "keepdim", False):
        return value
    return Channels(value.axis - sum(dim < value.axis for dim in gone), value.labels)


def _along(call: Call) -> Channels:
    """Softmax, running sums: shape unchanged, positions of one dimension mixed."""
    if kept(call.passage()).axis in _dimensions(call):
        raise NotUnderstood("it mixes the channels")
    return kept(call.passage())


def _over_last(call: Call) -> Channels:
    """Layer norm, RMS norm: over the last dimensions, as many as ``normalized_shape`` has."""
    value, sizes = call.channels(), call.argument(1, "normalized_shape")
    count = len(sizes) if isinstance(sizes, list | tuple) else 1
    if value.axis >= len(call.out_shape) - count:
        raise NotUnderstood("it normalises over the channels")
    return value


def _over_groups(call: Call) -> Channels:
    raise NotUnderstood("it normalises over groups of channels")


def _varied(call: Call) -> Channels:
    """Standard deviation and variance, whose second argument may be a dimension or a correction."""
    value: Any = call.channels()
    if value.axis in _dimensions(call):
        raise NotUnderstood("it mixes the channels")
    if call.argument(3, "keepdim", False):
        return Channels(value.axis, value.labels)
    return Channels(value.axis - sum(dim < value.axis for dim in _dimensions(call)), value.labels)


#: Operations over dimensions.
REDUCTION_RULES: dict[str, Rule] = {
    **dict.fromkeys(("mean", "sum", "amax", "amin", "all", "any", "argmax", "argmin", "logsumexp", "prod"), _reduced),
    **dict.fromkeys(("softmax", "log_softmax", "_softmax", "_log_softmax", "_safe_softmax", "cumsum"), _along),
    **dict.fromkeys(("layer_norm", "rms_norm"), _over_last),
    **dict.fromkeys(("group_norm", "instance_norm"), _over_groups),
    **dict.fromkeys(("std", "var"), _varied),
}
