"""What a compression job has to say for itself, as plain values with JSON both ways.

The job fills a `CompressionReport`; tables and the page only read it. So a report can be kept beside the
network it describes and be printed again later, without the network.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

VERSION = 2


@dataclass(frozen=True)
class LayerRow:
    """One layer before and after.

    Args:
        name: the layer's name in the model, such as ``layer1.0.conv1``.
        kind: ``conv`` or ``linear``.
        channels_before, channels_after: output channels.
        bits: bits per weight after; 32 where the layer was left as it is.
        bytes_before, bytes_after: of its parameters in the file, scales and biases included.
        macs_before, macs_after: multiply-adds for one sample.

    >>> LayerRow("conv1", "conv", 16, 12, 4, 1728, 260, 442368, 331776).bits
    4
    """

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
class Totals:
    """A whole network: what it costs and how well it does.

    Args:
        bytes: size of its files on disk.
        macs: multiply-adds for one sample.
        loss: mean loss on the data named in the report, or None if not measured.
        accuracy: share of right answers in [0, 1] on the same data, or None.
        latency_ms: (median, lowest, highest) milliseconds of one run of its ONNX model, or None.
        divergence: of its answers from the dense network's, in the report's unit, or None.
        agreement: share of answers of the dense network's class, or None where there are no classes.

    Raises:
        ValueError: `accuracy` or `agreement` is outside [0, 1], or `bytes` is not positive.

    >>> Totals(bytes=1_094_000, macs=40_800_000, accuracy=0.8733).latency_ms is None
    True
    """

    bytes: int
    macs: int
    loss: float | None = None
    accuracy: float | None = None
    latency_ms: tuple[float, float, float] | None = None
    divergence: float | None = None
    agreement: float | None = None

    def __post_init__(self) -> None:
        if self.bytes < 1:
            raise ValueError(f"bytes is {self.bytes}: give the positive size of the network's files")
        _check_share("accuracy", self.accuracy)
        _check_share("agreement", self.agreement)


@dataclass(frozen=True)
class MethodRow:
    """One method under the same budget: ours or a baseline.

    Args:
        method: its name, such as ``data_aware`` or ``L1 + uniform bits``.
        bytes, macs: of its network (of the first seed, where seeds differ).
        accuracy_mean: mean over the seeds, in [0, 1], or None if not measured.
        accuracy_spread: standard deviation over the seeds; 0 for a single one.
        loss: mean loss over the seeds, or None.
        seconds: mean time of planning, without measuring.
        seeds: the seeds it ran with.
        finetuned: whether the network was trained after it was compressed.

    Raises:
        ValueError: `accuracy_mean` is outside [0, 1].

    >>> MethodRow("random", 109_000, 20_000_000, 0.31, 0.04, 2.1, 0.5, (0, 1, 2), False).seeds
    (0, 1, 2)
    """

    method: str
    bytes: int
    macs: int
    accuracy_mean: float | None
    accuracy_spread: float
    loss: float | None
    seconds: float
    seeds: tuple[int, ...]
    finetuned: bool

    def __post_init__(self) -> None:
        _check_share("accuracy_mean", self.accuracy_mean)


@dataclass(frozen=True)
class CompressionReport:
    """Everything the tables and the page show.

    Args:
        title: what was done, such as ``Compression to a tenth``.
        network: name of the network, such as ``ResNet-20``.
        data: the data that losses and accuracies are measured on.
        dense, small: the network before and after.
        layers: one row per layer, in the order of execution.
        methods: ours and the baselines under the same budget; empty if none were run.
        certificate: of the chosen plan's energy: ``energy``, ``lower_bound`` (or None), ``proven``,
            ``gap`` (or None), ``sampler``, ``seed``, ``reads``, ``seconds``.
        candidates: (energy, true loss) of every sample that was measured. A loss that is not finite says
            that the network broke.
        notes: limits and remarks, one sentence each.
        settings: what it takes to run the job again.
        ours: the method that tables and the page highlight; empty for none.
        stays_dense: how much of the network no grid reaches, in words, where that is much; the headline says so.
        task: what «as good as the dense network» was taken to mean, and why.
        unit: of divergences, such as ``nats`` or ``squared error``; of the loss too where there are no classes.

    >>> report = CompressionReport("A tenth", "net", "digits", Totals(100, 50), Totals(10, 20))
    >>> CompressionReport.from_json(report.to_json()) == report
    True
    """

    title: str
    network: str
    data: str
    dense: Totals
    small: Totals
    layers: tuple[LayerRow, ...] = ()
    methods: tuple[MethodRow, ...] = ()
    certificate: Mapping[str, Any] = field(default_factory=dict)
    candidates: tuple[tuple[float, float], ...] = ()
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    ours: str = ""
    stays_dense: str = ""
    task: str = ""
    unit: str = "nats"

    @property
    def size_ratio(self) -> float:
        """Dense bytes over compressed bytes."""
        return self.dense.bytes / self.small.bytes

    @property
    def finite_candidates(self) -> list[tuple[float, float]]:
        """The candidates whose loss is finite: those that still are networks."""
        return [(energy, loss) for energy, loss in self.candidates if math.isfinite(loss)]

    @property
    def ranked_methods(self) -> list[MethodRow]:
        """The methods from best to worst: by accuracy where it was measured, then by loss."""
        return sorted(
            self.methods,
            key=lambda row: (
                0.0 if row.accuracy_mean is None else -row.accuracy_mean,
                math.inf if row.loss is None else row.loss,
            ),
        )

    def to_json(self) -> str:
        """The report as JSON; numbers that are not finite, which JSON lacks, are written as null."""
        content = {"version": VERSION, **_without_infinities(asdict(self))}
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> CompressionReport:
        """The report that `to_json` wrote.

        Raises:
            ValueError: the text is not JSON, not of this version, or a field is missing or unknown.
        """
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"report is not JSON ({error}): is the file truncated? Run the job again") from error
        version = content.pop("version", None) if isinstance(content, dict) else None
        if version != VERSION:
            raise ValueError(f"report has version {version!r}, expected {VERSION}: write it with this annealnet")
        try:
            return cls(
                **content
                | {
                    "dense": _totals(content["dense"]),
                    "small": _totals(content["small"]),
                    "layers": tuple(LayerRow(**row) for row in content["layers"]),
                    "methods": tuple(MethodRow(**row | {"seeds": tuple(row["seeds"])}) for row in content["methods"]),
                    "candidates": tuple((e, math.nan if loss is None else loss) for e, loss in content["candidates"]),
                    "notes": tuple(content["notes"]),
                }
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"report lacks a field or has an unknown one ({error}): run the job again") from error


def _totals(content: dict[str, Any]) -> Totals:
    latency = content["latency_ms"]
    return Totals(**content | {"latency_ms": None if latency is None else tuple(latency)})


def _check_share(name: str, value: float | None) -> None:
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}: give a share between 0 and 1, not percent")


def _without_infinities(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_infinities(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinities(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
