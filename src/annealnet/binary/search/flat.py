"""A network and its data as the flat arrays that compiled code walks through."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from annealnet.binary.network.architecture import Architecture, Codes

__all__ = ["Flat", "State", "flatten", "new_state"]


class Flat(NamedTuple):
    """An architecture as arrays. Units are numbered: signs of layers 1 … L−1 first (0 … H−1), then the outputs.

    A *source* is an input (0 … n_0−1) or a sign unit u (n_0 + u).

    Attributes:
        inputs: n_0.
        signs: H.
        layer_start: first unit of each layer 1 … L, and the end, ``(L + 1,)``.
        row_start: where unit u's weights begin, ``(units + 1,)``.
        source_start, source: what layer m reads: ``source[source_start[m − 1]:source_start[m]]``.
        place: of sign unit u among the sources of layer m, −1 where m does not read it: ``(L, H)``.
        codes: class scores are codes @ output scores, ``(C, O)``.
    """

    inputs: int
    signs: int
    layer_start: NDArray[np.int64]
    row_start: NDArray[np.int64]
    source_start: NDArray[np.int64]
    source: NDArray[np.int64]
    place: NDArray[np.int64]
    codes: NDArray[np.int8]


class State(NamedTuple):
    """R replicas of a network on the same N samples.

    Attributes:
        w: weights ±1, int8 ``(R, W)``.
        b: biases, int16 ``(R, H)``.
        z: pre-activations of the sign units, int16 ``(R, H, N)``.
        f: their signs, int8 ``(R, H, N)``.
        t: class scores, int32 ``(R, C, N)``.
        e: in proportion to exp(scale · t) within each sample, float32 ``(R, C, N)``.
        loss: of all samples now, and the least seen after a sweep, float64 ``(R, 2)``.
        best_w, best_b: of the least.
        random: streams, uint64 ``(R,)``.
    """

    w: NDArray[np.int8]
    b: NDArray[np.int16]
    z: NDArray[np.int16]
    f: NDArray[np.int8]
    t: NDArray[np.int32]
    e: NDArray[np.float32]
    loss: NDArray[np.float64]
    best_w: NDArray[np.int8]
    best_b: NDArray[np.int16]
    random: NDArray[np.uint64]


def flatten(shape: Architecture, codes: Codes) -> Flat:
    """The arrays of an architecture with its output code."""
    inputs, signs = shape.sizes[0], sum(shape.sizes[1:-1])
    first = np.concatenate([[0], np.cumsum(shape.sizes[1:])])
    sources, place = [], np.full((shape.depth, signs), -1, dtype=np.int64)
    rows = [0]
    for m in range(1, shape.depth + 1):
        layer = np.concatenate(
            [np.arange(inputs) if k == 0 else inputs + np.arange(first[k - 1], first[k]) for k in shape.sources(m)]
        )
        hidden = layer[layer >= inputs] - inputs
        place[m - 1, hidden] = np.flatnonzero(layer >= inputs)
        sources.append(layer)
        rows += [rows[-1] + (i + 1) * len(layer) for i in range(shape.sizes[m])]
    starts = np.concatenate([[0], np.cumsum([len(layer) for layer in sources])])
    return Flat(
        inputs, signs, first.astype(np.int64), np.array(rows, dtype=np.int64), starts.astype(np.int64),
        np.concatenate(sources).astype(np.int64), place, np.array(codes, dtype=np.int8, order="C"),
    )  # fmt: skip


def new_state(flat: Flat, w: NDArray[np.int8], b: NDArray[np.int16], samples: int, random: NDArray[np.uint64]) -> State:
    """Replicas with weights ``w`` ``(R, W)`` and biases ``b`` ``(R, H)``; pre-activations are still to be computed."""
    replicas, classes = len(w), len(flat.codes)
    return State(
        w=w.copy(), b=b.copy(), z=np.zeros((replicas, flat.signs, samples), np.int16),
        f=np.zeros((replicas, flat.signs, samples), np.int8), t=np.zeros((replicas, classes, samples), np.int32),
        e=np.ones((replicas, classes, samples), np.float32), loss=np.full((replicas, 2), np.inf),
        best_w=w.copy(), best_b=b.copy(), random=random,
    )  # fmt: skip
