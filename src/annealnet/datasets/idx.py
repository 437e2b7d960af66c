"""The IDX format of MNIST."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annealnet.datasets.files import bytes_of

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

_UNSIGNED_BYTE = 0x08


def read_idx(images: str | Path, labels: str | Path) -> tuple[Images, Labels]:
    """Images and labels in the IDX format of MNIST, plain or gzipped.

    Args:
        images: file of unsigned bytes with three dimensions (N, H, W).
        labels: file of unsigned bytes with one dimension (N,).

    Raises:
        ValueError: a file is missing, truncated or not IDX, or the numbers of images and labels differ.

    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database, "File formats".

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> header = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (2, 1, 2))
    >>> _ = (folder / "images").write_bytes(header + bytes([1, 2, 3, 4]))
    >>> _ = (folder / "labels").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    >>> read_idx(folder / "images", folder / "labels")[1].tolist()
    [7, 9]
    """
    pixels = _idx_array(Path(images), dimensions=3)
    classes = _idx_array(Path(labels), dimensions=1)
    if len(pixels) != len(classes):
        raise ValueError(
            f"{images} has {len(pixels)} images and {labels} has {len(classes)} labels: give the two files of the same set"
        )
    return pixels, classes.astype(np.int64)


def _idx_array(path: Path, dimensions: int) -> Images:
    content = bytes_of(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes: give a file such as train-images-idx3-ubyte.gz")
    if content[3] != dimensions:
        raise ValueError(
            f"{path} has {content[3]} dimensions, expected {dimensions}: "
            "images have 3 and labels 1; are the two files exchanged?"
        )
    header = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(content[4 + 4 * d : 8 + 4 * d], "big") for d in range(dimensions))
    if len(content) != header + math.prod(shape):
        raise ValueError(
            f"{path} has {len(content)} bytes where shape {shape} needs {header + math.prod(shape)}: "
            "the file is truncated or damaged; copy it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
