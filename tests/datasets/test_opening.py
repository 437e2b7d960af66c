"""`open_data` recognises a format by what lies there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from annealnet.datasets import as_images, digits, open_data

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
RNG = np.random.default_rng(0)
CIFAR = RNG.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 0, 1, 0, 1, 0, 1])
NAMES = ["frog" if label == 0 else "ship" for label in LABELS]


def sorted_rows(*parts: np.ndarray) -> list[list[float]]:
    return sorted(np.concatenate(parts).reshape(sum(map(len, parts)), -1).tolist())


def test_pixels_become_channels_first_between_zero_and_one() -> None:
    x = as_images(CIFAR)
    assert (x.shape, x.dtype) == ((8, 3, 32, 32), np.float32)
    assert np.array_equal(np.round(x * 255).astype(np.uint8).transpose(0, 2, 3, 1), CIFAR)
    assert as_images(CIFAR[..., 0]).shape == (8, 1, 32, 32)
    with pytest.raises(ValueError, match="dtype float64"):
        as_images(np.zeros((2, 4, 4)))


def test_the_word_digits() -> None:
    assert np.array_equal(open_data("digits", seed=5).x_test, digits(5).x_test)


@pytest.mark.parametrize("form", ["binary", "folder", "zip"])
def test_one_set_of_images_is_split_and_nothing_is_lost(form: str, write_binary_batch, write_image_folder) -> None:
    if form == "binary":
        place = write_binary_batch(CIFAR, LABELS, "data_batch_1.bin").parent
    else:
        place = write_image_folder(CIFAR, NAMES, "c.zip" if form == "zip" else "c")
    opened = open_data(place, seed=1, test_share=0.25)
    assert opened.x_train.shape == (6, 3, 32, 32)
    assert opened.y_test.tolist() in ([0, 1], [1, 0])
    assert sorted_rows(opened.x_train, opened.x_test) == sorted_rows(as_images(CIFAR))


@pytest.mark.parametrize("names", [("train.zip", "test.zip"), ("both/train", "both/test")])
def test_a_test_part_of_its_own_is_taken(write_image_folder, names: tuple[str, str]) -> None:
    place = write_image_folder(CIFAR[:6], NAMES[:6], names[0]).parent
    write_image_folder(CIFAR[6:], NAMES[6:], names[1])
    opened = open_data(place)
    assert sorted_rows(opened.x_test) == sorted_rows(as_images(CIFAR[6:]))
    assert sorted_rows(opened.x_train) == sorted_rows(as_images(CIFAR[:6]))


def test_the_test_batch_of_the_binary_version_is_taken(write_binary_batch) -> None:
    write_binary_batch(CIFAR[:6], LABELS[:6], "data_batch_1.bin")
    place = write_binary_batch(CIFAR[6:], LABELS[6:], "test_batch.bin").parent
    opened = open_data(place)
    assert np.array_equal(opened.x_train, as_images(CIFAR[:6]))
    assert np.array_equal(opened.x_test, as_images(CIFAR[6:]))


def test_a_folder_of_idx_files(write_idx) -> None:
    for prefix, part in (("train", slice(0, 6)), ("t10k", slice(6, 8))):
        write_idx(CIFAR[part, ..., 0], f"{prefix}-images-idx3-ubyte.gz")
        place = write_idx(LABELS[part], f"{prefix}-labels-idx1-ubyte").parent
    opened = open_data(place)
    assert np.array_equal(opened.x_test, as_images(CIFAR[6:, ..., 0]))
    assert opened.y_train.tolist() == LABELS[:6].tolist()


def test_idx_images_without_labels_are_refused(write_idx) -> None:
    place = write_idx(CIFAR[..., 0], "train-images-idx3-ubyte").parent
    with pytest.raises(ValueError, match="add the missing file"):
        open_data(place)


def test_archives_of_pixels_and_of_features(tmp_path: Path) -> None:
    np.savez(tmp_path / "pixels.npz", x=CIFAR, y=LABELS)
    assert open_data(tmp_path / "pixels.npz").x_train.shape == (6, 3, 32, 32)
    features = RNG.normal(size=(8, 5))
    np.savez(tmp_path / "f.npz", x=features, y=LABELS, x_test=features[:3], y_test=LABELS[:3])
    opened = open_data(tmp_path / "f.npz")
    assert np.array_equal(opened.x_train, features.astype(np.float32))
    assert opened.y_test.tolist() == LABELS[:3].tolist()


def test_a_table(tmp_path: Path) -> None:
    rows = [f"{label},{i},{i * i}" for i, label in enumerate(LABELS)]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    assert open_data(tmp_path / "t.csv").x_train.shape == (6, 2)


def test_normalisation_is_applied_to_both_parts() -> None:
    plain = open_data("digits")
    normal = open_data("digits", mean=[0.3], std=[0.5])
    np.testing.assert_allclose(normal.x_test * 0.5 + 0.3, plain.x_test, atol=1e-6)
    np.testing.assert_allclose(normal.x_train * 0.5 + 0.3, plain.x_train, atol=1e-6)
    with pytest.raises(ValueError, match="give both or neither"):
        open_data("digits", mean=[0.3])


def test_what_is_not_recognised_is_refused_with_the_list_of_formats(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere does not exist"):
        open_data(tmp_path / "nowhere")
    for place in (tmp_path, tmp_path / "x.tar"):
        if place.suffix:
            place.touch()
        with pytest.raises(ValueError, match=r"no format known here: give the word digits.*\.npz"):
            open_data(place)


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="no MNIST in the shared data")
def test_the_shared_mnist_is_opened_by_its_folder() -> None:
    opened = open_data(SHARED / "mnist", seed=0, test_share=0.2)
    assert opened.x_train.shape == (8000, 1, 28, 28)
    assert opened.x_test.shape == (2000, 1, 28, 28)
