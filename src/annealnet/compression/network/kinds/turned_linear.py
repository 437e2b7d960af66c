"""Linear layers whose weight lies transposed, as GPT-2 keeps it: ``y = x W + b`` with W ``(inputs, outputs)``."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from annealnet.compression.network.kinds.linear import Linear

__all__ = ["TurnedLinear"]


@dataclass(frozen=True)
class TurnedLinear(Linear):
    """``Conv1D`` of the transformers library: a linear layer that notes its outputs in ``nf`` and its inputs in ``nx``."""

    word: str = "linear"

    def weight(self, module: nn.Module) -> Tensor:
        """``(outputs, inputs)``: the parameter turned, in the same memory."""
        return super().weight(module).t()

    def laid(self, weight: Tensor) -> Tensor:
        """Turned back."""
        return weight.t().contiguous()

    def resize(self, module: nn.Module, outputs: int, inputs: int) -> None:
        """Numbers of features."""
        module.nf, module.nx = outputs, inputs  # type: ignore[assignment]

    def expects(self, module: nn.Module) -> str:
        """Features at the end."""
        return f"{self.weight(module).shape[1]} features at the end"
