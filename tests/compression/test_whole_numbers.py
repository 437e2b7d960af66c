"""Seeds, groups, widths and counts: whole numbers of any make, everything else refused before work starts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import annealnet as an
from annealnet.compression import DataAware


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


X = torch.randn(48, 6, generator=torch.Generator().manual_seed(1))
FAST = DataAware(reads=4, sweeps=100)


def test_whole_numbers_of_numpy_are_those_of_python():
    ours = an.quantize(network(), X, 3, group=4, seed=1)
    theirs = an.quantize(network(), X, np.int64(3), group=np.int32(4), seed=np.int64(1))
    assert torch.equal(ours.model(X), theirs.model(X))
    assert theirs.report.settings["seed"] == 1


def test_a_numpy_seed_plans_as_the_python_one():
    asked = [
        an.compress(network(), X, an.Budget(size_ratio=1.1), formulation=FAST, candidates=count, seed=seed).model(X)
        for count, seed in ((2, 1), (np.int64(2), np.int64(1)))
    ]
    assert torch.equal(*asked)


@pytest.mark.parametrize(
    "wrong", [{"seed": s} for s in (None, 2**70, -1, 1.0, True, "1")]
    + [{"group": g} for g in (2.0, True, 0)]
    + [{"bits": b} for b in (True, 2.5, 9, {"0": True})],
)  # fmt: skip
def test_quantize_refuses_what_is_no_whole_number(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"{name}=.*give a whole number"):
        an.quantize(network(), X, **wrong)


@pytest.mark.parametrize(
    "wrong", [{"seed": s} for s in (None, 2**70, -1, 1.0, True)] + [{"candidates": c} for c in (2.5, True, 0)]
)
def test_compress_refuses_what_is_no_whole_number(wrong):
    (name,) = wrong
    said: list[str] = []
    with pytest.raises(ValueError, match=rf"{name}=.*give a whole number"):
        an.compress(network(), X, an.Budget(size_ratio=1.1), formulation=FAST, progress=said.append, **wrong)
    assert not said
