"""Measuring what rounding and removals cost: seconds at ResNet-20, 32 and 56, and agreement with a probe of every part.

python -m benchmarks.measuring [--data ../shared/data/cifar10] [--depths 20,32,56] [--samples 256] [--alone 20,32,56]

ResNet-20 has trained weights; the deeper ones are random, their batch norms estimated on the images, and show seconds. «Each
alone» is how every layer and group was measured before: a probe of its own, everything behind it refitted. It is run for the
depths in ``--alone``. Seconds are this process's CPU time, that of all its threads added up: PyTorch has one, compiled
rounding those of all cores.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from annealnet.architectures import cifar_resnet
from annealnet.compression import Budget
from annealnet.compression.formulations.preparing import WIDTHS, prepare
from annealnet.compression.formulations.problem import Problem
from annealnet.compression.measuring.removals import divergence_without, refit_errors, weakest_quarters
from annealnet.compression.measuring.sensitivity import PROBE_BITS, divergence_rounded
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.network.norms import reestimate_batch_norms
from annealnet.compression.refitting.ridge import pruning_ridge
from annealnet.compression.rounding import NearestRounding
from annealnet.datasets import subset
from annealnet.studies.cifar10 import cifar10_images, trained_resnet20
from benchmarks.parts import cifar10_folder

Found = TypeVar("Found")


def network(depth: int, data: Path, x: torch.Tensor) -> nn.Module:
    """A CIFAR ResNet: trained at 20 layers, else random."""
    torch.manual_seed(0)
    return trained_resnet20(data) if depth == 20 else reestimate_batch_norms(cifar_resnet(depth).eval(), x.split(128))


def timed(work: Callable[[], Found]) -> tuple[Found, float]:
    """What it gives, and CPU seconds."""
    began = time.process_time()
    return work(), time.process_time() - began


def layers_alone(problem: Problem) -> dict[str, float]:
    """Divergence of each layer at the probe's width, from a probe of its own."""
    given = (problem.answers, problem.task, problem.rounding.quick(), problem.ridge)
    return {
        layer.name: divergence_rounded(problem.dense, problem.graph, [layer.name], *given) for layer in problem.graph.layers
    }


def groups_alone(problem: Problem) -> dict[str, float]:
    """Divergence without each group's weakest quarter, from a probe of its own."""
    errors = refit_errors(problem.dense, problem.graph, problem.answers, problem.sensitivity, pruning_ridge(problem.ridge))
    given = (problem.answers, problem.task, NearestRounding(), problem.ridge)
    return {
        name: divergence_without(problem.dense, problem.graph, quarter.units, *given)
        for name, quarter in weakest_quarters(errors, problem.graph).items()
    }


def agreement(found: Sequence[float], alone: Sequence[float]) -> str:
    """Rank correlation, and the typical factor between the two: exp of the root mean square of the logarithms' gaps."""
    gaps = np.log(np.array(found) / np.array(alone))
    return f"{spearmanr(found, alone).statistic:.2f}, ×÷ {np.exp(np.sqrt(np.mean(gaps**2))):.2f}"


def row(depth: int, problem: Problem, beside: bool) -> list[str]:
    """One network."""
    sensitivity, first = timed(lambda: problem.sensitivity)
    removals, second = timed(lambda: problem.removals)
    cells = [f"ResNet-{depth}", f"{first:.1f}", f"{second:.1f}", f"**{first + second:.1f}**"]
    if not beside:
        return [*cells, "–", "–", "–"]
    layers, before = timed(lambda: layers_alone(problem))
    groups, also = timed(lambda: groups_alone(problem))
    errors = refit_errors(problem.dense, problem.graph, problem.answers, sensitivity, pruning_ridge(problem.ridge))
    quarters = weakest_quarters(errors, problem.graph)
    energies = [float(removals[quarters[name].units][:, quarters[name].units].sum()) for name in groups]
    widths = [sensitivity.widths[name, PROBE_BITS] for name in layers]
    return [
        *cells, f"{before + also:.1f}", agreement(widths, list(layers.values())), agreement(energies, list(groups.values())),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> str:
    """Measures the networks in turn and returns the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cifar10_folder(parser)
    parser.add_argument("--depths", default="20,32,56")
    parser.add_argument("--alone", default="20,32,56")
    parser.add_argument("--samples", type=int, default=256)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    split = cifar10_images(options.data)
    x = torch.from_numpy(subset(split.x_train, split.y_train, options.samples, 0)[0])
    names = ("network", "widths, s", "removals, s", "both, s", "each alone, s", "widths agree", "removals agree")
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for depth in (int(text) for text in options.depths.split(",")):
        ends = {"conv1": WIDTHS, "linear": WIDTHS}
        net, calibration = network(depth, options.data, x), Calibration.of(x)
        problem = prepare(net, calibration, Budget(size_ratio=10), layer_widths=ends, seed=0)
        lines.append("| " + " | ".join(row(depth, problem, str(depth) in options.alone.split(","))) + " |")
        print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


if __name__ == "__main__":
    print(main())
