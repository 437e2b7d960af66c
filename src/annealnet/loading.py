"""One ``load`` for all that annealnet writes: a small network's file, or a compressed network's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = ["load"]


def load(path: str | Path, dense_model: nn.Module | None = None) -> Any:
    """What was saved at ``path``.

    Args:
        path: a file that ``save`` of a classifier wrote, or a folder of a compressed network.
        dense_model: for a folder: a fresh instance of the dense network that was compressed.

    Returns:
        For a file an :class:`~annealnet.artifact.SmallNetwork`: raw features in, the user's labels out. For a folder what
        :func:`annealnet.compression.load` gives.

    Raises:
        ValueError: nothing that annealnet wrote, or a folder without a dense network.
    """
    if dense_model is not None:
        from annealnet.compression import load as load_compressed

        return load_compressed(path, dense_model)
    if Path(path).is_dir():
        raise ValueError(f"path={str(path)!r} is a folder: give dense_model, a fresh instance of the network, too")
    from annealnet.artifact import SmallNetwork

    return SmallNetwork.load(path)
