"""The report of a finished job: what the user gets is measured beside the dense network, and all that is known is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.compression.files.on_grid import put_on_grid
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.sizes import dense_bytes, file_bytes
from annealnet.compression.files.stored_layer import StoredLayer
from annealnet.compression.measuring.choosing import choose
from annealnet.compression.measuring.subject import Subject
from annealnet.compression.measuring.tasks import Task
from annealnet.compression.network.answers import all_answers_of, labels_that_count, that_count
from annealnet.compression.network.graph import Layer, NetworkGraph
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import layer_at, weight_of
from annealnet.compression.network.left_dense import in_given_bytes
from annealnet.compression.network.precision import cast_like, in_float32, precision_in_words
from annealnet.compression.result import CompressedNetwork, LayerChange, Measured, Report
from annealnet.compression.rounding import Rounding, rounder_name
from annealnet.compression.rounding.grids import Grid, Quantized
from annealnet.energy import Certificate

__all__ = ["delivered", "measure", "measure_both"]


def delivered(
    subject: Subject,
    plan: CompressionPlan,
    small: nn.Module,
    grids: Mapping[str, Quantized],
    rounding: Rounding,
    certificate: Certificate,
    settings: Mapping[str, Any],
    candidates: tuple[tuple[float, float], ...] = (),
) -> CompressedNetwork:
    """Measures what a job has built on the calibration data and puts everything that is known about it together.

    Args:
        subject: what the job was given.
        plan: what was decided.
        small: the float32 network on its grids; changed in place into what the user gets, of the dtypes and devices of the
            network that was given.
        grids: the grid values of each layer.
        rounding: how its weights went there.
        certificate: how good the answer is as an answer to its energy.
        settings: what was asked for, and what ran.
        candidates: (energy, true divergence) of each plan that was built.
    """
    given, dense, graph, x, task = subject.given, subject.dense, subject.graph, subject.calibration.x, subject.chosen.task
    keep = plan.keep(graph)
    costs = (dense_bytes(given), graph.macs()), (file_bytes(graph, dense, plan), graph.macs(keep))
    model = _as_given(small, given, grids).eval()
    measured, measured_in = _judged(model, x)
    before, after = measure_both(dense, measured, x, subject.calibration.y, costs, task)
    counted = in_given_bytes(graph, dense, given)
    said = {
        "rounding": repr(rounding), "rounded_by": rounder_name(rounding), "samples": len(x), "task": str(subject.chosen),
        "computed_in": precision_in_words(given), "measured_in": measured_in, "opened_by": graph.way,
    }  # fmt: skip
    report = Report(
        dense=before,
        small=after,
        layers=tuple(_layer_change(graph, layer, keep, plan.grid(layer.name), given) for layer in graph.layers),
        certificate=certificate,
        candidates=candidates,
        pinned=tuple(map(str, counted.pinned)),
        settings=dict(settings) | said,
        stays_dense=counted.stays_dense,
        task=str(subject.chosen),
        unit=task.unit,
    )
    return CompressedNetwork(model, plan, report, grids, x[:1].clone())


def measure(
    model: nn.Module, x: Tensor | Inputs, y: Tensor | None, task: Task | None = None
) -> tuple[Tensor, float | None, float | None]:
    """Answers that count, mean loss and accuracy; None where there are no labels, or the task does not judge them.

    Args:
        model: a network.
        x: inputs; they are not changed.
        y: labels, or None.
        task: None looks at answers and labels.

    Example:
        >>> import torch
        >>> _, loss, accuracy = measure(nn.Identity(), torch.eye(3), torch.arange(3))
        >>> accuracy
        1.0
    """
    inputs = Inputs.of(x)
    given = all_answers_of(model, inputs)
    answers, y = that_count(inputs, given), labels_that_count(inputs, given, y)
    if y is None:
        return answers, None, None
    judge = choose(None, answers, y).task if task is None else task
    loss = judge.loss(answers, y)
    return answers, None if loss is None else float(loss), judge.accuracy(answers, y)


def measure_both(
    dense: nn.Module,
    small: nn.Module,
    x: Tensor | Inputs,
    y: Tensor | None,
    bytes_and_macs: tuple[tuple[int, int], tuple[int, int]],
    task: Task,
) -> tuple[Measured, Measured]:
    """The dense and the small network on the same samples; their (bytes, multiply-adds) are known to the caller."""
    answers, loss, accuracy = measure(dense, x, y, task)
    small_answers, small_loss, small_accuracy = measure(small, x, y, task)
    divergence, agreement = task(answers, small_answers), task.agreement(answers, small_answers)
    return (
        Measured(*bytes_and_macs[0], loss, accuracy, 0.0, len(x), None if agreement is None else 1.0),
        Measured(*bytes_and_macs[1], small_loss, small_accuracy, divergence, len(x), agreement),
    )


def _as_given(small: nn.Module, given: nn.Module, grids: Mapping[str, Quantized]) -> nn.Module:
    """What the user gets of a float32 network on its grids: the same with the dtypes and devices of the one that was given.

    Its weights are the grid values rounded to their dtype, its biases those that a file holds; changed in place.
    """
    return put_on_grid(cast_like(small, given), grids)


def _judged(model: nn.Module, x: Inputs) -> tuple[nn.Module, str]:
    """The network that is measured, and how that is said: itself, where it answers finite numbers in its own dtype.

    Else a copy that computes in float32 with the very same weights: not every operation is there for float16 on a CPU, and
    what float32 holds may be beyond it.

    Example:
        >>> _judged(nn.Linear(2, 1).bfloat16(), Inputs.of(torch.ones(2, 2)))[1]
        'bfloat16'
    """
    single = in_float32(model)
    if single is model:
        return model, "float32"
    kind = " and ".join(dict.fromkeys(str(weight.dtype).removeprefix("torch.") for weight in model.parameters()))
    try:
        finite = bool(torch.isfinite(all_answers_of(model, x[:2])).all())
    except (RuntimeError, TypeError, ValueError) as error:
        return single, f"float32 (in {kind} it does not run: {str(error).splitlines()[0]})"
    return (model, kind) if finite else (single, f"float32 (in {kind} it answers NaN or infinite)")


def _layer_change(graph: NetworkGraph, layer: Layer, keep: np.ndarray, grid: Grid, dense: nn.Module) -> LayerChange:
    """One layer before and after: the units that ``keep`` leaves, on a grid.

    Args:
        graph: of the dense network.
        layer: one of its layers.
        keep: bool ``(num_units,)``.
        grid: the layer's.
        dense: the dense network, in whose dtype its numbers are counted (:func:`~.sizes.dense_bytes`).
    """
    each = min(4, weight_of(layer_at(dense, layer.name)).element_size())
    everything = np.ones(graph.num_units, dtype=bool)
    before, after = StoredLayer.of(graph, layer, everything, grid), StoredLayer.of(graph, layer, keep, grid)
    positions = graph.output_shapes[layer.name]
    return LayerChange(
        layer.name, layer.kind, before.outputs, after.outputs, grid.bits,
        each * (before.weights + before.outputs * before.has_bias), after.num_bytes,
        before.weights * positions, after.weights * positions,
    )  # fmt: skip
