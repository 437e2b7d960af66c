"""Methods side by side: each budget and seed is its own, and a comparison goes on where it stopped."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from annealnet.compression import Budget
from annealnet.compression.building.checkpoint import Checkpoint
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.rounding import NearestRounding
from annealnet.studies.comparison import Outcome, compare, in_words

METHOD = "uniform + L1"


def asked(budgets, steps=None, said=None, labelled=True):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
    data = Calibration.of(x, network(x).argmax(1) if labelled else None)
    return compare(
        network, data, data, budgets, 0, methods=[METHOD], rounding=NearestRounding(), steps=steps,
        say=[].append if said is None else said.append,
    )  # fmt: skip


def test_budgets_that_differ_in_the_seventh_digit_share_nothing(tmp_path):
    budgets = [Budget(size_ratio=1.1), Budget(size_ratio=1.10000001), Budget(bytes=3_000_000), Budget(bytes=3_000_001)]
    outcomes, networks = asked(budgets, Checkpoint(tmp_path, "run"))
    assert [outcome.budget for outcome in outcomes] == budgets
    assert list(networks) == [(METHOD, budget) for budget in budgets]
    again, built = asked(budgets, Checkpoint(tmp_path, "run"))
    assert (again, built) == (outcomes, {})
    assert in_words(budgets[0]) == in_words(budgets[1]) == "1.1x"


def test_outcomes_are_json_both_ways():
    (outcome,), _ = asked([Budget(size_ratio=1.1, macs_ratio=1.0)])
    assert Outcome.from_document(json.loads(json.dumps(outcome.to_document()))) == outcome


def test_a_budget_that_cannot_be_met_is_said():
    said: list[str] = []
    outcomes, _ = asked([Budget(size_ratio=1.1), Budget(macs_ratio=10_000)], said=said)
    assert [outcome.budget for outcome in outcomes] == [Budget(size_ratio=1.1)]
    assert any("no plan within the budget" in line for line in said)


def test_test_data_need_classes():
    with pytest.raises(ValueError, match="test data with a class for each sample"):
        asked([Budget(size_ratio=1.1)], labelled=False)
