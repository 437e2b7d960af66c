"""What «as good as the dense network» means: properties of the divergences, small known values, what labels may be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import annealnet as an
from annealnet.compression.measuring.tasks import Custom, Task, protocol

SHAPES = [((6, 5), 1), ((3, 4, 5), -1), ((3, 4, 5), 1), ((2, 3, 4, 1), 1), ((2, 3, 2, 2, 2), 1), ((7, 1), 1), ((7,), 1)]
cases = st.tuples(st.sampled_from(SHAPES), st.integers(0, 10_000))


def drawn(shape: tuple[int, ...], seed: int, count: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [2 * torch.randn(shape, generator=generator) for _ in range(count)]


def tasks(axis: int) -> list[Task]:
    return [an.Classification(axis), an.Regression(), Custom(lambda dense, small: (dense - small).abs().mean())]


@given(cases)
def test_a_divergence_is_0_for_equal_answers_and_positive_for_others(case):
    (shape, axis), seed = case
    dense, small = drawn(shape, seed)
    for task in tasks(axis):
        assert task(dense, dense.clone()) == 0.0
        assert task(dense, small) > 0


@given(cases, st.integers(0, 1000))
def test_classes_may_be_numbered_otherwise_and_logits_shifted(case, other):
    (shape, axis), seed = case
    if len(shape) == 1 or shape[axis] == 1:
        return  # a single logit has no freedom
    dense, small = drawn(shape, seed)
    task, (shift,) = an.Classification(axis), drawn(shape, other, 1)
    order = torch.randperm(shape[axis], generator=torch.Generator().manual_seed(other))
    permuted = dense.index_select(axis, order), small.index_select(axis, order)
    assert task(*permuted) == pytest.approx(task(dense, small), rel=1e-9)
    assert task.agreement(*permuted) == task.agreement(dense, small)
    shift = shift.select(axis, 0).unsqueeze(axis)
    assert task(dense + shift, small) == pytest.approx(task(dense, small), rel=1e-4, abs=1e-6)
    assert task(dense, dense + shift) == pytest.approx(0, abs=1e-9)


@given(cases)
def test_moving_the_axis_of_classes_changes_nothing(case):
    (shape, axis), seed = case
    if len(shape) == 1:
        return
    dense, small = drawn(shape, seed)
    here, last = an.Classification(axis), an.Classification(-1)
    moved = dense.movedim(axis, -1), small.movedim(axis, -1)
    labels = dense.argmax(axis) if shape[axis] > 1 else (dense > 0).long().squeeze(axis)
    assert here(dense, small) == last(*moved)
    assert here.agreement(dense, small) == last.agreement(*moved)
    assert float(here.loss(small, labels)) == pytest.approx(float(last.loss(moved[1], labels)))
    assert here.accuracy(small, labels) == last.accuracy(moved[1], labels) == here.agreement(dense, small)


@given(cases, st.floats(0.5, 4))
def test_what_is_trained_on_is_what_is_measured_and_has_its_gradient(case, temperature):
    (shape, axis), seed = case
    dense, small = drawn(shape, seed)
    for task in tasks(axis):
        learnt = small.clone().requires_grad_(True)
        loss = task.taught(learnt, dense)
        assert float(loss.detach()) == pytest.approx(task(dense, small), rel=1e-4, abs=1e-6)
        (gradient,) = torch.autograd.grad(task.taught(learnt, dense, temperature), learnt)
        assert float(gradient.abs().sum()) > 0
        step = 1e-3 / float(gradient.abs().max())
        assert task.taught(small - step * gradient, dense, temperature) < task.taught(small, dense, temperature)


def test_small_values_known_by_hand():
    half, sure = torch.zeros(1, 2), torch.tensor([[0.0, math.log(3)]])  # (½, ½) and (¼, ¾)
    assert an.Classification()(half, sure) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert an.Classification()(half[:, :1], sure[:, 1:]) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    probabilities = an.Classification(probabilities=True)
    assert probabilities(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])) == pytest.approx(
        an.Classification()(half, sure)
    )
    assert probabilities(torch.tensor([[0.5]]), torch.tensor([[0.75]])) == pytest.approx(an.Classification()(half, sure))
    assert an.Regression()(torch.zeros(4, 3), torch.full((4, 3), 100.0)) == 10_000.0
    assert float(an.Classification().loss(half, torch.tensor([1]))) == pytest.approx(math.log(2))
    assert float(an.Regression().loss(torch.zeros(2, 1), torch.tensor([1.0, 3.0]))) == 5.0


def test_segmentation_is_measured_over_classes_not_over_the_last_axis():
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(8, 5, 4, 6, generator=generator)
    small = dense[:, torch.tensor([1, 2, 3, 4, 0])]  # other classes: over the width nothing would be seen for W = 1
    assert an.Classification(1)(dense[..., :1], small[..., :1]) > 0.5
    expected = F.kl_div(small.double().log_softmax(1), dense.double().log_softmax(1), log_target=True, reduction="none").sum(
        1
    )
    assert an.Classification(1)(dense, small) == pytest.approx(float(expected.mean()))


def test_broken_answers_are_infinitely_far():
    for task in tasks(1):
        assert task(torch.zeros(2, 3), torch.tensor([[0.0, torch.nan, 0.0]] * 2)) == math.inf
        assert task(torch.zeros(2, 3), torch.full((2, 3), torch.inf)) == math.inf


def test_positions_that_do_not_count():
    answers = torch.tensor([[[5.0, 0.0], [0.0, 5.0], [5.0, 0.0]]])
    labels = torch.tensor([[0, -100, 1]])
    task = an.Classification(-1)
    assert task.accuracy(answers, labels) == 0.5
    assert float(task.loss(answers, labels)) == pytest.approx(
        float(F.cross_entropy(answers.flatten(0, 1), labels.flatten(), ignore_index=-100))
    )
    assert task.accuracy(answers, torch.full((1, 3), -100)) is None
    assert float(task.loss(answers, torch.full((1, 3), -100))) == 0.0
    an.Classification(1, ignore=255).check(torch.zeros(2, 3, 4, 4), torch.full((2, 4, 4), 255))


def test_labels_may_be_probabilities_where_the_task_says_classes():
    answers, soft = torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    task = an.Classification()
    task.check(answers, soft)
    assert float(task.loss(answers, soft)) == pytest.approx(float(F.cross_entropy(answers, soft)))
    assert task.accuracy(answers, soft) == 1.0
    with pytest.raises(ValueError, match="not probabilities"):
        task.check(answers, soft + 1)


def test_gradients_of_own_and_drawn_losses():
    """Drawn labels: the mean gradient is 0, the mean square is Fisher's diagonal p (1 − p), or 1 in a regression."""
    logits = torch.tensor([[0.0, 1.0, -1.0]]).repeat(20_000, 1).requires_grad_(True)
    generator = torch.Generator().manual_seed(0)
    (gradient,) = torch.autograd.grad(an.Classification().drawn_loss(logits, generator), logits)
    p = logits.detach()[0].softmax(0)
    assert torch.allclose(gradient.mean(0), torch.zeros(3), atol=0.02)
    assert torch.allclose((gradient**2).mean(0), p * (1 - p), atol=0.02)
    (gradient,) = torch.autograd.grad(an.Regression().drawn_loss(logits, generator), logits)
    assert torch.allclose((gradient**2).mean(0), torch.ones(3), atol=0.05)
    (gradient,) = torch.autograd.grad(an.Classification().own_loss(logits[:1]), logits)
    assert torch.allclose(gradient[0], p - torch.tensor([0.0, 1.0, 0.0]), atol=1e-6)


