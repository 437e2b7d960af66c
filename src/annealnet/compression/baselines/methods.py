"""What users would do without an energy, under the same budget and built by the same code.

* ``uniform + L1``: one width everywhere, channels removed by the L1 norm of their filters, the same share everywhere.
* ``uniform + Taylor``: the same with the first-order Taylor criterion |g·a| (Molchanov et al. 2017).
* ``ILP widths + L1``: a share of channels goes by L1, then an integer programme chooses the widths with the additive
  sensitivity of HAWQ-V2/V3 (mean Fisher diagonal × squared weight error), solved to optimality by HiGHS.
* ``genetic (published)``: a genetic algorithm on the published Hamiltonian, the paper's own comparison.
* ``greedy on our energy``: the greedy plans that our anneal of the measured energy begins from, as they stand.
* ``random``: random channels, random widths.

Where a method leaves something open (which width, which share, which draw), it proposes a short list, as long as ours where
it has so many plans. Each is built and the one with the least divergence on the calibration data is taken.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch

from annealnet.compression.baselines.genetic import genetic_published
from annealnet.compression.baselines.short_list import Plan, short_list
from annealnet.compression.formulations.data_aware import DataAware
from annealnet.compression.formulations.optimal_widths import optimal_widths
from annealnet.compression.formulations.problem import Problem
from annealnet.compression.formulations.space import PlanSpace
from annealnet.compression.measuring.first_order import WatchedNetwork
from annealnet.compression.network.answers import copies, that_count
from annealnet.compression.network.kinds import layer_at, weight_of
from annealnet.compression.rounding.grids import dequantize

__all__ = ["BASELINES", "Baseline", "l1_scores", "least_share", "taylor_scores"]

#: Shares of channels that go before the integer programme chooses widths, of which the least that fit are built; the least
#: share that fits at the lowest widths is always among them.
ILP_SHARES = (0.0, 0.03125, 0.0625, 0.125, 0.25, 0.375, 0.5)


class Baseline(Protocol):
    """Proposes at most ``count`` plans within the budget; the best one built stands for the method."""

    def __call__(self, problem: Problem, count: int, seed: int) -> list[Plan]: ...


# ---- which channels ------------------------------------------------------------------------------------------


def l1_scores(problem: Problem) -> np.ndarray:
    """Mean absolute weight of the filters that produce each unit, ``(num_units,)``."""
    total, weights = np.zeros(problem.graph.num_units), np.zeros(problem.graph.num_units)
    for layer in problem.graph.layers:
        weight = weight_of(layer_at(problem.dense, layer.name)).detach()
        norms = weight.abs().flatten(1).sum(1).double().numpy()
        made = layer.out_units >= 0
        np.add.at(total, layer.out_units[made], norms[made])
        np.add.at(weights, layer.out_units[made], weight[0].numel())
    return total / np.maximum(weights, 1)


def taylor_scores(problem: Problem) -> np.ndarray:
    """Σ over producing layers of mean_s |⟨∂loss/∂a, a⟩| of each unit's channel, ``(num_units,)``.

    The loss is the task's against the network's own answers: cross-entropy against its own classes, or ½ (a − y)² with y
    drawn around its answers in a regression. Positions of a channel are summed before the absolute value is taken.
    """
    scores = np.zeros(problem.graph.num_units)
    producing = [layer.name for layer in problem.graph.layers if (layer.out_units >= 0).any()]
    network = WatchedNetwork(problem.dense, producing)
    x = problem.answers.x
    for batch in copies(x, 128):
        gradients = network.gradients(problem.task.own_loss(network(batch)))
        for name, gradient in gradients.items():
            layer = problem.graph.layer(name)
            by_channel = _by_channel((gradient * network.outputs[name]).detach(), layer.axis)
            units = layer.out_units[layer.out_units >= 0]
            np.add.at(scores, units, by_channel.abs().sum(0).double().numpy()[layer.out_units >= 0] / len(x))
    return scores


def _by_channel(product: torch.Tensor, axis: int) -> torch.Tensor:
    """Summed over positions: ``(samples, channels)``, from a result whose channels lie in dimension ``axis``."""
    return product.movedim(axis, -1).reshape(len(product), -1, product.shape[axis]).sum(1)


def least_share(problem: Problem, scores: np.ndarray, bits: Mapping[str, int]) -> np.ndarray | None:
    """The keep mask with the smallest common share removed that meets the budget; None if no share does."""
    for share in np.linspace(0, 1, 201):
        keep = problem.space.keep_lowest_out(scores, share)
        if problem.space.fits(keep, bits, problem.limits):
            return keep
        if not problem.space.removable:
            break
    return None


# ---- which widths --------------------------------------------------------------------------------------------


def uniform_bits(space: PlanSpace, width: int) -> dict[str, int]:
    """The same width wherever it may be chosen."""
    return {name: width if width in widths else max(widths) for name, widths in space.widths.items()}


def hawq_energies(problem: Problem) -> dict[tuple[str, int], float]:
    """HAWQ's Ω_l(b) = mean diag(Fisher_l) · ‖W_l − Q_b(W_l)‖²; the Fisher diagonal from labels drawn from the answers."""
    network = copy.deepcopy(problem.dense).requires_grad_(True)
    weights = {layer.name: weight_of(layer_at(network, layer.name)) for layer in problem.graph.layers}
    fisher = dict.fromkeys(weights, 0.0)
    generator = torch.Generator().manual_seed(0)
    x = problem.answers.x
    for sample in copies(x, 1):
        loss = problem.task.drawn_loss(that_count(sample, sample.answer(network)), generator)
        for name, gradient in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
            fisher[name] += float((gradient**2).mean()) / len(x)
    energies = {}
    for name, b in problem.space.choices:
        weight = weights[name].detach()
        energies[name, b] = fisher[name] * float(((dequantize(problem.rounding(weight, b, None)) - weight) ** 2).sum())
    return energies


