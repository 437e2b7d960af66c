"""The table of trained networks: every rival has a row, and what is finished on disk is not made again."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from benchmarks.real_networks import Subject
from torch import Tensor, nn

import annealnet as an
from annealnet.compression.refitting.ridge import DEFAULT_RIDGE
from benchmarks import real


def subject() -> Subject:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3)).eval()

    def data(seed: int) -> Tensor:
        return torch.randn(48, 6, generator=torch.Generator().manual_seed(seed))

    def judge(dense: Tensor, small: Tensor) -> dict[str, float]:
        return {"agreement": float((dense.argmax(1) == small.argmax(1)).float().mean())}

    return Subject("small", network, an.Classification(), data, data(8), data(9), judge, "noise")


def lines(out: Path, rounding: str = "gptq") -> Iterator[str]:
    options = argparse.Namespace(out=out, ratios="3", seeds=1, rounding=rounding, annealed=True)
    return real._part(options, subject)


@pytest.mark.parametrize("rounding", ["gptq", "annealed"])
def test_every_rival_has_a_row_and_the_text_says_what_seconds_are(tmp_path, rounding):
    text = "\n".join(lines(tmp_path, rounding))
    rows = {(cells[1].strip(), cells[2].strip()) for line in text.splitlines() if len(cells := line.split("|")) > 3}
    rounded = {"quantize", "nearest", "nearest, refitted"} | ({"annealed"} if rounding == "gptq" else set())
    for bits in ("8 bit", "4 bit"):
        assert {method for asked, method in rows if asked == bits} == rounded
    sized = {method for asked, method in rows if asked == "3x"}
    assert {"compress", "greedy on our energy", "ILP widths + L1", "uniform widths + L1", "uniform widths + Taylor"} <= sized
    assert "measure once for all sizes (" in text
    assert DEFAULT_RIDGE in real.RIDGES


def test_what_is_finished_is_not_made_again(tmp_path, monkeypatch):
    first = list(lines(tmp_path))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("made again")

    for name in ("_rounded", "_within"):
        monkeypatch.setattr(real, name, never)
    assert list(lines(tmp_path)) == first
