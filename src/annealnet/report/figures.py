"""The page's three plots.

Colours are written as CSS variables (``var(--accent)``); the page gives them their values, light or dark,
when it draws.
"""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from annealnet.report.record import CompressionReport, MethodRow
from annealnet.report.wording import quantity

BITS = range(2, 9)  # widths with a colour of their own; anything else is drawn as left dense
_ROW = 26  # pixels of one row of bars or dots
_FRAME = 74  # pixels above and below the rows


def layers_figure(report: CompressionReport) -> go.Figure:
    """Bytes per layer: wide bars before, narrow bars after in the colour of their width in bits.

    >>> from annealnet.report.record import LayerRow, Totals
    >>> row = LayerRow("conv1", "conv", 16, 12, 4, 1728, 260, 10, 5)
    >>> figure = layers_figure(CompressionReport("", "", "", Totals(2, 2), Totals(1, 1), layers=(row,)))
    >>> [trace.name for trace in figure.data]
    ['before', '4 bit']
    """
    figure = _figure(height=_FRAME + _ROW * len(report.layers), x_title="bytes in the file")
    names = [row.name for row in report.layers]
    figure.add_bar(
        name="before",
        orientation="h",
        y=names,
        x=[row.bytes_before for row in report.layers],
        width=0.82,
        marker_color="var(--before)",
        text=[f" {row.bits} bit · {row.channels_after}/{row.channels_before}" for row in report.layers],
        textposition="outside",
        textfont={"color": "var(--muted)", "size": 11},
        cliponaxis=False,
        hovertemplate="%{y}: %{x:,} bytes before<extra></extra>",
    )
    for bits in sorted({row.bits for row in report.layers}):
        rows = [row for row in report.layers if row.bits == bits]
        figure.add_bar(
            name=f"{bits} bit",
            orientation="h",
            y=[row.name for row in rows],
            x=[row.bytes_after for row in rows],
            width=0.42,
            marker_color=f"var(--bit{bits})" if bits in BITS else "var(--muted)",
            hovertemplate=f"%{{y}}: %{{x:,}} bytes after, {bits} bit<extra></extra>",
        )
    widest = max(row.bytes_before for row in report.layers)
    figure.update_layout(barmode="overlay", showlegend=True)
    figure.update_xaxes(range=[0, 1.35 * widest], tickformat="~s")  # room for the labels beside the bars
    figure.update_yaxes(**_names_downwards(names))
    return figure


def methods_figure(report: CompressionReport) -> go.Figure:
    """Accuracy per method with its spread, best on top; filled dots after fine-tuning, rings before.

    >>> from annealnet.report.record import Totals
    >>> rows = tuple(MethodRow(m, 1, 1, a, 0, None, 0, (0,), False) for m, a in [("b", 0.5), ("a", 0.9)])
    >>> report = CompressionReport("", "", "", Totals(2, 2), Totals(1, 1), methods=rows)
    >>> list(methods_figure(report).layout.yaxis.categoryarray)
    ['b', 'a']
    """
    rows = [row for row in report.ranked_methods if row.accuracy_mean is not None]
    order = list(dict.fromkeys(row.method for row in rows))
    figure = _figure(height=_FRAME + _ROW * len(order), x_title="accuracy, %")
    for finetuned in sorted({row.finetuned for row in rows}):
        _add_methods(figure, [row for row in rows if row.finetuned == finetuned], finetuned, report.ours)
    if report.dense.accuracy is not None:
        dense = 100 * report.dense.accuracy
        line = {"color": "var(--muted)", "width": 1.2, "dash": "dot"}
        figure.add_vline(x=dense, line=line)
        # a line across a plot has no entry of its own in the legend
        figure.add_scatter(name=f"dense {dense:.1f} %", mode="lines", x=[None], y=[None], line=line)
    figure.update_layout(showlegend=True)
    figure.update_yaxes(**_names_downwards(order), showgrid=True)
    return figure


def _add_methods(figure: go.Figure, rows: list[MethodRow], finetuned: bool, ours: str) -> None:
    colours = ["var(--accent)" if row.method == ours else "var(--other)" for row in rows]
    accuracies = [100 * (row.accuracy_mean or 0.0) for row in rows]
    figure.add_scatter(
        name="fine-tuned" if finetuned else "not fine-tuned",
        mode="markers",
        x=accuracies,
        y=[row.method for row in rows],
        error_x={
            "type": "data",
            "array": [100 * row.accuracy_spread for row in rows],
            "color": "var(--other)",
            "thickness": 1.2,
            "width": 4,
        },
        marker={
            "size": 11,
            "color": colours if finetuned else "var(--paper)",
            "line": {"color": colours, "width": 2.5},
        },
        customdata=[[100 * row.accuracy_spread, quantity(row.bytes, "B"), len(row.seeds)] for row in rows],
        hovertemplate="%{y}: %{x:.1f} ± %{customdata[0]:.1f} %<br>%{customdata[1]}, %{customdata[2]} seed(s)<extra></extra>",
    )


def candidates_figure(report: CompressionReport) -> go.Figure:
    """True loss of every measured candidate against its energy, the chosen one marked.

    >>> from annealnet.report.record import Totals
    >>> measured = ((1.0, 0.3), (2.0, 0.2))
    >>> report = CompressionReport("", "", "", Totals(2, 2), Totals(1, 1), candidates=measured)
    >>> [(trace.name, trace.x) for trace in candidates_figure(report).data]
    [('candidates', (1.0,)), ('chosen: lowest true loss', (2.0,))]
    """
    finite = report.finite_candidates
    chosen = min(finite, key=lambda candidate: candidate[1])
    others = list(finite)
    others.remove(chosen)
    figure = _figure(height=340, x_title="energy (the model)")
    for name, points, colour, size in (
        ("candidates", others, "var(--other)", 9),
        ("chosen: lowest true loss", [chosen], "var(--accent)", 13),
    ):
        figure.add_scatter(
            name=name,
            mode="markers",
            x=[energy for energy, _ in points],
            y=[loss for _, loss in points],
            marker={"color": colour, "size": size, "line": {"color": "var(--paper)", "width": 1}},
            hovertemplate="energy %{x:.5g}<br>true loss %{y:.4g}<extra></extra>",
        )
    figure.update_layout(showlegend=True)
    figure.update_yaxes(title={"text": f"true loss, {report.unit}", "standoff": 14}, showgrid=True)
    return figure


def _names_downwards(names: list[str]) -> dict[str, Any]:
    """An axis of names from top to bottom; without the type, a layer called "3" would become the number 3."""
    return {"type": "category", "categoryorder": "array", "categoryarray": names[::-1]}


def _figure(height: int, x_title: str) -> go.Figure:
    """An empty figure in the page's manner: no box, thin grid, nothing that moves under the pointer."""
    figure = go.Figure()
    axis = {
        "gridcolor": "var(--line)",
        "linecolor": "var(--line)",
        "zeroline": False,
        "fixedrange": True,
        "automargin": True,
        "ticks": "",
        "exponentformat": "power",
    }
    figure.update_layout(
        template=None,
        height=height,
        margin={"l": 8, "r": 12, "t": 34, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "var(--font)", "size": 12, "color": "var(--ink)"},
        hoverlabel={"bgcolor": "var(--paper)", "bordercolor": "var(--line)", "font": {"color": "var(--ink)"}},
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1,
            "xanchor": "left",
            "yanchor": "bottom",
            "itemclick": False,
        },
        xaxis={**axis, "title": {"text": x_title, "font": {"size": 12, "color": "var(--muted)"}}},
        yaxis={**axis, "showgrid": False},
        dragmode=False,
    )
    return figure
