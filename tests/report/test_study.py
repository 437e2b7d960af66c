"""A study's report: the same figures in text, JSON, HTML and PNG."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from annealnet.report.study import Chart, Series, StudyReport, Table, write_study

TABLE = Table("Gaps", ("solver", "gap"), (("ours", "0.1"), ("<theirs>", "0.2")), note="ten runs")
CHARTS = (
    Chart("Lines & errors", "K", "gap", (Series("ours", (1, 2), (0.5, 0.25), (0.4, 0.2), (0.6, 0.3)),), log_y=True),
    Chart("Points", "K", "gap", (Series("a", (1,), (1,)), Series("b", (2,), (2,))), kind="points"),
    Chart("Bars", "solver", "gap", (Series("a", ("x", "y"), (1, 2)), Series("b", ("y",), (2,))), kind="bars"),
)


def test_everything_is_written_and_says_the_same(tmp_path: Path) -> None:
    report = StudyReport("A study", "What was found.", (TABLE, *CHARTS), {"seeds": 3})
    page = write_study(report, tmp_path / "new").read_text(encoding="utf-8")
    assert "&lt;theirs&gt;" in page
    assert "<theirs>" not in page.replace("&lt;theirs&gt;", "")
    document = json.loads((tmp_path / "new" / "study.json").read_text())
    assert document["text"] == report.text()
    assert document["parts"][1]["series"][0]["y"] == [0.5, 0.25]
    for chart in CHARTS:
        assert (tmp_path / "new" / chart.file_name).read_bytes().startswith(b"\x89PNG")
    assert "| ours | 0.1 |" in (tmp_path / "new" / "study.md").read_text()


def test_a_row_of_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a row has 1 cells for 2 columns"):
        Table("t", ("a", "b"), (("1",),))
