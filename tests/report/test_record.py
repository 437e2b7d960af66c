"""A report survives JSON, and damaged JSON is refused."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annealnet.report import CompressionReport, LayerRow, MethodRow, Totals

counts = st.integers(1, 10**9)
shares = st.none() | st.floats(0, 1)
losses = st.none() | st.floats(0, 1e6)
texts = st.text(max_size=12)
totals = st.builds(Totals, counts, counts, losses, shares, st.none() | st.tuples(*[st.floats(0.01, 1e4)] * 3))
layers = st.builds(LayerRow, texts, st.sampled_from(["conv", "linear"]), *[counts] * 2, st.integers(2, 32), *[counts] * 4)
methods = st.builds(
    MethodRow,
    texts,
    counts,
    counts,
    shares,
    st.floats(0, 1),
    losses,
    st.floats(0, 1e4),
    st.lists(counts, max_size=3).map(tuple),
    st.booleans(),
)
reports = st.builds(
    CompressionReport,
    texts,
    texts,
    texts,
    totals,
    totals,
    st.lists(layers, max_size=3).map(tuple),
    st.lists(methods, max_size=3).map(tuple),
    st.dictionaries(texts, st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | texts, max_size=3),
    st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(0, 1e6)), max_size=4).map(tuple),
    st.lists(texts, max_size=2).map(tuple),
    st.dictionaries(texts, st.integers() | texts, max_size=3),
    texts,
)


@given(report=reports)
def test_json_keeps_everything(report: CompressionReport) -> None:
    assert CompressionReport.from_json(report.to_json()) == report


@given(rows=st.lists(methods, min_size=1, max_size=6))
def test_methods_are_ranked_by_accuracy_and_those_without_come_last(rows: list[MethodRow]) -> None:
    report = CompressionReport("", "", "", Totals(1, 1), Totals(1, 1), methods=tuple(rows))
    ranked = report.ranked_methods
    assert sorted(map(repr, ranked)) == sorted(map(repr, rows))
    accuracies = [0.0 if row.accuracy_mean is None else row.accuracy_mean for row in ranked]
    assert accuracies == sorted(accuracies, reverse=True)


def test_a_broken_candidate_is_written_as_null_and_left_out_of_the_finite_ones() -> None:
    report = CompressionReport("", "", "", Totals(1, 1), Totals(1, 1), candidates=((1.0, math.inf), (2.0, 0.5)))
    assert json.loads(report.to_json())["candidates"] == [[1.0, None], [2.0, 0.5]]
    again = CompressionReport.from_json(report.to_json())
    assert again.finite_candidates == report.finite_candidates == [(2.0, 0.5)]


def damaged(report: CompressionReport, change) -> str:
    content = json.loads(report.to_json())
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(version=99), "version 99, expected 2"),
        (lambda c: c.pop("version"), "version None"),
        (lambda c: c.pop("layers"), "'layers'"),
        (lambda c: c["layers"][0].pop("bits"), "bits"),
        (lambda c: c.update(colour="red"), "colour"),
        (lambda c: c["dense"].update(accuracy=87.3), "not percent"),
        (lambda c: c["dense"].pop("latency_ms"), "latency_ms"),
    ],
)
def test_damaged_reports_are_refused(resnet20_report: CompressionReport, change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompressionReport.from_json(damaged(resnet20_report, change))


@pytest.mark.parametrize("text", ["", "[]", "3", '{"version": 1'])
def test_text_that_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"report (is not JSON|has version None)"):
        CompressionReport.from_json(text)


def test_percent_where_a_share_is_meant_is_refused() -> None:
    with pytest.raises(ValueError, match=r"accuracy is 87\.3"):
        Totals(1, 1, accuracy=87.3)
    with pytest.raises(ValueError, match="accuracy_mean is 50"):
        MethodRow("m", 1, 1, 50, 0, None, 0, (0,), False)
    with pytest.raises(ValueError, match="bytes is 0"):
        Totals(0, 1)
