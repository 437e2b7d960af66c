"""Words and numbers of a report."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from annealnet.report import CompressionReport, Totals, certificate_in_words, headline
from annealnet.report.wording import agreement_in_words, key_figures, quantity, task_in_words

SCALES = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}


@given(value=st.integers(0, 10**12))
def test_a_quantity_is_within_half_a_percent_of_the_number(value: int) -> None:
    digits, prefix = re.fullmatch(r"([\d.]+) ([kMG]?)B", quantity(value, "B")).groups()
    assert float(digits) * SCALES[prefix] == pytest.approx(value, rel=0.0051, abs=0.5)


def test_the_headline_falls_back_from_accuracy_to_loss_to_size() -> None:
    def sentence(dense: Totals, small: Totals) -> str:
        return headline(CompressionReport("", "N", "", dense, small))

    assert sentence(Totals(40, 1, 0.5, 0.9), Totals(10, 1, 0.6, 0.8)) == "N: 4.0× smaller, accuracy 90.0 % → 80.0 %"
    assert sentence(Totals(40, 1, 0.5, 0.9), Totals(10, 1, 0.625)) == "N: 4.0× smaller, loss 0.500 → 0.625"
    assert sentence(Totals(40, 1), Totals(10, 1)) == "N: 4.0× smaller"
    agreeing = Totals(10, 1, divergence=0.25, agreement=0.9)
    assert sentence(Totals(40, 1), agreeing) == "N: 4.0× smaller, 90.0 % of its answers are the dense network's"
    assert sentence(Totals(40, 1), Totals(10, 1, divergence=0.25)).endswith("0.250 nats from the dense network's answers")


def test_a_regression_is_reported_as_squared_error() -> None:
    dense, small = Totals(40, 1, 0.5, divergence=0.0), Totals(10, 1, 0.625, divergence=0.000125)
    report = CompressionReport("", "N", "", dense, small, task="regression, mean squared error", unit="squared error")
    assert headline(report) == "N: 4.0× smaller, squared error 0.500 → 0.625"
    assert key_figures(report)[2].name == "squared error"
    unlabelled = CompressionReport("", "N", "", Totals(40, 1), Totals(10, 1, divergence=0.5), unit="squared error")
    assert key_figures(unlabelled)[2].name == "squared error from the dense network"
    assert task_in_words(report).endswith("From the dense network: 0.000125 squared error.")
    assert "nats" not in task_in_words(report) + headline(report)


def test_key_figures_of_the_example(resnet20_report: CompressionReport) -> None:
    size, macs, accuracy, latency = key_figures(resnet20_report)
    assert (size.change, size.detail) == ("10.0×", "1.09 MB → 109 kB")
    assert macs.name == "fewer multiply-adds"
    assert (accuracy.change, accuracy.detail) == ("−3.2", "87.3 % → 84.1 %")
    assert (latency.change, latency.detail) == ("1.8×", "1.31 → 0.74 ms, median")


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ({}, "No energy was minimised."),
        ({"energy": 1.5, "lower_bound": None}, "Energy 1.5; no bound is known, so it may not be the lowest."),
        ({"energy": 1.0, "lower_bound": 0.0}, "lower bound 0, so it lies at most 1 above"),
        ({"energy": -2.0, "lower_bound": -2.5}, "at most 0.5 (25.0 %) above"),
        ({"energy": 2e-4, "lower_bound": -1e-6}, "at most 0.000201 above"),
        (
            {"energy": 1.0, "proven": True, "seed": 3, "sampler": "S", "reads": 8, "seconds": 1},
            "S, 8 reads, seed 3, 1.00 s.",
        ),
    ],
)
def test_certificates_in_words(certificate: dict, words: str) -> None:
    assert words in certificate_in_words(certificate)


points = st.lists(st.tuples(st.integers(-5, 5).map(float), st.integers(0, 5).map(float)), max_size=12)


@given(candidates=points)
def test_agreement_is_spearmans_correlation(candidates: list[tuple[float, float]]) -> None:
    report = CompressionReport("", "", "", Totals(1, 1), Totals(1, 1), candidates=tuple(candidates))
    words = agreement_in_words(report)
    energies, losses = np.array([*candidates, (0.0, 0.0)]).T[:, :-1]
    if len(set(energies)) < 2 or len(set(losses)) < 2:
        assert words.startswith("Too few different candidates")
    else:
        said = float(re.search(r"candidates: ([+-][\d.]+)\.", words).group(1))
        assert said == pytest.approx(spearmanr(energies, losses).statistic, abs=0.0051)


def test_broken_candidates_are_counted(resnet20_report: CompressionReport) -> None:
    assert agreement_in_words(resnet20_report).endswith("Not drawn: 1 without a finite loss.")
