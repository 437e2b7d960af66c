"""MNIST's test images, the only part of it that a study asks for, and the splits that studies and benchmarks make of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annealnet.datasets import Split, read_idx, split, subset

__all__ = ["mnist_few", "mnist_split", "read_mnist"]


def read_mnist(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The 10 000 test images, flat in [0, 1], and labels.

    Raises:
        ValueError: when the files are not there.
    """
    images, labels = read_idx(folder / "t10k-images-idx3-ubyte.gz", folder / "t10k-labels-idx1-ubyte.gz")
    return (images.reshape(len(images), -1) / np.float32(255)).astype(np.float32), labels


def mnist_split(folder: Path, seed: int) -> Split:
    """8 000 / 2 000 of them, every class with its share."""
    return split(*read_mnist(folder), 0.2, seed)


def mnist_few(folder: Path, seed: int) -> Split:
    """1 000 / 1 000 of them, as many of every class: the sizes of Laydevant et al. 2024."""
    x, y = subset(*read_mnist(folder), 2000, seed)
    return Split(x[:1000], y[:1000], x[1000:], y[1000:])
