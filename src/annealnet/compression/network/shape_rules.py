"""How labels on channels pass through operations that change or read a tensor's shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from annealnet.compression.network.call import Call, Rule
from annealnet.compression.network.channel_labels import Channels, Extent, Labelled, Sizes
from annealnet.compression.network.passage import NotUnderstood, flattened

__all__ = ["SHAPE_RULES"]


def _flatten(call: Call) -> Channels:
    return flattened(call.passage(), call.argument(1, "start_dim", 0), call.argument(2, "end_dim", -1))


def _reshaped(call: Call) -> Channels:
    """``view`` and ``reshape``: understood when the channels' new dimension is -1 or their number."""
    value = call.value(call.argument(0, "input"))
    shape, out = call.shape(call.argument(0, "input")), call.out_shape
    wanted: Sequence[Any] = call.node.args[1:]
    if len(wanted) == 1 and isinstance(wanted[0], list | tuple):
        wanted = wanted[0]
    if not isinstance(value, Channels) or shape is None or len(wanted) != len(out):
        raise NotUnderstood("its new shape is not listed")
    first, last, place = _merged_dimensions(shape, out, value.axis)
    for dim, size in enumerate(wanted):
        extent = call.value(size)
        if dim == place and isinstance(extent, Extent) and len(extent.labels) == out[dim] and first == last:
            # the number of another tensor's channels: right as long as both lose the same ones
            call.classes.tie(value.labels, extent.labels)
        elif extent is not None:
            raise NotUnderstood("its new shape is computed from the number of channels")
        elif dim == place and not (isinstance(size, int) and size == -1):
            raise NotUnderstood(f"its new shape fixes dimension {dim} to {out[dim]}: write -1 there")
    behind, before = math.prod(shape[value.axis + 1 : last + 1]), math.prod(shape[first : value.axis])
    return Channels(place, np.tile(np.repeat(value.labels, behind), before))


