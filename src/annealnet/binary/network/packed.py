"""Inference on packed bits: 64 products per exclusive-or and popcount (Courbariaux et al. 2016; Rastegari et al. 2016).

For ±1 vectors of n bits, w · f = n − 2 popcount(w ⊕ f). Whole-number inputs of 8 bits are taken apart into planes,
x = Σ_p 2^p x_p − 128, with w · x_p = 2 popcount(w ∧ x_p) − popcount(x_p): exact, at eight times the words of the
first layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from annealnet.binary.network.architecture import Architecture, Codes

__all__ = ["PackedNetwork"]

#: Words of work below which one thread is faster.
_WORTH_THREADS = 200_000


@intrinsic
def _popcount(typing_context, word):  # type: ignore[no-untyped-def]
    """Number of ones, by the processor's own instruction."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        counter = builder.module.declare_intrinsic("llvm.ctpop", [ir.IntType(64)])
        return builder.call(counter, arguments)

    return types.int64(types.uint64), generate


@numba.njit(cache=True, inline="always")
def _pack_row(row, planes, words, out):  # type: ignore[no-untyped-def]
    """±1 (one plane) or −128 … 127 (eight planes) into bits: ``out[plane · words + word]``."""
    out[: planes * words] = 0
    if planes == 1:
        for i in range(len(row)):
            out[i >> 6] |= np.uint64(row[i] > 0) << np.uint64(i & 63)
    else:
        for i in range(len(row)):
            value = np.uint64(np.int64(row[i]) + 128)
            for p in range(8):
                out[p * words + (i >> 6)] |= ((value >> np.uint64(p)) & np.uint64(1)) << np.uint64(i & 63)


@numba.njit(cache=True, inline="always")
def _differing(rows, at, packed, begin, words):  # type: ignore[no-untyped-def]
    """Bits in which two runs of words differ."""
    found = 0
    for k in range(words):
        found += _popcount(rows[at + k] ^ packed[begin + k])
    return found


@numba.njit(cache=True, inline="always")
def _planes_dot(rows, at, packed, words):  # type: ignore[no-untyped-def]
    """Σ_p 2^p (2 popcount(w ∧ x_p) − popcount(x_p)) for an input in eight planes."""
    found = 0
    for p in range(8):
        both, every = 0, 0
        for k in range(words):
            plane = packed[p * words + k]
            both += _popcount(rows[at + k] & plane)
            every += _popcount(plane)
        found += (2 * both - every) << p
    return found


@numba.njit(cache=True)
def _answer(x, planes, sizes, words, offsets, sources, source_start, rows, row_start, row_words, ones, bias, packed, scores):  # type: ignore[no-untyped-def]
    """Outputs of the last layer for one sample; ``packed`` has room for the layers below, each on words of its own."""
    depth = len(sizes) - 1
    packed[:] = 0
    _pack_row(x, planes, words[0], packed)
    neuron = 0
    for m in range(1, depth + 1):
        for j in range(sizes[m]):
            at = row_start[m - 1] + j * row_words[m - 1]
            z = bias[neuron]
            for k in range(source_start[m - 1], source_start[m]):
                source = sources[k]
                if source == 0 and planes == 8:
                    z += _planes_dot(rows, at, packed, words[0]) - 128 * ones[neuron]
                else:
                    z += sizes[source] - 2 * _differing(rows, at, packed, offsets[source], words[source])
                at += words[source]
            neuron += 1
            if m < depth:
                packed[offsets[m] + (j >> 6)] |= np.uint64(z > 0) << np.uint64(j & 63)
            else:
                scores[j] = z


@numba.njit(cache=True)
def _infer(x, planes, sizes, words, offsets, sources, source_start, rows, row_start, row_words, ones, bias, scores):  # type: ignore[no-untyped-def]
    """Outputs for every sample, ``(N, n_L)`` int32."""
    packed = np.zeros(offsets[-1], dtype=np.uint64)
    for s in range(len(scores)):
        _answer(
            x[s],
            planes,
            sizes,
            words,
            offsets,
            sources,
            source_start,
            rows,
            row_start,
            row_words,
            ones,
            bias,
            packed,
            scores[s],
        )


@numba.njit(cache=True, parallel=True)
def _infer_in_parallel(  # type: ignore[no-untyped-def]
    x, pieces, planes, sizes, words, offsets, sources, source_start, rows, row_start, row_words, ones, bias, scores
):
    """The same, ``pieces`` runs of samples over threads."""
    for part in numba.prange(pieces):
        begin, end = part * len(x) // pieces, (part + 1) * len(x) // pieces
        _infer(
            x[begin:end], planes, sizes, words, offsets, sources, source_start, rows, row_start, row_words, ones, bias,
            scores[begin:end],
        )  # fmt: skip


