"""`annealnet demo`: the main job from end to end on data that every machine has, with every baseline beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import annealnet.report as reports
from annealnet.architectures import digits_cnn
from annealnet.compression import Budget, FineTuning, compress, load
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.reporting import measure
from annealnet.compression.result import CompressedNetwork
from annealnet.compression.rounding import AnnealedRounding, Annealing
from annealnet.datasets import digits
from annealnet.exporting import check_onnx
from annealnet.report.summary import mean_and_spread
from annealnet.studies.comparison import METHODS, Outcome, compare
from annealnet.studies.compressing import onnx_pair
from annealnet.studies.demo_rows import DemoRow, demo_rows
from annealnet.studies.recording import method_rows, record
from annealnet.studies.training import train_dense

__all__ = ["DemoSummary", "digits_setup", "run_demo"]

#: Fewer multiply-adds beside the size: then channels go, and the network becomes faster and not only smaller.
MACS_RATIO = 2.5
TUNING = FineTuning(epochs=15, learning_rate=2e-3)
#: Fine-tuning moves the weights again, so that a light rounding before it is enough.
ROUNDING = AnnealedRounding(effort=Annealing(fields=1, field_sweeps=100, sweeps=100), rounds=1)


@dataclass(frozen=True)
class DemoSummary:
    """What the demo found.

    Attributes:
        report: of the first seed's network, with the comparison over all seeds.
        dense_accuracy: per seed, on the held-out digits.
        outcomes: every method and seed.
        folder: where the files are.
        seconds: of the whole demo.
        jobs: the other jobs, one row each.
    """

    report: reports.CompressionReport
    dense_accuracy: tuple[float, ...]
    outcomes: tuple[Outcome, ...]
    folder: Path
    seconds: float
    jobs: tuple[DemoRow, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """As JSON values."""
        ours = [o for o in self.outcomes if o.method == self.report.ours]
        return {
            "size_ratio": self.report.size_ratio,
            "dense_accuracy": list(self.dense_accuracy),
            "accuracy": [o.accuracy for o in ours],
            "tuned_accuracy": [o.tuned for o in ours],
            "methods": [row.__dict__ for row in self.report.methods],
            "latency_ms": {"dense": self.report.dense.latency_ms, "small": self.report.small.latency_ms},
            "jobs": [asdict(row) for row in self.jobs],
            "folder": str(self.folder),
            "seconds": self.seconds,
        }

    def show(self) -> None:
        """Prints the report and the two lines that matter."""
        console = Console()
        reports.print_report(self.report, console)
        tuned = [o.tuned for o in self.outcomes if o.method == self.report.ours and o.tuned is not None]
        dense, small = (mean_and_spread(accuracies, ".2%") for accuracies in (self.dense_accuracy, tuned))
        console.print(
            f"Mean of {len(tuned)} seeds: dense {dense}, compressed and fine-tuned {small}, "
            f"{self.report.size_ratio:.1f}x smaller. {self.seconds:.0f} s in all."
        )
        if self.jobs:
            table = Table("job", "network", "held-out digits", "bytes", "seconds", title="Other jobs")
            for row in self.jobs:
                table.add_row(row.job, row.network, f"{row.accuracy:.2%}", f"{row.bytes}", f"{row.seconds:.1f}")
            console.print(table)
        console.print(f"Page: {self.folder / 'report.html'}   network: {self.folder / 'network'}")


def digits_setup(seed: int, say: Callable[[str], None] = lambda _: None) -> tuple[nn.Module, Calibration, Calibration]:
    """A residual CNN trained on three quarters of the digits: network, training data, held-out data."""
    split = digits(seed=seed)
    train = Calibration.of(torch.from_numpy(split.x_train), torch.from_numpy(split.y_train))
    test = Calibration.of(torch.from_numpy(split.x_test), torch.from_numpy(split.y_test))
    torch.manual_seed(seed)
    assert train.y is not None
    network = train_dense(digits_cnn(width=24), train.x.main, train.y, epochs=20, seed=seed, say=say)
    return network, train, test


def run_demo(out: Path, size_ratio: float, seeds: tuple[int, ...], say: Callable[[str], None]) -> DemoSummary:
    """Trains, compresses, compares, exports, measures; writes everything to ``out``.

    Raises:
        ValueError: when the packages of ``annealnet[onnx]`` are missing, before work starts.
    """
    check_onnx()
    began = time.perf_counter()
    outcomes: list[Outcome] = []
    accuracies: list[float] = []
    budget = Budget(size_ratio=size_ratio, macs_ratio=MACS_RATIO)
    first: tuple[CompressedNetwork, nn.Module, Calibration] | None = None
    for seed in seeds:
        say(f"seed {seed}: training a residual CNN on 1 347 handwritten digits")
        network, train, test = digits_setup(seed, say)
        accuracy = measure(network, test.x, test.y)[2]
        assert accuracy is not None
        accuracies.append(accuracy)
        say(f"  dense network: {accuracy:.2%} of {len(test.x)} held-out digits")
        say(f"seed {seed}: every method, {size_ratio:g}x smaller with {MACS_RATIO:g}x fewer multiply-adds, then fine-tuned")
        found, _ = compare(
            network,
            train,
            test,
            [Budget(size_ratio=size_ratio, macs_ratio=MACS_RATIO)],
            seed,
            methods=METHODS,
            rounding=ROUNDING,
            fine_tuning=TUNING,
            training=train,
            say=say,
        )
        outcomes += found
        if first is None:
            say("the same through the public call, with files")
            small = compress(
                network, [(train.x.main, train.y)], budget, rounding=ROUNDING, fine_tuning=TUNING, seed=seed,
                checkpoint=out / "checkpoint", progress=lambda text: say(f"  {text}"),
            )  # fmt: skip
            first = (small, network, test)
    assert first is not None
    report = _write(out, first, tuple(outcomes), seeds, say)
    jobs = demo_rows(seeds[0], say)
    return DemoSummary(report, tuple(accuracies), tuple(outcomes), out, time.perf_counter() - began, jobs)


def _write(
    out: Path,
    first: tuple[CompressedNetwork, nn.Module, Calibration],
    outcomes: tuple[Outcome, ...],
    seeds: tuple[int, ...],
    say: Callable[[str], None],
) -> reports.CompressionReport:
    small, network, test = first
    small.save(out / "network")
    again = load(out / "network", network)
    if not torch.equal(test.x.answer(again), test.x.answer(small.model)):
        raise RuntimeError("the loaded network answers differently from the one that was saved")
    say("timing both ONNX models")
    latencies = onnx_pair(out, small, network)
    report = record(small, "digits CNN", f"{len(test.x)} held-out digits", network, test, latencies)
    report = replace(report, methods=method_rows(outcomes, seeds))
    reports.write_html(report, out / "report.html")
    return report
