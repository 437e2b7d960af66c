"""Attention: heads go whole, queries with the keys and values that they look at."""

from __future__ import annotations

import numpy as np

from annealnet.compression.network.call import Call, Rule
from annealnet.compression.network.channel_labels import Channels
from annealnet.compression.network.passage import NotUnderstood

__all__ = ["ATTENTION_RULES"]


def _attention(call: Call) -> Channels:
    """``scaled_dot_product_attention`` of ``(samples, heads, positions, features)``: labels lie on heads.

    Where several queries share a key and a value (``enable_gqa``), they go together; a key and a value that all of them
    share stay, and each query may go alone. A bias from a table, or a mask, that has an entry for each head loses it with
    the head.
    """
    operands = [call.argument(place, name) for place, name in enumerate(("query", "key", "value"))]
    found = [(call.value(operand), call.shape(operand)) for operand in operands]
    if any(value is not None and not isinstance(value, Channels) for value, _ in found):
        raise NotUnderstood("it computes with the number of channels")
    axes = {(value.axis, len(shape or ())) for value, shape in found if isinstance(value, Channels)}
    if axes != {(1, 4)}:
        raise NotUnderstood("it mixes the features of a head")
    heads = len(_labels(found[0]))
    queries, *others = map(_labels, found)
    for labels in others:
        if len(labels) == 1 < heads:
            call.pin(labels, "every head of the queries looks at it")
        else:
            call.classes.tie(queries, np.repeat(labels, heads // len(labels)))
    mask = call.argument(3, "attn_mask")
    bias, own = call.shape(mask), call.value(mask)
    if isinstance(own, Channels) and bias is not None and own.axis == len(bias) - 3 and len(own.labels) == heads:
        call.classes.tie(queries, own.labels)
    elif bias is not None and len(bias) >= 3 and bias[-3] != 1:
        call.pin(queries, "each head has a bias of its own")
    return Channels(1, queries)


def _labels(found: tuple[object, tuple[int, ...] | None]) -> np.ndarray:
    """Of an operand's heads; -1 where they are not labelled."""
    value, shape = found
    if isinstance(value, Channels):
        return value.labels
    return np.full((shape or (1, 1))[1], -1, dtype=np.int64)


#: Fused attention.
ATTENTION_RULES: dict[str, Rule] = {"scaled_dot_product_attention": _attention}
