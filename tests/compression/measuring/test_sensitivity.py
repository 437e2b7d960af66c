"""κ from a fixed number of probes against κ of every layer probed alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import annealnet as an
from annealnet.compression.measuring import sensitivity
from annealnet.compression.measuring.sensitivity import (
    FINE_BITS,
    PROBE_BITS,
    OnlyCoarse,
    Sensitivity,
    divergence_rounded,
    measure_sensitivity,
)
from annealnet.compression.measuring.tasks import Custom, Task
from annealnet.compression.network.graph import NetworkGraph, trace
from annealnet.compression.network.rows import layer_rows, rows_times_weight, sampled_rows, weight_matrix
from annealnet.compression.refitting.dense_answers import DenseAnswers
from annealnet.compression.refitting.probes import answers_for_probes
from annealnet.compression.rounding import GptqRounding, NearestRounding
from annealnet.compression.rounding.grids import dequantize

RIDGE = 1e-2


def deep(layers: int, seed: int, width: int = 32) -> nn.Module:
    torch.manual_seed(seed)
    sizes = [6, *[width] * (layers - 1)]
    parts = [part for inputs in sizes[:-1] for part in (nn.Linear(inputs, width), nn.ReLU())]
    net = nn.Sequential(*parts, nn.Linear(width, 3)).eval().requires_grad_(False)
    for part in net:
        if isinstance(part, nn.Linear):
            nn.init.kaiming_normal_(part.weight)
    return net


def measured(net: nn.Module, task: Task, seed: int = 0) -> tuple[NetworkGraph, DenseAnswers, Sensitivity]:
    x = torch.randn(600, 6, generator=torch.Generator().manual_seed(seed))
    graph = trace(net, x)
    answers = DenseAnswers.of(net, graph, x)
    widths = {layer.name: (2, 3, 8) for layer in graph.layers}
    return graph, answers, measure_sensitivity(net, graph, answers, task, widths, NearestRounding(), RIDGE)


def alone(net: nn.Module, graph: NetworkGraph, answers: DenseAnswers, task: Task, name: str) -> float:
    return divergence_rounded(net, graph, [name], answers_for_probes(answers, net, graph), task, NearestRounding(), RIDGE)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 6), st.sampled_from([an.Classification(), an.Regression()]))
def test_up_to_six_layers_are_each_probed_alone(layers_seed, layers, task):
    net = deep(layers, layers_seed)
    graph, answers, found = measured(net, task)
    for layer in graph.layers:
        assert found.widths[layer.name, 3] == pytest.approx(alone(net, graph, answers, task, layer.name), rel=1e-9)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([an.Classification(), an.Regression()]))
def test_layers_of_a_deep_network_come_near_their_own_probes(seed, task):
    net = deep(12, seed)
    graph, answers, found = measured(net, task)
    gaps = [np.log(found.widths[layer.name, 3] / alone(net, graph, answers, task, layer.name)) for layer in graph.layers]
    assert np.abs(gaps).max() < np.log(4), np.exp(gaps)
    assert np.sqrt(np.mean(np.square(gaps))) < np.log(2), np.exp(gaps)


def test_probes_do_not_grow_with_depth():
    for layers in (8, 16):
        asked = []

        def judge(dense: Tensor, small: Tensor) -> Tensor:
            asked.append(len(dense))  # noqa: B023  # called before the next turn
            return ((dense - small) ** 2).mean()

        measured(deep(layers, 0), Custom(judge))
        assert len(asked) == 6


def test_layers_in_front_of_what_has_no_slope_are_probed_alone():
    class Stairs(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.round(4 * x) / 4

    net = deep(10, 0)
    net[9] = Stairs()
    graph, answers, found = measured(net, an.Regression())
    assert all(value > 0 for value in found.kappa.values())
    for layer in graph.layers[:5]:
        assert found.widths[layer.name, 3] == pytest.approx(
            alone(net, graph, answers, an.Regression(), layer.name), rel=1e-9
        )


def test_shares_of_channels_sum_to_one_and_coarser_widths_cost_more():
    net = deep(8, 1)
    with torch.no_grad():
        net[12].weight.zero_()
    graph, _, found = measured(net, an.Regression())
    for layer in graph.layers[:6]:
        assert found.channel_error[layer.name].sum() == pytest.approx(1.0)
        two, three, eight = (found.widths[layer.name, bits] for bits in (2, 3, 8))
        assert two >= three >= eight >= 0
    assert found.kappa["12"] == 0.0  # weights that are all zero are on every grid


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 2000), st.integers(1, 200))
def test_probes_take_as_many_samples_as_refits_need(samples, width):
    net = nn.Sequential(nn.Linear(width, 2), nn.ReLU(), nn.Linear(2, 1)).eval().requires_grad_(False)
    x = torch.randn(samples, width, generator=torch.Generator().manual_seed(0))
    graph = trace(net, x)
    answers = DenseAnswers.of(net, graph, x)
    fewer = answers_for_probes(answers, net, graph)
    assert len(fewer.x) == len(fewer.logits) == min(samples, max(256, 4 * width))
    assert torch.equal(fewer.logits, fewer.x.answer(net))


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)), (6,)),
        (nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2)), (4, 4, 4)),
        (nn.Sequential(nn.Linear(1100, 4), nn.ReLU(), nn.Linear(4, 2)), (1100,)),  # too wide for a Gram matrix
    ],
)
def test_errors_are_what_a_fitted_line_leaves_on_the_rows(net: nn.Module, shape: tuple[int, ...]):
    torch.manual_seed(0)
    net = net.eval().requires_grad_(False)
    for part in (net[0], net[-1]):
        part.reset_parameters()
    x = 1 + torch.randn(100, *shape, generator=torch.Generator().manual_seed(0))
    graph = trace(net, x)
    answers = DenseAnswers.of(net, graph, x)
    widths = {layer.name: (2, 8) for layer in graph.layers}
    found = measure_sensitivity(net, graph, answers, an.Regression(), widths, NearestRounding(), RIDGE)
    layer, first = graph.layers[0], net[0]
    rows = layer_rows(first, x, answers.seed, sampled_rows(layer))
    wanted = rows_times_weight(rows, weight_matrix(first, first.weight)).double().numpy()
    for bits in (2, 8):
        rounded = dequantize(NearestRounding()(first.weight, bits))
        answered = rows_times_weight(rows, weight_matrix(first, rounded)).double().numpy()
        lines = [np.polyfit(one, other, 1) for one, other in zip(answered.T, wanted.T, strict=True)]
        left = [((w - np.polyval(line, a)) ** 2).mean() for line, a, w in zip(lines, answered.T, wanted.T, strict=True)]
        assert found.widths[layer.name, bits] / found.kappa[layer.name] == pytest.approx(sum(left), rel=2e-3)


@pytest.mark.parametrize("rounding", [NearestRounding(), GptqRounding()])
def test_widths_of_many_channels_are_tried_on_some_and_come_near_all(rounding, monkeypatch):
    net = deep(3, 0, width=320)
    graph, answers, _ = measured(net, an.Regression())
    widths = {layer.name: (2, 3, 5, 8) for layer in graph.layers}

    def found() -> Sensitivity:
        return measure_sensitivity(net, graph, answers, an.Regression(), widths, rounding, RIDGE)

    some = found()
    monkeypatch.setattr(sensitivity, "_SAMPLED_CHANNELS", 320)
    every = found()
    assert some.kappa == every.kappa
    for choice, energy in every.widths.items():
        assert some.widths[choice] == pytest.approx(energy, rel=0 if choice[1] == 3 else 0.2), choice
    assert some.widths["0", 2] != every.widths["0", 2]


@pytest.mark.parametrize("group", [None, 4])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [PROBE_BITS, FINE_BITS])
def test_probes_round_on_grids_of_the_planned_kind(group: int | None, symmetric: bool, bits: int):
    probing = OnlyCoarse(GptqRounding(group=group, symmetric=symmetric))
    grid = probing(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)), bits, torch.eye(8)[None])
    assert (probing.group, probing.symmetric) == (grid.group, grid.zero is None) == (group, symmetric)
