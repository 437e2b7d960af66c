"""A user's own function of dense and small answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from annealnet.compression.measuring.tasks.protocol import NOTHING, Judge, Task
from annealnet.compression.measuring.tasks.shapes import in_words

__all__ = ["Custom"]


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
        if found.numel() != 1 or not abs(float(found)) <= NOTHING:
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
