"""Sixteen numbers as one value inside compiled kernels, for loops that the compiler by itself does not make into vectors.

Two types of numba's: sixteen float32 and sixteen uint32. ``+``, ``*``, ``^`` and ``>>`` work lane by lane, the second
operand being lanes or one number for all of them. A processor with shorter registers takes two or four of its own.
Arrays are read and written from any index on, fastest where rows begin at multiples of 64 bytes (:func:`rows_of_lanes`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable
from numba.np import arrayobj
from numpy.typing import NDArray

__all__ = [
    "LANES",
    "clipped",
    "floats_of",
    "load",
    "lowest",
    "ones",
    "rows_of_lanes",
    "splat",
    "store",
    "under",
    "word_lanes",
]

#: Numbers in a value.
LANES = 16

_INT, _BITS = ir.IntType(32), ir.IntType(64)
_FLOATS, _WORDS = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(_INT, LANES)
_FAST = ("fast",)


class _FloatLanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name="FloatLanes")


class _WordLanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name="WordLanes")


@register_model(_FloatLanes)
class _FloatModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Any) -> None:
        super().__init__(manager, lanes, _FLOATS)


@register_model(_WordLanes)
class _WordModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Any) -> None:
        super().__init__(manager, lanes, _WORDS)


_floats, _words = _FloatLanes(), _WordLanes()


def _spread(builder: Any, value: Any, vector: ir.VectorType) -> Any:
    """One number in every lane."""
    empty = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, empty, ir.Constant(_WORDS, [0] * LANES))


def _operate(function: Callable[..., Any], lanes: types.Type, one: types.Type, vector: ir.VectorType, build: Any) -> None:
    """Teaches numba an operator for two operands of lanes, or lanes and one number."""

    @type_callable(function)
    def result(context: Any) -> Any:
        return lambda left, right: lanes if left == lanes and right in (lanes, one) else None

    @lower_builtin(function, type(lanes), type(lanes))
    def both(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return build(builder, *arguments)

    @lower_builtin(function, type(lanes), one)
    def single(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return build(builder, arguments[0], _spread(builder, arguments[1], vector))


_operate(operator.add, _floats, types.float32, _FLOATS, lambda builder, a, b: builder.fadd(a, b, flags=_FAST))
_operate(operator.mul, _floats, types.float32, _FLOATS, lambda builder, a, b: builder.fmul(a, b, flags=_FAST))
_operate(operator.add, _words, types.uint32, _WORDS, lambda builder, a, b: builder.add(a, b))
_operate(operator.mul, _words, types.uint32, _WORDS, lambda builder, a, b: builder.mul(a, b))
_operate(operator.xor, _words, types.uint32, _WORDS, lambda builder, a, b: builder.xor(a, b))
_operate(operator.rshift, _words, types.uint32, _WORDS, lambda builder, a, b: builder.lshr(a, b))


def _place(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    data = arrayobj.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _FLOATS.as_pointer())


@intrinsic
def load(context, array, at):  # type: ignore[no-untyped-def]
    """array[at : at + 16] of a contiguous float32 array; ``at`` is a uint64."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.load(_place(context, builder, signature.args[0], *arguments), align=4)

    return _floats(array, types.uint64), build


@intrinsic
def store(context, array, at, value):  # type: ignore[no-untyped-def]
    """array[at : at + 16] = value."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.store(arguments[2], _place(context, builder, signature.args[0], *arguments[:2]), align=4)
        return context.get_dummy_value()

    return types.none(array, types.uint64, _floats), build


@intrinsic
def splat(context, value):  # type: ignore[no-untyped-def]
    """A float32 in every lane."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return _spread(builder, arguments[0], _FLOATS)

    return _floats(types.float32), build


@intrinsic
def word_lanes(context):  # type: ignore[no-untyped-def]
    """0, 1, … 15 as words."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return ir.Constant(_WORDS, list(range(LANES)))

    return _words(), build


@intrinsic
def floats_of(context, words):  # type: ignore[no-untyped-def]
    """Words below 2³¹ as floats."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.sitofp(arguments[0], _FLOATS)

    return _floats(_words), build


@intrinsic
def clipped(context, value, limit):  # type: ignore[no-untyped-def]
    """Every lane held within ±limit, a float32."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        value, limit = arguments[0], _spread(builder, arguments[1], _FLOATS)
        least = builder.fneg(limit)
        above = builder.select(builder.fcmp_ordered(">", value, least, flags=_FAST), value, least)
        return builder.select(builder.fcmp_ordered("<", above, limit, flags=_FAST), above, limit)

    return _floats(_floats, types.float32), build


@intrinsic
def under(context, left, right):  # type: ignore[no-untyped-def]
    """Where left < right: bit k of a uint64 speaks of lane k."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        found = builder.fcmp_ordered("<", *arguments, flags=_FAST)
        return builder.zext(builder.bitcast(found, ir.IntType(LANES)), _BITS)

    return types.uint64(_floats, _floats), build


@intrinsic
def lowest(context, bits):  # type: ignore[no-untyped-def]
    """Place of the lowest one of a uint64; 64 where there is none."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), build


@intrinsic
def ones(context, bits):  # type: ignore[no-untyped-def]
    """Number of ones of a uint64."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), build


def rows_of_lanes(blocks: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.uint64]]:
    """Matrices one after another, their rows filled up with zeros to whole lanes and aligned for them.

    Args:
        blocks: matrices ``(n, m)``, each of its own shape.

    Returns:
        All rows, flat float32, and where every block begins, uint64 ``(blocks,)``.
    """
    shapes = [(len(block), -(-block.shape[1] // LANES) * LANES) for block in blocks]
    places = np.cumsum([0, *(rows * width for rows, width in shapes)]).astype(np.uint64)
    spare = np.zeros(int(places[-1]) + LANES, dtype=np.float32)
    shift = -(spare.ctypes.data // 4) % LANES
    flat = spare[shift : shift + int(places[-1])]
    for block, (rows, width), place in zip(blocks, shapes, places[:-1], strict=True):
        flat[int(place) : int(place) + rows * width].reshape(rows, width)[:, : block.shape[1]] = block
    return flat, places[:-1]
