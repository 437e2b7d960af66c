"""`task=None`: what answers and labels show, each case of the table, and what is refused."""

from __future__ import annotations

import pytest
import torch

import annealnet as an
from annealnet.compression.measuring.choosing import choose
from annealnet.compression.measuring.tasks import Custom

N = 6


def answers(*sizes: int) -> torch.Tensor:
    return 2 * torch.randn(N, *sizes, generator=torch.Generator().manual_seed(0))


def classes(*sizes: int, count: int = 3) -> torch.Tensor:
    return torch.randint(count, (N, *sizes), generator=torch.Generator().manual_seed(1))


def numbers(*sizes: int) -> torch.Tensor:
    return torch.randn(N, *sizes, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("given", "labels", "taken", "why"),
    [
        (answers(3), None, an.Classification(1), "one of 3 classes"),
        (answers(3), classes(), an.Classification(1), "labels"),
        (answers(3), classes(1), an.Classification(1), "labels"),
        (answers(3), numbers(3), an.Regression(), "floating-point"),
        (answers(3), classes(3, count=9), an.Regression(), "whole numbers"),
        (answers(4, 3), None, an.Classification(-1), "tokens"),
        (answers(4, 3), classes(4), an.Classification(-1), "labels"),
        (answers(3, 4), classes(4), an.Classification(1), "labels"),
        (answers(4, 4), classes(4), an.Classification(-1), "labels"),
        (answers(4, 3), numbers(4, 3), an.Regression(), "floating-point"),
        (answers(3, 5, 4), None, an.Classification(1), "segmentation"),
        (answers(3, 5, 4), classes(5, 4), an.Classification(1), "labels"),
        (answers(5, 4, 3), classes(5, 4), an.Classification(-1), "labels"),
        (answers(3, 5, 4), numbers(3, 5, 4), an.Regression(), "floating-point"),
        (answers(3, 2, 2, 2), None, an.Classification(1), "segmentation"),
        (answers(1), None, an.Regression(), "one output"),
        (answers(), None, an.Regression(), "one output"),
        (answers(1), numbers(), an.Regression(), "one output"),
        (answers(1), numbers(1), an.Regression(), "one output"),
        (answers(), numbers(), an.Regression(), "one output"),
        (answers(1), classes(count=9), an.Regression(), "one output"),
        (answers(1), classes(count=2), an.Classification(1), "yes or no"),
        (answers(), classes(count=2).float(), an.Classification(1), "yes or no"),
        (answers(1).sigmoid(), classes(count=2), an.Regression(), "one output"),
        (answers(1, 5, 5), classes(5, 5, count=2), an.Classification(1), "yes or no"),
        (answers(1, 5, 5), None, an.Regression(), "one output"),
        (answers(5, 1), None, an.Regression(), "one output"),
        (answers(1, 5), None, an.Regression(), "one output"),
        (answers(3).softmax(1), classes(), an.Classification(1, probabilities=True), "labels"),
        (answers(4, 3).softmax(-1), None, an.Classification(-1, probabilities=True), "tokens"),
    ],
)
def test_what_is_taken_and_why(given, labels, taken, why):
    chosen = choose(None, given, labels)
    assert chosen.task == taken
    assert why in str(chosen)
    assert chosen.task(given, given) == 0.0


def test_answers_like_float_inputs_are_an_image():
    assert choose(None, answers(3, 5, 5), x=numbers(3, 5, 5)).task == an.Regression()
    assert choose(None, answers(3, 5, 5), x=numbers(1, 5, 5)).task == an.Classification(1)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("last_hidden_state", an.Regression()), ("pooler_output", an.Regression()), ("image_embeds", an.Regression()),
        ("features", an.Regression()), ("logits", an.Classification(-1)), ("start_logits", an.Classification(-1)),
        (None, an.Classification(-1)),
    ],
)  # fmt: skip
def test_hidden_states_are_numbers_and_logits_are_classes(name, task):
    assert choose(None, answers(4, 3), name=name).task == task
    assert choose(None, answers(4, 3), classes(4), name=name).task == an.Classification(-1)  # labels say more than names


@pytest.mark.parametrize(
    ("given", "labels", "words"),
    [
        (answers(3), classes(count=5), "is no class of 3"),
        (answers(3), numbers(), "neither as classes nor as numbers"),
        (answers(4, 3), classes(), "neither as classes nor as numbers"),
        (answers(3, 5, 4), classes(4, 5), "neither as classes nor as numbers"),
        (answers(3), classes(3, count=2), "all 0 or 1"),
        (answers(3), classes(3, count=2).float(), "all 0 or 1"),
        (answers(3), numbers(3).softmax(1), "look like probabilities"),
    ],
)
def test_labels_that_fit_nothing_or_several_tasks_are_refused(given, labels, words):
    with pytest.raises(ValueError, match=words):
        choose(None, given, labels)


def test_what_is_given_is_taken_and_checked():
    assert choose(an.Regression(), answers(3)).task == an.Regression()
    assert "as given" in str(choose(an.Regression(), answers(3)))
    judge = choose(lambda dense, small: (dense - small).abs().mean(), answers(3)).task
    assert isinstance(judge, Custom)
    with pytest.raises(ValueError, match="task='regression' is no task"):
        choose("regression", answers(3))
    with pytest.raises(ValueError, match="do not fit a regression"):
        choose(an.Regression(), answers(3), classes())
