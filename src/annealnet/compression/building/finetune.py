"""A short fine-tuning on the grid: straight-through estimation with learned scales, taught by the dense network.

Forward, every weight is the grid value s · clip(round(w / s), −q, q) with q = 2^{b−1} − 1; backward, the rounding
counts as the identity (Bengio et al. 2013), which gives the scale the gradient of LSQ (Esser et al. 2020). The loss
is the task's: its divergence from the dense network's answers, and its loss against labels where they are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from annealnet.compression.measuring.task import Task
from annealnet.compression.network.calibration import answers_of
from annealnet.compression.network.kinds import bias_of, layer_kind, weight_of
from annealnet.compression.rounding.grids import Quantized, dequantize

__all__ = ["FineTuning", "fine_tune"]


@dataclass(frozen=True)
class FineTuning:
    """How long and how strongly to fine-tune.

    Attributes:
        epochs: passes over the training data (fractions allowed).
        learning_rate: peak step of Adam for weights and biases (scales: a tenth of it), falling on a cosine.
        batch_size: samples a step.
        temperature: softens both distributions of the distillation loss, where there are classes.
        label_weight: share of the loss against labels, where they are given and the task judges them.

    Example:
        >>> FineTuning(epochs=2).epochs
        2
    """

    epochs: float = 1.0
    learning_rate: float = 1e-3
    batch_size: int = 128
    temperature: float = 2.0
    label_weight: float = 0.3

    def __post_init__(self) -> None:
        if not self.epochs > 0:
            raise ValueError(f"epochs={self.epochs!r} must be positive: leave fine_tuning=None for none")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate!r} must be positive, 1e-3 is a good start")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size!r} must be at least 1")
        if not 0 <= self.label_weight <= 1:
            raise ValueError(f"label_weight={self.label_weight!r} is a share: between 0 and 1")


class _OnGrid(nn.Module):
    """Parametrisation: a free weight seen through its grid."""

    def __init__(self, grid: Quantized, ndim: int) -> None:
        super().__init__()
        self.q = 2 ** (grid.bits - 1) - 1
        scale = torch.as_tensor(grid.scale).float().clamp_min(1e-7)
        self.log_scale = nn.Parameter(scale.log().reshape(-1, *([1] * (ndim - 1))))

    def forward(self, weight: Tensor) -> Tensor:
        scale = self.log_scale.exp()
        place = (weight / scale).clamp(-self.q, self.q)
        return (place + (place.round() - place).detach()) * scale


def fine_tune(
    small: nn.Module,
    grids: Mapping[str, Quantized],
    dense: nn.Module,
    task: Task,
    x: Tensor,
    y: Tensor | None,
    settings: FineTuning,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> dict[str, Quantized]:
    """Trains the small network's grid values in place and returns the new grids.

    Args:
        small: the compressed network, batch norms folded; its weights are replaced by trained grid values.
        grids: the grid of each layer of ``small``.
        dense: the teacher.
        task: what «as good as the dense network» means; it must be differentiable.
        x: training inputs ``(samples, ...)``.
        y: labels as the task takes them, or None to learn from the teacher alone.
        settings: length and step size.
        seed: order of the batches.
        progress: called with (step, steps, loss).

    Returns:
        The trained grids; ``small`` holds exactly their values, biases rounded to float16.
    """
    teacher = answers_of(dense, x)
    modules = {name: small.get_submodule(name) for name in grids}
    for name, grid in grids.items():
        module = modules[name]
        on_grid = _OnGrid(grid, weight_of(module).ndim)
        parametrize.register_parametrization(module, layer_kind(module).weight_name, on_grid, unsafe=True)
    _train(small, teacher, task, x, y, settings, seed, progress)
    trained = {}
    with torch.no_grad():
        for name, grid in grids.items():
            trained[name] = _leave_grid(modules[name], grid)
    return trained


def _leave_grid(module: nn.Module, grid: Quantized) -> Quantized:
    parametrizations: Any = module.parametrizations
    ((name, parametrization),) = parametrizations.items()
    on_grid: _OnGrid = parametrization[0]
    free: Tensor = parametrization.original.detach()
    scale = on_grid.log_scale.exp().flatten().half().float()
    shape = (-1, *([1] * (free.ndim - 1)))
    codes = (free / scale.reshape(shape).clamp_min(1e-7)).clamp(-on_grid.q, on_grid.q).round().to(torch.int8)
    parametrize.remove_parametrizations(module, name, leave_parametrized=False)
    trained = Quantized(codes=codes, scale=scale, bits=grid.bits)
    weight_of(module).copy_(dequantize(trained))
    bias = bias_of(module)
    if bias is not None:
        bias.copy_(bias.half().float())
    return trained


def _loss(task: Task, answer: Tensor, taught: Tensor, label: Tensor | None, settings: FineTuning) -> Tensor:
    distilled = task.taught(answer, taught, settings.temperature)
    against_labels = None if label is None else task.loss(answer, label)
    if against_labels is None:
        return distilled
    return (1 - settings.label_weight) * distilled + settings.label_weight * against_labels


def _train(
    small: nn.Module,
    teacher: Tensor,
    task: Task,
    x: Tensor,
    y: Tensor | None,
    settings: FineTuning,
    seed: int,
    progress: Callable[[int, int, float], None] | None,
) -> None:
    # the networks are trained as they will run: no dropout, batch statistics fixed
    small.eval()
    scales = [p for name, p in small.named_parameters() if name.endswith("log_scale")]
    others = [p for name, p in small.named_parameters() if not name.endswith("log_scale")]
    for parameter in (*scales, *others):
        parameter.requires_grad_(True)
    rate = settings.learning_rate
    optimiser = torch.optim.Adam([{"params": others, "lr": rate}, {"params": scales, "lr": rate}])
    per_epoch = max(1, math.ceil(len(x) / settings.batch_size))
    steps = max(1, round(settings.epochs * per_epoch))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / max(1, steps // 20)) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.long)
    for step in range(steps):
        if len(order) < min(settings.batch_size, len(x)):
            order = torch.randperm(len(x), generator=generator)
        batch, order = order[: settings.batch_size], order[settings.batch_size :]
        loss = _loss(task, small(x[batch]), teacher[batch], None if y is None else y[batch], settings)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, steps, float(loss.detach()))
    for parameter in small.parameters():
        parameter.requires_grad_(False)