@pytest.mark.parametrize(
    ("task", "answers", "labels", "words"),
    [
        (an.Classification(3), (2, 3), None, r"axis=3"),
        (an.Classification(0), (2, 3), None, r"axis=0"),
        (an.Classification(), (2, 3), torch.tensor([0, 3]), "label 3 is no class of 3"),
        (an.Classification(), (2, 3), torch.tensor([-1, 0]), "label -1 is no class"),
        (an.Classification(), (2, 3), torch.tensor([0.5, 0.0]), "label 0.5 is no class"),
        (an.Classification(), (2, 1), torch.tensor([0, 2]), "label 2 is no class of 2"),
        (an.Classification(), (2, 3, 4, 4), torch.zeros(2, 4), r"\(N, 4\) do not fit"),
        (an.Classification(probabilities=True), (2, 3), None, "probabilities=True"),
        (an.Regression(), (2, 3), torch.zeros(2), r"\(N,\) do not fit a regression"),
    ],
)
def test_answers_and_labels_that_do_not_belong_to_the_task(task, answers, labels, words):
    with pytest.raises(ValueError, match=words):
        task.check(torch.randn(answers, generator=torch.Generator().manual_seed(0)), labels)


def test_callables_must_be_0_for_equal_answers_and_tell_what_is_wrong():
    answers = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="equal answers"):
        Custom(lambda dense, small: (small**2).mean()).check(answers, None)
    with pytest.raises(ValueError, match="equal answers"):
        Custom(lambda dense, small: dense - small).check(answers, None)
    with pytest.raises(ValueError, match="failed on the dense network's own answers"):
        Custom(lambda one: 0.0).check(answers, None)
    plain = Custom(lambda dense, small: float((dense - small).abs().mean()))
    plain.check(answers, None)
    with pytest.raises(ValueError, match="cannot be differentiated"):
        plain.check_differentiable(answers)
    Custom(lambda dense, small: (dense - small).abs().mean()).check_differentiable(answers)


