"""What `compress` gives back: the network, its plan, its report, its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from annealnet.compression.files.on_grid import put_on_grid
from annealnet.compression.files.onnx_export import export_onnx
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.saving import save_compressed
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.precision import in_float32
from annealnet.compression.network.structure import StaysDense
from annealnet.compression.rounding.grids import Quantized
from annealnet.energy import Certificate

__all__ = ["CompressedNetwork", "LayerChange", "Measured", "Report"]


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
        settings: what was asked for beside the model and the data, and what ran.
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
