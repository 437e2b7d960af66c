"""The IDX format, written and read back, whole and damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from annealnet.datasets import read_idx

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "mnist"
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5])


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_what_is_written_is_read(write_idx, suffix: str) -> None:
    images, labels = read_idx(write_idx(IMAGES, f"i{suffix}"), write_idx(LABELS, f"l{suffix}"))
    assert np.array_equal(images, IMAGES)
    assert labels.dtype == np.int64
    assert labels.tolist() == LABELS.tolist()


def test_exchanged_files_are_refused(write_idx) -> None:
    with pytest.raises(ValueError, match=r"has 1 dimensions, expected 3.*exchanged"):
        read_idx(write_idx(LABELS, "l"), write_idx(IMAGES, "i"))


def test_files_of_two_sets_are_refused(write_idx) -> None:
    with pytest.raises(ValueError, match=r"has 5 images and .* has 4 labels"):
        read_idx(write_idx(IMAGES, "i"), write_idx(LABELS[:4], "l"))


@pytest.mark.parametrize("cut", [1, 30, 59, 61, 75])
def test_a_truncated_file_is_refused(write_idx, cut: int) -> None:
    path = write_idx(IMAGES, "i")
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match=r"truncated|not an IDX file"):
        read_idx(path, write_idx(LABELS, "l"))


def test_a_truncated_gzip_file_is_refused(write_idx) -> None:
    path = write_idx(IMAGES, "i.gz")
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match="damaged gzip file"):
        read_idx(path, write_idx(LABELS, "l"))


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_text("these are words and no images")
    with pytest.raises(ValueError, match="not an IDX file"):
        read_idx(path, path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere does not exist"):
        read_idx(tmp_path / "nowhere", tmp_path / "nowhere")


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no MNIST in {SHARED.parent.name}/{SHARED.name}")
def test_the_official_test_set_of_mnist() -> None:
    images, labels = read_idx(SHARED / "t10k-images-idx3-ubyte.gz", SHARED / "t10k-labels-idx1-ubyte.gz")
    assert images.shape == (10_000, 28, 28)
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert images[0, 7, 6:10].tolist() == [84, 185, 159, 151]  # the first image is a seven
