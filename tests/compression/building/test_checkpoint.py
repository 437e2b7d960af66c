"""Finished steps on disk: resumed, or ignored; never a crash, never a wrong value."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annealnet.compression.building.checkpoint import Checkpoint

VALUES = {"sensitivity": {"widths": [["a", 2, 0.25]]}, "candidates": {"states": ["01", "10"]}, "build 0": 0.125}


def finished(folder, run: str = "a") -> Checkpoint:
    steps = Checkpoint(folder, run)
    for name, value in VALUES.items():
        steps.step(name, lambda value=value: value)
    return steps


def test_finished_steps_are_not_done_again(tmp_path):
    finished(tmp_path / "deep" / "run")
    again = Checkpoint(tmp_path / "deep" / "run", "a")
    assert all(name in again and again.step(name, lambda: 1 / 0) == value for name, value in VALUES.items())


def test_two_runs_share_a_folder(tmp_path):
    finished(tmp_path)
    assert Checkpoint(tmp_path, "b").step("build 0", lambda: 7.0) == 7.0
    assert Checkpoint(tmp_path, "a").step("build 0", lambda: 1 / 0) == 0.125


def test_steps_in_memory_leave_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert finished(None).step("build 0", lambda: 1 / 0) == 0.125
    assert not list(tmp_path.iterdir())


@given(st.data())
def test_a_damaged_file_never_gives_another_value(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("run")
    finished(folder)
    place = folder / "steps.jsonl"
    whole = bytearray(place.read_bytes())
    kind = data.draw(st.sampled_from(("cut", "flip", "insert")))
    where = data.draw(st.integers(0, len(whole) - 1))
    if kind == "cut":
        whole = whole[:where]
    elif kind == "flip":
        whole[where] = data.draw(st.integers(0, 255))
    else:
        whole[where:where] = data.draw(st.binary(max_size=40))
    place.write_bytes(whole)
    again = Checkpoint(folder, "a")
    for name, value in VALUES.items():
        assert again.step(name, lambda value=value: value) == value
    assert {name: Checkpoint(folder, "a").step(name, lambda: None) for name in VALUES} == VALUES  # and mended


@pytest.mark.parametrize(
    "line", ["3", "[]", "null", '"a"', '{"run": "a", "step": "build 0", "value": 9}', "\xff", "{" * 5000]
)
def test_lines_that_nobody_wrote_are_left_alone(tmp_path, line):
    (tmp_path / "steps.jsonl").write_bytes(line.encode("latin1"))
    assert "build 0" not in Checkpoint(tmp_path, "a")


def test_an_edited_value_is_not_taken(tmp_path):
    finished(tmp_path)
    place = tmp_path / "steps.jsonl"
    entry = json.loads(place.read_text().split("\n")[-1])
    place.write_text(json.dumps({**entry, "value": 0.0}))
    assert "build 0" not in Checkpoint(tmp_path, "a")


def test_a_file_is_refused_before_work(tmp_path):
    (tmp_path / "run.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"checkpoint=.*run\.jsonl.*folder"):
        Checkpoint(tmp_path / "run.jsonl", "a")
