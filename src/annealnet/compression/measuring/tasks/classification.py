"""One class at every sample and position: Kullback-Leibler divergence of what the two networks answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from annealnet.compression.measuring.tasks.protocol import Task, signs
from annealnet.compression.measuring.tasks.shapes import in_words, same_sizes, sizes_in_words
from annealnet.whole_numbers import whole_number

__all__ = ["Classification"]


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
        return (signs(log, generator) * root * log).sum()
