"""The task: what «as good as the dense network» means, and on which axis classes lie.

Planning, re-ranking, fine-tuning, reports and baselines all ask one :class:`Task`:

    Classification(axis)    mean over samples and positions of KL(dense ‖ small)         nats
    Regression()            mean over all entries of (dense − small)²                    squared error
    any callable            task(dense, small), 0 where both answer the same             its own unit

``task=None`` looks at the answers and the labels (:mod:`.choosing`) and says in the report what it took, and why.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from annealnet.whole_numbers import whole_number

__all__ = ["Classification", "Custom", "Judge", "Regression", "Task", "in_words", "same_sizes"]

#: What a user may give: ``(dense answers, small answers) -> a number``, a scalar tensor where it is fine-tuned on.
Judge = Callable[[Tensor, Tensor], "Tensor | float"]
#: A callable may answer this much for equal answers, which counts as 0.
_NOTHING = 1e-6
#: Numbers of answers that are judged at once, in float64: a language model's would be gigabytes.
_JUDGED_AT_ONCE = 2**24


class Task(ABC):
    """What «as good as the dense network» means.

    A task is itself callable as ``task(dense, small)``: the divergence of two sets of answers as a float, inf where the
    small network's are not finite.
    """

    @property
    @abstractmethod
    def unit(self) -> str:
        """Of the divergence."""

    @property
    def loss_unit(self) -> str | None:
        """Of the loss against labels; None where labels are not judged."""
        return None

    def __call__(self, dense: Tensor, small: Tensor) -> float:
        """The divergence in float64: 0 for equal answers, never negative, inf where ``small`` is not finite."""
        if not torch.isfinite(small).all():
            return math.inf
        with torch.no_grad():
            found = self._judged(dense, small)
        if math.isnan(found) and bool(torch.isfinite(dense).all()):
            raise ValueError(f"task={self.describe()} gives NaN for finite answers: it must give a number there")
        if found < -_NOTHING:
            raise ValueError(f"task={self.describe()} gives {found:g}, below 0: it must be 0 for equal answers, else larger")
        return math.inf if math.isnan(found) else max(0.0, found)

    def _judged(self, dense: Tensor, small: Tensor) -> float:
        """The divergence, a mean over samples, from some samples at a time."""
        some = max(1, _JUDGED_AT_ONCE * len(small) // max(1, small.numel()))
        parts = zip(small.split(some), dense.split(some), strict=True)
        return sum(float(self.taught(own.double(), wanted.double())) * len(own) for own, wanted in parts) / len(small)

    @abstractmethod
    def describe(self) -> str:
        """In a few words."""

    @abstractmethod
    def taught(self, answers: Tensor, dense: Tensor, temperature: float = 1.0) -> Tensor:
        """The divergence as a scalar that can be differentiated with respect to ``answers``: fine-tuning's loss."""

    @abstractmethod
    def check(self, answers: Tensor, y: Tensor | None, argument: str = "data") -> None:
        """Refuses answers and labels that do not belong to this task.

        Raises:
            ValueError: names the argument, what was found, and what to give.
        """

    def check_differentiable(self, answers: Tensor) -> None:  # noqa: B027  # the tasks here are
        """Raises a ValueError where fine-tuning could not learn from :meth:`taught`."""

    def loss(self, answers: Tensor, y: Tensor) -> Tensor | None:
        """Mean loss against labels, differentiable; None where this task does not judge labels."""
        return None

    def accuracy(self, answers: Tensor, y: Tensor) -> float | None:
        """Share of right answers; None where there are no classes."""
        return None

    def agreement(self, dense: Tensor, small: Tensor) -> float | None:
        """Share of samples and positions where both networks choose the same class; None where there are no classes."""
        return None

    def own_loss(self, answers: Tensor) -> Tensor:
        """Summed loss against what the network itself would choose, whose gradient first-order criteria read.

        Where there are no classes the choice is drawn: ½ (a − y)² with y ~ N(a, 1).
        """
        return self.drawn_loss(answers, torch.Generator().manual_seed(0))

    def drawn_loss(self, answers: Tensor, generator: torch.Generator) -> Tensor:
        """Summed negative log likelihood of labels drawn from the network's answers: its squared gradients are Fisher's."""
        noise = torch.randn(answers.shape, generator=generator)
        return 0.5 * ((answers - (answers.detach() + noise)) ** 2).sum()

    def probe(self, answers: Tensor, generator: torch.Generator) -> Tensor:
        """A random function of the answers whose squared slopes are the divergence, to second order and on average:

            D(a, a + δ) ≈ E ⟨∇probe, δ⟩²,   and E ⟨∇probe, δ⟩⟨∇probe, δ'⟩ = 0 for δ, δ' in different samples

        Of a task whose form is not known, that of a mean squared error stands for it.
        """
        return (_signs(answers, generator) * answers).sum() / math.sqrt(max(1, answers.numel()))


