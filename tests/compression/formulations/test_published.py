"""The published Hamiltonian as a planner: also where no width is asked, and where few are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import annealnet as an
from annealnet.compression.baselines.genetic import genetic_published
from annealnet.compression.formulations import Problem, Published
from annealnet.compression.formulations.budget import Limits, NoPlan
from annealnet.compression.formulations.hamiltonian import FilterBlock, FilterLayer, Hamiltonian
from annealnet.compression.formulations.preparing import prepare
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.rounding import NearestRounding


def problem(budget: an.Budget, widths=(8,), layers: int = 3, prune: bool = True, **asked) -> Problem:
    torch.manual_seed(0)
    hidden = [module for _ in range(layers - 2) for module in (nn.Linear(24, 24), nn.ReLU())]
    net = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), *hidden, nn.Linear(24, 3))
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
    return prepare(net, Calibration.of(x), budget, rounding=NearestRounding(), widths=widths, prune=prune, **asked)


@pytest.mark.parametrize("layers", [2, 3])  # of two, first and last, both stay at 8 bits
def test_where_no_width_is_asked_filters_alone_meet_the_budget(layers):
    found = problem(an.Budget(macs_ratio=2), layers=layers)
    h, _ = Published().hamiltonian(found)
    assert h.num_variables == h.num_filters == found.graph.num_units
    states = Published().propose(found, None, 3, seed=0).states
    keep, bits = found.space.decode(states[0])
    assert set(bits.values()) == {8}
    assert not keep.all()
    assert found.graph.macs(keep) <= found.graph.macs() / 2
    assert all(found.graph.macs(plan[0]) <= found.graph.macs() / 2 for plan in genetic_published(found, 2, seed=0))


def test_where_there_is_nothing_to_decide_the_only_plan_is_proposed():
    found = problem(an.Budget(bytes=10_000_000), prune=False)
    (state,) = Published().propose(found, None, 3, seed=0).states
    keep, bits = found.space.decode(state)
    assert keep.all()
    assert set(bits.values()) == {8}


@pytest.mark.parametrize("widths", [(2, 4, 8), (3,), (4, 7)])
def test_only_widths_that_are_allowed_are_proposed(widths):
    found = problem(an.Budget(size_ratio=1.05), widths, layer_widths={"4": (5, 6)})
    for sampler in (None, an.samplers.AnnealingSampler()):
        for state in Published().propose(found, sampler, 4, seed=0).states:
            keep, bits = found.space.decode(state)
            assert all(bits[layer.name] in found.space.widths[layer.name] for layer in found.graph.layers)
            assert found.space.fits(keep, bits, found.limits)


def test_a_budget_out_of_reach_is_an_error_of_its_own():
    found = problem(an.Budget(bytes=10_000_000), prune=False)
    out_of_reach = found.under(Limits(1, None))
    with pytest.raises(NoPlan, match="out of reach of the published Hamiltonian: take formulation=DataAware"):
        Published().hamiltonian(out_of_reach)
    assert genetic_published(out_of_reach, 2, seed=0) == []


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.booleans(), min_size=1, max_size=4))
def test_layers_of_one_width_earn_their_filters_and_have_no_bits(seed, asked):
    rng = np.random.default_rng(seed)
    layers = tuple(FilterLayer(f"l{n}", 3 + n, 0.5, 2, has_width=own) for n, own in enumerate(asked))
    h = Hamiltonian((FilterBlock(rng.random(4), layers),), gamma=1.5, beta=0.7, max_reduction=3)
    assert h.num_variables == 4 + 2 * sum(asked)
    states = ((np.arange(2**h.num_variables)[:, None] >> np.arange(h.num_variables)) & 1).astype(np.uint8)
    energies = h.energy().energy(states)
    x, least, _ = h.optimum()
    assert least == pytest.approx(energies.min(), abs=1e-9)
    assert float(h.energy().energy(x)) == pytest.approx(least)
    _, widths = h.decode(x)
    assert set(widths) == {layer.name for layer in layers if layer.has_width}
    weights = sum(layer.size * 4 + layer.fixed for layer in layers)
    p, count = states[:, :4], states[:, :4].sum(1)
    said = (p @ h.blocks[0].norms) ** 2
    first = 4
    for layer in layers:
        r = states[:, first : first + 2] @ np.array(h.coefficients) if layer.has_width else np.zeros(len(states))
        first += 2 * layer.has_width
        said = said + h.beta * (layer.step * r) ** 2
        gone = layer.size * (8 * count + 4 * r - count * r) + layer.fixed * r
        said = said - h.gamma * gone / (8 * weights)
    assert np.allclose(energies, said)
