"""Numbers: mean squared difference."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from annealnet.compression.measuring.tasks.protocol import Task
from annealnet.compression.measuring.tasks.shapes import in_words, same_sizes, sizes_in_words

__all__ = ["Regression"]


@dataclass(frozen=True)
class Regression(Task):
    """Numbers: the divergence is the mean squared difference over all samples and outputs.

    Outputs of very different scales weigh as their squares do: scale them in the network, or give a callable.

    Example:
        >>> import torch
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
