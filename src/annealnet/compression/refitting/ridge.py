"""The ridge: how far least squares may move weights on directions that a layer hardly sees.

Every refit, and every model of a refit, solves with the same regularised Gram matrix

    G + λ I,      λ = ridge · max(1, 16 · fan_in / rows) · mean diag(G)

so that λ has no unit: it does not change with the scale of the inputs, nor with whether G is summed or averaged over rows.
Least squares take up noise in proportion to weights per row. Up to a fan-in of 1 024 a layer gets at least sixteen rows per
weight where the data have them, a wider one 16 384 rows (:func:`~annealnet.compression.network.rows.sampled_rows`); with
fewer than sixteen λ grows as the noise does. *Our reconstruction*; the constants are chosen on validation data of three
networks, with many and with few rows.
"""

from __future__ import annotations

import math
import numbers

import torch
from torch import Tensor

from annealnet.compression.network.rows import ROWS_PER_WEIGHT

__all__ = ["DEFAULT_RIDGE", "check_ridge", "pruning_ridge", "regularised", "solved"]

DEFAULT_RIDGE = 4e-2
#: The least λ of the pairwise errors of removals.
_LEAST_PRUNING_RIDGE = 5e-2
#: What a ridge of 0 is taken as: inputs that are always zero, or copies of each other, make the Gram matrix singular.
_LEAST_RIDGE = 1e-6
#: Larger matrices are solved one by one: torch 2.13 fails on stacks of them once ``torch.set_num_threads`` has been called.
_STACKED = 64
#: λ where all inputs are zero: any positive one leaves the weights as they are, and a removal must cost nothing there.
_NOTHING_SEEN = 1e-12


def check_ridge(ridge: float) -> None:
    """Raises a ValueError unless λ is a finite number of at least 0.

    Example:
        >>> check_ridge(-1)
        Traceback (most recent call last):
        ValueError: ridge=-1 must be a finite number of at least 0: 0.04 is a good start
    """
    if isinstance(ridge, bool) or not isinstance(ridge, numbers.Real) or not math.isfinite(ridge) or ridge < 0:
        raise ValueError(f"ridge={ridge!r} must be a finite number of at least 0: {DEFAULT_RIDGE} is a good start")


def pruning_ridge(ridge: float) -> float:
    """λ inside the pairwise errors of removals, never below that of the refits.

    With many channels gone at once a channel can lean on fewer others than a pair model assumes.

    Example:
        >>> pruning_ridge(0.04), pruning_ridge(1.0)
        (0.05, 1.0)
    """
    return max(_LEAST_PRUNING_RIDGE, ridge)


def regularised(gram: Tensor, ridge: float, rows: int) -> Tensor:
    """G + λ I of every Gram matrix given.

    Args:
        gram: ``(…, fan_in, fan_in)``, sums or means over rows.
        ridge: λ in units of each matrix's mean diagonal times max(1, 16 · fan_in / rows); 0 stands for the limit λ → 0.
        rows: how many rows the matrices were made of; with fewer than 16 per weight λ grows.

    Returns:
        Shape and dtype of ``gram``; positive definite.

    Example:
        >>> regularised(torch.tensor([[1.0, 1.0], [1.0, 3.0]]), ridge=0.5, rows=32).tolist()
        [[2.0, 1.0], [1.0, 4.0]]
    """
    scale = gram.diagonal(dim1=-2, dim2=-1).mean(-1)
    scarce = max(1.0, ROWS_PER_WEIGHT * gram.shape[-1] / max(1, rows))
    strength = torch.where(scale > 0, max(ridge, _LEAST_RIDGE) * scarce * scale, torch.full_like(scale, _NOTHING_SEEN))
    return gram + strength[..., None, None] * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)


def solved(matrices: Tensor, right: Tensor) -> Tensor:
    """X with A X = B for every matrix of a stack.

    Args:
        matrices: A, ``(stack, n, n)``.
        right: B, ``(stack, n, k)``.

    Example:
        >>> solved(2 * torch.eye(2).expand(3, 2, 2), torch.ones(3, 2, 1)).flatten().tolist()
        [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    """
    if len(matrices) <= 1 or matrices.shape[-1] <= _STACKED:
        return torch.as_tensor(torch.linalg.solve(matrices, right))
    return torch.stack([torch.linalg.solve(one, other) for one, other in zip(matrices, right, strict=True)])
