"""From a plan to the network it stands for: surgery, compensation, and the measure of what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.sizes import file_bytes
from annealnet.compression.formulations.problem import Problem
from annealnet.compression.network.answers import answers_of
from annealnet.compression.network.surgery import remove
from annealnet.compression.refitting.compensation import compensate
from annealnet.compression.rounding import Rounding
from annealnet.compression.rounding.grids import Quantized

__all__ = ["Built", "build", "finished"]


@dataclass(frozen=True)
class Built:
    """A plan made real.

    Attributes:
        keep: bool ``(num_units,)``, which channels stayed.
        bits: width of each layer.
        model: the network: channels gone, weights on their grids, biases as they are stored.
        grids: the grid values of each layer.
        divergence: from the dense network on the calibration inputs, as the task measures it: planning's true objective.
    """

    keep: np.ndarray
    bits: Mapping[str, int]
    model: nn.Module
    grids: Mapping[str, Quantized]
    divergence: float

    def plan(self, problem: Problem) -> CompressionPlan:
        """What was decided, as a file says it."""
        return CompressionPlan.of(problem.graph, self.keep, self.bits, problem.space.grid)

    def num_bytes(self, problem: Problem) -> int:
        """Bytes that its files take, exactly; never more than the plan space counts."""
        return file_bytes(problem.graph, problem.dense, self.plan(problem))


@torch.no_grad()
def build(problem: Problem, keep: np.ndarray, bits: Mapping[str, int], rounding: Rounding) -> Built:
    """Removes the channels, refits and rounds what is left, and measures it on the calibration inputs.

    Every method that is compared is built here, so that a comparison compares plans and nothing else.
    """
    model = remove(problem.dense, problem.graph, keep)
    grids = compensate(model, problem.graph, keep, bits, problem.answers, rounding, problem.ridge)
    dense = problem.answers
    divergence = problem.task(dense.logits, answers_of(model, dense.x, dense.batches.at_once))
    return Built(keep, dict(bits), model, grids, divergence)


def finished(problem: Problem, built: Built) -> Built:
    """The same plan rounded with full effort (candidates are built and compared with less), unless that is no better."""
    if problem.rounding == problem.rounding.quick():
        return built
    again = build(problem, built.keep, built.bits, problem.rounding)
    return min(built, again, key=lambda one: one.divergence)
