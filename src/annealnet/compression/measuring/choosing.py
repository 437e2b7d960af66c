"""Which task a network has: the one the user gives, or the one that its answers and the labels show."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from annealnet.compression.measuring.tasks import Classification, Custom, Judge, Regression, Task
from annealnet.compression.measuring.tasks.shapes import in_words, same_sizes
from annealnet.compression.network.answers import copies, labels_that_count, that_count
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.live import samples_at_once
from annealnet.compression.network.outputs import named_answer_in

__all__ = ["Chosen", "choose", "task_of"]

#: Samples whose answers show what the task is.
_SEEN = 64


@dataclass(frozen=True)
class Chosen:
    """A task and why it was taken.

    Attributes:
        task: what judges.
        reason: in words.
    """

    task: Task
    reason: str

    def __str__(self) -> str:
        return f"{self.task.describe()} ({self.reason})"


def choose(
    task: Task | Judge | None,
    answers: Tensor,
    y: Tensor | None = None,
    x: Tensor | None = None,
    name: str | None = None,
) -> Chosen:
    """The task given, checked; or the one that answers and labels show.

    ======================================  ===========================================  =============================
    answers                                 labels                                       taken
    ======================================  ===========================================  =============================
    any shape                               floats of that shape                         regression
    ``(N, C)``                              none, or classes ``(N,)``                    classes on axis 1
    ``(N, C, H, W)`` and more               none, or classes ``(N, H, W)``               classes on axis 1 (segmentation)
    ``(N, C, H, W)`` like float inputs      none                                         regression (image to image)
    ``(N, T, V)``                           none, or classes ``(N, T)``                  classes on the last axis (tokens)
    ``(N, C, L)``                           classes ``(N, L)``                           classes on axis 1
    hidden states, by their name            none                                         regression
    one output                              none, or numbers                             regression
    one output, beyond [0, 1]               only 0 and 1                                 classification, yes or no
    ======================================  ===========================================  =============================

    Classes that are all within [0, 1] and sum to 1 are taken as probabilities (a network that ends in a softmax).

    Args:
        task: a :class:`Task`, any callable ``(dense, small) -> number``, or None.
        answers: the dense network's on some samples.
        y: labels of all samples, or None.
        x: the inputs behind ``answers``.
        name: under which the network gave these answers; any that does not speak of logits is of hidden states.

    Raises:
        ValueError: when labels fit no task, or several: says which to give.

    Example:
        >>> print(choose(None, torch.randn(4, 10, 8, 8)))
        classification, classes on axis 1 (answers (N, 10, 8, 8) without labels: segmentation)
        >>> print(choose(None, torch.randn(4, 2), torch.randn(4, 2)))
        regression, mean squared error (labels are floating-point numbers of the answers' shape)
    """
    if task is not None:
        if not isinstance(task, Task) and not callable(task):
            raise ValueError(
                f"task={task!r} is no task: give Classification(axis=…), Regression(), or (dense, small) -> number"
            )
        chosen = Chosen(task if isinstance(task, Task) else Custom(task), "as given")
    elif y is None:
        chosen = _from_answers(answers, x, name)
    else:
        chosen = _from_labels(answers, y)
    chosen.task.check(answers, y)
    return chosen


def task_of(dense: nn.Module, calibration: Calibration, task: Task | Judge | None = None) -> Chosen:
    """:func:`choose` for a network and its calibration samples, before any work is done."""
    some = calibration.x[:_SEEN]
    answers, names = [], []
    with torch.no_grad():
        for batch in copies(some, samples_at_once(dense, some)):
            name, answer = named_answer_in(batch.call(dense), some.output)
            names.append(name)
            answers.append(answer)
    given = torch.cat(answers)
    y = labels_that_count(calibration.x, given, calibration.y)
    chosen = choose(_at_positions(task, some, given), that_count(some, given), y, some.main, names[0])
    at_positions = some.counted(given) is not None
    return replace(chosen, reason=f"{chosen.reason}, at positions that attention_mask counts") if at_positions else chosen


def _at_positions(task: Task | Judge | None, x: Inputs, answers: Tensor) -> Task | Judge | None:
    """The task for answers whose samples and positions have become one axis."""
    if isinstance(task, Classification) and task.axis > 1 and x.counted(answers) is not None:
        return replace(task, axis=task.axis - 1)
    return task


def _from_answers(answers: Tensor, x: Tensor | None, name: str | None) -> Chosen:
    said = f"answers {in_words(answers)} without labels"
    classes_or_one = () if answers.ndim == 1 else (answers.shape[1],) if answers.ndim > 3 else answers.shape[1:]
    if name is not None and "logits" not in name:
        return Chosen(Regression(), f"{said}, named {name!r}: hidden states")
    if answers.ndim == 1 or 1 in classes_or_one:
        return Chosen(Regression(), f"{said}: one output")
    if answers.ndim == 2:
        return Chosen(_classes(1, answers), f"{said}: one of {answers.shape[1]} classes")
    if answers.ndim == 3:
        return Chosen(_classes(-1, answers), f"{said}: tokens, {answers.shape[-1]} classes at each position")
    if x is not None and x.is_floating_point() and x.shape[1:] == answers.shape[1:]:
        return Chosen(Regression(), f"{said}, the shape of the inputs: image to image")
    return Chosen(_classes(1, answers), f"{said}: segmentation")


def _from_labels(answers: Tensor, y: Tensor) -> Chosen:
    asked = tuple(y.shape[1:])
    if same_sizes(asked, tuple(answers.shape[1:])):
        return _from_numbers(answers, y)
    if not y.is_floating_point():
        for axis in (-1, 1) if answers.ndim == 3 else (1, -1):
            places = list(answers.shape[1:])
            del places[axis - 1 if axis > 0 else axis]
            if same_sizes(asked, tuple(places)):
                return Chosen(_classes(axis, answers), f"labels {in_words(y)} of answers {in_words(answers)}")
    raise ValueError(
        f"data: labels of shape {in_words(y)} ({'floats' if y.is_floating_point() else 'whole numbers'}) fit "
        f"answers of shape {in_words(answers)} neither as classes nor as numbers: give classes as whole "
        "numbers, or numbers of the answers' shape, or no labels"
    )


def _from_numbers(answers: Tensor, y: Tensor) -> Chosen:
    """There are as many labels as outputs."""
    binary = bool(((y == 0) | (y == 1)).all())
    if answers.ndim == 1 or answers.shape[1] == 1:
        if binary and not _within_one(answers):
            return Chosen(Classification(1), "one output beyond [0, 1], and all labels are 0 or 1: yes or no, as a logit")
        return Chosen(Regression(), "one output, and labels are numbers")
    if binary:
        raise ValueError(
            f"data: labels of shape {in_words(y)} are all 0 or 1, as many as outputs: give "
            "task=an.Classification(axis=…) if each sample is of one class, task=an.Regression() if they are numbers, or a "
            "callable (several yes-or-no answers)"
        )
    if y.is_floating_point() and float(y.min()) >= 0 and torch.allclose(y.sum(1), torch.ones(()), atol=1e-4):
        raise ValueError(
            "data: labels look like probabilities of classes: give task=an.Classification() if they are, else "
            "task=an.Regression()"
        )
    kind = "floating-point" if y.is_floating_point() else "whole"
    return Chosen(Regression(), f"labels are {kind} numbers of the answers' shape")


def _within_one(answers: Tensor) -> bool:
    return float(answers.min()) >= 0 and float(answers.max()) <= 1


def _classes(axis: int, answers: Tensor) -> Classification:
    sums = answers.sum(axis)
    return Classification(
        axis, probabilities=_within_one(answers) and torch.allclose(sums, torch.ones_like(sums), atol=1e-4)
    )
