"""Random networks: every weight comes from one seed, none is ever trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from annealnet.selection.network.draws import normals, signs, uniforms

__all__ = ["RandomNetwork", "WeightKind"]

WeightKind = Literal["signed", "kaiming"]
#: Side of the filters and of the pooled squares of a convolutional first layer.
KERNEL, POOL = 3, 2
#: Random weights of a network: 256 MiB of them, drawn each time they are used.
MOST_WEIGHTS = 2**26


@dataclass(frozen=True)
class RandomNetwork:
    """inputs → ReLU layers → classes, all weights drawn from ``seed``.

    Hidden weights have variance 2 / fan-in: «kaiming» Gaussian, or «signed» with one magnitude and a random sign (the
    signed Kaiming constant of Ramanujan et al. 2020). Hidden biases are uniform in ±½. Readout weights are ±1 or standard
    normal; a gain that is fitted scales them. With ``image_shape`` the first layer is a 3 × 3 convolution with ReLU and
    2 × 2 mean pooling, and its width counts filters.

    Attributes:
        seed: of all weights.
        inputs: features of a sample.
        widths: of the hidden layers.
        classes: outputs.
        weights: kind of the weights.
        image_shape: (C, H, W) of the samples, or None.

    Raises:
        ValueError: when a width is below 1, a kind is unknown, the image does not fit, or there are too many weights.

    Example:
        >>> RandomNetwork(0, 64, (8,), 10).features(np.ones((2, 64), dtype=np.float32), 0).shape
        (2, 8)
    """

    seed: int
    inputs: int
    widths: tuple[int, ...]
    classes: int
    weights: WeightKind = "signed"
    image_shape: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"width={self.widths!r}: every hidden layer needs 1 neuron or more")
        if self.weights not in ("signed", "kaiming"):
            raise ValueError(f"weights={self.weights!r} is not known: there are signed and kaiming")
        if self.image_shape is not None:
            channels, height, width = self.image_shape
            if channels * height * width != self.inputs:
                raise ValueError(f"image_shape={self.image_shape!r} has not the {self.inputs} features of a sample")
            if min(height, width) < KERNEL + POOL - 1:
                raise ValueError(f"image_shape={self.image_shape!r}: sides must be {KERNEL + POOL - 1} or more")

        drawn = sum(self.widths[k] * self.fan_in(k) for k in range(self.depth)) + self.classes * self.layer_width(
            self.depth - 1
        )
        if drawn > MOST_WEIGHTS:
            raise ValueError(f"width={self.widths!r} asks for {drawn} random weights, more than {MOST_WEIGHTS}: give less")

    @property
    def depth(self) -> int:
        """Hidden layers."""
        return len(self.widths)

    def layer_width(self, layer: int) -> int:
        """Features that a hidden layer gives."""
        if layer == 0 and self.image_shape is not None:
            _, height, width = self.image_shape
            return self.widths[0] * ((height - KERNEL + 1) // POOL) * ((width - KERNEL + 1) // POOL)
        return self.widths[layer]

    def fan_in(self, layer: int) -> int:
        """Weights that a neuron of a hidden layer has."""
        if layer == 0:
            return self.inputs if self.image_shape is None else self.image_shape[0] * KERNEL**2
        return self.layer_width(layer - 1)

    def hidden_weights(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights float32 ``(width, fan-in)`` and biases ``(width,)``."""
        width, fan_in = self.widths[layer], self.fan_in(layer)
        draw = signs if self.weights == "signed" else normals
        matrix = draw(self.seed, 2 * layer + 2, width * fan_in).reshape(width, fan_in) * np.float32(np.sqrt(2 / fan_in))
        biases = (uniforms(self.seed, 2 * layer + 3, width) - 0.5).astype(np.float32)
        return matrix, biases

    def first_draws(self, most: int) -> np.ndarray:
        """Up to ``most`` weights of the first hidden layer, float32: the same on every machine, or a file is lost."""
        fan_in = self.fan_in(0)
        draw = signs if self.weights == "signed" else normals
        return np.asarray(draw(self.seed, 2, min(most, self.widths[0] * fan_in)) * np.float32(np.sqrt(2 / fan_in)))

    def readout(self) -> np.ndarray:
        """Output weights float32 ``(classes, features of the last layer)``."""
        width = self.layer_width(self.depth - 1)
        draw = signs if self.weights == "signed" else normals
        return np.asarray(draw(self.seed, 1, self.classes * width).reshape(self.classes, width))

    def pre_activations(self, x: np.ndarray, layer: int, mask: np.ndarray | None = None) -> np.ndarray:
        """What enters the ReLU of a hidden layer, float32 ``(samples, layer_width)`` (before pooling for convolutions:
        ``(samples, filters, rows, columns)``).

        Args:
            x: inputs, or the features of the layer below, float32.
            layer: which.
            mask: ``(width, fan-in)`` of weights that are there, or None for all.
        """
        matrix, biases = self.hidden_weights(layer)
        if mask is not None:
            matrix = matrix * mask
        if layer == 0 and self.image_shape is not None:
            patches = sliding_window_view(x.reshape(-1, *self.image_shape), (KERNEL, KERNEL), axis=(2, 3))
            rows = patches.transpose(0, 2, 3, 1, 4, 5).reshape(*patches.shape[:1], *patches.shape[2:4], -1)
            return np.asarray((rows @ matrix.T + biases).transpose(0, 3, 1, 2), dtype=np.float32)
        return np.asarray(x @ matrix.T + biases, dtype=np.float32)

    def features(self, x: np.ndarray, layer: int, mask: np.ndarray | None = None) -> np.ndarray:
        """The layer's outputs, float32 ``(samples, layer_width)``."""
        active = np.maximum(self.pre_activations(x, layer, mask), 0)
        if active.ndim == 4:
            samples, filters, height, width = active.shape
            tidy = active[:, :, : height // POOL * POOL, : width // POOL * POOL]
            blocks = tidy.reshape(samples, filters, height // POOL, POOL, width // POOL, POOL)
            return np.ascontiguousarray(blocks.mean(axis=(3, 5)).reshape(samples, -1))
        return np.asarray(active)
