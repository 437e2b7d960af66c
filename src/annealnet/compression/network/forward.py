"""How a forward is run so that it can be looked into: attention by its parts, no cache of earlier tokens."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator

import torch
from torch import nn

from annealnet.compression.network.signature import Setting

__all__ = ["calling_settings", "plain_attention"]


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """PyTorch's transformer layers call their parts, not one fused operation for inference that reads their weights."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


def calling_settings(model: nn.Module) -> dict[str, Setting]:
    """What a network has to be told with every call: to keep no cache of earlier tokens, where it would.

    Example:
        >>> calling_settings(nn.Linear(2, 1))
        {}
    """
    return {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
