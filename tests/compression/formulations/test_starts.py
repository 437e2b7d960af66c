"""Greedy widths and feasible starts: within the budget, and the optimum where greed is enough."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from annealnet.compression.formulations.budget import Limits
from annealnet.compression.formulations.space import PlanSpace
from annealnet.compression.formulations.starts import feasible_starts, greedy_widths
from annealnet.compression.network.graph import trace

NET = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
GRAPH = trace(NET, torch.zeros(1, 6))
ALL = np.ones(GRAPH.num_units, dtype=bool)


def space(first=(2, 4, 8), middle=(2, 4, 8), last=(2, 4, 8)) -> PlanSpace:
    return PlanSpace(GRAPH, {"0": first, "2": middle, "4": last}, overhead=100)


def ends(plans: PlanSpace) -> tuple[int, int]:
    low, high = (plans.num_bytes(ALL, {name: end(widths) for name, widths in plans.widths.items()}) for end in (min, max))
    return low, high


def convex(plans: PlanSpace, seed: int) -> dict[tuple[str, int], float]:
    weights = dict(zip(plans.widths, np.random.default_rng(seed).uniform(0.1, 10, 3), strict=True))
    return {(name, b): float(weights[name]) * 4.0**-b for name, b in plans.choices}


@settings(max_examples=60)
@given(st.integers(0, 1000), st.floats(-0.2, 1.2))
def test_greedy_widths_keep_the_budget_and_are_repeatable(seed, share):
    plans = space()
    low, high = ends(plans)
    limits = Limits(int(low + share * (high - low)), None)
    energies = {choice: float(v) for choice, v in zip(plans.choices, np.random.default_rng(seed).random(9), strict=True)}
    bits = greedy_widths(plans, ALL, energies, limits)
    assert bits == greedy_widths(plans, ALL, energies, limits)
    assert (bits is None) == (limits.bytes < low)
    if bits is not None:
        assert plans.fits(ALL, bits, limits)
        if limits.bytes >= high:
            assert bits == {"0": 8, "2": 8, "4": 8}


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0, 1))
def test_with_one_layer_to_choose_greed_is_optimal(seed, share):
    plans = space((8,), tuple(range(2, 9)), (8,))
    low, high = ends(plans)
    limits = Limits(int(low + share * (high - low)), None)
    bits = greedy_widths(plans, ALL, convex(plans, seed), limits)
    best = max(b for b in range(2, 9) if plans.fits(ALL, {"0": 8, "2": b, "4": 8}, limits))
    assert bits == {"0": 8, "2": best, "4": 8}


def test_greed_is_within_one_step_of_the_enumerated_optimum():
    plans = space()
    low, high = ends(plans)
    for seed, share in itertools.product(range(5), (0.2, 0.5, 0.8)):
        energies, limits = convex(plans, seed), Limits(int(low + share * (high - low)), None)
        costs = []
        for chosen in itertools.product(*plans.widths.values()):
            bits = dict(zip(plans.widths, chosen, strict=True))
            if plans.fits(ALL, bits, limits):
                costs.append(sum(energies[choice] for choice in bits.items()))
        found = greedy_widths(plans, ALL, energies, limits)
        assert found is not None
        largest_step = max(energies[name, 2] - energies[name, 4] for name in plans.widths)
        assert min(costs) <= sum(energies[choice] for choice in found.items()) <= min(costs) + largest_step


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0, 1), st.booleans())
def test_starts_are_within_the_budget(seed, share, removable):
    plans = PlanSpace(GRAPH, space().widths, 100, removable)
    least, most = plans.num_bytes(*plans.smallest()), ends(plans)[1]
    limits = Limits(int(least + share * (most - least)), None)
    scores = np.random.default_rng(seed).random(GRAPH.num_units)
    starts = feasible_starts(plans, scores, convex(plans, seed), limits)
    assert len(starts)
    for state in starts:
        keep, bits = plans.decode(state)
        assert plans.fits(keep, bits, limits)
        assert removable or keep.all()
        GRAPH.checked_keep(keep)


# ---- the same starts as by counting everything anew --------------------------------------------------------


def counted_anew(plans: PlanSpace, keep, energies, limits) -> dict[str, int] | None:
    """Greedy widths as they are defined: every step of every layer is priced again, and the whole plan counted again."""
    bits = {name: max(widths) for name, widths in plans.widths.items()}
    while not plans.fits(keep, bits, limits):
        best = None
        for name, widths in plans.widths.items():
            for lower in (b for b in widths if b < bits[name]):
                saved = plans.layer_grains(name, keep, bits[name]) - plans.layer_grains(name, keep, lower)
                if saved > 0:
                    price = (energies.get((name, lower), 0.0) - energies.get((name, bits[name]), 0.0)) / saved
                    if best is None or price < best[0]:
                        best = (price, name, lower)
        if best is None:
            return None
        bits[best[1]] = best[2]
    return bits


@settings(max_examples=100)
@given(st.integers(0, 1000), st.floats(-0.1, 1.1), st.floats(0, 0.8), st.sampled_from([None, 20, 100]), st.booleans())
def test_greedy_widths_are_those_counted_anew(seed, share, gone, macs, levels):
    rng = np.random.default_rng(seed)
    plans = space((8,), (2, 3, 5, 8), tuple(range(2, 9)))
    keep = plans.keep_lowest_out(rng.random(GRAPH.num_units), gone)
    low, high = ends(plans)
    limits = Limits(int(low + share * (high - low)), macs)
    # whole numbers tie: the first layer and the least width then go first
    energies = {choice: float(rng.integers(3) if levels else rng.random()) for choice in plans.choices}
    assert greedy_widths(plans, keep, energies, limits) == counted_anew(plans, keep, energies, limits)


@dataclass(frozen=True)
class Counting(PlanSpace):
    """Notes which layer's channels are counted."""

    asked: list[str] = field(default_factory=list)

    def width_grains(self, name, keep, widths):
        self.asked.append(name)
        return super().width_grains(name, keep, widths)


def test_starts_count_each_layer_once_for_each_depth_of_pruning():
    deep = nn.Sequential(*(part for _ in range(12) for part in (nn.Linear(8, 8), nn.ReLU())), nn.Linear(8, 3))
    graph = trace(deep, torch.zeros(1, 8))
    plans = Counting(graph, {layer.name: tuple(range(2, 9)) for layer in graph.layers}, overhead=100)
    rng = np.random.default_rng(0)
    energies = {choice: float(value) for choice, value in zip(plans.choices, rng.random(len(plans.choices)), strict=True)}
    limits = Limits(int(1.2 * plans.num_bytes(*plans.smallest())), None)
    plans.asked.clear()
    feasible_starts(plans, rng.random(graph.num_units), energies, limits)
    assert len(plans.asked) <= 7 * len(graph.layers)
