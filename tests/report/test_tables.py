"""The report in the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from annealnet.report import CompressionReport, print_report


def printed(report: CompressionReport, width: int) -> str:
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=width))
    return stream.getvalue()


def test_everything_is_printed(resnet20_report: CompressionReport) -> None:
    text = printed(resnet20_report, 120)
    assert text.startswith("ResNet-20: 10.0× smaller, accuracy 87.3 % → 84.1 %")
    for row in resnet20_report.layers:
        line = next(line for line in text.splitlines() if line.startswith(f"{row.name} "))
        assert f"{row.channels_before} → {row.channels_after}" in line
        assert f"{row.bytes_before:,} → {row.bytes_after:,}" in line
    for method in resnet20_report.methods:
        assert any(line.startswith(method.method) and f"{method.bytes:,}" in line for line in text.splitlines())
    assert "lower bound 3.1077" in text
    assert all(note in text for note in resnet20_report.notes)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_line_is_wider_than_the_terminal(resnet20_report: CompressionReport, width: int) -> None:
    assert max(map(len, printed(resnet20_report, width).splitlines())) <= width