# ---- the methods ---------------------------------------------------------------------------------------------


def _uniform(problem: Problem, count: int, scores: np.ndarray) -> list[Plan]:
    """The widest grid that fits where the least channels go, and the next ones, which must remove more and more."""
    plans: list[Plan] = []
    for width in sorted({b for widths in problem.space.widths.values() for b in widths}):
        bits = uniform_bits(problem.space, width)
        keep = least_share(problem, scores, bits)
        if keep is None:
            break
        while plans and keep.sum() >= plans[-1][0].sum():
            plans.pop()  # a wider grid that keeps as many is better: multiply-adds may force all of them to remove the same
        plans.append((keep, bits))
    return plans[:count]


def uniform_l1(problem: Problem, count: int, seed: int) -> list[Plan]:
    """One width, channels by L1: one plan per width that can meet the budget."""
    return _uniform(problem, count, l1_scores(problem))


def uniform_taylor(problem: Problem, count: int, seed: int) -> list[Plan]:
    """One width, channels by first-order Taylor."""
    return _uniform(problem, count, taylor_scores(problem))


def ilp_l1(problem: Problem, count: int, seed: int) -> list[Plan]:
    """Channels by L1, the least shares that leave widths within the budget, then the widths by integer programming."""
    scores = l1_scores(problem)
    lowest = {name: min(widths) for name, widths in problem.space.widths.items()}
    least = least_share(problem, scores, lowest)
    if least is None:
        return []
    energies = hawq_energies(problem)
    kept = [least, *(problem.space.keep_lowest_out(scores, share) for share in ILP_SHARES)]
    kept.sort(key=lambda keep: -int(keep.sum()))
    solved = ((keep, optimal_widths(problem.space, keep, energies, problem.limits)) for keep in kept)
    found = ((keep, bits) for keep, bits in solved if bits is not None)
    return short_list(problem, found, count) or [(least, lowest)]


def greedy_on_our_energy(problem: Problem, count: int, seed: int) -> list[Plan]:
    """The plans that :class:`.DataAware` anneals from, lowest energy first, never annealed: what annealing is worth."""
    ours = DataAware()
    energy = ours.energy(problem)
    starts = ours.starts(problem, energy)
    order = np.argsort(energy.energy(starts), kind="stable")
    return short_list(problem, (problem.space.decode(start) for start in starts[order]), count)


def random_plans(problem: Problem, count: int, seed: int) -> list[Plan]:
    """Random widths, then random channels of every group until the budget is met; no plan if none is within it.

    Where widths are too large for any share of channels, a random layer's is lowered, and another's, until they are not.
    """
    rng = np.random.default_rng(seed)
    drawn = (_random_plan(problem, rng) for _ in range(count))
    return short_list(problem, (plan for plan in drawn if plan is not None), count)


def _random_plan(problem: Problem, rng: np.random.Generator) -> Plan | None:
    bits = {name: int(rng.choice(widths)) for name, widths in problem.space.widths.items()}
    scores = rng.random(problem.graph.num_units)
    while (keep := least_share(problem, scores, bits)) is None:
        lower = [(name, b) for name, b in problem.space.choices if b < bits[name]]
        if not lower:
            return None
        name, b = lower[int(rng.integers(len(lower)))]
        bits[name] = b
    return keep, bits


#: Every baseline by the name it has in tables.
BASELINES: Mapping[str, Baseline] = {
    "uniform + L1": uniform_l1,
    "uniform + Taylor": uniform_taylor,
    "ILP widths + L1": ilp_l1,
    "genetic (published)": genetic_published,
    "greedy on our energy": greedy_on_our_energy,
    "random": random_plans,
}