def test_a_callables_name_is_where_it_is_written():
    assert repr(Custom(math.dist)) == "Custom(math.dist)"
    assert repr(Custom(nn.MSELoss())) == "Custom(torch.nn.modules.loss.MSELoss)"
    assert repr(Custom(drawn)) == f"Custom({__name__}.drawn)"


@pytest.mark.parametrize("axis", ["a", 1.0, True, None])
def test_an_axis_that_is_no_whole_number_is_refused(axis):
    with pytest.raises(ValueError, match=r"^axis=.*give a whole number"):
        an.Classification(axis=axis)


def test_an_axis_may_be_one_of_numpy():
    assert an.Classification(axis=np.int64(-1)) == an.Classification(axis=-1)


def test_a_callable_below_zero_or_nan_is_refused_and_rounding_is_not():
    one, other = torch.zeros(2, 3), torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"task=the callable .*below 0"):
        Custom(lambda dense, small: (dense - small).sum())(one, other)
    with pytest.raises(ValueError, match=r"task=the callable .*NaN"):
        Custom(lambda dense, small: (dense - small).sum().log())(one, other)
    assert Custom(lambda dense, small: torch.tensor(-1e-9))(one, other) == 0.0
    assert Custom(lambda dense, small: (dense - small).sum())(one, other * math.inf) == math.inf


@given(cases, st.integers(1, 40))
def test_answers_may_be_judged_in_parts(case, at_once):
    (shape, axis), seed = case
    dense, small = drawn(shape, seed)
    whole = [task(dense, small) for task in tasks(axis)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "_JUDGED_AT_ONCE", at_once)
        assert [task(dense, small) for task in tasks(axis)] == pytest.approx(whole, rel=1e-12)
        assert Custom(lambda dense, small: (dense - small).abs().max())(dense, small) == float(
            (dense.double() - small.double()).abs().max()
        )


def test_parts_of_unequal_size_weigh_by_their_samples(monkeypatch):
    monkeypatch.setattr(protocol, "_JUDGED_AT_ONCE", 2)
    assert an.Regression()(torch.zeros(3, 1), torch.tensor([[0.0], [0.0], [3.0]])) == 3.0
