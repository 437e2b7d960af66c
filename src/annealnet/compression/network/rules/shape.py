"""Operations that change or read a tensor's shape: views, permutations, padding, sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from annealnet.compression.network.call import Call, Rule
from annealnet.compression.network.channel_labels import Channels, Extent, LabelClasses, Labelled, Sizes
from annealnet.compression.network.passage import NotUnderstood, flattened
from annealnet.compression.network.rules.lookup import one_size

__all__ = ["SHAPE_RULES", "regrouped"]


# ---- views -----------------------------------------------------------------------------------------------


def _flatten(call: Call) -> Channels:
    return flattened(call.passage(), call.argument(1, "start_dim", 0), call.argument(2, "end_dim", -1))


def _unflatten(call: Call) -> Channels:
    value, shape = call.channels(), call.shape(call.argument(0, "input"))
    return regrouped(value, shape or (), call.out_shape, call.classes)


def _reshaped(call: Call) -> Channels:
    """``view`` and ``reshape``: where sizes stand as in the source, the channels' new one must be -1 or their number."""
    value = call.value(call.argument(0, "input"))
    shape, out = call.shape(call.argument(0, "input")), call.out_shape
    wanted: Sequence[Any] = call.node.args[1:]
    if len(wanted) == 1 and isinstance(wanted[0], list | tuple):
        wanted = wanted[0]
    if not isinstance(value, Channels) or shape is None or len(wanted) != len(out):
        raise NotUnderstood("its new shape is not listed")
    found = regrouped(value, shape, out, call.classes)
    if not call.literal:
        return found
    for dim, size in enumerate(wanted):
        extent = call.value(size)
        if dim == found.axis and isinstance(extent, Extent) and len(extent.labels) == out[dim] == len(value.labels):
            # the number of another tensor's channels: right as long as both lose the same ones
            call.classes.tie(value.labels, extent.labels)
        elif extent is not None:
            raise NotUnderstood("its new shape is computed from the number of channels")
        elif dim == found.axis and not (isinstance(size, int) and size == -1):
            raise NotUnderstood(f"its new shape fixes dimension {dim} to {out[dim]}: write -1 there")
    return found


def regrouped(value: Channels, shape: tuple[int, ...], out: tuple[int, ...], classes: LabelClasses) -> Channels:
    """Labels of a tensor of ``shape`` that is seen as one of shape ``out``, the same numbers in the same order.

    Dimensions that merge repeat labels; one that splits keeps them on the part along which alone they vary. Where there is
    no such part, all that lies behind one place of the outermost goes together: heads of an attention go whole.

    Example:
        >>> classes = LabelClasses()
        >>> hidden = Channels(2, classes.fresh(6))
        >>> heads = regrouped(hidden, (2, 5, 6), (2, 5, 3, 2), classes)
        >>> heads.axis, heads.labels.tolist(), classes.roots(hidden.labels).tolist()
        (2, [0, 2, 4], [0, 0, 2, 2, 4, 4])
        >>> again = regrouped(heads, (2, 5, 3, 2), (2, 5, 6), classes)
        >>> again.axis, classes.roots(again.labels).tolist()
        (2, [0, 0, 2, 2, 4, 4])
    """
    (first, last), (begin, end) = _same_numbers(shape, out, value.axis)
    inside = shape[first:last]
    place = value.axis - first
    spread = value.labels.reshape([-1 if dim == place else 1 for dim in range(len(inside))])
    full = np.broadcast_to(spread, inside).reshape(out[begin:end])
    roots = classes.roots(full.ravel()).reshape(full.shape)
    for dim in range(full.ndim):
        alone = np.moveaxis(roots, dim, 0).reshape(full.shape[dim], -1)
        if full.shape[dim] > 1 and (alone == alone[:, :1]).all():
            return Channels(begin + dim, np.moveaxis(full, dim, 0).reshape(full.shape[dim], -1)[:, 0])
    if first == 0:
        raise NotUnderstood("it splits the channels among samples")
    wide = [dim for dim in range(full.ndim) if full.shape[dim] > 1]
    outer = wide[0] if wide else 0
    by_place = np.moveaxis(full, outer, 0).reshape(full.shape[outer], -1)
    for column in by_place.T[1:]:
        classes.tie(by_place[:, 0], column)
    return Channels(begin + outer, by_place[:, 0].copy())


