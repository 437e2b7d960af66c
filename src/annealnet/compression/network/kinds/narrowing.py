"""Tensors that lose entries along their leading dimensions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["narrowed"]


def narrowed(parameter: Tensor, *kept: np.ndarray) -> Tensor:
    """The entries kept, bool per leading dimension; a parameter stays a parameter.

    Example:
        >>> narrowed(torch.arange(6).reshape(2, 3), np.array([True, False]), np.array([True, False, True])).tolist()
        [[0, 2]]
    """
    tensor = parameter.detach()
    for dim, here in enumerate(kept):
        tensor = tensor.index_select(dim, torch.from_numpy(np.flatnonzero(here)).to(tensor.device))
    tensor = tensor.clone()
    if isinstance(parameter, nn.Parameter):
        return nn.Parameter(tensor, requires_grad=parameter.requires_grad)
    return tensor
