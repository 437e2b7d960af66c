"""A path, or the word ``digits``, becomes arrays: the format is recognised, not asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annealnet.datasets.batches import normalise
from annealnet.datasets.cifar10 import IMAGE_SUFFIXES, read_cifar10
from annealnet.datasets.embedded import digits
from annealnet.datasets.files import existing
from annealnet.datasets.idx import read_idx
from annealnet.datasets.splits import Split, split
from annealnet.datasets.tables import labelled, read_csv
from annealnet.files import arrays_of

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Samples = tuple[Floats, Labels]

_EXPECTED = (
    "the word digits, a folder of MNIST's IDX files, CIFAR-10 (a folder with train.zip and test.zip, with "
    "data_batch_*.bin or with CLASS/NNNN.jpg; a .zip; a .bin), a .csv or .csv.gz, or an .npz with x and y"
)


def as_images(pixels: NDArray[np.uint8]) -> Floats:
    """Pixels 0…255 as networks take them: float32 in [0, 1], channels first.

    Args:
        pixels: uint8, shape (N, H, W) or (N, H, W, C).

    Returns:
        float32, shape (N, 1, H, W) or (N, C, H, W).

    Raises:
        ValueError: another shape or dtype.

    >>> as_images(np.full((2, 4, 5, 3), 255, np.uint8)).shape
    (2, 3, 4, 5)
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4):
        raise ValueError(f"pixels has dtype {pixels.dtype} and shape {pixels.shape}: give uint8 (N, H, W) or (N, H, W, C)")
    planes = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(planes, dtype=np.float32) / np.float32(255)


def open_data(
    path: str | Path,
    seed: int = 0,
    test_share: float = 0.25,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Split:
    """Training and test arrays from whatever `path` names.

    Where the source has a test part of its own (MNIST's ``t10k`` beside ``train``, ``test.zip`` beside
    ``train.zip``, ``test_batch.bin``, ``test/`` beside ``train/``, ``x_test`` and ``y_test`` in an
    archive), that is the test part; else `test_share` of every class is held out.

    Args:
        path: the word ``digits``; a folder of IDX files; CIFAR-10 as binary batches, as a folder or zip of
            ``CLASS/NNNN.jpg`` or ``.png``, or as a folder with ``train.zip`` and ``test.zip``; a ``.csv``
            or ``.csv.gz`` with the label in the first column; an ``.npz`` with ``x`` and ``y``.
        seed: of the held-out part.
        test_share: its share, between 0 and 1.
        mean, std: per channel, in units of [0, 1]; images become (x - mean) / std. Both or neither.

    Returns:
        A `Split`. Images are float32 (N, C, H, W), in [0, 1] before normalisation; tables, and arrays in
        an archive that are not uint8 images, are float32 as they stand.

    Raises:
        ValueError: the path is missing, the format is none of these, or the file is damaged.

    >>> open_data("digits").x_train.shape
    (1348, 1, 8, 8)
    """
    if (mean is None) != (std is None):
        raise ValueError(f"mean is {mean!r} and std is {std!r}: give both or neither")
    if str(path) == "digits":
        opened = digits(seed, test_share)
    else:
        train, test = _train_and_test(existing(Path(path)))
        opened = split(*train, test_share, seed) if test is None else Split(*train, *test)
    if mean is None or std is None:
        return opened
    apply = normalise(mean, std)
    return opened._replace(x_train=apply(opened.x_train), x_test=apply(opened.x_test))


def _train_and_test(place: Path) -> tuple[Samples, Samples | None]:
    """The samples at `place`, and its own test part if it has one."""
    if place.is_dir():
        if any(place.glob("*idx3-ubyte*")):
            return _idx_parts(place)
        return _cifar_parts(place)
    if place.suffix in {".zip", ".bin"}:
        return _images(place), None
    if place.suffix == ".npz":
        return _npz_parts(place)
    if place.name.endswith((".csv", ".csv.gz")):
        return read_csv(place), None
    raise ValueError(f"data {str(place)!r} has no format known here: give {_EXPECTED}")


def _images(place: Path) -> Samples:
    pixels, labels = read_cifar10(place)
    return as_images(pixels), labels


def _cifar_parts(folder: Path) -> tuple[Samples, Samples | None]:
    for train, test in (("train.zip", "test.zip"), ("train", "test")):
        if (folder / train).exists() and (folder / test).exists():
            return _images(folder / train), _images(folder / test)
    own_test = folder / "test_batch.bin"
    if any(folder.glob("data_batch_*.bin")):
        return _images(folder), _images(own_test) if own_test.exists() else None
    if own_test.exists():
        return _images(own_test), None
    if not any(file.suffix.lower() in IMAGE_SUFFIXES for file in folder.rglob("*")):
        raise ValueError(f"data folder {str(folder)!r} has no format known here: give {_EXPECTED}")
    return _images(folder), None


def _idx_parts(folder: Path) -> tuple[Samples, Samples | None]:
    parts = [_idx_pair(folder, prefix) for prefix in ("train", "t10k")]
    train, test = parts
    if train is not None:
        return train, test
    if test is not None:
        return test, None
    raise ValueError(
        f"{folder} has IDX images but no pair of train-images-idx3-ubyte and train-labels-idx1-ubyte, "
        "or of t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (plain or .gz): add the missing file"
    )


def _idx_pair(folder: Path, prefix: str) -> Samples | None:
    images = sorted(folder.glob(f"{prefix}-images-idx3-ubyte*"))
    labels = sorted(folder.glob(f"{prefix}-labels-idx1-ubyte*"))
    if not images or not labels:
        return None
    pixels, classes = read_idx(images[0], labels[0])
    return as_images(pixels), classes


def _npz_parts(place: Path) -> tuple[Samples, Samples | None]:
    arrays = arrays_of(place, str(place))
    train = _network_input(*labelled(arrays, place, "x", "y"))
    has_test = {"x_test", "y_test"} <= set(arrays)
    return train, _network_input(*labelled(arrays, place, "x_test", "y_test")) if has_test else None


def _network_input(samples: NDArray[Any], labels: Labels) -> Samples:
    looks_like_images = samples.dtype == np.uint8 and (
        samples.ndim == 3 or (samples.ndim == 4 and samples.shape[-1] in (1, 3))
    )
    return (as_images(samples) if looks_like_images else samples.astype(np.float32)), labels