class PackedNetwork:
    """A binary network ready to answer fast: weights in 64-bit words, samples over threads.

    Args:
        shape, weights, codes: of a :class:`annealnet.binary.BinaryNetwork`, whose ``packed`` makes this.
        biases: of all sign neurons ``(H,)``, zeros where there are none.
        whole_inputs: inputs are whole numbers −128 … 127 instead of ±1.

    Example:
        >>> from annealnet.binary import Architecture, BinaryNetwork, one_per_class
        >>> network = BinaryNetwork.random(Architecture((64, 16, 3)), one_per_class(3), seed=0)
        >>> x = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), (5, 64))
        >>> network.packed().scores(x).shape
        (5, 3)
    """

    def __init__(
        self, shape: Architecture, weights: Sequence[NDArray[np.int8]], biases: NDArray[np.int16], codes: Codes,
        *, whole_inputs: bool = False,
    ) -> None:  # fmt: skip
        self.planes = 8 if whole_inputs else 1
        self._sizes = np.array(shape.sizes, dtype=np.int64)
        self._words = -(-self._sizes // 64)
        room = self._words[:-1].copy()
        room[0] *= self.planes
        self._offsets = np.concatenate([[0], np.cumsum(room)])
        reads = [shape.sources(m) for m in range(1, shape.depth + 1)]
        self._sources = np.array([k for read in reads for k in read], dtype=np.int64)
        self._source_start = np.concatenate([[0], np.cumsum([len(read) for read in reads])]).astype(np.int64)
        rows, starts, widths, ones = [], [0], [], []
        for read, w in zip(reads, weights, strict=True):
            parts, at = [], 0
            for k in read:
                parts.append(_pack_bits(w[:, at : at + shape.sizes[k]]))
                if k == 0:
                    ones.append(w[:, at : at + shape.sizes[0]].astype(np.int64).sum(axis=1))
                at += shape.sizes[k]
            if 0 not in read:
                ones.append(np.zeros(len(w), dtype=np.int64))
            layer = np.concatenate(parts, axis=1)
            rows.append(layer.ravel())
            widths.append(layer.shape[1])
            starts.append(starts[-1] + layer.size)
        self._rows, self._ones = np.concatenate(rows), np.concatenate(ones)
        self._row_start, self._row_words = np.array(starts, dtype=np.int64), np.array(widths, dtype=np.int64)
        self._bias = np.concatenate([biases, np.zeros(shape.sizes[-1], np.int16)]).astype(np.int64)
        self._codes = codes.astype(np.int32)

    def scores(self, x: NDArray[np.int8]) -> NDArray[np.int32]:
        """Class scores ``(N, classes)`` of inputs ``(N, n_0)`` int8.

        Raises:
            ValueError: another width or dtype.
        """
        if x.ndim != 2 or x.shape[1] != self._sizes[0] or x.dtype != np.int8:
            raise ValueError(f"x is {x.dtype} of shape {x.shape}: give int8 of shape (samples, {self._sizes[0]})")
        found = np.empty((len(x), self._sizes[-1]), dtype=np.int32)
        inputs = np.ascontiguousarray(x)
        told = (self.planes, self._sizes, self._words, self._offsets, self._sources, self._source_start, self._rows,
                self._row_start, self._row_words, self._ones, self._bias, found)  # fmt: skip
        if len(x) * len(self._rows) < _WORTH_THREADS:  # waking threads costs more than the work
            _infer(inputs, *told)
        else:
            _infer_in_parallel(inputs, 4 * numba.get_num_threads(), *told)
        return np.asarray(found @ self._codes.T)

    def predict(self, x: NDArray[np.int8]) -> NDArray[Any]:
        """Class numbers ``(N,)``."""
        return np.asarray(self.scores(x).argmax(axis=1))


def _pack_bits(w: NDArray[np.int8]) -> NDArray[np.uint64]:
    """±1 ``(rows, n)`` as words ``(rows, ⌈n/64⌉)``; bits beyond n are 0."""
    rows, n = w.shape
    padded = np.zeros((rows, -(-n // 64) * 64), dtype=bool)
    padded[:, :n] = w > 0
    return np.ascontiguousarray(np.packbits(padded, axis=1, bitorder="little")).view(np.uint64)
