"""Over some dimensions: sums and means, softmax, norms. Labels pass where their own dimension is not among them."""

from __future__ import annotations

from typing import Any

from torch import fx

from annealnet.compression.network.aten import operation
from annealnet.compression.network.call import Call, Rule
from annealnet.compression.network.channel_labels import Channels
from annealnet.compression.network.passage import NotUnderstood, kept

__all__ = ["REDUCTION_RULES"]


#: Where no module is that norm and no more, none can be given the channels that stay, as the masked network has to.
_NORM = "it is a norm over the channels: they could go where a module of its own computes it, and prune names 'stream'"


#: What may stand between a moment and its root, and in a norm otherwise.
_EPSILONS, _SUBTRACTS = ("add", "clamp", "clamp_min", "maximum"), ("sub", "subtract")
_DIVIDES, _SQUARES = ("div", "divide", "truediv", "true_divide"), ("pow", "square", "mul")


def _is_moment(node: fx.Node) -> bool:
    """Whether a mean square or a spread is divided by, or a mean is taken off what is then divided by its own."""
    if _is_scale(node):
        return True
    centred = [user for user in node.users if operation(user) in _SUBTRACTS and user.args[:1] == node.args[:1]]
    squares = [square for user in centred for square in user.users if operation(square) in _SQUARES]
    others = [other for one in (*squares, *(node.all_input_nodes[:1] if centred else ())) for other in one.users]
    return any(_is_scale(other) for other in others)


def _is_scale(node: fx.Node) -> bool:
    """Whether it ends, perhaps with ε, under a root; a standard deviation under a fraction line."""
    found = [(user, node) for user in node.users]
    found += [(user, one) for one in node.users if operation(one) in _EPSILONS for user in one.users]
    if operation(node) == "std":
        return any(operation(user) in _DIVIDES and user.args[1:] == (one,) for user, one in found)
    roots = [user for user, _ in found if operation(user) == "pow" and user.args[1:] in ((0.5,), (-0.5,))]
    return bool(roots) or any(operation(user) in ("rsqrt", "sqrt") for user, _ in found)


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
        raise NotUnderstood(_NORM if _is_moment(call.node) else "it mixes the channels")
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
        raise NotUnderstood(_NORM if _is_moment(call.node) else "it mixes the channels")
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
