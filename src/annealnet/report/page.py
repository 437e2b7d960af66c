"""The report as one HTML page that needs nothing else: styles, data and plotly lie inside it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from annealnet.files import replacing
from annealnet.report.record import CompressionReport
from annealnet.report.wording import (
    LAYER_HEAD,
    METHOD_HEAD,
    agreement_in_words,
    certificate_in_words,
    headline,
    key_figures,
    layer_cells,
    method_cells,
    task_in_words,
    total_cells,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

_LAYERS_WHY = (
    "Wide bars are the layer as it was, narrow ones as it is; the colour says how many bits a weight has. "
    "Beside them: bits, and output channels kept of those there were."
)
_METHODS_WHY = (
    "Every method had the same budget, the same repair of the remaining weights and the same seeds, so that "
    "the figures compare what was selected. Bars are the standard deviation over the seeds."
)
_CANDIDATES_WHY = (
    "The annealer minimises the energy, a model of the damage. The best samples are then measured on the "
    "calibration data, and the lowest true loss wins. "
)
_FOOTER = "Written by annealnet. The page holds everything it shows and loads nothing from elsewhere."


def write_html(report: CompressionReport, path: str | Path) -> Path:
    """Write the report as one self-contained HTML page.

    The page (about 5 MB, nearly all of it plotly) loads nothing from a network. It is written under a
    temporary name and renamed, so that a reader never meets half of it.

    Args:
        report: what to show; sections without content are left out.
        path: file to write; its folder must exist.

    Returns:
        The path written.

    Raises:
        ValueError: the folder of `path` does not exist.

    >>> import tempfile
    >>> from annealnet.report.record import Totals
    >>> report = CompressionReport("A tenth", "net", "digits", Totals(100, 60), Totals(10, 20))
    >>> page = write_html(report, Path(tempfile.mkdtemp()) / "report.html")
    >>> "<h1>net: 10.0× smaller</h1>" in page.read_text(encoding="utf-8")
    True
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise ValueError(f"path {str(path)!r}: the folder {str(target.parent)!r} does not exist, make it first")
    with replacing(target) as draft:
        draft.write_text(page(report), encoding="utf-8")
    return target


def page(report: CompressionReport) -> str:
    """The HTML of the page; `write_html` has the contract.

    >>> from annealnet.report.record import Totals
    >>> page(CompressionReport("", "net", "digits", Totals(100, 60), Totals(10, 20)))[:15]
    '<!doctype html>'
    """
    from plotly.offline import get_plotlyjs

    template = Template(resources.files("annealnet.report").joinpath("page.html").read_text(encoding="utf-8"))
    figures = _figures(report)
    return template.substitute(
        page_title=escape(headline(report)),
        eyebrow=escape(" · ".join(part for part in (report.title, report.data) if part)),
        headline=escape(headline(report)),
        key_figures=_key_figures(report),
        sections="\n".join(_sections(report, figures)),
        footer=_FOOTER,
        plotly=get_plotlyjs(),
        # "</" would end the script element
        figures=json.dumps({name: json.loads(f.to_json()) for name, f in figures.items()}).replace("</", "<\\/"),
    )


def _figures(report: CompressionReport) -> dict[str, go.Figure]:
    """The figures that have something to show, by the id of their place in the page."""
    from annealnet.report.figures import candidates_figure, layers_figure, methods_figure

    figures = {}
    if report.layers:
        figures["layers"] = layers_figure(report)
    if any(row.accuracy_mean is not None for row in report.methods):
        figures["methods"] = methods_figure(report)
    if report.finite_candidates:
        figures["candidates"] = candidates_figure(report)
    return figures


def _key_figures(report: CompressionReport) -> str:
    return "\n".join(
        f'<div><dt>{escape(figure.name)}</dt><dd class="change">{escape(figure.change)}</dd>'
        f'<dd class="detail">{escape(figure.detail)}</dd></div>'
        for figure in key_figures(report)
    )


def _sections(report: CompressionReport, figures: dict[str, go.Figure]) -> Iterable[str]:
    if report.task:
        yield _section("What was measured", task_in_words(report), "")
    if "layers" in figures:
        yield _section("Where the bytes went", _LAYERS_WHY, _place("layers", figures))
    if report.methods:
        content = _place("methods", figures) + _methods_table(report)
        yield _section("The same budget, other methods", _METHODS_WHY, content)
    if "candidates" in figures:
        why = _CANDIDATES_WHY + agreement_in_words(report)
        yield _section("Energy against true loss", why, _place("candidates", figures))
    if report.certificate:
        yield _section("How good is the answer?", certificate_in_words(report.certificate), "")
    if report.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
        yield _section("Limits and notes", "", f"<ul>{notes}</ul>")
    if report.layers:
        yield _folded("Layer by layer", _layers_table(report))
    if report.settings:
        yield _folded("Settings", _settings(report))


def _section(title: str, why: str, content: str) -> str:
    words = f'<p class="why">{escape(why)}</p>' if why else ""
    return f"<section><h2>{escape(title)}</h2>{words}{content}</section>"


def _folded(title: str, content: str) -> str:
    return f"<details open><summary>{escape(title)}</summary>{content}</details>"


def _place(name: str, figures: dict[str, go.Figure]) -> str:
    """The element a figure is drawn in, of its height already, so that nothing jumps."""
    if name not in figures:
        return ""
    height = figures[name].layout.height
    return f'<div id="{name}" role="img" aria-label="plot: {name}" style="height:{height}px"></div>'


def _layers_table(report: CompressionReport) -> str:
    return _table(LAYER_HEAD, [layer_cells(row) for row in report.layers], total=total_cells(report))


def _methods_table(report: CompressionReport) -> str:
    return _table(METHOD_HEAD, [method_cells(row) for row in report.ranked_methods], ours=report.ours)


def _table(
    head: tuple[str, ...],
    rows: list[tuple[str, ...]],
    total: tuple[str, ...] | None = None,
    ours: str | None = None,
) -> str:
    def cells(tag: str, row: tuple[str, ...]) -> str:
        return "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)

    body = "".join(
        f'<tr class="ours">{cells("td", row)}</tr>' if row[0] == ours else f"<tr>{cells('td', row)}</tr>" for row in rows
    )
    foot = f"<tfoot><tr>{cells('td', total)}</tr></tfoot>" if total else ""
    return f'<div class="scroll"><table><thead><tr>{cells("th", head)}</tr></thead><tbody>{body}</tbody>{foot}</table></div>'


def _settings(report: CompressionReport) -> str:
    def shown(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

    entries = "".join(
        f"<dt>{escape(str(key))}</dt><dd><code>{escape(shown(value))}</code></dd>" for key, value in report.settings.items()
    )
    return f'<dl class="settings">{entries}</dl>'
