"""Linear layers: a matrix on the last dimension, at every position before it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from annealnet.compression.network.kinds.protocol import LayerKind, LayerLabels
from annealnet.compression.network.passage import Passage

__all__ = ["Linear"]


@dataclass(frozen=True)
class Linear(LayerKind):
    """``nn.Linear``: ``(…, inputs)`` → ``(…, outputs)``. Exporters write a matrix product with the weight transposed.

    Example:
        >>> Linear().rows(nn.Linear(3, 2), torch.zeros(4, 5, 3), torch.Generator(), 100).shape
        torch.Size([20, 1, 3])
    """

    word: str = "linear"
    transposed_in_onnx: bool = True
    by_position: bool = True

    def labels(self, module: nn.Module, passage: Passage) -> LayerLabels:
        """Reads the last dimension, and gives it anew."""
        axis = len(passage.out_shape) - 1
        outputs, inputs = self.weight(module).shape
        return LayerLabels(axis, passage.classes.fresh(outputs), passage.read(axis, inputs))

    def bias(self, module: nn.Module) -> Tensor | None:
        """The bias ``(outputs,)``; None where there is none, or one of another shape, as for each position."""
        found = super().bias(module)
        return found if found is not None and found.shape == self.weight(module).shape[:1] else None

    def rows(self, module: nn.Module, x: Tensor, generator: torch.Generator, max_rows: int) -> Tensor:
        """All positions of all samples are one list; some are drawn where there are too many."""
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) > max_rows:
            rows = rows[torch.randperm(len(rows), generator=generator)[:max_rows]]
        return rows.unsqueeze(1)

    def resize(self, module: nn.Module, outputs: int, inputs: int) -> None:
        """Numbers of features."""
        module.out_features, module.in_features = outputs, inputs  # type: ignore[assignment]

    def expects(self, module: nn.Module) -> str:
        """Features at the end."""
        return f"{module.in_features} features at the end"
