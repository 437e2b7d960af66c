"""What `compress` gives back: the network, its plan, its report, its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.compression.files.onnx_export import export_onnx
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.storage import save_compressed
from annealnet.compression.files.stored_layer import StoredLayer
from annealnet.compression.measuring.sensitivity import answer_divergence
from annealnet.compression.network.graph import Layer, NetworkGraph
from annealnet.compression.rounding.grids import Grid, Quantized
from annealnet.energy import Certificate

__all__ = ["CompressedNetwork", "LayerChange", "Measured", "Report", "layer_change", "measure", "measure_both"]


@dataclass(frozen=True)
class Measured:
    """One network's cost and quality.

    Attributes:
        bytes: of its files.
        macs: multiply-adds of one sample.
        loss: mean cross-entropy where there are labels, else None.
        accuracy: share of right answers where there are labels, else None.
        divergence: mean KL from the dense network's answers, nats.
        samples: on how many samples.
    """

    bytes: int
    macs: int
    loss: float | None
    accuracy: float | None
    divergence: float
    samples: int


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
    """

    dense: Measured
    small: Measured
    layers: tuple[LayerChange, ...]
    certificate: Certificate
    candidates: tuple[tuple[float, float], ...]
    pinned: tuple[str, ...]
    settings: Mapping[str, Any]

    @property
    def size_ratio(self) -> float:
        """Dense over compressed bytes."""
        return self.dense.bytes / self.small.bytes

    def __str__(self) -> str:
        accuracy = ""
        if self.dense.accuracy is not None and self.small.accuracy is not None:
            accuracy = f", accuracy {self.dense.accuracy:.1%} → {self.small.accuracy:.1%} on the calibration data"
        return (
            f"{self.size_ratio:.2f}x smaller: {self.dense.bytes} → {self.small.bytes} bytes, "
            f"{self.dense.macs} → {self.small.macs} multiply-adds{accuracy}; energy: {self.certificate.describe()}"
        )


@torch.no_grad()
def measure(
    model: nn.Module, x: Tensor, y: Tensor | None, batch_size: int = 512
) -> tuple[Tensor, float | None, float | None]:
    """Answers, mean cross-entropy and accuracy (None without labels, or where the output is not one logit per class).

    Example:
        >>> _, loss, accuracy = measure(nn.Identity(), torch.eye(3), torch.arange(3))
        >>> accuracy
        1.0
    """
    answers = torch.cat([model(x[i : i + batch_size]) for i in range(0, len(x), batch_size)])
    if y is None or answers.ndim != 2 or answers.shape[1] < 2:
        return answers, None, None
    loss = float(nn.functional.cross_entropy(answers, y))
    return answers, loss, float((answers.argmax(1) == y).double().mean())


def measure_both(
    dense: nn.Module, small: nn.Module, x: Tensor, y: Tensor | None, bytes_and_macs: tuple[tuple[int, int], tuple[int, int]]
) -> tuple[Measured, Measured]:
    """The dense and the small network on the same samples; their (bytes, multiply-adds) are known to the caller."""
    answers, loss, accuracy = measure(dense, x, y)
    small_answers, small_loss, small_accuracy = measure(small, x, y)
    divergence = answer_divergence(answers, small_answers)
    return (
        Measured(*bytes_and_macs[0], loss, accuracy, 0.0, len(x)),
        Measured(*bytes_and_macs[1], small_loss, small_accuracy, divergence, len(x)),
    )


def layer_change(graph: NetworkGraph, layer: Layer, keep: np.ndarray, grid: Grid) -> LayerChange:
    """One layer before and after: the units that ``keep`` leaves, on a grid."""
    everything = np.ones(graph.num_units, dtype=bool)
    before, after = StoredLayer.of(graph, layer, everything, grid), StoredLayer.of(graph, layer, keep, grid)
    positions = graph.output_shapes[layer.name]
    return LayerChange(
        layer.name, layer.kind, before.outputs, after.outputs, grid.bits,
        4 * before.weights + 4 * before.outputs * before.has_bias, after.num_bytes,
        before.weights * positions, after.weights * positions,
    )  # fmt: skip


@dataclass(frozen=True)
class CompressedNetwork:
    """A smaller network.

    Attributes:
        model: ``nn.Module``: channels gone, weights on their grids, batch norms folded.
        plan: what was decided.
        report: what it cost and how good the answer is.
        grids: the grid values of each layer.
        example: one sample, for export.
    """

    model: nn.Module
    plan: CompressionPlan
    report: Report
    grids: Mapping[str, Quantized]
    example: Tensor

    def save(self, directory: str | Path) -> Path:
        """Writes ``plan.json`` and ``model.safetensors``; their bytes are what the budget limits."""
        return save_compressed(Path(directory), self.plan, self.model, self.grids)

    def export_onnx(self, path: str | Path) -> Path:
        """Writes an ONNX model with weights on their grids (DequantizeLinear) and a dynamic batch."""
        return export_onnx(self.model, self.grids, Path(path), self.example)

    def with_settings(self, **settings: Any) -> CompressedNetwork:
        """The same network with more said in its report's settings."""
        return replace(self, report=replace(self.report, settings={**self.report.settings, **settings}))
