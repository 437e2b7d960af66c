"""A problem keeps what was measured on it, under any budget and across runs."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import annealnet as an
from annealnet.compression.formulations import Problem
from annealnet.compression.formulations.budget import Limits
from annealnet.compression.formulations.preparing import prepare
from annealnet.compression.measuring.sensitivity import Sensitivity
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.rounding import NearestRounding


def problem() -> tuple[Problem, list[str]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))
    x = torch.randn(32, 5, generator=torch.Generator().manual_seed(1))
    told: list[str] = []
    found = prepare(
        net, Calibration.of(x), an.Budget(size_ratio=1.1), rounding=NearestRounding(), progress=told.append, prune=True
    )
    told.clear()
    return found, told


def test_another_budget_measures_nothing_again():
    first, told = problem()
    before = first.under(Limits(1000, None))
    sensitivity, removals = first.sensitivity, first.removals
    assert told
    told.clear()
    after = first.under(Limits(1000, None))
    assert after.sensitivity is sensitivity
    assert after.removals is removals
    assert after.limits == Limits(1000, None)
    assert not told
    assert np.allclose(before.removals.toarray(), removals.toarray())  # taken before: measures for itself
    assert told


def test_measurements_of_an_earlier_run_are_taken_and_the_problem_itself_stays_as_it_was():
    first, _ = problem()
    fresh, heard = problem()
    given = Sensitivity.from_document(first.sensitivity.to_document())
    resumed = fresh.with_measurements(given)
    assert resumed.sensitivity is given
    assert not heard
    assert np.array_equal(resumed.removals.toarray(), first.removals.toarray())
    assert not any(text.startswith("sensitivity") for text in heard)
    again = resumed.with_measurements(given)
    told_so_far = list(heard)
    assert again.removals is resumed.removals
    assert heard == told_so_far
    assert "sensitivity" not in vars(fresh)