@dataclass(frozen=True)
class Classification(Task):
    """One class at every sample and position; the divergence is KL(dense ‖ small) in nats, averaged over them.

    Args:
        axis: of the answers on which classes lie: 1 for ``(samples, classes)`` and for segmentation
            ``(samples, classes, height, width)``, -1 for tokens ``(samples, positions, vocabulary)``. An axis of one entry
            (or answers without it) is a yes-or-no answer: its logit.
        probabilities: whether the network answers probabilities (it ends in a softmax) and not logits.
        ignore: label of positions that do not count, such as padding.

    Example:
        >>> task = Classification()
        >>> task(torch.zeros(2, 3), torch.zeros(2, 3))
        0.0
        >>> round(task(torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 9.0]])), 2)    # 9 nats, but for the tails
        9.0
    """

    axis: int = 1
    probabilities: bool = False
    ignore: int = -100

    def __post_init__(self) -> None:
        object.__setattr__(self, "axis", whole_number("axis", self.axis, None))

    @property
    def unit(self) -> str:
        """Nats of KL divergence."""
        return "nats"

    @property
    def loss_unit(self) -> str:
        """Nats of cross-entropy."""
        return "nats"

    def describe(self) -> str:
        """In a few words."""
        return f"classification, {'probabilities of ' if self.probabilities else ''}classes on axis {self.axis}"

    def _log(self, answers: Tensor, temperature: float = 1.0) -> Tensor:
        """Log probabilities, ``(samples and positions, classes)``."""
        if self._yes_or_no(answers):
            if self.probabilities:
                p = answers.reshape(-1, 1)
                logits = torch.cat([1 - p, p], dim=1).clamp_min(1e-30).log()
            else:
                logit = answers.reshape(-1, 1)
                logits = torch.cat([torch.zeros_like(logit), logit], dim=1)
        else:
            logits = answers.movedim(self.axis, -1).flatten(0, -2)
            logits = logits.clamp_min(1e-30).log() if self.probabilities else logits
        return (logits / temperature).log_softmax(1)

    def _yes_or_no(self, answers: Tensor) -> bool:
        return answers.ndim == 1 or answers.shape[self.axis] == 1

    def _classes(self, answers: Tensor) -> int:
        return 2 if self._yes_or_no(answers) else answers.shape[self.axis]

    def _places(self, answers: Tensor) -> tuple[int, ...]:
        """Shape of whole-numbered labels of one sample."""
        if answers.ndim == 1:
            return ()
        shape = list(answers.shape)
        del shape[self.axis]
        return tuple(shape[1:])

    def taught(self, answers: Tensor, dense: Tensor, temperature: float = 1.0) -> Tensor:
        """T² KL(dense ‖ answers), both softened by T (Hinton et al. 2015)."""
        small, wanted = self._log(answers, temperature), self._log(dense, temperature)
        return temperature**2 * F.kl_div(small, wanted, log_target=True, reduction="batchmean")

    def check(self, answers: Tensor, y: Tensor | None, argument: str = "data") -> None:
        """Classes where the axis says, and labels that are classes; see :meth:`Task.check`."""
        if answers.ndim > 1 and (not -answers.ndim <= self.axis < answers.ndim or self.axis % answers.ndim == 0):
            raise ValueError(
                f"task=Classification(axis={self.axis}): the model answers {in_words(answers)}: give an axis behind N"
            )
        if self.probabilities and (float(answers.min()) < 0 or float(answers.max()) > 1 + 1e-4):
            raise ValueError("task says probabilities=True, but the model answers numbers outside [0, 1]: leave it out")
        if y is None:
            return
        places, classes = self._places(answers), self._classes(answers)
        if tuple(y.shape[1:]) == tuple(answers.shape[1:]) and y.is_floating_point() and not self._yes_or_no(answers):
            if float(y.min()) < 0 or not torch.allclose(y.sum(self.axis), torch.ones(()), atol=1e-3):
                raise ValueError(f"{argument}: labels of shape {in_words(y)} are not probabilities of classes: give classes")
            return
        if not same_sizes(tuple(y.shape[1:]), places):
            raise ValueError(
                f"{argument}: labels of shape {in_words(y)} do not fit answers of shape {in_words(answers)} with "
                f"{self.describe()}: give labels of shape {sizes_in_words(places)}, another task=, or no labels"
            )
        counted = y[y != self.ignore]
        wrong = counted[(counted < 0) | (counted >= classes) | (counted != counted.round())]
        if len(wrong):
            raise ValueError(
                f"{argument}: label {wrong[0].item():g} is no class of {classes} ({self.describe()}): give whole numbers "
                f"from 0 to {classes - 1} ({self.ignore} for positions that do not count), or task=Regression()"
            )

    def _targets(self, answers: Tensor, y: Tensor) -> Tensor:
        """Classes ``(samples and positions,)``, or their probabilities ``(samples and positions, classes)``."""
        if y.shape == answers.shape and y.is_floating_point() and not self._yes_or_no(answers):
            return y.movedim(self.axis, -1).flatten(0, -2)
        return y.reshape(-1).long()

    def loss(self, answers: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy in nats over the positions that count."""
        log, targets = self._log(answers), self._targets(answers, y)
        if targets.ndim == 2:
            return -(targets * log).sum(1).mean()
        counted = (targets != self.ignore).sum().clamp_min(1)
        return F.nll_loss(log, targets, reduction="sum", ignore_index=self.ignore) / counted

    def accuracy(self, answers: Tensor, y: Tensor) -> float | None:
        """Share of right answers over the positions that count."""
        targets = self._targets(answers, y)
        targets = targets.argmax(1) if targets.ndim == 2 else targets
        right = (self._log(answers).argmax(1) == targets)[targets != self.ignore]
        return float(right.double().mean()) if len(right) else None

    def agreement(self, dense: Tensor, small: Tensor) -> float | None:
        """Share of samples and positions with the same class."""
        return float((self._log(dense).argmax(1) == self._log(small).argmax(1)).double().mean())

    def own_loss(self, answers: Tensor) -> Tensor:
        """Cross-entropy against the network's own classes, summed over samples and positions."""
        log = self._log(answers)
        return F.nll_loss(log, log.argmax(1), reduction="sum")

    def drawn_loss(self, answers: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy against classes drawn from the answers, summed."""
        log = self._log(answers)
        return F.nll_loss(log, torch.multinomial(log.detach().exp(), 1, generator=generator).flatten(), reduction="sum")

    def probe(self, answers: Tensor, generator: torch.Generator) -> Tensor:
        """Σ ξ √(p / 2) log p with signs ξ: the second moment of its slopes is ½ (diag(p) − p pᵀ), half KL's Hessian."""
        log = self._log(answers)
        root = (log.detach().exp() / (2 * max(1, len(log)))).sqrt()
        return (_signs(log, generator) * root * log).sum()


@dataclass(frozen=True)
class Regression(Task):
    """Numbers: the divergence is the mean squared difference over all samples and outputs.

    Outputs of very different scales weigh as their squares do: scale them in the network, or give a callable.

    Example:
        >>> Regression()(torch.zeros(2, 3), torch.full((2, 3), 100.0))
        10000.0
    """

    @property
    def unit(self) -> str:
        """Of the divergence."""
        return "squared error"

    @property
    def loss_unit(self) -> str:
        """Of the loss."""
        return "squared error"

    def describe(self) -> str:
        """In a few words."""
        return "regression, mean squared error"

    def taught(self, answers: Tensor, dense: Tensor, temperature: float = 1.0) -> Tensor:
        """Mean squared difference; there is nothing to soften."""
        return F.mse_loss(answers, dense)

    def check(self, answers: Tensor, y: Tensor | None, argument: str = "data") -> None:
        """Labels must have the answers' shape; see :meth:`Task.check`."""
        if y is not None and not same_sizes(tuple(y.shape[1:]), tuple(answers.shape[1:])):
            raise ValueError(
                f"{argument}: labels of shape {in_words(y)} do not fit a regression with answers of shape "
                f"{in_words(answers)}: give labels of shape {sizes_in_words(tuple(answers.shape[1:]))}, "
                "task=Classification(axis=…), or no labels"
            )

    def loss(self, answers: Tensor, y: Tensor) -> Tensor:
        """Mean squared error against the labels."""
        return F.mse_loss(answers, y.reshape(answers.shape).to(answers.dtype))


@dataclass(frozen=True)
class Custom(Task):
    """A user's own ``(dense, small) -> number``: 0 for equal answers, larger the worse. Labels are not judged.

    For fine-tuning it must give a scalar tensor that can be differentiated with respect to ``small``.

    Args:
        judge: the callable; answers come as ``(samples, …)`` tensors, float64 where they are measured.

    Example:
        >>> Custom(lambda dense, small: (dense - small).abs().max())(torch.zeros(2), torch.tensor([1.0, -3.0]))
        3.0
    """

    judge: Judge

    @property
    def unit(self) -> str:
        """The callable's attribute ``unit``, or «of the task given»."""
        return str(getattr(self.judge, "unit", "of the task given"))

    def describe(self) -> str:
        """In a few words."""
        return f"the callable {getattr(self.judge, '__name__', type(self.judge).__name__)}"

    def __repr__(self) -> str:
        """Where the callable is written; what makes two of them the same is the run's fingerprint to say."""
        return f"Custom({self.judge.__module__}.{getattr(self.judge, '__qualname__', type(self.judge).__qualname__)})"

    def _judged(self, dense: Tensor, small: Tensor) -> float:
        """Of all answers at once: it need not be a mean."""
        return float(self.taught(small.double(), dense.double()))

    def taught(self, answers: Tensor, dense: Tensor, temperature: float = 1.0) -> Tensor:
        """What the callable says."""
        return torch.as_tensor(self.judge(dense, answers))

    def check(self, answers: Tensor, y: Tensor | None, argument: str = "data") -> None:
        """It must say 0 for equal answers; see :meth:`Task.check`."""
        try:
            found = self.taught(answers.double(), answers.double())
        except Exception as error:
            raise ValueError(
                f"task={self.describe()} failed on the dense network's own answers {in_words(answers)} "
                f"({type(error).__name__}: {error}): it is called with (dense, small)"
            ) from error
        if found.numel() != 1 or not abs(float(found)) <= _NOTHING:
            raise ValueError(f"task={self.describe()} gives {found.tolist()} for equal answers: it must be 0 there")

    def check_differentiable(self, answers: Tensor) -> None:
        """Raises a ValueError where fine-tuning could not learn from it."""
        small = (answers[:2] + 0.1).float().requires_grad_(True)
        found = self.taught(small, answers[:2].float())
        if not found.requires_grad:
            raise ValueError(
                f"task={self.describe()} cannot be differentiated, which fine_tuning needs: compute it with torch on the "
                "tensors given, without .item(), .detach() or numpy"
            )


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """±1, drawn evenly."""
    return torch.randint(0, 2, like.shape, generator=generator, dtype=like.dtype).mul_(2).sub_(1)


def same_sizes(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether sizes are equal but for axes of one entry."""
    return [size for size in one if size != 1] == [size for size in other if size != 1]


def in_words(tensor: Tensor) -> str:
    """Its shape, as errors and reports say it."""
    return sizes_in_words(tuple(tensor.shape[1:]))


def sizes_in_words(shape: tuple[int, ...]) -> str:
    """Sizes behind that of the samples.

    Example:
        >>> sizes_in_words((3, 4)), sizes_in_words(())
        ('(N, 3, 4)', '(N,)')
    """
    return f"(N{''.join(f', {size}' for size in shape)}{',' if not shape else ''})"
