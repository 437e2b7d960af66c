"""The report in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from annealnet.report.record import CompressionReport
from annealnet.report.wording import (
    LAYER_HEAD,
    METHOD_HEAD,
    certificate_in_words,
    headline,
    key_figures,
    layer_cells,
    method_cells,
    task_in_words,
    total_cells,
)


def print_report(report: CompressionReport, console: Console) -> None:
    """Print headline, key figures, the task, layers, methods, certificate and notes.

    Args:
        report: what to print.
        console: where to; ``rich.console.Console(record=True)`` keeps it as text.

    >>> from annealnet.report.record import Totals
    >>> report = CompressionReport("", "net", "digits", Totals(100, 60), Totals(10, 20))
    >>> print_report(report, Console(width=60))  # doctest: +NORMALIZE_WHITESPACE
    net: 10.0× smaller
    smaller on disk      10.0×  100 B → 10 B
    fewer multiply-adds   3.0×  60 → 20
    accuracy                 –  not measured
    latency                  –  not measured
    """
    console.print(headline(report), style="bold", markup=False, highlight=False)
    console.print(_figures(report))
    if report.task:
        console.print(task_in_words(report), markup=False, highlight=False)
    if report.layers:
        console.print(_layers(report))
    if report.methods:
        console.print(_methods(report))
    if report.certificate:
        console.print(certificate_in_words(report.certificate), markup=False, highlight=False)
    for note in report.notes:
        console.print(f"• {note}", style="dim", markup=False, highlight=False)


def _figures(report: CompressionReport) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right", style="bold")
    table.add_column(style="dim")
    for figure in key_figures(report):
        table.add_row(figure.name, figure.change, figure.detail)
    return table


def _layers(report: CompressionReport) -> Table:
    table = _table("Layers", LAYER_HEAD, words=2)
    for row in report.layers:
        table.add_row(*layer_cells(row))
    table.add_section()
    table.add_row(*total_cells(report), style="bold")
    return table


def _methods(report: CompressionReport) -> Table:
    table = _table("The same budget, other methods", METHOD_HEAD, words=1)
    for row in report.ranked_methods:
        table.add_row(*method_cells(row), style="bold" if row.method == report.ours else None)
    return table


def _table(title: str, head: tuple[str, ...], words: int) -> Table:
    """An empty table whose first `words` columns hold words, the rest numbers."""
    table = Table(title=title, title_justify="left", box=None, header_style="dim", pad_edge=False)
    for place, name in enumerate(head):
        if place < words:
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    return table
