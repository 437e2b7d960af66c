"""What every task answers: a divergence, what fine-tuning learns from, and what first-order measures read."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["NOTHING", "Judge", "Task", "signs"]

#: What a user may give: ``(dense answers, small answers) -> a number``, a scalar tensor where it is fine-tuned on.
Judge = Callable[[Tensor, Tensor], "Tensor | float"]
#: A callable may answer this much for equal answers, which counts as 0.
NOTHING = 1e-6
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
        if found < -NOTHING:
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
        return (signs(answers, generator) * answers).sum() / math.sqrt(max(1, answers.numel()))


def signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """±1, drawn evenly."""
    return torch.randint(0, 2, like.shape, generator=generator, dtype=like.dtype).mul_(2).sub_(1)
