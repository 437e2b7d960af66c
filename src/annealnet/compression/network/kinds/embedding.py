"""Embeddings: tokens go in, which carry no channels, and the table stays dense."""

from __future__ import annotations

from torch import nn

from annealnet.compression.network.kinds.protocol import Kind
from annealnet.compression.network.passage import NotUnderstood, Passage

__all__ = ["Embedding"]


class Embedding(Kind):
    """``nn.Embedding``: what comes out carries no labels, so all of it stays."""

    def passes(self, module: nn.Module, passage: Passage) -> None:
        """No channel can be an index."""
        if passage.value is not None:
            raise NotUnderstood("its indices are computed from channels")

    def why_dense(self, module: nn.Module) -> str:
        """Its table."""
        return "it is an embedding"
