"""Means, deviations and bold figures: computed, and in one way."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annealnet.report.summary import best_in_bold, mean_and_spread, summarise

NUMBERS = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9)
SOURCES = [
    path
    for folder in ("benchmarks", "src/annealnet/studies")
    for path in sorted((Path(__file__).parents[2] / folder).rglob("*.py"))
]


@given(NUMBERS)
def test_deviations_are_over_one_less_than_the_seeds(values: list[float]):
    middle, spread = summarise(iter(values))
    assert middle == pytest.approx(statistics.mean(values))
    assert spread == pytest.approx(statistics.stdev(values) if len(values) > 1 else 0.0)
    assert mean_and_spread(values, ".3f") == f"{middle:.3f} ± {spread:.3f}"


@given(NUMBERS, st.sampled_from([max, min]))
def test_the_best_are_bold_and_what_reads_like_the_best(values: list[float], best):
    cells = [f"{value:.1f} ± 0.1" for value in values]
    shown = best_in_bold(cells, values, best)
    assert [cell.strip("*") for cell in shown] == cells
    bold = {cell.strip("*").split()[0] for cell in shown if cell.startswith("**")}
    assert bold == {f"{best(values):.1f}"}
    assert all(cell.startswith("**") for cell in shown if cell.strip("*").split()[0] in bold)


def test_a_column_without_figures_has_nothing_bold():
    assert best_in_bold(["–", "–"], [None, None]) == ["–", "–"]
    assert best_in_bold(["–", "2"], [None, 2.0], min) == ["–", "**2**"]
    with pytest.raises(ValueError, match="zip"):
        best_in_bold(["1", "2"], [1.0])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_tables_of_benchmarks_and_studies_take_their_deviations_from_here(path: Path):
    text = path.read_text()
    assert not re.search(r"\bp?stdev\b", text)
    assert not re.search(r"\} ± \{", text)
