"""Files that are whole or not there, whoever else writes them."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.datasets import read_npz
from annealnet.energy import read_energy
from annealnet.files import arrays_of, replacing
from annealnet.ising.network.spins import IsingNetwork
from annealnet.ising.search.training import Training


def test_threads_that_write_the_same_file_lose_no_write(tmp_path):
    target = tmp_path / "deep" / "result.txt"

    def write(number: int) -> int:
        with replacing(target) as draft:
            draft.write_text(f"{number}\n" * 200)
        lines = target.read_text().splitlines()
        assert len(lines) == 200
        return len(set(lines))

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(write, range(800))) == [1] * 800
    assert [path.name for path in target.parent.iterdir()] == ["result.txt"]


def write_half(target):
    with replacing(target) as draft:
        draft.write_text("new")
        raise KeyError


def test_a_block_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    target = tmp_path / "result.txt"
    target.write_text("old")
    with pytest.raises(KeyError):
        write_half(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_one_file_inside_the_other(tmp_path):
    target = tmp_path / "result.txt"
    with replacing(target) as outer:
        outer.write_text("outer")
        with replacing(target) as inner:
            inner.write_text("inner")
        assert target.read_text() == "inner"
    assert target.read_text() == "outer"


def archive(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


WHOLE = archive(quadratic=np.eye(3), linear=np.arange(3.0), names=np.array(["a", "b"]))
CHANGES = st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4)


@given(CHANGES, st.integers(1, len(WHOLE)))
@settings(max_examples=1500)
def test_a_damaged_archive_is_read_or_refused_by_name(tmp_path_factory, changes, length):
    content = bytearray(WHOLE)
    for place, value in changes:
        content[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    for part in (content, content[:length]):
        path.write_bytes(part)
        refused = ""
        try:
            arrays_of(path, "file='x'")
        except ValueError as error:
            refused = str(error)
        assert not refused or refused.startswith("file='x' is no whole .npz archive of arrays (")


def flipped(content: bytes) -> bytes:
    """With other bits in the first member's packed data."""
    place = content.index(b".npy") + 30
    return content[:place] + bytes(255 - byte for byte in content[place : place + 8]) + content[place + 8 :]


def single(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, next(iter(arrays.values())))
    return content.getvalue()


def damaged(**arrays: Any) -> list[bytes]:
    whole = archive(**arrays)
    return [flipped(whole), whole[: len(whole) // 2], b"", b"words", single(**arrays), archive(pickled=np.array([{}]))]


@pytest.mark.parametrize("number", range(6))
def test_every_reader_of_archives_refuses_the_same(tmp_path: Path, number: int) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(damaged(quadratic=np.eye(30))[number])
    with pytest.raises(ValueError, match=r"a\.npz' is no whole \.npz archive"):
        read_energy(path)
    path.write_bytes(damaged(x=np.eye(30), y=np.arange(30))[number])
    with pytest.raises(ValueError, match=r"a\.npz is no whole \.npz archive"):
        read_npz(path)
    state = Training(epochs=0).start(IsingNetwork.create((3, 4), 2, seed=0))
    path.write_bytes(damaged(fingerprint=np.array("f" * 90), steps=np.array(0))[number])
    with pytest.raises(ValueError, match=r"checkpoint .*a\.npz.* is no whole \.npz archive"):
        state.loaded(path)


def test_an_archive_of_something_else_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(archive(x=np.eye(3)))
    state = Training(epochs=0).start(IsingNetwork.create((3, 4), 2, seed=0))
    with pytest.raises(ValueError, match="belongs to other settings or data"):
        state.loaded(tmp_path / "a.npz")
