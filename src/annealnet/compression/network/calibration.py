"""The user's network and data, checked before any work starts."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Calibration", "check_network", "fingerprint", "read_batches"]


@dataclass(frozen=True)
class Calibration:
    """Samples in memory.

    Attributes:
        x: float32 ``(samples, …)``, or int32 or int64 where a network reads tokens.
        y: int64 ``(samples,)`` or None where no labels were given.
    """

    x: Tensor
    y: Tensor | None


def read_batches(data: Iterable[Any], argument: str = "data", samples: int | None = None) -> Calibration:
    """Reads batches of ``(x, y)``, ``(x, None)`` or plain ``x`` into memory.

    Args:
        data: an iterable of batches, a DataLoader for instance.
        argument: the name errors use.
        samples: stop after this many.

    Raises:
        ValueError: when there are no samples, shapes differ between batches, or an input is NaN or infinite.

    Example:
        >>> read_batches([(torch.zeros(2, 3), torch.tensor([0, 1]))]).x.shape
        torch.Size([2, 3])
    """
    xs: list[Tensor] = []
    ys: list[Tensor] = []
    seen = 0
    for number, batch in enumerate(data):
        x, y = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, None)
        if not isinstance(x, Tensor):
            raise ValueError(
                f"{argument}: batch {number} holds {type(x).__name__}, not a tensor: give batches of (x, y) tensors"
            )
        if xs and x.shape[1:] != xs[0].shape[1:]:
            raise ValueError(
                f"{argument}: batch {number} has samples of shape {tuple(x.shape[1:])}, the first had "
                f"{tuple(xs[0].shape[1:])}: give samples of one shape"
            )
        if not torch.isfinite(x).all():
            raise ValueError(f"{argument}: batch {number} holds NaN or infinite values: clean the inputs first")
        if y is not None and len(y) != len(x):
            raise ValueError(f"{argument}: batch {number} has {len(x)} samples and {len(y)} labels: give one label each")
        xs.append(x if x.dtype in (torch.int32, torch.int64) else x.float())  # whole numbers are tokens of an embedding
        if y is not None:
            ys.append(torch.as_tensor(y).long())
        seen += len(x)
        if samples is not None and seen >= samples:
            break
    if seen == 0:
        raise ValueError(f"{argument} is empty: give at least one batch of samples (a few hundred are a good start)")
    labelled = len(ys) == len(xs)
    return Calibration(torch.cat(xs)[:samples], torch.cat(ys)[:samples] if labelled else None)


def check_network(model: nn.Module, x: Tensor) -> nn.Module:
    """A copy in evaluation mode that is known to take these samples and to answer finite numbers.

    Raises:
        ValueError: when a weight is NaN or infinite, or the network does not take samples of this shape.

    Example:
        >>> check_network(nn.Linear(3, 2), torch.zeros(1, 3)).training
        False
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"model: {name!r} holds NaN or infinite values: load weights of a trained network")
    dense = copy.deepcopy(model).eval().requires_grad_(False)
    try:
        with torch.no_grad():
            answer = dense(x[:2])
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ValueError(
            f"data: samples of shape {tuple(x.shape[1:])} do not fit the model ({_first_line(error)}): "
            "give inputs as the network was trained on"
        ) from error
    if not isinstance(answer, Tensor):
        raise ValueError(f"model answers with {type(answer).__name__}: wrap it so that it returns one tensor of logits")
    if not torch.isfinite(answer).all():
        raise ValueError(
            "model answers NaN or infinite values on the first samples: check its weights and the inputs' scale"
        )
    return dense


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def fingerprint(model: nn.Module, data: Calibration, *settings: object) -> str:
    """Identifies a run: weights, data and settings; equal only if all are.

    Example:
        >>> data = Calibration(torch.zeros(1, 2), None)
        >>> net = nn.Linear(2, 2)
        >>> fingerprint(net, data, 1) == fingerprint(net, data, 1) != fingerprint(net, data, 2)
        True
    """
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.detach().cpu().numpy()).tobytes())
    digest.update(np.ascontiguousarray(data.x.numpy()).tobytes())
    if data.y is not None:
        digest.update(data.y.numpy().tobytes())
    digest.update(repr(settings).encode())
    return digest.hexdigest()
