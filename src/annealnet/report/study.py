"""A study's result: tables and charts as plain values; text for the terminal, JSON, one HTML page, one PNG per chart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from annealnet.files import replacing

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["Chart", "Series", "StudyReport", "Table", "write_study"]

_STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #fdfdfc; color: #1d2126; font: 16px/1.55 system-ui, "Segoe UI", Roboto, Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 28px 64px; }
h1 { font-size: 1.9rem; line-height: 1.2; } h2 { font-size: 1.12rem; margin: 44px 0 4px; }
.why { color: #626b75; max-width: 72ch; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th { color: #626b75; font-weight: 500; }
th, td { padding: 5px 0 5px 20px; border-bottom: 1px solid #dfe2e5; text-align: right; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
"""


@dataclass(frozen=True)
class Table:
    """Cells as they are shown.

    Attributes:
        title: what the table says.
        columns: heads.
        rows: one tuple of cells per row.
        note: how the figures came about.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: a row has {len(row)} cells for {len(self.columns)} columns")

    def markdown(self) -> str:
        """The table in Markdown.

        Example:
            >>> print(Table("t", ("a", "b"), (("1", "2"),)).markdown())
            | a | b |
            |---|---|
            | 1 | 2 |
        """
        lines = ["| " + " | ".join(row) + " |" for row in (self.columns, *self.rows)]
        return "\n".join([lines[0], "|" + "---|" * len(self.columns), *lines[1:]])


@dataclass(frozen=True)
class Series:
    """One line, cloud or set of bars.

    Attributes:
        name: in the legend.
        x: numbers, or names for bars.
        y: numbers.
        low, high: ends of the error bars, or nothing.
    """

    name: str
    x: Sequence[float] | Sequence[str]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Chart:
    """One picture.

    Attributes:
        title: what it shows; the PNG's name comes from it.
        x_title, y_title: axes with units.
        series: what is drawn.
        kind: of drawing.
        log_x, log_y: logarithmic axes.
        note: how to read it.
    """

    title: str
    x_title: str
    y_title: str
    series: tuple[Series, ...]
    kind: Literal["lines", "points", "bars"] = "lines"
    log_x: bool = False
    log_y: bool = False
    note: str = ""

    @property
    def file_name(self) -> str:
        """Name of its PNG: the title's letters and digits.

        Example:
            >>> Chart("Excess errors, K = 4", "x", "y", ()).file_name
            'excess-errors-k-4.png'
        """
        words = "".join(c if c.isalnum() else " " for c in self.title.lower()).split()
        return "-".join(words) + ".png"


@dataclass(frozen=True)
class StudyReport:
    """A study's result.

    Attributes:
        title: one line.
        summary: a paragraph: what was found, in words.
        parts: tables and charts in reading order.
        settings: everything needed to run it again.
    """

    title: str
    summary: str
    parts: tuple[Table | Chart, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """Title, summary and tables in Markdown.

        Example:
            >>> print(StudyReport("A study", "It ran.", (Table("Times", ("s",), (("1",),)),)).text())
            # A study
            <BLANKLINE>
            It ran.
            <BLANKLINE>
            ## Times
            <BLANKLINE>
            | s |
            |---|
            | 1 |
        """
        blocks = [f"# {self.title}", self.summary]
        for part in self.parts:
            if isinstance(part, Table):
                blocks += [f"## {part.title}", *([part.note] if part.note else []), part.markdown()]
        return "\n\n".join(blocks)

    def to_document(self) -> dict[str, Any]:
        """Everything as JSON-ready values, with the text under ``text``."""
        parts = [{"kind": type(part).__name__.lower(), **asdict(part)} for part in self.parts]
        return {
            "title": self.title,
            "summary": self.summary,
            "parts": parts,
            "settings": dict(self.settings),
            "text": self.text(),
        }


def write_study(report: StudyReport, folder: str | Path) -> Path:
    """Writes ``study.json``, ``study.md``, ``study.html`` (self-contained) and one PNG per chart; gives the page's path.

    PNGs are drawn where matplotlib is installed (``annealnet[figures]``); the page needs none.

    Example:
        >>> import tempfile
        >>> chart = Chart("A line", "x", "y", (Series("s", (1, 2), (3, 4)),))
        >>> page = write_study(StudyReport("A study", "It ran.", (chart,)), tempfile.mkdtemp())
        >>> sorted(path.name for path in page.parent.iterdir())
        ['a-line.png', 'study.html', 'study.json', 'study.md']
    """
    place = Path(folder)
    with replacing(place / "study.json") as draft:
        draft.write_text(json.dumps(report.to_document()), encoding="utf-8")
    with replacing(place / "study.md") as draft:
        draft.write_text(report.text() + "\n", encoding="utf-8")
    for part in report.parts:
        if isinstance(part, Chart):
            _draw_png(part, place / part.file_name)
    with replacing(place / "study.html") as draft:
        draft.write_text(_page(report), encoding="utf-8")
    return place / "study.html"


def _page(report: StudyReport) -> str:
    from plotly.offline import get_plotlyjs

    sections = []
    for number, part in enumerate(report.parts):
        note = f'<p class="why">{escape(part.note)}</p>' if part.note else ""
        body = _table(part) if isinstance(part, Table) else f'<div id="chart{number}"></div>'
        sections.append(f"<section><h2>{escape(part.title)}</h2>{note}{body}</section>")
    figures = {
        f"chart{number}": json.loads(_figure(part).to_json())
        for number, part in enumerate(report.parts)
        if isinstance(part, Chart)
    }
    data = json.dumps(figures).replace("</", "<\\/")  # "</" would end the script element
    settings = ", ".join(f"{name} = {value}" for name, value in report.settings.items())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(report.title)}</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>{escape(report.title)}</h1><p>{escape(report.summary)}</p>"
        f'{"".join(sections)}<p class="why">{escape(settings)}</p></main><script>{get_plotlyjs()}</script><script>'
        f"const figures = {data};"
        "for (const [id, f] of Object.entries(figures)) Plotly.newPlot(id, f.data, f.layout, {responsive: true});"
        "</script></body></html>"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _errors(series: Series) -> tuple[list[float], list[float]] | None:
    """Lengths of the error bars downwards and upwards."""
    if not series.low:
        return None
    below = [y - low for y, low in zip(series.y, series.low, strict=True)]
    return below, [high - y for y, high in zip(series.y, series.high, strict=True)]


def _figure(chart: Chart) -> go.Figure:
    import plotly.graph_objects as go

    figure = go.Figure()
    for series in chart.series:
        errors = _errors(series)
        bars = None if errors is None else {"type": "data", "symmetric": False, "arrayminus": errors[0], "array": errors[1]}
        drawn = {"name": series.name, "x": list(series.x), "y": list(series.y), "error_y": bars}
        if chart.kind == "bars":
            figure.add_bar(**drawn)
        else:
            figure.add_scatter(mode="markers" if chart.kind == "points" else "lines+markers", **drawn)
    figure.update_layout(template="plotly_white", height=420, margin={"t": 20, "r": 20}, showlegend=len(chart.series) > 1)
    figure.update_xaxes(title=chart.x_title, type="log" if chart.log_x else None)
    figure.update_yaxes(title=chart.y_title, type="log" if chart.log_y else None)
    return figure


def _draw_png(chart: Chart, path: Path) -> None:
    """The same picture through matplotlib, which needs no browser; nothing where it is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    width = 0.8 / max(1, len(chart.series))
    names = list(dict.fromkeys(x for series in chart.series for x in series.x)) if chart.kind == "bars" else []
    for number, series in enumerate(chart.series):
        errors = _errors(series)
        if chart.kind == "bars":
            left = [names.index(x) + (number - (len(chart.series) - 1) / 2) * width for x in series.x]
            axes.bar(left, series.y, width, yerr=errors, label=series.name)
        else:
            style = "o" if chart.kind == "points" else "o-"
            axes.errorbar(series.x, series.y, yerr=errors, fmt=style, markersize=4, label=series.name)
    if names:
        axes.set_xticks(range(len(names)), [str(name) for name in names])
    axes.set(xlabel=chart.x_title, ylabel=chart.y_title, title=chart.title)
    axes.set_xscale("log" if chart.log_x else axes.get_xscale())
    axes.set_yscale("log" if chart.log_y else axes.get_yscale())
    if len(chart.series) > 1:
        axes.legend(fontsize=8)
    with replacing(path) as draft:
        figure.savefig(draft, format="png")
