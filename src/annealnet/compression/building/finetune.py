"""A short fine-tuning on the grid: straight-through estimation with learned scales, taught by the dense network.

Forward, every weight is the grid value s · (c − o), c the code nearest to w / s + o; backward, the rounding
counts as the identity (Bengio et al. 2013), which gives the scale the gradient of LSQ (Esser et al. 2020). The loss
is the task's: its divergence from the dense network's answers, and its loss against labels where they are given.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from annealnet.compression.measuring.tasks import Task
from annealnet.compression.network.answers import all_answers_of, answers_of, labels_that_count, that_count
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import LayerKind, Matrix, bias_of, layer_at, layer_kind, own_tensors, weight_of
from annealnet.compression.rounding.grids import Quantized, dequantize
from annealnet.compression.rounding.stored_numbers import stored_bias
from annealnet.whole_numbers import whole_attributes

__all__ = ["Diverged", "FineTuning", "check_trainable", "fine_tune"]


class Diverged(ArithmeticError):
    """Fine-tuning came to a loss or to weights that are not finite."""


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
        whole_attributes(self, 1, "batch_size")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature={self.temperature!r} must be a positive number, 2 is a good start")
        if not 0 <= self.label_weight <= 1:
            raise ValueError(f"label_weight={self.label_weight!r} is a share: between 0 and 1")


class _OnGrid(nn.Module):
    """Parametrisation: a free weight seen through its grid, a learned scale for each of the grid's."""

    def __init__(self, grid: Quantized, kind: LayerKind) -> None:
        super().__init__()
        self.start, self.kind = grid, kind
        rows = len(grid.codes)
        self.column = grid.grid.column(grid.codes[0].numel())
        self.log_scale = nn.Parameter(grid.scale.log().reshape(rows, -1))
        self.zero = torch.zeros(1) if grid.zero is None else grid.zero.float().reshape(rows, -1)[:, self.column]

    def steps(self, weight: Tensor, scale: Tensor) -> Tensor:
        """Where the weights ``(rows, fan_in)`` lie above the lowest code, in steps, not yet rounded."""
        grid = self.start.grid
        most = (grid.high - grid.low) // grid.step
        return ((weight / scale[:, self.column] + self.zero - grid.low) / grid.step).clamp(0, most)

    def forward(self, parameter: Tensor) -> Tensor:
        weight = self.kind.laid(parameter)
        grid, scale = self.start.grid, self.log_scale.exp()
        place = self.steps(weight.flatten(1), scale)
        code = grid.low + grid.step * (place + (place.round() - place).detach())
        return self.kind.laid(((code - self.zero) * scale[:, self.column]).reshape(weight.shape))

    def settled(self, weight: Tensor) -> Quantized:
        """The grid values of a free weight, on scales as they are stored."""
        start, scale = self.start, self.log_scale.exp().reshape(self.start.scale.shape)
        kept = Quantized.stored(start.codes, scale, start.bits, start.zero, start.group).scale.reshape(len(weight), -1)
        codes = start.grid.low + start.grid.step * self.steps(weight.flatten(1), kept).round()
        return Quantized.stored(
            codes.to(torch.int8).reshape(weight.shape), kept.reshape(start.scale.shape), start.bits, start.zero, start.group
        )


def fine_tune(
    small: nn.Module,
    grids: Mapping[str, Quantized],
    dense: nn.Module,
    task: Task,
    x: Tensor | Inputs,
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
        x: training inputs.
        y: labels as the task takes them, or None to learn from the teacher alone.
        settings: length and step size.
        seed: order of the batches.
        progress: called with (step, steps, loss).

    Returns:
        The trained grids; ``small`` holds exactly their values, and biases as they are stored.

    Raises:
        Diverged: when the loss, a weight, a bias or a scale is no longer finite; ``small`` is then of no use.
    """
    x = Inputs.of(x)
    teacher = all_answers_of(dense, x)
    modules = {name: module for name in grids if _is_trained(module := layer_at(small, name))}
    for name, module in modules.items():
        kind = layer_kind(module)
        parametrize.register_parametrization(module, kind.weight_name, _OnGrid(grids[name], kind), unsafe=True)
    whole = dict(small.named_parameters(remove_duplicate=False))
    held = [own_tensors(name, layer_at(small, name))[0] for name in grids if name not in modules]
    fixed = {id(whole[name]) for name in held}
    _train(small, teacher, task, x, y, settings, seed, progress, fixed)
    trained = {}
    with torch.no_grad():
        for name, grid in grids.items():
            module = layer_at(small, name)
            trained[name] = _leave_grid(module) if name in modules else grid
            bias = bias_of(module)
            if bias is not None:
                bias.copy_(stored_bias(bias))
    return trained


def _is_trained(module: nn.Module) -> bool:
    """Tables and matrices that are no modules of their own keep their grid values: others may share their memory."""
    return layer_kind(module).reads_rows and not isinstance(module, Matrix)


def check_trainable(dense: nn.Module, task: Task, x: Tensor | Inputs) -> None:
    """One trial backward pass through the network, on two samples.

    Raises:
        ValueError: when its forward cannot be differentiated.

    Example:
        >>> from annealnet.compression.measuring.tasks import Regression
        >>> check_trainable(nn.Linear(3, 2), Regression(), torch.zeros(2, 3))
    """
    trial = copy.deepcopy(dense).eval().requires_grad_(True)
    some = Inputs.of(x)[:2]
    taught = answers_of(dense, some)
    try:
        task.taught(that_count(some, some.clone().answer(trial)), taught).backward()
    except RuntimeError as error:
        raise ValueError(
            f"fine_tuning needs a model that can be differentiated, and this one cannot ({str(error).splitlines()[0]}): "
            "change no tensor in place in its forward, or leave fine_tuning=None"
        ) from error


def _leave_grid(module: nn.Module) -> Quantized:
    parametrizations: Any = module.parametrizations
    ((name, parametrization),) = parametrizations.items()
    trained: Quantized = parametrization[0].settled(parametrization[0].kind.laid(parametrization.original.detach()))
    parametrize.remove_parametrizations(module, name, leave_parametrized=False)
    weight_of(module).copy_(dequantize(trained))
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
    x: Inputs,
    y: Tensor | None,
    settings: FineTuning,
    seed: int,
    progress: Callable[[int, int, float], None] | None,
    fixed: Collection[int],
) -> None:
    # the networks are trained as they will run: no dropout, batch statistics fixed
    small.eval()
    scales = [p for name, p in small.named_parameters() if name.endswith("log_scale")]
    others = [p for name, p in small.named_parameters() if not name.endswith("log_scale") and id(p) not in fixed]
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
        some, taught, label = x[batch], teacher[batch], None if y is None else y[batch]
        answer = some.answer(small)
        label = labels_that_count(some, answer, label, "training_data")
        loss = _loss(task, that_count(some, answer), that_count(some, taught), label, settings)
        optimiser.zero_grad()
        if not torch.isfinite(loss):
            raise Diverged(f"the loss is {float(loss.detach())} at step {step + 1} of {steps}")
        loss.backward()
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, steps, float(loss.detach()))
    for name, parameter in small.named_parameters():
        parameter.requires_grad_(False)
        seen = parameter.exp() if name.endswith("log_scale") else parameter
        if not torch.isfinite(seen).all():
            raise Diverged(f"{name!r} is no longer finite after {steps} steps")
