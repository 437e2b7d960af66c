"""Embeddings: a table of rows, each on a grid of its own; tokens go in, which carry no channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.compression.network.kinds.protocol import LayerKind, LayerLabels
from annealnet.compression.network.passage import NotUnderstood, Passage

__all__ = ["Embedding"]


@dataclass(frozen=True)
class Embedding(LayerKind):
    """``nn.Embedding``: ``(…)`` indices → ``(…, features)``, one scale per row of the table; rounded by value.

    A head that shares the table shares its grid: it is rounded once and stored once.

    Example:
        >>> Embedding().reads_rows, Embedding().multiplies
        (False, False)
    """

    word: str = "embedding"
    reads_rows: bool = False
    multiplies: bool = False

    def labels(self, module: nn.Module, passage: Passage) -> LayerLabels:
        """All rows and all features stay."""
        if passage.value is not None:
            raise NotUnderstood("its indices are computed from channels")
        rows, features = self.weight(module).shape
        return LayerLabels(len(passage.out_shape) - 1, np.full(rows, -1), np.full(features, -1))

    def rows(self, module: nn.Module, x: Tensor, generator: torch.Generator, max_rows: int) -> Tensor:
        """An index multiplies nothing."""
        raise NotUnderstood("an index multiplies nothing")

    def bias(self, module: nn.Module) -> Tensor | None:
        """There is none."""
        return None

    def resize(self, module: nn.Module, outputs: int, inputs: int) -> None:
        """Numbers of rows and of features."""
        module.num_embeddings, module.embedding_dim = outputs, inputs  # type: ignore[assignment]

    def expects(self, module: nn.Module) -> str:
        """Whole numbers."""
        return f"whole numbers from 0 to {len(self.weight(module)) - 1}"
