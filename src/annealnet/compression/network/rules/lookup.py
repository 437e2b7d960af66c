"""Parts of tensors and their assembly: indices, slices, splits, concatenations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from annealnet.compression.network.call import Call, Rule
from annealnet.compression.network.channel_labels import Channels, Extent, Labelled, Parts, Sizes
from annealnet.compression.network.passage import NotUnderstood

__all__ = ["LOOKUP_RULES", "one_size"]


# ---- indices ---------------------------------------------------------------------------------------------


def _indexed(call: Call) -> Labelled | None:
    value, index = call.value(call.node.args[0]), call.node.args[1]
    if isinstance(value, Sizes):
        return one_size(value, index)
    if isinstance(value, Parts) and isinstance(index, int):
        return Channels(value.axis, value.parts[index])
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


def one_size(value: Sizes, index: Any) -> Extent | None:
    """An entry of a shape: the number of channels, or another."""
    if isinstance(index, int):
        return Extent(value.labels) if index % value.ndim == value.axis else None
    bounds = [getattr(index, name, ...) for name in ("start", "stop", "step")]
    fixed = all(bound is None or isinstance(bound, int) for bound in bounds)
    if not fixed or value.axis in range(*slice(*bounds).indices(value.ndim)):
        raise NotUnderstood("it computes with the number of channels")
    return None


def _selected(call: Call) -> Channels:
    """``select``: one entry of a dimension."""
    value, dim = call.channels(), call.argument(1, "dim")
    shape = call.shape(call.argument(0, "input"))
    if shape is None or not isinstance(dim, int) or dim % len(shape) == value.axis:
        raise NotUnderstood("it picks one channel")
    return Channels(value.axis - (dim % len(shape) < value.axis), value.labels)


def _sliced(call: Call) -> Channels:
    """``slice``: of another dimension, or of the channels by fixed bounds, which has to be tried."""
    value, dim = call.channels(), call.argument(1, "dim", 0)
    first, last, step = call.argument(2, "start"), call.argument(3, "end"), call.argument(4, "step", 1)
    if dim % len(call.out_shape) != value.axis:
        return value
    if call.literal or not all(bound is None or isinstance(bound, int) for bound in (first, last, step)):
        raise NotUnderstood("it slices the channels")
    return Channels(value.axis, value.labels[first:last:step])


def _gathered(call: Call) -> Channels:
    """``index_select``, ``roll``, ``flip``: positions of another dimension change places."""
    value, dims = call.channels(), call.argument(1, "dim")
    dims = call.argument(2, "dims", ()) if call.node.name.startswith("roll") else dims
    named = [dims] if isinstance(dims, int) else dims
    if not isinstance(named, list | tuple) or not all(isinstance(dim, int) for dim in named):
        raise NotUnderstood("it does not say along which dimension")
    if value.axis in {dim % len(call.out_shape) for dim in named}:
        raise NotUnderstood("it changes the order of channels")
    return value


def _indexed_by_tensors(call: Call) -> Channels:
    """``index``: tensors pick positions of leading dimensions, the labelled one is left whole; or numbers pick channels."""
    value, indices = call.value(call.argument(0, "input")), call.argument(1, "indices")
    if not isinstance(value, Channels) or not isinstance(indices, list | tuple):
        raise NotUnderstood("it is indexed by computed values")
    given = [place for place, index in enumerate(indices) if index is not None]
    if given == [value.axis] and (numbers := call.constants.get(indices[value.axis])) is not None:
        picked = value.labels[numbers]
        call.pin(picked, "they are picked by their numbers")
        return Channels(value.axis, picked)
    if value.axis in given or not given or given != list(range(given[0], given[-1] + 1)):
        raise NotUnderstood("it is indexed by computed values")
    if value.axis < given[0]:
        return value
    shape = call.shape(call.argument(0, "input")) or ()
    grown = len(call.out_shape) - len(shape)
    return Channels(value.axis + grown, value.labels)


def _picked(call: Call) -> Channels:
    """``gather`` along another dimension, by the same places for every channel."""
    value, dim, index = call.value(call.argument(0, "input")), call.argument(1, "dim"), call.argument(2, "index")
    shape = call.out_shape
    if not isinstance(value, Channels) or not isinstance(dim, int):
        raise NotUnderstood("it is indexed by computed values")
    if call.literal or call.value(index) is not None or dim % len(shape) == value.axis:
        raise NotUnderstood("it is indexed by computed values")
    same = index.name.startswith("expand")
    source = call.shape(index.args[0]) or () if same else ()
    ahead = len(shape) - len(source)
    if not same or (value.axis >= ahead and source[value.axis - ahead] != 1):
        raise NotUnderstood("it picks other places for each channel")
    return value


# ---- splits ----------------------------------------------------------------------------------------------


def _split(call: Call) -> Parts:
    """Into pieces of a size, or of listed sizes."""
    value, sizes, dim = call.channels(), call.argument(1, "split_size_or_sections"), call.argument(2, "dim", 0)
    shape = call.shape(call.argument(0, "input")) or ()
    if dim % len(shape) != value.axis:
        count = len(sizes) if isinstance(sizes, list | tuple) else -(-shape[dim] // sizes)
        return Parts(value.axis, (value.labels,) * count)
    if call.literal:
        raise NotUnderstood("it splits the channels")
    return _cut(value, sizes if isinstance(sizes, list | tuple) else [sizes] * -(-len(value.labels) // sizes))


def _chunked(call: Call) -> Parts:
    """Into a number of pieces."""
    value, count, dim = call.channels(), call.argument(1, "chunks"), call.argument(2, "dim", 0)
    if dim % len(call.shape(call.argument(0, "input")) or (1,)) != value.axis:
        return Parts(value.axis, (value.labels,) * count)
    size = -(-len(value.labels) // count)
    if len(value.labels) % count:
        raise NotUnderstood("it splits the channels unevenly")
    # both halves must lose as many, or the cut moves
    pieces = value.labels.reshape(count, size)
    for piece in pieces[1:]:
        call.classes.tie(pieces[0], piece)
    return _cut(value, [size] * count)


def _cut(value: Channels, sizes: Sequence[int]) -> Parts:
    ends = np.cumsum(sizes)[:-1]
    return Parts(value.axis, tuple(np.split(value.labels, ends)))


def _unbound(call: Call) -> Parts:
    value, dim = call.channels(), call.argument(1, "dim", 0)
    shape = call.shape(call.argument(0, "input")) or (1,)
    if dim % len(shape) == value.axis:
        raise NotUnderstood("it picks single channels")
    return Parts(value.axis - (dim % len(shape) < value.axis), (value.labels,) * shape[dim])


def _gated(call: Call) -> Channels:
    """``glu``: the first half times the sigmoid of the second."""
    value, dim = call.channels(), call.argument(1, "dim", -1)
    if dim % len(call.out_shape) != value.axis:
        return value
    first, second = np.split(value.labels, 2)
    call.classes.tie(first, second)
    return Channels(value.axis, first)


# ---- assembly --------------------------------------------------------------------------------------------


def _concatenated(call: Call) -> Channels:
    tensors = call.argument(0, "tensors")
    if not isinstance(tensors, list | tuple):
        raise NotUnderstood("its operands are not listed")
    found = [(call.value(tensor), call.shape(tensor)) for tensor in tensors]
    axes = {value.axis for value, _ in found if isinstance(value, Channels)}
    if len(axes) != 1 or any(isinstance(value, Sizes | Extent | Parts) or shape is None for value, shape in found):
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


def _stacked(call: Call) -> Channels:
    """``stack``: a new dimension, equal tensors along it."""
    tensors, dim = call.argument(0, "tensors"), call.argument(1, "dim", 0) % len(call.out_shape)
    found = [call.value(tensor) for tensor in tensors]
    axes = {value.axis for value in found if isinstance(value, Channels)}
    if len(axes) != 1 or not all(isinstance(value, Channels) for value in found):
        raise NotUnderstood("its operands carry channels in different dimensions")
    parts = [value.labels for value in found if isinstance(value, Channels)]
    for part in parts[1:]:
        call.classes.tie(parts[0], part)
    axis = axes.pop()
    return Channels(axis + (dim <= axis), parts[0])


#: Indices, slices, splits, concatenations.
LOOKUP_RULES: dict[str, Rule] = {
    **dict.fromkeys(("cat", "concat", "concatenate"), _concatenated),
    **dict.fromkeys(("split", "split_with_sizes"), _split),
    **dict.fromkeys(("index_select", "roll", "flip"), _gathered),
    "stack": _stacked,
    "chunk": _chunked,
    "unbind": _unbound,
    "glu": _gated,
    "gather": _picked,
    "getitem": _indexed,
    "index": _indexed_by_tensors,
    "select": _selected,
    "slice": _sliced,
}
