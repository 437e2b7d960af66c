"""Real files of each format, small."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Writer = Callable[..., Path]


@pytest.fixture
def write_idx(tmp_path: Path) -> Writer:
    """Write an array of unsigned bytes as IDX, gzipped if the name ends in .gz."""

    def write(array: np.ndarray, name: str) -> Path:
        header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
        content = header + array.astype(np.uint8).tobytes()
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


@pytest.fixture
def write_binary_batch(tmp_path: Path) -> Writer:
    """Write images (N, 32, 32, 3) and labels in CIFAR-10's binary version."""

    def write(images: np.ndarray, labels: np.ndarray, name: str) -> Path:
        planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        path = tmp_path / name
        path.write_bytes(np.column_stack([labels, planes]).astype(np.uint8).tobytes())
        return path

    return write


def png(image: np.ndarray) -> bytes:
    """An image as PNG, which loses nothing."""
    pillow = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    pillow.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()


@pytest.fixture
def write_image_folder(tmp_path: Path) -> Writer:
    """Write images of named classes as NAME/CLASS/NNNN.png, or into a zip if NAME ends in .zip."""

    def write(images: np.ndarray, classes: list[str], name: str) -> Path:
        place = tmp_path / name
        entries = {f"{label}/{i:04d}.png": png(image) for i, (image, label) in enumerate(zip(images, classes, strict=True))}
        if name.endswith(".zip"):
            with zipfile.ZipFile(place, "w") as archive:
                for entry, content in entries.items():
                    archive.writestr(entry, content)
        else:
            for entry, content in entries.items():
                (place / entry).parent.mkdir(parents=True, exist_ok=True)
                (place / entry).write_bytes(content)
        return place

    return write
