"""The page is self-contained, says what the report says, and draws the report's numbers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from annealnet.report import CompressionReport, LayerRow, Totals, write_html
from annealnet.report.figures import candidates_figure, layers_figure, methods_figure
from annealnet.report.page import page

BARE = CompressionReport("", "net", "digits", Totals(100, 60), Totals(10, 20))


class Elements(HTMLParser):
    """Collects tags, attributes and the text outside of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"script", "style"}:
            self.words.append(data)


@pytest.fixture(scope="module")
def html(resnet20_report: CompressionReport) -> str:
    return page(resnet20_report)


def figures_of(html: str) -> dict[str, Any]:
    content = re.search(r'<script type="application/json" id="figures">(.*?)</script>', html, re.DOTALL)
    return json.loads(content.group(1))


def test_every_element_is_closed_and_nothing_is_loaded_from_elsewhere(html: str) -> None:
    elements = Elements(html)
    assert elements.open == []
    loading = {"src", "href", "srcset", "data", "action"}
    assert not [(tag, attrs) for tag, attrs in elements.tags if loading & attrs.keys()]
    assert not [tag for tag, _ in elements.tags if tag in {"link", "iframe", "img", "object"}]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL).group(1)
    assert "url(" not in style
    assert "@import" not in style


def test_the_page_says_what_the_report_says(html: str, resnet20_report: CompressionReport) -> None:
    words = " ".join(Elements(html).words)
    assert "ResNet-20: 10.0× smaller, accuracy 87.3 % → 84.1 %" in words
    for row in resnet20_report.layers:
        assert row.name in words
        assert f"{row.bytes_before:,} → {row.bytes_after:,}" in words
    for text in ("1.31 → 0.74 ms, median", "lower bound 3.1077", "86.0 % ± 0.2", *resnet20_report.notes):
        assert text in words


def test_every_figure_has_its_place_and_every_colour_is_defined_in_light_and_dark(html: str) -> None:
    figures = figures_of(html)
    places = {attrs["id"] for tag, attrs in Elements(html).tags if tag == "div" and "id" in attrs}
    assert figures.keys() == places == {"layers", "methods", "candidates"}
    used = set(re.findall(r"var\((--[\w-]+)\)", json.dumps(figures)))
    light, dark = re.search(r"<style>(.*?)</style>", html, re.DOTALL).group(1).split("prefers-color-scheme: dark")
    assert used
    assert used <= set(re.findall(r"(--[\w-]+):", light))
    assert used - {"--font"} <= set(re.findall(r"(--[\w-]+):", dark))


def test_sections_without_content_are_left_out() -> None:
    html = page(BARE)
    assert figures_of(html) == {}
    tags = [tag for tag, _ in Elements(html).tags]
    assert "section" not in tags
    assert "table" not in tags


@pytest.mark.parametrize("name", ['</script><script>alert("x")</script>', "a & b <i>"])
def test_names_cannot_break_the_page(name: str) -> None:
    row = LayerRow(name, "conv", 2, 1, 4, 100, 10, 10, 5)
    html = page(replace(BARE, network=name, layers=(row,), notes=(name,), settings={name: name}))
    elements = Elements(html)
    assert elements.open == []
    assert [tag for tag, _ in elements.tags].count("script") == 3  # plotly, figures, drawing
    assert name in "".join(elements.words)
    assert figures_of(html)["layers"]["data"][0]["y"] == [name]


def test_bars_are_the_bytes_of_the_layers(resnet20_report: CompressionReport) -> None:
    before, *after = layers_figure(resnet20_report).data
    assert dict(zip(before.y, before.x, strict=True)) == {r.name: r.bytes_before for r in resnet20_report.layers}
    drawn = {name: (trace.name, x) for trace in after for name, x in zip(trace.y, trace.x, strict=True)}
    assert drawn == {r.name: (f"{r.bits} bit", r.bytes_after) for r in resnet20_report.layers}


@pytest.mark.parametrize("draw", [layers_figure, methods_figure])
def test_names_that_look_like_numbers_stay_names(draw, resnet20_report: CompressionReport) -> None:
    layers = tuple(replace(row, name=str(i)) for i, row in enumerate(resnet20_report.layers))
    methods = tuple(replace(row, method=str(i)) for i, row in enumerate(resnet20_report.methods))
    axis = draw(replace(resnet20_report, layers=layers, methods=methods)).layout.yaxis
    assert axis.type == "category"
    assert sorted(axis.categoryarray) == sorted(str(i) for i in range(len(axis.categoryarray)))


def test_dots_are_the_accuracies_and_ours_alone_is_coloured(resnet20_report: CompressionReport) -> None:
    drawn = {}
    for trace in methods_figure(resnet20_report).data:
        if trace.mode == "markers":
            finetuned = trace.name == "fine-tuned"
            for method, x, spread, colour in zip(
                trace.y, trace.x, trace.error_x.array, trace.marker.line.color, strict=True
            ):
                drawn[method, finetuned] = (x, spread)
                assert (colour == "var(--accent)") == (method == resnet20_report.ours)
    assert drawn == {
        (m.method, m.finetuned): (100 * m.accuracy_mean, 100 * m.accuracy_spread) for m in resnet20_report.methods
    }


def test_no_method_is_ours_unless_the_report_says_so(resnet20_report: CompressionReport) -> None:
    given = {name: value for name, value in vars(resnet20_report).items() if name != "ours"}
    assert '<tr class="ours">' in page(resnet20_report)
    assert '<tr class="ours">' not in page(CompressionReport(**given))


def test_the_candidate_with_the_lowest_true_loss_is_marked(resnet20_report: CompressionReport) -> None:
    others, chosen = candidates_figure(resnet20_report).data
    assert (chosen.x[0], chosen.y[0]) == min(resnet20_report.finite_candidates, key=lambda c: c[1])
    drawn = list(zip(others.x + chosen.x, others.y + chosen.y, strict=True))
    assert sorted(drawn) == sorted(resnet20_report.finite_candidates)


def test_writing_leaves_one_whole_file(tmp_path: Path, html: str, resnet20_report: CompressionReport) -> None:
    target = tmp_path / "report.html"
    target.write_text("an older one")
    assert write_html(resnet20_report, target) == target
    assert target.read_text(encoding="utf-8") == html
    assert list(tmp_path.iterdir()) == [target]


def test_a_missing_folder_is_named_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone' does not exist"):
        write_html(BARE, tmp_path / "gone" / "report.html")
