"""From a compressed network to the values that tables and pages show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from torch import nn

from annealnet.compression.measuring.choosing import task_of
from annealnet.compression.measuring.tasks import Judge, Task
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.network.precision import in_float32
from annealnet.compression.reporting import measure_both
from annealnet.compression.result import CompressedNetwork, Measured
from annealnet.report import CompressionReport, LayerRow, MethodRow, Totals
from annealnet.report.summary import summarise
from annealnet.studies.comparison import METHODS, Outcome

__all__ = ["method_rows", "record"]

Latency = tuple[float, float, float]


def record(
    small: CompressedNetwork,
    network_name: str,
    data_name: str,
    network: nn.Module,
    test: Calibration,
    latencies: tuple[Latency, Latency] | None,
    task: Task | Judge | None = None,
) -> CompressionReport:
    """The report of one network, measured on held-out data as the task (None looks at these data) says."""
    report = small.report
    network = in_float32(network).eval()
    chosen = task_of(network, test, task)
    sizes = (report.dense.bytes, report.dense.macs), (report.small.bytes, report.small.macs)
    dense, compressed = measure_both(network, small.model, test.x, test.y, sizes, chosen.task)
    dense_ms, small_ms = latencies if latencies is not None else (None, None)
    certificate = asdict(report.certificate)
    return CompressionReport(
        title=f"{network_name}, {report.size_ratio:.1f}x smaller",
        network=network_name,
        data=data_name,
        dense=_totals(dense, dense_ms),
        small=_totals(compressed, small_ms),
        layers=tuple(LayerRow(**asdict(layer)) for layer in report.layers),
        certificate={**certificate, "gap": report.certificate.gap},
        candidates=report.candidates,
        notes=tuple(f"Left dense: {text}" for text in report.pinned),
        settings=dict(report.settings),
        ours=str(report.settings.get("formulation", "")),
        stays_dense=str(report.stays_dense) if report.stays_dense.noteworthy else "",
        task=str(chosen),
        unit=chosen.task.unit,
    )


def _totals(network: Measured, latency_ms: Latency | None) -> Totals:
    return Totals(
        network.bytes, network.macs, network.loss, network.accuracy, latency_ms, network.divergence, network.agreement
    )


def method_rows(outcomes: Sequence[Outcome], seeds: tuple[int, ...]) -> tuple[MethodRow, ...]:
    """One row per method (and one more where it was fine-tuned), means over the seeds."""
    rows = []
    for method in METHODS:
        found = [o for o in outcomes if o.method == method]
        if not found:
            continue
        seconds = sum(o.seconds for o in found) / len(found)
        for tuned in (False, True):
            values = [o.tuned if tuned else o.accuracy for o in found]
            if any(value is None for value in values):
                continue
            middle, spread = summarise([value for value in values if value is not None])
            rows.append(
                MethodRow(
                    method=method, bytes=found[0].bytes, macs=found[0].macs, accuracy_mean=middle, accuracy_spread=spread,
                    loss=sum(o.divergence for o in found) / len(found) if not tuned else None, seconds=seconds,
                    seeds=seeds, finetuned=tuned,
                )
            )  # fmt: skip
    return tuple(rows)