def _same_numbers(shape: tuple[int, ...], out: tuple[int, ...], axis: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The fewest dimensions around ``axis`` that become some of ``out``: bounds in both shapes."""
    for first in range(axis, -1, -1):
        ahead = math.prod(shape[:first])
        for last in range(axis + 1, len(shape) + 1):
            merged = math.prod(shape[first:last])
            for begin in range(len(out)):
                if math.prod(out[:begin]) != ahead:
                    continue
                for end in range(begin + 1, len(out) + 1):
                    if math.prod(out[begin:end]) == merged:
                        return (first, last), (begin, end)
    raise NotUnderstood("it splits the channels")


# ---- permutations ----------------------------------------------------------------------------------------


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


def _turned(call: Call) -> Channels:
    """``t``: a matrix transposed."""
    value = call.channels()
    return Channels(1 - value.axis if len(call.out_shape) == 2 else value.axis, value.labels)


# ---- dimensions of extent one ------------------------------------------------------------------------------


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


def _expanded(call: Call) -> Channels:
    """``expand``, ``broadcast_to``: new dimensions in front, those of extent one repeated."""
    value, shape = call.channels(), call.shape(call.argument(0, "input")) or ()
    axis = value.axis + len(call.out_shape) - len(shape)
    if call.out_shape[axis] != len(value.labels):
        raise NotUnderstood("one channel is spread over several")
    return Channels(axis, value.labels)


def _tiled(call: Call) -> Channels:
    """``repeat``: the whole several times, one behind the other."""
    value, times = call.channels(), call.argument(1, "repeats")
    if not isinstance(times, list | tuple) or not all(isinstance(count, int) for count in times):
        raise NotUnderstood("it does not say how often")
    axis = value.axis + len(call.out_shape) - len(call.shape(call.argument(0, "input")) or ())
    return Channels(axis, np.tile(value.labels, times[axis]))


def _repeated(call: Call) -> Channels:
    """``repeat_interleave``: each entry several times, one behind the other."""
    value, times, dim = call.channels(), call.argument(1, "repeats"), call.argument(2, "dim")
    if not isinstance(times, int) or not isinstance(dim, int):
        raise NotUnderstood("it does not say how often")
    if dim % len(call.out_shape) != value.axis:
        return value
    return Channels(value.axis, np.repeat(value.labels, times))


def _shuffled(call: Call) -> Channels:
    """``pixel_shuffle``: r² channels become one of r × r as many positions."""
    value, factor = call.channels(), call.argument(1, "upscale_factor")
    if value.axis != len(call.out_shape) - 3 or not isinstance(factor, int):
        raise NotUnderstood("it mixes the channels")
    together = value.labels.reshape(-1, factor**2)
    for column in together.T[1:]:
        call.classes.tie(together[:, 0], column)
    return Channels(value.axis, together[:, 0].copy())


def _unshuffled(call: Call) -> Channels:
    """``pixel_unshuffle``: one channel becomes r²."""
    value, factor = call.channels(), call.argument(1, "downscale_factor")
    if value.axis != len(call.out_shape) - 3 or not isinstance(factor, int):
        raise NotUnderstood("it mixes the channels")
    return Channels(value.axis, np.repeat(value.labels, factor**2))


# ---- padding ---------------------------------------------------------------------------------------------


def _padded(call: Call) -> Channels:
    """Padding; on the channels themselves (option-A shortcuts) the new ones are fixed zeros."""
    return _with_margins(call, constant=call.argument(2, "mode", "constant") == "constant")


def _padded_with_numbers(call: Call) -> Channels:
    """``constant_pad_nd``: there is no other mode."""
    return _with_margins(call, constant=True)


def _padded_with_copies(call: Call) -> Channels:
    """``reflection_pad2d``, ``replication_pad2d`` and their like."""
    return _with_margins(call, constant=False)


def _with_margins(call: Call, constant: bool) -> Channels:
    value, pad = call.channels(), call.argument(1, "pad")
    place = len(call.out_shape) - 1 - value.axis
    if not isinstance(pad, list | tuple):
        raise NotUnderstood("its padding is computed")
    if len(pad) // 2 <= place:
        return value
    before, behind = pad[2 * place], pad[2 * place + 1]
    if not (isinstance(before, int) and isinstance(behind, int) and before >= 0 and behind >= 0):
        raise NotUnderstood("its padding of the channels is computed or negative")
    if (before or behind) and not constant:
        raise NotUnderstood("it repeats channels")
    fixed = np.full(before, -1, dtype=np.int64), np.full(behind, -1, dtype=np.int64)
    return Channels(value.axis, np.concatenate([fixed[0], value.labels, fixed[1]]))


# ---- sizes -----------------------------------------------------------------------------------------------


def _sizes(call: Call, value: Channels) -> Sizes:
    shape = call.shape(call.argument(0, "input"))
    assert shape is not None
    return Sizes(value.axis, value.labels, len(shape))


def _size(call: Call) -> Labelled | None:
    value, dim = call.channels(), call.argument(1, "dim")
    return _sizes(call, value) if dim is None else one_size(_sizes(call, value), dim)


def _attribute(call: Call) -> Labelled | None:
    value, name = call.channels(), call.node.args[1]
    if name == "shape":
        return _sizes(call, value)
    if name in ("device", "dtype", "ndim", "is_cuda"):
        return None
    raise NotUnderstood(f"its attribute {name!r} is read")


def _unrelated(call: Call) -> None:
    return None


#: Views, permutations, padding, sizes.
SHAPE_RULES: dict[str, Rule] = {
    **dict.fromkeys(("view", "reshape", "_unsafe_view"), _reshaped),
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), _transposed),
    **dict.fromkeys(("dim", "ndimension", "_assert_tensor_metadata", "new_zeros", "new_ones", "new_full"), _unrelated),
    **dict.fromkeys(("reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d"), _padded_with_copies),
    "t": _turned,
    "flatten": _flatten,
    "unflatten": _unflatten,
    "permute": _permuted,
    "squeeze": _squeezed,
    "unsqueeze": _unsqueezed,
    **dict.fromkeys(("expand", "broadcast_to"), _expanded),
    "repeat": _tiled,
    "repeat_interleave": _repeated,
    "pixel_shuffle": _shuffled,
    "pixel_unshuffle": _unshuffled,
    "pad": _padded,
    "constant_pad_nd": _padded_with_numbers,
    "size": _size,
    "getattr": _attribute,
}
