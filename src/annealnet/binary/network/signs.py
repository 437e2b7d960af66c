"""The trained value: a network of ±1 weights and its answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annealnet.binary.network.architecture import Architecture, Codes, check_codes
from annealnet.binary.network.packed import PackedNetwork

__all__ = ["BinaryNetwork"]

Signs = NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class BinaryNetwork:
    """A feed-forward network with weights ±1 and sign activations; its scores are whole numbers.

    f_l = sign(W_l f_{l−1} + b_l), class scores C · (W_L f_{L−1}); the first of the largest scores wins.

    Args:
        shape: the layers.
        weights: int8 ±1, one ``(n_l, fan_in)`` per layer.
        biases: int16 ``(n_l,)`` per layer of signs where the shape has biases, else empty.
        codes: int8 ``(classes, n_L)``, see :func:`annealnet.binary.one_per_class`.

    Raises:
        ValueError: shapes that do not fit, weights that are not ±1.

    Example:
        >>> from annealnet.binary import one_per_class
        >>> network = BinaryNetwork.random(Architecture((64, 256, 10)), one_per_class(10), seed=0)
        >>> network.predict(np.ones((2, 64), dtype=np.int8)).shape
        (2,)
    """

    shape: Architecture
    weights: tuple[Signs, ...]
    biases: tuple[NDArray[np.int16], ...]
    codes: Codes

    def __post_init__(self) -> None:
        expected = self.shape.weight_shapes()
        if tuple(w.shape for w in self.weights) != expected:
            raise ValueError(f"weights have shapes {[w.shape for w in self.weights]}, the architecture has {list(expected)}")
        if any((np.abs(w) != 1).any() for w in self.weights):
            raise ValueError("weights hold something else than -1 and 1")
        sizes = self.shape.sizes[1:-1] if self.shape.bias else ()
        if tuple(len(b) for b in self.biases) != sizes:
            raise ValueError(f"biases have lengths {[len(b) for b in self.biases]}, the architecture has {list(sizes)}")
        check_codes(self.codes, self.shape.sizes[-1])

    @classmethod
    def random(cls, shape: Architecture, codes: Codes, seed: int) -> BinaryNetwork:
        """Fair coins for weights; biases of zero."""
        flat = np.random.default_rng(seed).choice(np.array([-1, 1], dtype=np.int8), shape.num_weights)
        return cls.from_flat(shape, codes, flat, np.zeros(shape.num_biases, dtype=np.int16))

    @classmethod
    def from_flat(cls, shape: Architecture, codes: Codes, w: Signs, b: NDArray[np.int16] | None = None) -> BinaryNetwork:
        """From all weights ``(W,)`` and biases in one row each, layer by layer."""
        biases: tuple[NDArray[np.int16], ...] = ()
        if shape.bias:
            given = np.zeros(shape.num_biases, np.int16) if b is None else np.asarray(b, dtype=np.int16)
            biases = tuple(np.split(given, np.cumsum(shape.sizes[1:-1])[:-1])) if len(shape.sizes) > 2 else ()
        return cls(shape, shape.split(np.asarray(w, dtype=np.int8)), biases, np.asarray(codes, dtype=np.int8))

    @property
    def flat_weights(self) -> Signs:
        """All weights ``(W,)``."""
        return np.concatenate([w.ravel() for w in self.weights])

    @property
    def flat_biases(self) -> NDArray[np.int16]:
        """All biases; zeros where the shape has none: ``(H,)``."""
        if not self.biases:
            return np.zeros(sum(self.shape.sizes[1:-1]), dtype=np.int16)
        return np.concatenate(self.biases)

    def packed(self, *, whole_inputs: bool = False) -> PackedNetwork:
        """The same network ready to answer fast: for inputs of ±1, or for whole numbers −128 … 127."""
        return PackedNetwork(self.shape, self.weights, self.flat_biases, self.codes, whole_inputs=whole_inputs)

    @cached_property
    def _of_signs(self) -> PackedNetwork:
        return self.packed()

    @cached_property
    def _of_whole(self) -> PackedNetwork:
        return self.packed(whole_inputs=True)

    def scores(self, x: NDArray[np.int8]) -> NDArray[np.int32]:
        """Class scores of inputs ``(N, n_0)`` (±1, or whole numbers): ``(N, classes)``.

        Raises:
            ValueError: when ``x`` has another width, or numbers that are not whole or not within −128 … 127.
        """
        inputs = np.asarray(x)
        small = inputs.astype(np.int8)
        if inputs.ndim != 2 or inputs.shape[1] != self.shape.sizes[0]:
            raise ValueError(f"x has shape {inputs.shape}: give (samples, {self.shape.sizes[0]})")
        if inputs.dtype != np.int8 and (small != inputs).any():
            raise ValueError("x holds numbers that int8 does not: give whole numbers from -128 to 127")
        packed = self._of_signs if (np.abs(small) == 1).all() else self._of_whole
        return packed.scores(small)

    def predict(self, x: NDArray[np.int8]) -> NDArray[np.int64]:
        """Class numbers ``(N,)``."""
        return np.asarray(self.scores(x).argmax(axis=1))

    def errors(self, x: NDArray[np.int8], y: NDArray[Any]) -> int:
        """Samples answered wrongly."""
        return int((self.predict(x) != y).sum())
