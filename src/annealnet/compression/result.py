"""What `compress` gives back: the network, its plan, its report, its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.compression.files.onnx_export import export_onnx
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.storage import put_on_grid, save_compressed
from annealnet.compression.files.stored_layer import StoredLayer
from annealnet.compression.measuring.choosing import choose
from annealnet.compression.measuring.task import Task
from annealnet.compression.network.answers import all_answers_of, labels_that_count, that_count
from annealnet.compression.network.graph import Layer, NetworkGraph
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import layer_at, weight_of
from annealnet.compression.network.precision import cast_like, in_float32
from annealnet.compression.network.structure import StaysDense
from annealnet.compression.rounding.grids import Grid, Quantized
from annealnet.energy import Certificate

__all__ = [
    "CompressedNetwork",
    "LayerChange",
    "Measured",
    "Report",
    "delivered",
    "judged",
    "layer_change",
    "measure",
    "measure_both",
]


@dataclass(frozen=True)
class Measured:
    """One network's cost and quality.

    Attributes:
        bytes: of its files.
        macs: multiply-adds of one sample.
        loss: mean loss against labels as the task measures it (cross-entropy, squared error), None without labels.
        accuracy: share of right answers where there are classes and labels, else None.
        divergence: from the dense network's answers, in the report's unit.
        samples: on how many samples.
        agreement: share of answers of the dense network's class; None where there are no classes.
    """

    bytes: int
    macs: int
    loss: float | None
    accuracy: float | None
    divergence: float
    samples: int
    agreement: float | None = None


@dataclass(frozen=True)
class LayerChange:
    """One layer before and after; bytes include scales, zero points, biases and exponents (:class:`.StoredLayer`)."""

    name: str
    kind: str
    channels_before: int
    channels_after: int
    bits: int
    bytes_before: int
    bytes_after: int
    macs_before: int
    macs_after: int


@dataclass(frozen=True)
class Report:
    """What was decided and what it cost.

    Attributes:
        dense, small: before and after, on the calibration data.
        layers: one entry per layer, in execution order.
        certificate: how good the annealed answer is *as an answer to its energy*.
        candidates: (energy, true divergence) of each plan that was built.
        pinned: what was left dense, and why.
        settings: what it takes to run the job again.
        stays_dense: how many of the dense network's bytes no grid reaches.
        task: what «as good as the dense network» was taken to mean, and why.
        unit: of divergences: nats (of KL), squared error, or that of the task given.
    """

    dense: Measured
    small: Measured
    layers: tuple[LayerChange, ...]
    certificate: Certificate
    candidates: tuple[tuple[float, float], ...]
    pinned: tuple[str, ...]
    settings: Mapping[str, Any]
    stays_dense: StaysDense
    task: str = ""
    unit: str = "nats"

    @property
    def size_ratio(self) -> float:
        """Dense over compressed bytes."""
        return self.dense.bytes / self.small.bytes

    def __str__(self) -> str:
        first = f"{self.stays_dense}\n" if self.stays_dense.noteworthy else ""
        return (
            f"{first}{self.size_ratio:.2f}x smaller: {self.dense.bytes} → {self.small.bytes} bytes, "
            f"{self.dense.macs} → {self.small.macs} multiply-adds; {self._quality()}; "
            f"energy: {self.certificate.describe()}"
        )

    def _quality(self) -> str:
        """On the calibration data: accuracy or else agreement where there are classes, and the distance of the answers."""
        parts = []
        if self.dense.accuracy is not None and self.small.accuracy is not None:
            parts.append(f"accuracy {self.dense.accuracy:.1%} → {self.small.accuracy:.1%}")
        elif self.small.agreement is not None:
            parts.append(f"the dense network's class in {self.small.agreement:.1%}")
        elif self.dense.loss is not None and self.small.loss is not None:
            parts.append(f"{self.unit} {self.dense.loss:.3g} → {self.small.loss:.3g}")
        parts.append(f"{self.small.divergence:.3g} {self.unit} from the dense network's answers")
        return ", ".join(parts) + " on the calibration data"


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


def delivered(small: nn.Module, given: nn.Module, grids: Mapping[str, Quantized]) -> nn.Module:
    """What the user gets of a float32 network on its grids: the same with the dtypes and devices of the one that was given.

    Its weights are the grid values rounded to their dtype, its biases those that a file holds; changed in place.
    """
    return put_on_grid(cast_like(small, given), grids)


def judged(model: nn.Module, x: Inputs) -> tuple[nn.Module, str]:
    """The network that is measured, and how that is said: itself, where it answers finite numbers in its own dtype.

    Else a copy that computes in float32 with the very same weights: not every operation is there for float16 on a CPU, and
    what float32 holds may be beyond it.

    Example:
        >>> judged(nn.Linear(2, 1).bfloat16(), Inputs.of(torch.ones(2, 2)))[1]
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


def layer_change(graph: NetworkGraph, layer: Layer, keep: np.ndarray, grid: Grid, dense: nn.Module) -> LayerChange:
    """One layer before and after: the units that ``keep`` leaves, on a grid.

    Args:
        graph: of the dense network.
        layer: one of its layers.
        keep: bool ``(num_units,)``.
        grid: the layer's.
        dense: the dense network, in whose dtype its numbers are counted (:func:`~.storage.dense_bytes`).
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


@dataclass(frozen=True)
class CompressedNetwork:
    """A smaller network.

    Attributes:
        model: ``nn.Module``: channels gone, weights on their grids, batch norms folded; with the dtypes and devices of the
            network that was given. In a dtype narrower than float32 weights are the grid values rounded to it; files hold
            the grid itself.
        plan: what was decided.
        report: what it cost and how good the answer is.
        grids: the grid values of each layer.
        example: one sample, for export.
    """

    model: nn.Module
    plan: CompressionPlan
    report: Report
    grids: Mapping[str, Quantized]
    example: Inputs

    def save(self, directory: str | Path) -> Path:
        """Writes ``plan.json`` and ``model.safetensors``; their bytes are what the budget limits."""
        return save_compressed(Path(directory), self.plan, self.model, self.grids)

    def export_onnx(self, path: str | Path) -> Path:
        """Writes an ONNX model with weights on their grids (DequantizeLinear) and a dynamic batch.

        It takes, computes and answers float32, whatever the dtype of :attr:`model` is.
        """
        single = in_float32(self.model)
        exact = self.model if single is self.model else put_on_grid(single, self.grids)
        return export_onnx(exact, self.grids, Path(path), self.example)
