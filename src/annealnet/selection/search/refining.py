"""Annealing on the loss itself, over the masks of both layers at once: no QUBO, but cheap to follow bit by bit.

Turning a weight of hidden neuron j on or off changes that neuron's outputs alone. With the residuals R of all outputs kept
up to date, its price is 2 r·Δh + |v|² Δh·Δh over the samples, with v the neuron's readout weights and r = Σ_d v_d R_d: one
pass over the samples per proposal, no gradient, no expansion.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from annealnet.interruption import Interruption
from annealnet.samplers.kernels.random import next_state, uniform
from annealnet.samplers.seeds import kernel_words
from annealnet.selection.network.random import RandomNetwork

__all__ = ["refine_masks"]

#: β of the first and last sweep, times the root mean square price of a flip at the start.
_HOT, _COLD = 3.0, 300.0
#: Sweeps between two fits of gain and intercept.
_REFIT = 10


@numba.njit(cache=True, fastmath=True)  # type: ignore[untyped-decorator]
def _change(z: np.ndarray, h: np.ndarray, x: np.ndarray, step: float, along: np.ndarray) -> tuple[float, float]:
    """Sums of r Δh and Δh² over the samples when z moves by step · x."""
    product = square = np.float32(0.0)
    for s in range(z.shape[0]):
        moved = max(z[s] + step * x[s], np.float32(0.0)) - h[s]
        product += along[s] * moved
        square += moved * moved
    return float(product), float(square)


@numba.njit(cache=True, fastmath=True)  # type: ignore[untyped-decorator]
def _take(
    z: np.ndarray, h: np.ndarray, x: np.ndarray, step: float, along: np.ndarray, rest: np.ndarray, v: np.ndarray,
    moved: np.ndarray,
) -> None:  # fmt: skip
    size = np.float32((v * v).sum())
    for s in range(z.shape[0]):
        z[s] += step * x[s]
        moved[s] = max(z[s], np.float32(0.0)) - h[s]
        h[s] += moved[s]
        along[s] += size * moved[s]
    for d in range(v.shape[0]):
        if v[d] != 0.0:
            row = rest[d]
            for s in range(z.shape[0]):
                row[s] += v[d] * moved[s]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _accepted(price: float, beta: float, state: np.ndarray) -> bool:
    if price <= 0.0:
        return True
    cost = beta * price
    if cost > 30.0:
        return False
    state[0] = next_state(state[0])
    return bool(uniform(state[0]) < math.exp(-cost))


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _sweep(
    x: np.ndarray, weights: np.ndarray, signs: np.ndarray, first: np.ndarray, last: np.ndarray,
    z: np.ndarray, h: np.ndarray, rest: np.ndarray, beta: float, state: np.ndarray,
) -> None:  # fmt: skip
    """One proposal for every bit of both masks, neuron by neuron. Samples run along the last axis everywhere."""
    classes, width = signs.shape
    samples = np.float32(x.shape[1])
    v = np.empty(classes, dtype=np.float32)
    along, moved = np.empty(x.shape[1], dtype=np.float32), np.empty(x.shape[1], dtype=np.float32)
    for j in range(width):
        for d in range(classes):
            step = -signs[d, j] if last[d, j] else signs[d, j]
            price = (np.float32(2.0) * step * np.dot(h[j], rest[d]) + step * step * np.dot(h[j], h[j])) / samples
            if _accepted(price, beta, state):
                last[d, j] = not last[d, j]
                rest[d] += step * h[j]
            v[d] = signs[d, j] if last[d, j] else np.float32(0.0)
        size = np.float32((v * v).sum())
        if size == 0.0:
            continue
        along[:] = np.float32(0.0)
        for d in range(classes):
            if v[d] != 0.0:
                along += v[d] * rest[d]
        for i in range(x.shape[0]):
            step = -weights[j, i] if first[j, i] else weights[j, i]
            product, square = _change(z[j], h[j], x[i], step, along)
            if _accepted((np.float32(2.0) * product + size * square) / samples, beta, state):
                first[j, i] = not first[j, i]
                _take(z[j], h[j], x[i], step, along, rest, v, moved)


def refine_masks(
    network: RandomNetwork, x: np.ndarray, targets: np.ndarray, first: np.ndarray, last: np.ndarray, sweeps: int, seed: int,
    stop: Interruption | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Anneals the masks of a network with one dense hidden layer on its squared loss; gain and intercept are fitted too.

    Args:
        network: one dense hidden layer.
        x: prepared inputs float32 ``(samples, features)``.
        targets: ±1 ``(samples, classes)``.
        first, last: masks to begin with, bool ``(width, features)`` and ``(classes, width)``.
        sweeps: proposals per bit.
        seed: of the annealing.
        stop: of the selection that this is part of.

    Returns:
        The masks, at Ctrl-C as they are by then.

    Raises:
        ValueError: for networks of another shape.
    """
    if network.depth != 1 or network.image_shape is not None:
        raise ValueError("refine is for one dense hidden layer: leave depth=1 and image_shape=None, or refine=0")
    weights, biases = network.hidden_weights(0)
    weights, readout = np.ascontiguousarray(weights), network.readout()
    first, last = first.copy(), last.copy()
    columns = np.ascontiguousarray(x.T, dtype=np.float32)
    state = kernel_words(seed) | np.uint64(1)
    beta_unit = 0.0
    with (stop or Interruption()).kept("the annealing on the loss"):
        for done in range(0, sweeps, _REFIT):
            z = np.ascontiguousarray((weights * first) @ columns + biases[:, None], dtype=np.float32)
            h = np.maximum(z, 0)
            gain, intercept = _fitted(h, targets, readout * last)
            signs = np.ascontiguousarray(gain * readout, dtype=np.float32)
            rest = np.ascontiguousarray((signs * last) @ h + intercept[:, None] - targets.T, dtype=np.float32)
            if not beta_unit:
                flips = 2 * signs * (rest @ h.T) / len(x)
                beta_unit = 1 / max(float(np.sqrt(np.mean(flips**2))), 1e-12)
            for k in range(done, min(done + _REFIT, sweeps)):
                beta = beta_unit * _HOT * (_COLD / _HOT) ** (k / max(1, sweeps - 1))
                _sweep(columns, weights, signs, first, last, z, h, rest, beta, state)
    return first, last


def _fitted(h: np.ndarray, targets: np.ndarray, masked: np.ndarray) -> tuple[float, np.ndarray]:
    """Gain and intercept of least squared loss for features h ``(width, samples)``."""
    scores = masked @ h
    centre = scores.mean(axis=1, keepdims=True)
    size = float(((scores - centre) ** 2).sum())
    gain = float(((scores - centre) * targets.T).sum()) / size if size > 0 else 0.0
    return gain, np.asarray(targets.mean(axis=0) - gain * centre[:, 0])
