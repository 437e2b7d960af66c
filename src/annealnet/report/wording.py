"""A report in words: numbers with their units, the headline, the certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from annealnet.report.record import CompressionReport, LayerRow, MethodRow, Totals

MISSING = "–"


@dataclass(frozen=True)
class KeyFigure:
    """One of the figures at the head of a report: what, the change in short, before and after."""

    name: str
    change: str
    detail: str


def quantity(value: float, unit: str) -> str:
    """A number in three digits with a decimal prefix.

    >>> quantity(1_094_288, "B"), quantity(40_813_000, "MACs"), quantity(980, "B")
    ('1.09 MB', '40.8 MMACs', '980 B')
    """
    for prefix, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{_three_digits(value / scale)} {prefix}{unit}"
    return f"{value:.0f} {unit}".rstrip()


def _three_digits(value: float) -> str:
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def ratio(before: float, after: float) -> str:
    """How many times less.

    >>> ratio(1000, 100), ratio(10, 20), ratio(3, 0)
    ('10.0×', '0.5×', '–')
    """
    return f"{before / after:.1f}×" if after > 0 else MISSING


def percent(share: float | None) -> str:
    """A share as percent.

    >>> percent(0.8733), percent(None)
    ('87.3 %', '–')
    """
    return MISSING if share is None else f"{100 * share:.1f} %"


LAYER_HEAD = ("layer", "kind", "channels", "bits", "bytes", "", "multiply-adds", "")
METHOD_HEAD = ("method", "accuracy", "loss", "bytes", "multiply-adds", "planning", "seeds", "fine-tuned")


def layer_cells(row: LayerRow) -> tuple[str, ...]:
    """A layer under `LAYER_HEAD`.

    >>> layer_cells(LayerRow("conv1", "conv", 16, 12, 4, 1728, 260, 442_368, 331_776))
    ('conv1', 'conv', '16 → 12', '4', '1,728 → 260', '6.6×', '442 k → 332 k', '1.3×')
    """
    return (
        row.name,
        row.kind,
        f"{row.channels_before} → {row.channels_after}",
        str(row.bits),
        *_cost_cells(row.bytes_before, row.bytes_after, row.macs_before, row.macs_after),
    )


def total_cells(report: CompressionReport) -> tuple[str, ...]:
    """The whole network under `LAYER_HEAD`.

    >>> total_cells(CompressionReport("", "", "", Totals(100, 60), Totals(10, 20)))
    ('files written', '', '', '', '100 → 10', '10.0×', '60 → 20', '3.0×')
    """
    dense, small = report.dense, report.small
    return ("files written", "", "", "", *_cost_cells(dense.bytes, small.bytes, dense.macs, small.macs))


def _cost_cells(bytes_before: int, bytes_after: int, macs_before: int, macs_after: int) -> tuple[str, ...]:
    return (
        f"{bytes_before:,} → {bytes_after:,}",
        ratio(bytes_before, bytes_after),
        f"{quantity(macs_before, '')} → {quantity(macs_after, '')}",
        ratio(macs_before, macs_after),
    )


def method_cells(row: MethodRow) -> tuple[str, ...]:
    """A method under `METHOD_HEAD`; the accuracy has its spread only where there were several seeds.

    >>> method_cells(MethodRow("L1", 109_000, 20_000_000, 0.7, 0.012, 1.1, 0.5, (0, 1, 2), False))
    ('L1', '70.0 % ± 1.2', '1.100', '109,000', '20.0 M', '0.50 s', '3', 'no')
    """
    spread = f" ± {100 * row.accuracy_spread:.1f}" if len(row.seeds) > 1 else ""
    return (
        row.method,
        MISSING if row.accuracy_mean is None else percent(row.accuracy_mean) + spread,
        MISSING if row.loss is None else f"{row.loss:.3f}",
        f"{row.bytes:,}",
        quantity(row.macs, ""),
        f"{row.seconds:.2f} s",
        str(len(row.seeds)),
        "yes" if row.finetuned else "no",
    )


def headline(report: CompressionReport) -> str:
    """The whole report in one sentence.

    >>> small = Totals(bytes=109_400, macs=20, accuracy=0.841)
    >>> headline(CompressionReport("", "ResNet-20", "", Totals(1_094_000, 40, accuracy=0.8733), small))
    'ResNet-20: 10.0× smaller, accuracy 87.3 % → 84.1 %'
    >>> headline(CompressionReport("", "net", "", Totals(100, 60), Totals(50, 20), stays_dense="40 of 100 bytes stay dense"))
    'net: 2.0× smaller; 40 of 100 bytes stay dense'
    """
    return _changes(report) + (f"; {report.stays_dense}" if report.stays_dense else "")


def _changes(report: CompressionReport) -> str:
    dense, small = report.dense, report.small
    size = f"{report.network}: {ratio(dense.bytes, small.bytes)} smaller"
    if dense.accuracy is not None and small.accuracy is not None:
        return f"{size}, accuracy {percent(dense.accuracy)} → {percent(small.accuracy)}"
    if dense.loss is not None and small.loss is not None:
        return f"{size}, {loss_name(report)} {number(dense.loss)} → {number(small.loss)}"
    if small.agreement is not None:
        return f"{size}, {percent(small.agreement)} of its answers are the dense network's"
    if small.divergence is not None:
        return f"{size}, {number(small.divergence)} {report.unit} from the dense network's answers"
    return size


def loss_name(report: CompressionReport) -> str:
    """What the loss against labels is called.

    >>> loss_name(CompressionReport("", "", "", Totals(2, 2), Totals(1, 1), unit="squared error"))
    'squared error'
    """
    return "squared error" if report.unit == "squared error" else "loss"


def number(value: float) -> str:
    """Three decimals, or three digits where those would hide it.

    >>> number(0.5), number(0.00012345), number(12345.6)
    ('0.500', '0.000123', '1.23e+04')
    """
    return f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1000 else f"{value:.3g}"


def key_figures(report: CompressionReport) -> tuple[KeyFigure, KeyFigure, KeyFigure, KeyFigure]:
    """Size, multiply-adds, quality and latency; what was not measured says so.

    >>> [f.change for f in key_figures(CompressionReport("", "", "", Totals(100, 60), Totals(10, 20)))]
    ['10.0×', '3.0×', '–', '–']
    """
    dense, small = report.dense, report.small
    return (
        KeyFigure(
            "smaller on disk",
            ratio(dense.bytes, small.bytes),
            f"{quantity(dense.bytes, 'B')} → {quantity(small.bytes, 'B')}",
        ),
        KeyFigure(
            "fewer multiply-adds",
            ratio(dense.macs, small.macs),
            f"{quantity(dense.macs, '')} → {quantity(small.macs, '')}",
        ),
        _quality(report),
        _latency(dense, small),
    )


def _quality(report: CompressionReport) -> KeyFigure:
    dense, small = report.dense, report.small
    if dense.accuracy is not None and small.accuracy is not None:
        points = 100 * (small.accuracy - dense.accuracy)
        sign = "−" if points < 0 else "+"
        return KeyFigure(
            "points of accuracy",
            f"{sign}{abs(points):.1f}",
            f"{percent(dense.accuracy)} → {percent(small.accuracy)}",
        )
    if dense.loss is not None and small.loss is not None:
        return KeyFigure(loss_name(report), number(small.loss), f"{number(dense.loss)} → {number(small.loss)}")
    if small.agreement is not None:
        return KeyFigure("answers of the dense network", percent(small.agreement), "no labels for accuracy")
    if small.divergence is not None:
        return KeyFigure(f"{report.unit} from the dense network", number(small.divergence), "no labels for a loss")
    return KeyFigure("accuracy", MISSING, "not measured")


def _latency(dense: Totals, small: Totals) -> KeyFigure:
    if dense.latency_ms is None or small.latency_ms is None:
        return KeyFigure("latency", MISSING, "not measured")
    before, after = dense.latency_ms[0], small.latency_ms[0]
    return KeyFigure("faster in ONNX Runtime", ratio(before, after), f"{before:.2f} → {after:.2f} ms, median")


def certificate_in_words(certificate: Mapping[str, Any]) -> str:
    """What is known about the chosen plan's energy, in two or three sentences.

    >>> certificate_in_words({"energy": 2.0, "lower_bound": 1.5, "proven": False, "gap": 0.5})
    'Energy 2; lower bound 1.5, so it lies at most 0.5 (25.0 %) above the optimum.'
    >>> certificate_in_words({"energy": 2.0, "proven": True, "sampler": "ExactSampler"})
    'Energy 2, proven optimal: no plan within the budget has a lower one. Found by ExactSampler.'
    """
    if certificate.get("energy") is None:
        return "No energy was minimised."
    energy, bound = float(certificate["energy"]), certificate.get("lower_bound")
    if certificate.get("proven"):
        known = f"Energy {energy:.6g}, proven optimal: no plan within the budget has a lower one."
    elif bound is None:
        known = f"Energy {energy:.6g}; no bound is known, so it may not be the lowest."
    else:
        gap = max(energy - float(bound), 0.0)
        # a gap as large as the energy itself says little, and as a percentage it would look like a figure
        share = f" ({100 * gap / abs(energy):.1f} %)" if gap < abs(energy) else ""
        known = (
            f"Energy {energy:.6g}; lower bound {float(bound):.6g}, so it lies at most {gap:.4g}{share} above the optimum."
        )
    return f"{known}{_origin(certificate)}"


def _origin(certificate: Mapping[str, Any]) -> str:
    if not certificate.get("sampler"):
        return ""
    parts = [f" Found by {certificate['sampler']}"]
    if certificate.get("reads") is not None:
        parts.append(f"{certificate['reads']} reads")
    if certificate.get("seed") is not None:
        parts.append(f"seed {certificate['seed']}")
    if certificate.get("seconds") is not None:
        parts.append(f"{certificate['seconds']:.2f} s")
    return ", ".join(parts) + "."


def task_in_words(report: CompressionReport) -> str:
    """What was measured, with the distance from the dense network's answers; nothing where the report does not say.

    >>> small = Totals(1, 1, divergence=0.25)
    >>> task_in_words(CompressionReport("", "", "", Totals(2, 2), small, task="regression", unit="squared error"))
    'Task: regression. From the dense network: 0.250 squared error.'
    """
    if not report.task:
        return ""
    small = report.small
    shares = "" if small.agreement is None else f", the same class in {percent(small.agreement)}"
    told = "" if small.divergence is None else f" From the dense network: {number(small.divergence)} {report.unit}{shares}."
    return f"Task: {report.task}.{told}"


def agreement_in_words(report: CompressionReport) -> str:
    """How far the energy's order of the candidates is the order of their true losses.

    The measure is Spearman's rank correlation over the candidates with a finite loss.

    >>> measured = ((1.0, 0.1), (2.0, 0.3), (3.0, 0.2))
    >>> agreement_in_words(CompressionReport("", "", "", Totals(2, 2), Totals(1, 1), candidates=measured))
    'Rank correlation of energy and true loss over 3 candidates: +0.50.'
    """
    finite = report.finite_candidates
    broken = len(report.candidates) - len(finite)
    remark = f" Not drawn: {broken} without a finite loss." if broken else ""
    if len({energy for energy, _ in finite}) < 2 or len({loss for _, loss in finite}) < 2:
        return f"Too few different candidates to compare energy and true loss.{remark}"
    energies, losses = (_ranks(np.array(column)) for column in zip(*finite, strict=True))
    correlation = float(np.corrcoef(energies, losses)[0, 1])
    return f"Rank correlation of energy and true loss over {len(finite)} candidates: {correlation:+.2f}.{remark}"


def _ranks(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Places in ascending order; equal values share the mean of their places."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[which])
