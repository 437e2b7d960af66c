"""A network as a function of tensors by position that answers the one that counts, for those who know no other."""

from __future__ import annotations

from torch import Tensor, nn

from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.outputs import answer_in

__all__ = ["Answering"]


class Answering(nn.Module):
    """A network that takes its tensors by position, in the order of :attr:`.Inputs.tensors`, and answers what counts.

    Example:
        >>> import torch
        >>> x = Inputs(kwargs={"input": torch.ones(1, 3)})
        >>> Answering(nn.Linear(3, 2), x)(torch.ones(4, 3)).shape
        torch.Size([4, 2])
    """

    def __init__(self, network: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        self.network = network
        self._positions, self._names = len(inputs.args), tuple(inputs.kwargs)
        self._settings, self._output = dict(inputs.settings), inputs.output

    def forward(self, *tensors: Tensor) -> Tensor:
        """The answer that counts."""
        named = dict(zip(self._names, tensors[self._positions :], strict=True))
        return answer_in(self.network(*tensors[: self._positions], **named, **self._settings), self._output)
