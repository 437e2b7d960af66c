"""The shape of a binary network: layers of sign neurons, what each layer reads, and how outputs spell classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Architecture", "default_scale", "one_per_class", "random_codes", "single_output"]

Codes = NDArray[np.int8]


@dataclass(frozen=True)
class Architecture:
    """Layers 0 … L of sizes n_0 … n_L; layer 0 is the input, layer L gives integer scores, the others signs.

    A neuron's pre-activation is z = Σ_i w_i f_i + b with w_i = ±1 over the outputs f of the layers it reads, its output
    +1 where z > 0 and −1 elsewhere (so the sign of a tie is −1).

    Args:
        sizes: n_0 … n_L, at least two of them.
        skips: for each layer 1 … L the *additional* earlier layers it reads beside the one before it; empty for none.
        bias: whether neurons that give signs have an integer b; b = 0 otherwise.

    Raises:
        ValueError: sizes below 1, or skips that are not earlier layers.

    Example:
        >>> shape = Architecture((3, 3, 1))
        >>> shape.num_weights, shape.fan_in(1), shape.fan_in(2)
        (12, 3, 3)
        >>> Architecture((3, 3, 1), skips=((), (0,))).fan_in(2)
        6
    """

    sizes: tuple[int, ...]
    skips: tuple[tuple[int, ...], ...] = ()
    bias: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(int(size) for size in self.sizes))
        object.__setattr__(self, "skips", tuple(tuple(int(k) for k in skip) for skip in self.skips))
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise ValueError(f"sizes={self.sizes} must be at least two layers of at least one neuron, such as (3, 3, 1)")
        if self.skips and len(self.skips) != self.depth:
            raise ValueError(
                f"skips has {len(self.skips)} entries: give one for each of the {self.depth} layers above the input"
            )
        if not any(self.skips):
            object.__setattr__(self, "skips", ())
        for layer, skip in enumerate(self.skips, start=1):
            if any(not 0 <= k < layer - 1 for k in skip) or len(set(skip)) < len(skip):
                raise ValueError(f"skips of layer {layer} are {skip}: give different layers from 0 to {layer - 2}")

    @property
    def depth(self) -> int:
        """L, the number of layers with weights."""
        return len(self.sizes) - 1

    def sources(self, layer: int) -> tuple[int, ...]:
        """The layers that ``layer`` (1 … L) reads, earliest first."""
        extra = self.skips[layer - 1] if self.skips else ()
        return (*sorted(extra), layer - 1)

    def fan_in(self, layer: int) -> int:
        """Weights of one neuron of ``layer``."""
        return sum(self.sizes[k] for k in self.sources(layer))

    @cached_property
    def num_weights(self) -> int:
        """W, all weights (biases are not among them)."""
        return sum(self.sizes[layer] * self.fan_in(layer) for layer in range(1, self.depth + 1))

    @cached_property
    def num_input_weights(self) -> int:
        """W₀, the weights that read inputs."""
        return sum(self.sizes[m] * self.sizes[0] for m in range(1, self.depth + 1) if 0 in self.sources(m))

    @property
    def num_biases(self) -> int:
        """Neurons with a bias: all that give signs, if there are any."""
        return sum(self.sizes[1:-1]) if self.bias else 0

    def weight_shapes(self) -> tuple[tuple[int, int], ...]:
        """``(n_l, fan_in)`` of each layer 1 … L."""
        return tuple((self.sizes[m], self.fan_in(m)) for m in range(1, self.depth + 1))

    def split(self, flat: NDArray[np.int8]) -> tuple[NDArray[np.int8], ...]:
        """Weights ``(W,)`` as one ``(n_l, fan_in)`` matrix per layer, views of the same memory."""
        cuts = np.cumsum([rows * columns for rows, columns in self.weight_shapes()])[:-1]
        return tuple(p.reshape(shape) for p, shape in zip(np.split(flat, cuts), self.weight_shapes(), strict=True))

    def __str__(self) -> str:
        return "-".join(str(size) for size in self.sizes)


def single_output() -> Codes:
    """Two classes on one output: its score for the second, against the first.

    Example:
        >>> single_output().tolist()
        [[-1], [1]]
    """
    return np.array([[-1], [1]], dtype=np.int8)


def one_per_class(classes: int) -> Codes:
    """One output per class; the largest score wins."""
    return np.eye(classes, dtype=np.int8)


def random_codes(classes: int, outputs: int, seed: int) -> Codes:
    """An error-correcting output code (Dietterich & Bakiri 1995): random ±1 words, the farthest apart of 200 draws.

    A class's score is Σ_o C_co S_o.

    Raises:
        ValueError: when ``outputs`` bits cannot tell the classes apart.

    Example:
        >>> codes = random_codes(4, 6, seed=0)
        >>> codes.shape, len({tuple(row) for row in codes.tolist()})
        ((4, 6), 4)
    """
    if 2**outputs < classes:
        raise ValueError(
            f"outputs={outputs} tell at most {2**outputs} classes apart, there are {classes}: give more outputs"
        )
    rng = np.random.default_rng(seed)
    best, widest = np.empty(0), -1
    for _ in range(200):
        codes = rng.choice(np.array([-1, 1], dtype=np.int8), (classes, outputs))
        apart = _least_distance(codes)
        if apart > widest:
            best, widest = codes, apart
    if widest == 0:  # few bits: count through them
        best = np.array([[2 * (c >> b & 1) - 1 for b in range(outputs)] for c in range(classes)], dtype=np.int8)
    return np.asarray(best, dtype=np.int8)


def default_scale(shape: Architecture, codes: Codes, mean_square: float = 1.0) -> float:
    """The scale of scores in softmax(scale · scores): 0.8 √2 / √(m d) (our choice).

    m is the sum of the mean squares of what an output reads (its fan-in, for signs), d the mean squared distance of two
    classes' codes (2 for one per class): score differences of a random network then have deviation about 1.

    Args:
        shape: of the network.
        codes: ``(classes, n_L)``.
        mean_square: of the inputs; it counts where the outputs read them.

    Example:
        >>> default_scale(Architecture((8, 64, 10)), one_per_class(10))
        0.1
        >>> default_scale(Architecture((64, 10)), one_per_class(10), mean_square=100.0)
        0.01
    """
    c = codes.astype(np.float64)
    apart = ((c[:, None] - c[None]) ** 2).sum(axis=2)
    mean = apart.sum() / (len(c) * (len(c) - 1))
    read = sum(shape.sizes[k] * (mean_square if k == 0 and mean_square > 0 else 1.0) for k in shape.sources(shape.depth))
    return float(round(0.8 * np.sqrt(2) / np.sqrt(read * mean), 10))


def _least_distance(codes: Codes) -> int:
    """Least number of bits in which two words differ."""
    agree = codes.astype(np.int64) @ codes.T.astype(np.int64)
    np.fill_diagonal(agree, -codes.shape[1])
    return int((codes.shape[1] - agree.max()) // 2)


def check_codes(codes: Sequence[Sequence[int]] | Codes, outputs: int) -> Codes:
    """Codes as int8 ``(classes, outputs)``; refuses other shapes and values."""
    found = np.asarray(codes, dtype=np.int8)
    if found.ndim != 2 or found.shape[1] != outputs or len(found) < 2 or np.abs(found).max() > 1:
        raise ValueError(f"codes have shape {found.shape}: give a matrix (classes, {outputs}) of -1, 0 and 1")
    return found
