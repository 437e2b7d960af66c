"""The knapsack over widths against enumeration, and what it adds to greedy plans."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import annealnet as an
from annealnet.compression import DataAware
from annealnet.compression.formulations.budget import Limits
from annealnet.compression.formulations.optimal_widths import optimal_widths
from annealnet.compression.formulations.preparing import prepare
from annealnet.compression.formulations.space import PlanSpace
from annealnet.compression.formulations.starts import greedy_widths
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.network.graph import trace
from annealnet.compression.rounding import NearestRounding

NET = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 8), nn.ReLU(), nn.Linear(8, 3))
GRAPH = trace(NET, torch.zeros(1, 6))


@settings(max_examples=60)
@given(st.integers(0, 1000), st.floats(-0.1, 1.1), st.floats(0, 0.9))
def test_no_widths_within_the_budget_cost_less(seed, share, gone):
    rng = np.random.default_rng(seed)
    space = PlanSpace(GRAPH, {"0": (2, 4, 8), "2": (3, 4, 6), "4": (2, 5, 8)}, overhead=100)
    keep = space.keep_lowest_out(rng.random(GRAPH.num_units), gone)
    low, high = (space.num_bytes(keep, {name: end(widths) for name, widths in space.widths.items()}) for end in (min, max))
    limits = Limits(int(low + share * (high - low)), None)
    costs = {choice: float(value) for choice, value in zip(space.choices, rng.normal(size=9), strict=True)}
    plans = [dict(zip(space.widths, chosen, strict=True)) for chosen in itertools.product(*space.widths.values())]
    truth = [sum(costs[layer] for layer in plan.items()) for plan in plans if space.fits(keep, plan, limits)]
    found = optimal_widths(space, keep, costs, limits)
    assert (found is None) == (not truth)
    if found is not None:
        assert space.fits(keep, found, limits)
        assert sum(costs[layer] for layer in found.items()) == pytest.approx(min(truth), abs=3e-4)


def test_without_a_budget_in_bytes_every_layer_takes_what_costs_least():
    space = PlanSpace(GRAPH, {"0": (2, 8), "2": (4, 8), "4": (2, 8)}, overhead=100)
    costs = {choice: float(choice == ("2", 8)) - choice[1] / 10 for choice in space.choices}
    keep = np.ones(GRAPH.num_units, dtype=bool)
    assert optimal_widths(space, keep, costs, Limits(None, None)) == {"0": 8, "2": 4, "4": 8}
    assert optimal_widths(space, keep, costs, Limits(None, GRAPH.macs() - 1)) is None


def test_a_greedy_step_of_a_large_layer_saves_more_than_was_asked_for():
    space = PlanSpace(GRAPH, {"0": (4, 8), "2": (4, 8), "4": (4, 8)}, overhead=100)
    keep = np.ones(GRAPH.num_units, dtype=bool)
    costs = {("0", 4): 0.5, ("2", 4): 0.6, ("4", 4): 0.1} | {(name, 8): 0.0 for name in space.widths}
    limits = Limits(space.num_bytes(keep, {"0": 8, "2": 8, "4": 4}), None)
    assert greedy_widths(space, keep, costs, limits) == {"0": 8, "2": 4, "4": 8}  # the least cost per byte
    assert optimal_widths(space, keep, costs, limits) == {"0": 8, "2": 8, "4": 4}


@pytest.mark.parametrize("ratio", [3.9, 5.0, 6.5])
def test_no_proposal_has_other_widths_of_less_energy(ratio):
    torch.manual_seed(0)
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    problem = prepare(NET.eval(), Calibration.of(x), an.Budget(size_ratio=ratio), rounding=NearestRounding(), seed=0)
    ours = DataAware(reads=2, sweeps=1)  # next to no anneal: what is proposed is what the knapsack makes of it
    energy = ours.energy(problem)
    proposed = ours.propose(problem, None, 3, 0)
    keep, bits = problem.space.decode(proposed.states[0])
    assert problem.space.fits(keep, bits, problem.limits)
    assert proposed.energies[0] <= energy.energy(ours.starts(problem, energy)).min() + 1e-12
    choices = [problem.space.widths[name] for name in problem.space.widths]
    for chosen in itertools.product(*choices):
        other = dict(zip(problem.space.widths, chosen, strict=True))
        if problem.space.fits(keep, other, problem.limits):
            energy_of_other = float(energy.energy(problem.space.encode(keep, other)))
            assert energy_of_other >= proposed.energies[0] - 1e-3 * abs(proposed.energies[0]) - 1e-12
    assert 0 <= proposed.reads["plans_of_optimal_widths"] <= len(proposed.states)
