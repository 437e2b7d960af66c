"""Pairwise energies of removals against real removals, one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import nn

import annealnet as an
from annealnet.compression.measuring.first_order import first_order
from annealnet.compression.measuring.removals import (
    divergence_without,
    measure_removals,
    refit_errors,
    refits_without,
    weakest_quarters,
)
from annealnet.compression.measuring.sensitivity import Sensitivity
from annealnet.compression.measuring.tasks import Custom, Task
from annealnet.compression.network.answers import answers_of
from annealnet.compression.network.graph import NetworkGraph, trace
from annealnet.compression.network.surgery import remove
from annealnet.compression.refitting.compensation import compensate
from annealnet.compression.refitting.dense_answers import DenseAnswers
from annealnet.compression.refitting.ridge import pruning_ridge
from annealnet.compression.rounding import NearestRounding

UNITS = 8


def tiny() -> tuple[nn.Module, NetworkGraph, DenseAnswers]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, UNITS), nn.ReLU(), nn.Linear(UNITS, 3)).eval().requires_grad_(False)
    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(1))
    graph = trace(net, x)
    return net, graph, DenseAnswers.of(net, graph, x)


def energy(matrix: np.ndarray, removed: tuple[int, ...]) -> float:
    return float(matrix[np.ix_(removed, removed)].sum())


def test_refit_errors_are_exact_for_single_channels_and_pairs():
    net, graph, answers = tiny()
    kappa = 2.5
    errors = refit_errors(net, graph, answers, Sensitivity({}, {"0": 1.0, "2": kappa}, {}), ridge=1e-7).toarray()
    hidden = torch.relu(net[0](answers.x.main)).double().numpy()
    wanted = hidden @ net[2].weight.double().numpy().T
    for count in (1, 2):
        for removed in itertools.combinations(range(UNITS), count):
            left = np.delete(hidden, removed, axis=1)
            refitted = left @ np.linalg.lstsq(left, wanted, rcond=None)[0]
            real = ((wanted - refitted) ** 2).sum() / len(wanted)
            assert energy(errors, removed) == pytest.approx(kappa * real, rel=1e-2, abs=1e-6)


@pytest.mark.parametrize("ridge", [1e-2, 0.4])
@pytest.mark.parametrize("task", [an.Classification(), an.Regression()])
def test_scaled_energies_meet_the_removal_that_was_measured_and_order_all_pairs(task: Task, ridge: float):
    net, graph, answers = tiny()
    sensitivity = Sensitivity({}, {"0": 1.0, "2": 1.0}, {})
    scaled = measure_removals(net, graph, answers, task, sensitivity, NearestRounding(), ridge).toarray()
    assert np.allclose(scaled, scaled.T)

    def real(removed: tuple[int, ...]) -> float:
        keep = np.ones(UNITS, dtype=bool)
        keep[list(removed)] = False
        small = remove(net, graph, keep)
        compensate(small, graph, keep, {"0": 8, "2": 8}, answers, NearestRounding(), ridge)
        return task(answers.logits, answers_of(small, answers.x))

    errors = refit_errors(net, graph, answers, sensitivity, pruning_ridge(ridge)).toarray()
    assert np.allclose(scaled * errors[0, 0], errors * scaled[0, 0])  # one factor for the group
    first = int(np.argmin(errors.diagonal()))
    price = errors.diagonal() + 2 * errors[first]
    price[first] = np.inf
    quarter = (first, int(np.argmin(price)))  # the weakest two of eight
    assert energy(scaled, quarter) == pytest.approx(real(quarter), rel=1e-6)
    pairs = list(itertools.combinations(range(UNITS), 2))
    assert spearmanr([energy(scaled, pair) for pair in pairs], [real(pair) for pair in pairs]).statistic > 0.7


def test_a_reader_that_is_refitted_alone_moves_as_its_refit_says():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(5, UNITS), nn.ReLU(), nn.Linear(UNITS, 1)).eval().requires_grad_(False)
    x = torch.randn(400, 5, generator=torch.Generator().manual_seed(2))
    graph = trace(net, x)
    answers = DenseAnswers.of(net, graph, x)
    gone = {"some": np.array([1, 4, 6])}
    changes = refits_without(net, graph, answers, gone, ridge=0.0)
    assert list(changes["some"]) == ["2"]
    assert changes["some"]["2"].weight[:, [1, 4, 6]].tolist() == (-net[2].weight[:, [1, 4, 6]]).tolist()
    hidden = torch.relu(net[0](x)).double().numpy()
    wanted = hidden @ net[2].weight.double().numpy().T
    left = np.delete(hidden, gone["some"], axis=1)
    fitted = left @ np.linalg.lstsq(left, wanted, rcond=None)[0]
    error = (fitted - fitted.mean()) - (wanted - wanted.mean())  # its bias follows its mean
    assert first_order(net, x, an.Regression(), changes)["some"] == pytest.approx((error**2).mean(), rel=1e-3)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 1000))
def test_groups_of_a_deep_network_come_near_their_own_probes_in_six_probes(seed: int):
    torch.manual_seed(seed)
    sizes = [6, *[24] * 10]
    parts = [part for pair in itertools.pairwise(sizes) for part in (nn.Linear(*pair), nn.ReLU())]
    net = nn.Sequential(*parts, nn.Linear(24, 3)).eval().requires_grad_(False)
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    x = torch.randn(256, 6, generator=torch.Generator().manual_seed(seed))
    graph = trace(net, x)
    answers, rounding, asked = DenseAnswers.of(net, graph, x), NearestRounding(), []

    def judge(dense: torch.Tensor, small: torch.Tensor) -> torch.Tensor:
        asked.append(len(dense))
        return ((dense - small) ** 2).mean()

    task, sensitivity = Custom(judge), Sensitivity({}, {layer.name: 1.0 for layer in graph.layers}, {})
    scaled = measure_removals(net, graph, answers, task, sensitivity, rounding, 1e-2)
    assert len(asked) == 6
    quarters = weakest_quarters(refit_errors(net, graph, answers, sensitivity, pruning_ridge(1e-2)), graph)
    assert len(quarters) == 10
    gaps = []
    for quarter in quarters.values():
        own = divergence_without(net, graph, quarter.units, answers, task, rounding, 1e-2)
        gaps.append(np.log(energy(scaled.toarray(), tuple(quarter.units)) / own))
    assert np.abs(gaps).max() < np.log(4), np.exp(gaps)
    assert np.sqrt(np.mean(np.square(gaps))) < np.log(2), np.exp(gaps)