def _merged_dimensions(shape: tuple[int, ...], out: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """The input dimensions first … last (``axis`` among them) that become the output dimension ``place``."""
    for place in range(len(out)):
        ahead = math.prod(out[:place])
        for first in range(axis, -1, -1):
            for last in range(axis, len(shape)):
                merged = math.prod(shape[first : last + 1])
                if ahead == math.prod(shape[:first]) and out[place] == merged:
                    return first, last, place
    raise NotUnderstood("it splits the channels")


def _reduced(call: Call) -> Channels:
    """Mean, sum, maximum over dimensions that are not the channels'."""
    value, shape = call.channels(), call.shape(call.argument(0, "input"))
    dims = call.argument(1, "dim")
    dims = [dims] if isinstance(dims, int) else dims
    if shape is None or not isinstance(dims, list | tuple) or not all(isinstance(dim, int) for dim in dims):
        raise NotUnderstood("it does not say over which dimensions")
    gone = {dim % len(shape) for dim in dims}
    if value.axis in gone:
        raise NotUnderstood("it mixes the channels")
    if call.argument(2, "keepdim", False):
        return value
    return Channels(value.axis - sum(dim < value.axis for dim in gone), value.labels)


def _permuted(call: Call) -> Channels:
    value, ndim = call.channels(), len(call.out_shape)
    order: Any = call.node.args[1:] or call.node.kwargs.get("dims", ())
    if len(order) == 1 and isinstance(order[0], list | tuple):
        order = order[0]
    if len(order) != ndim or not all(isinstance(dim, int) for dim in order):
        raise NotUnderstood("its order is not listed")
    return Channels([dim % ndim for dim in order].index(value.axis), value.labels)


def _transposed(call: Call) -> Channels:
    value, ndim = call.channels(), len(call.out_shape)
    first, second = call.argument(1, "dim0"), call.argument(2, "dim1")
    if not isinstance(first, int) or not isinstance(second, int):
        raise NotUnderstood("its dimensions are not listed")
    swap = {first % ndim: second % ndim, second % ndim: first % ndim}
    return Channels(swap.get(value.axis, value.axis), value.labels)


def _squeezed(call: Call) -> Channels:
    value, shape = call.channels(), call.shape(call.argument(0, "input"))
    dims = call.argument(1, "dim")
    dims = [dims] if isinstance(dims, int) else dims
    if shape is None or not isinstance(dims, list | tuple) or not all(isinstance(dim, int) for dim in dims):
        raise NotUnderstood("without a dimension it would drop the channels once one is left: name the dimension")
    gone = {dim % len(shape) for dim in dims if shape[dim] == 1}
    if value.axis in {dim % len(shape) for dim in dims}:
        raise NotUnderstood("it would drop the channels once one is left")
    return Channels(value.axis - sum(dim < value.axis for dim in gone), value.labels)


def _unsqueezed(call: Call) -> Channels:
    value, dim = call.channels(), call.argument(1, "dim")
    if not isinstance(dim, int):
        raise NotUnderstood("its dimension is computed")
    return Channels(value.axis + (dim % len(call.out_shape) <= value.axis), value.labels)


def _padded(call: Call) -> Channels:
    """Padding; on the channels themselves (option-A shortcuts) the new ones are fixed zeros."""
    value, pad = call.channels(), call.argument(1, "pad")
    place = len(call.out_shape) - 1 - value.axis
    if not isinstance(pad, list | tuple):
        raise NotUnderstood("its padding is computed")
    if len(pad) // 2 <= place:
        return value
    before, behind = pad[2 * place], pad[2 * place + 1]
    if not (isinstance(before, int) and isinstance(behind, int) and before >= 0 and behind >= 0):
        raise NotUnderstood("its padding of the channels is computed or negative")
    if (before or behind) and call.argument(2, "mode", "constant") != "constant":
        raise NotUnderstood("it repeats channels")
    fixed = np.full(before, -1, dtype=np.int64), np.full(behind, -1, dtype=np.int64)
    return Channels(value.axis, np.concatenate([fixed[0], value.labels, fixed[1]]))


# ---- sizes and indices -----------------------------------------------------------------------------------


def _indexed(call: Call) -> Labelled | None:
    value, index = call.value(call.node.args[0]), call.node.args[1]
    if isinstance(value, Sizes):
        return _one_size(value, index)
    if not isinstance(value, Channels) or any(other is not value for other in call.labelled()):
        raise NotUnderstood("it is indexed by computed values")
    shape = call.shape(call.node.args[0]) or ()
    entries: list[Any] = list(index) if isinstance(index, tuple) else [index]
    if any(not (entry is None or entry is Ellipsis or isinstance(entry, int | slice)) for entry in entries):
        raise NotUnderstood("it is indexed by computed values")
    if Ellipsis in entries:
        at = entries.index(Ellipsis)
        used = sum(entry is not None for entry in entries) - 1
        entries[at : at + 1] = [slice(None)] * (len(shape) - used)
    return Channels(_axis_after(entries, value.axis), value.labels)


def _axis_after(entries: list[Any], axis: int) -> int:
    """Where dimension ``axis`` is after indexing with integers, slices and None."""
    dim = out = 0
    for entry in entries:
        if entry is None:
            out += 1
            continue
        if dim == axis:
            if entry != slice(None):
                raise NotUnderstood("it slices the channels")
            return out
        dim, out = dim + 1, out + (not isinstance(entry, int))
    return out + axis - dim


def _one_size(value: Sizes, index: Any) -> Extent | None:
    if isinstance(index, int):
        return Extent(value.labels) if index % value.ndim == value.axis else None
    bounds = [getattr(index, name, ...) for name in ("start", "stop", "step")]
    fixed = all(bound is None or isinstance(bound, int) for bound in bounds)
    if not fixed or value.axis in range(*slice(*bounds).indices(value.ndim)):
        raise NotUnderstood("it computes with the number of channels")
    return None


def _sizes(call: Call, value: Channels) -> Sizes:
    shape = call.shape(call.argument(0, "input"))
    assert shape is not None
    return Sizes(value.axis, value.labels, len(shape))


def _size(call: Call) -> Labelled | None:
    value, dim = call.channels(), call.argument(1, "dim")
    return _sizes(call, value) if dim is None else _one_size(_sizes(call, value), dim)


def _attribute(call: Call) -> Labelled | None:
    value, name = call.channels(), call.node.args[1]
    if name == "shape":
        return _sizes(call, value)
    if name in ("device", "dtype", "ndim", "is_cuda"):
        return None
    raise NotUnderstood(f"its attribute {name!r} is read")


def _unrelated(call: Call) -> None:
    return None


#: What is known of functions and tensor methods that change or read shapes, by name.
SHAPE_RULES: dict[str, Rule] = {
    **dict.fromkeys(("mean", "sum", "amax", "amin"), _reduced),
    **dict.fromkeys(("view", "reshape"), _reshaped),
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), _transposed),
    **dict.fromkeys(("dim", "ndimension"), _unrelated),
    "flatten": _flatten,
    "permute": _permuted,
    "squeeze": _squeezed,
    "unsqueeze": _unsqueezed,
    "pad": _padded,
    "getitem": _indexed,
    "size": _size,
    "getattr": _attribute,
}
