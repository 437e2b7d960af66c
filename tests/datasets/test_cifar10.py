"""CIFAR-10 in its three forms gives the same arrays."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from annealnet.datasets import read_cifar10

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar10"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 9])


def test_binary_batches_are_read_in_the_order_of_their_names(write_binary_batch) -> None:
    write_binary_batch(IMAGES[:5], LABELS[:5], "data_batch_1.bin")
    second = write_binary_batch(IMAGES[5:], LABELS[5:], "data_batch_2.bin")
    images, labels = read_cifar10(second.parent)
    assert np.array_equal(images, IMAGES)
    assert labels.tolist() == LABELS.tolist()
    one_file, _ = read_cifar10(second)
    assert np.array_equal(one_file, IMAGES[5:])


@pytest.mark.parametrize("name", ["images", "images.zip"])
def test_folders_and_zips_number_the_classes_as_cifar_does(write_image_folder, name: str) -> None:
    place = write_image_folder(IMAGES, [CLASSES[label] for label in LABELS], name)
    images, labels = read_cifar10(place)
    order = np.lexsort((np.arange(12), LABELS))  # by class, then by number, as the paths sort
    assert np.array_equal(images, IMAGES[order])
    assert labels.tolist() == LABELS[order].tolist()


def test_images_of_another_size_and_a_deeper_folder_are_read(write_image_folder, tmp_path: Path) -> None:
    write_image_folder(IMAGES[:2, :7, :9], ["elm", "oak"], "outer/inner")
    images, labels = read_cifar10(tmp_path / "outer")
    assert images.shape == (2, 7, 9, 3)
    assert labels.tolist() == [0, 1]


def test_images_of_two_sizes_are_refused(write_image_folder) -> None:
    place = write_image_folder(IMAGES[:1], ["elm"], "mixed")
    write_image_folder(IMAGES[:1, :8], ["oak"], "mixed")
    with pytest.raises(ValueError, match=r"oak.*has size \(8, 32\), the images before it \(32, 32\)"):
        read_cifar10(place)


def test_an_image_outside_a_class_folder_is_refused(write_image_folder) -> None:
    place = write_image_folder(IMAGES[:1], ["elm"], "flat")
    (place / "elm" / "0000.png").rename(place / "0000.png")
    with pytest.raises(ValueError, match="lies in no class folder"):
        read_cifar10(place)


def test_a_damaged_image_is_named(write_image_folder) -> None:
    place = write_image_folder(IMAGES[:2], ["elm", "oak"], "damaged")
    file = place / "oak" / "0001.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"0001\.png is a damaged image"):
        read_cifar10(place)


def test_a_truncated_batch_is_refused(write_binary_batch) -> None:
    path = write_binary_batch(IMAGES, LABELS, "data_batch_1.bin")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="not a multiple of 3073"):
        read_cifar10(path.parent)


def test_a_file_that_only_claims_to_be_a_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("no zip")
    with pytest.raises(ValueError, match="is not a zip file"):
        read_cifar10(tmp_path / "x.zip")


def test_an_empty_folder_and_an_unknown_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no images"):
        read_cifar10(tmp_path)
    (tmp_path / "x.tar").touch()
    with pytest.raises(ValueError, match="is not CIFAR-10"):
        read_cifar10(tmp_path / "x.tar")


def test_without_pillow_the_error_says_what_to_install(write_image_folder, monkeypatch) -> None:
    place = write_image_folder(IMAGES[:1], ["elm"], "images")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ValueError, match=r"pip install annealnet\[images\]"):
        read_cifar10(place)


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no CIFAR-10 in {SHARED.parent.name}/{SHARED.name}")
def test_the_shared_test_images_of_cifar10() -> None:
    images, labels = read_cifar10(SHARED / "test.zip")
    assert images.shape == (10_000, 32, 32, 3)
    assert np.bincount(labels).tolist() == [1000] * 10
    assert 100 < images.mean() < 140
