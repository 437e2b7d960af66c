"""`annealnet compress` and `annealnet quantize`: files in, files and a report out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from annealnet.compression import Budget, FineTuning, compress, quantize
from annealnet.compression.files.onnx_export import onnx_latency, onnx_names
from annealnet.compression.formulations import FORMULATIONS, Formulation
from annealnet.compression.measuring.tasks import Task
from annealnet.compression.network.answering import Answering
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.network.precision import in_float32
from annealnet.compression.result import CompressedNetwork
from annealnet.compression.rounding import AnnealedRounding
from annealnet.datasets import open_data, subset
from annealnet.exporting import check_onnx, export_module_onnx
from annealnet.report import CompressionReport, write_html
from annealnet.samplers import AutoSampler, DistributedSampler, Workers
from annealnet.studies.recording import record

__all__ = ["QuantizeRequest", "Request", "compress_files", "onnx_pair", "quantize_files"]

Latency = tuple[float, float, float]


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line.

    Attributes:
        network: name of the network, for the report.
        data: ``digits`` or a path.
        out: folder of the results.
        budget: what the network may cost.
        mean, std: normalisation of the inputs, or None.
        samples: calibration samples.
        formulation: a name in ``FORMULATIONS``.
        epochs: of fine-tuning; 0 for none.
        seed: of everything.
        workers: where anneals and rounding run; None is this process.
        task: what «as good as the dense network» means; None looks at answers and labels.
    """

    network: str
    data: str
    out: Path
    budget: Budget
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    samples: int = 1024
    formulation: str = "data_aware"
    epochs: float = 0.0
    seed: int = 0
    workers: Workers | None = None
    task: Task | None = None

    def chosen(self) -> Formulation:
        """The formulation asked for.

        Raises:
            ValueError: when there is none of that name.
        """
        if self.formulation not in FORMULATIONS:
            raise ValueError(f"formulation={self.formulation!r} is not known: there are {' and '.join(FORMULATIONS)}")
        return FORMULATIONS[self.formulation]

    def sampler(self) -> DistributedSampler | None:
        """Spreads the anneals over the workers asked for."""
        return None if self.workers is None else DistributedSampler(AutoSampler(), self.workers, reads_per_piece=4)


def compress_files(dense: nn.Module, request: Request, say: Callable[[str], None]) -> CompressionReport:
    """Compresses a network on data from a path and writes plan, tensors, ONNX models and report.html.

    Raises:
        ValueError: for every kind of bad input, a missing ``annealnet[onnx]`` among it, before work starts.
    """
    check_onnx()
    chosen = request.chosen()
    split = open_data(request.data, seed=request.seed, mean=request.mean, std=request.std)
    x, y = subset(split.x_train, split.y_train, min(request.samples, len(split.x_train)), request.seed)
    test = Calibration.of(torch.from_numpy(split.x_test), torch.from_numpy(split.y_test))
    small = compress(
        dense, [(torch.from_numpy(x), torch.from_numpy(y))], request.budget, formulation=chosen, sampler=request.sampler(),
        task=request.task, fine_tuning=FineTuning(epochs=request.epochs) if request.epochs else None,
        training_data=[(torch.from_numpy(split.x_train), torch.from_numpy(split.y_train))],
        rounding=AnnealedRounding(seed=request.seed, workers=request.workers),
        checkpoint=request.out / "checkpoint", seed=request.seed, progress=say,
    )  # fmt: skip
    return _delivered(small, dense, request.network, test, request.out, request.task, say)


@dataclass(frozen=True)
class QuantizeRequest:
    """What ``annealnet quantize`` was asked for.

    Attributes:
        network, data, out, mean, std, samples, seed: as of :class:`Request`.
        bits: a width for all layers, or widths by layer name.
        group: weights of an output channel that share a scale; None for all of them.
        symmetric: whether zero points are 0.
        workers: where rounding runs; None is this process.
        task: what the report measures; None looks at answers and labels.
    """

    network: str
    data: str
    out: Path
    bits: int | Mapping[str, int] = 4
    group: int | None = None
    symmetric: bool = True
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    samples: int = 1024
    seed: int = 0
    workers: Workers | None = None
    task: Task | None = None


def quantize_files(dense: nn.Module, request: QuantizeRequest, say: Callable[[str], None]) -> CompressionReport:
    """Rounds a network on data from a path and writes plan, tensors, ONNX models and report.html.

    Raises:
        ValueError: for every kind of bad input, a missing ``annealnet[onnx]`` among it, before work starts.
    """
    check_onnx()
    split = open_data(request.data, seed=request.seed, mean=request.mean, std=request.std)
    x, y = subset(split.x_train, split.y_train, min(request.samples, len(split.x_train)), request.seed)
    test = Calibration.of(torch.from_numpy(split.x_test), torch.from_numpy(split.y_test))
    rounding = AnnealedRounding(request.group, request.symmetric, seed=request.seed, workers=request.workers)
    small = quantize(
        dense, [(torch.from_numpy(x), torch.from_numpy(y))], request.bits, rounding=rounding, group=request.group,
        symmetric=request.symmetric, task=request.task, checkpoint=request.out / "checkpoint", seed=request.seed,
        progress=say,
    )  # fmt: skip
    return _delivered(small, dense, request.network, test, request.out, request.task, say)


def _delivered(
    small: CompressedNetwork,
    dense: nn.Module,
    name: str,
    test: Calibration,
    out: Path,
    task: Task | None,
    say: Callable[[str], None],
) -> CompressionReport:
    """Files, both ONNX models and the report of a finished network."""
    small.save(out)
    say("exporting to ONNX and timing both models")
    latencies = onnx_pair(out, small, dense)
    report = record(small, name, f"{len(test.x)} held-out samples", dense, test, latencies, task)
    write_html(report, out / "report.html")
    return report


def onnx_pair(out: Path, small: CompressedNetwork, dense: nn.Module, batch: int = 64) -> tuple[Latency, Latency]:
    """Writes both networks as ONNX and times a batch: (median, low, high) milliseconds of the dense and the small one."""
    dense_path = export_module_onnx(
        Answering(in_float32(dense), small.example), onnx_names(small.example), out / "dense.onnx"
    )
    small_path = small.export_onnx(out / "model.onnx")
    before, after = onnx_latency(dense_path, batch), onnx_latency(small_path, batch)
    return (before.median, before.low, before.high), (after.median, after.low, after.high)
