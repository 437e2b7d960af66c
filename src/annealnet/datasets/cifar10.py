"""CIFAR-10, and folders or zips of images laid out like it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from annealnet.datasets.files import bytes_of, existing

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_RECORD = 1 + 3 * 32 * 32  # one label byte, then the red, green and blue planes


def read_cifar10(path: str | Path) -> tuple[Images, Labels]:
    """CIFAR-10 in any of its usual forms, or another folder of images of one size laid out like it.

    Args:
        path: one of

            - a ``.bin`` file of the binary version, or a folder with its ``data_batch_*.bin``;
            - a folder or ``.zip`` of ``CLASS/NNNN.jpg`` (or ``.jpeg``, ``.png``). Classes are numbered in
              alphabetical order, which is CIFAR-10's own order; images come in the order of their paths.

    Returns:
        Images uint8, shape (N, H, W, 3), and labels int64, shape (N,).

    Raises:
        ValueError: nothing of that form is there, a file is damaged, images differ in size, or Pillow is
            missing where images must be decoded (``pip install annealnet[images]``).

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "test_batch.bin"
    >>> _ = file.write_bytes(bytes([3]) + bytes(3072))
    >>> images, labels = read_cifar10(file)
    >>> images.shape, labels.tolist()
    ((1, 32, 32, 3), [3])
    """
    place = existing(Path(path))
    if place.is_dir():
        files = sorted(place.glob("data_batch_*.bin"))
        if files:
            parts = [_binary_records(file) for file in files]
            return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])
        return _decode_images(_folder_images(place), place)
    if place.suffix == ".zip":
        return _decode_images(_zip_images(place), place)
    if place.suffix == ".bin":
        return _binary_records(place)
    raise ValueError(
        f"{place} is not CIFAR-10: give a folder with data_batch_*.bin, a .bin file, or a folder or .zip of "
        "CLASS/NNNN.jpg or .png"
    )


def _binary_records(path: Path) -> tuple[Images, Labels]:
    content = bytes_of(path)
    if not content or len(content) % _RECORD:
        raise ValueError(
            f"{path} has {len(content)} bytes, not a multiple of {_RECORD} (label and 3×32×32 pixels): "
            "the file is truncated or not the binary version of CIFAR-10"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), records[:, 0].astype(np.int64)


def _folder_images(folder: Path) -> Iterator[tuple[str, str, BinaryIO]]:
    """Name, class and open file of each image below `folder`, in the order of their paths."""
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith("."):
            relative = file.relative_to(folder)
            with file.open("rb") as stream:
                yield str(relative), relative.parent.name, stream


def _zip_images(path: Path) -> Iterator[tuple[str, str, BinaryIO]]:
    """Name, class and open file of each image in a zip, in the order of their paths."""
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is not a zip file ({error}): copy it again") from error
    with archive:
        for name in sorted(archive.namelist()):
            inner = Path(name)
            # macOS adds "._" twins of every file when it packs
            if inner.suffix.lower() in IMAGE_SUFFIXES and not inner.name.startswith("."):
                with archive.open(name) as stream:
                    yield name, inner.parent.name, cast(BinaryIO, stream)


def _decode_images(files: Iterable[tuple[str, str, BinaryIO]], place: Path) -> tuple[Images, Labels]:
    try:
        from PIL import Image
    except ImportError as error:
        raise ValueError(
            f"{place} holds JPEG or PNG images and Pillow is not installed: pip install annealnet[images]"
        ) from error
    pixels: list[Images] = []
    classes: list[str] = []
    for name, label, stream in files:
        if not label:
            raise ValueError(f"{place}: {name} lies in no class folder: lay images out as CLASS/NNNN.jpg")
        try:
            with Image.open(stream) as image:
                pixels.append(np.asarray(image.convert("RGB")))
        except (OSError, SyntaxError, zipfile.BadZipFile) as error:  # Pillow: SyntaxError for a bad PNG
            raise ValueError(f"{place}: {name} is a damaged image ({error}): remove or replace it") from error
        if pixels[-1].shape != pixels[0].shape:
            raise ValueError(
                f"{place}: {name} has size {pixels[-1].shape[:2]}, the images before it "
                f"{pixels[0].shape[:2]}: bring all images to one size"
            )
        classes.append(label)
    if not pixels:
        raise ValueError(f"{place} holds no images: expected CLASS/NNNN.jpg or .png below it")
    return np.stack(pixels), np.unique(classes, return_inverse=True)[1].astype(np.int64)
