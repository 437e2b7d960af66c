"""Files that are whole or not there, whoever else writes them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from annealnet.files import replacing


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
