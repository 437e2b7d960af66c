"""What removing channels costs the layer that reads them, refit included, for every pair of channels.

A reading layer with Gram matrix G = XᵀX/rows (ridge added) and weights W answers Y = XW. Remove the inputs of a set P
of channels and refit the rest by least squares: the squared error that remains is (block optimal brain surgeon)

    ε(P) = tr( W_Pᵀ [(G⁻¹)_PP]⁻¹ W_P )

ε is not quadratic in P. Its best pairwise model takes F_ii = ε({i}) and F_ij = (ε({i,j}) − ε({i}) − ε({j})) / 2, so that
pᵀFp is *exact for every single channel and every pair*: two channels that can stand in for each other cost more
together than apart, two that share a job cost less. *Our reconstruction.*
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from annealnet.compression.refitting.ridge import solved

__all__ = ["block_sum", "pairwise_contribution", "pairwise_refit_error", "slot_blocks"]

#: Entries of the stacked pair problems solved at once (bounds memory at about 200 MB of float64).
_CHUNK_ENTRIES = 12_000_000


def slot_blocks(units: Tensor, fan_in: int) -> tuple[Tensor, Tensor]:
    """Which rows of the weight matrix belong to which unit.

    Args:
        units: ``(in_slots,)`` unit of each input slot of one weight group, -1 for slots that always stay.
        fan_in: rows of the weight matrix; a multiple of ``in_slots`` (kernel positions are innermost).

    Returns:
        ``(ids, rows)``: the removable units ``(n,)`` and their rows ``(n, width)``, padded with -1 where a unit has fewer.

    Example:
        >>> slot_blocks(torch.tensor([4, -1, 4]), 6)
        (tensor([4]), tensor([[0, 1, 4, 5]]))
    """
    per_slot = fan_in // len(units)
    ids = torch.unique(units[units >= 0])
    found = [(torch.nonzero(units == unit).flatten()[:, None] * per_slot + torch.arange(per_slot)).flatten() for unit in ids]
    width = max((len(rows) for rows in found), default=0)
    blocks = torch.full((len(ids), width), -1)
    for i, rows in enumerate(found):
        blocks[i, : len(rows)] = rows
    return ids, blocks


def _block_error(inverse: Tensor, matrix: Tensor, blocks: Tensor) -> Tensor:
    """ε of each row set: tr(W_Pᵀ [(G⁻¹)_PP]⁻¹ W_P); rows of -1 count as absent."""
    absent = blocks < 0
    index = blocks.clamp_min(0)
    inner = inverse[index[:, :, None], index[:, None, :]]
    gone = absent[:, :, None] | absent[:, None, :]
    inner = torch.where(gone, torch.zeros_like(inner), inner)
    inner = inner + torch.diag_embed(absent.to(inner.dtype))
    weights = torch.where(absent[:, :, None], torch.zeros_like(matrix[:1, :1]), matrix[index])
    outer = weights @ weights.transpose(1, 2)
    return solved(inner, outer).diagonal(dim1=1, dim2=2).sum(1)


def pairwise_contribution(gram: Tensor, matrix: Tensor, blocks: Tensor) -> Tensor:
    """F without a refit: ⟨x_i W_i, x_j W_j⟩ of the channels' contributions to the layer's output.

    For layers too wide to invert G for; exact for every set of removals as long as nothing is refitted.

    Args:
        gram: ``(fan_in, fan_in)`` mean of x xᵀ over the layer's input rows.
        matrix: ``(fan_in, outputs)`` its weights.
        blocks: ``(n, width)`` rows of each removable channel, -1 pads.

    Returns:
        float64 ``(n, n)`` symmetric.

    Example:
        >>> pairwise_contribution(torch.ones(2, 2), torch.ones(2, 1), torch.tensor([[0], [1]])).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    product = gram * (matrix @ matrix.T)
    member = torch.zeros(len(gram), len(blocks), dtype=product.dtype)
    unit = torch.arange(len(blocks)).unsqueeze(1).expand_as(blocks)
    present = blocks >= 0
    member[blocks[present], unit[present]] = 1.0
    return (member.T @ product @ member).double()


def pairwise_refit_error(gram: Tensor, matrix: Tensor, blocks: Tensor) -> Tensor:
    """F: the refit error of removing channels of one layer, exact up to pairs.

    Args:
        gram: ``(fan_in, fan_in)`` mean of x xᵀ over the layer's input rows, regularised: the ridge keeps the model from
            hiding in its null space.
        matrix: ``(fan_in, outputs)`` its weights.
        blocks: ``(n, width)`` rows of each removable channel, -1 pads (see :func:`slot_blocks`).

    Returns:
        float64 ``(n, n)`` symmetric.

    Example:
        Two inputs that always agree: either may go for nothing, not both.

        >>> gram = torch.ones(2, 2) + 1e-6 * torch.eye(2)
        >>> error = pairwise_refit_error(gram, torch.ones(2, 1), torch.tensor([[0], [1]]))
        >>> bool(error.diagonal().max() < 1e-3), round(float(error.sum()), 3)
        (True, 4.0)
    """
    inverse = torch.linalg.inv(gram.double())
    inverse = 0.5 * (inverse + inverse.T)
    matrix = matrix.double()
    count, width = blocks.shape
    single = _block_error(inverse, matrix, blocks)
    error = torch.diag(single)
    left, right = torch.triu_indices(count, count, offset=1)
    chunk = max(1, _CHUNK_ENTRIES // max(1, 2 * width * (2 * width + matrix.shape[1])))
    for i, j in zip(left.split(chunk), right.split(chunk), strict=True):
        both = _block_error(inverse, matrix, torch.cat([blocks[i], blocks[j]], dim=1))
        half = 0.5 * (both - single[i] - single[j])
        error[i, j] = half
        error[j, i] = half
    return error


def block_sum(blocks: Sequence[tuple[np.ndarray, np.ndarray]], num_units: int) -> sparse.csr_matrix:
    """Dense blocks on some of the units, added up: float64 ``(num_units, num_units)``.

    Blocks that share no unit are laid side by side: twelve bytes for every pair and no list of pairs beside them.

    Args:
        blocks: ``(ids, values)``: distinct units ``(k,)`` ascending, and ``(k, k)``.
        num_units: of the network.

    Example:
        >>> one = (np.array([0, 2]), np.array([[1.0, 2.0], [2.0, 4.0]]))
        >>> block_sum([one, (np.array([2]), np.array([[3.0]]))], 3).toarray().tolist()
        [[1.0, 0.0, 2.0], [0.0, 0.0, 0.0], [2.0, 0.0, 7.0]]
    """
    total = sparse.csr_matrix((num_units, num_units))
    left = list(blocks)
    while left:
        taken = np.zeros(num_units, dtype=bool)
        beside: list[tuple[np.ndarray, np.ndarray]] = []
        later: list[tuple[np.ndarray, np.ndarray]] = []
        for ids, values in left:
            if taken[ids].any():
                later.append((ids, values))
            else:
                beside.append((ids, values))
                taken[ids] = True
        part = _side_by_side(beside, num_units)
        total = part if not total.nnz else sparse.csr_matrix(total + part)
        left = later
    return total


def _side_by_side(blocks: Sequence[tuple[np.ndarray, np.ndarray]], num_units: int) -> sparse.csr_matrix:
    """Blocks of which no two share a unit."""
    lengths = np.zeros(num_units + 1, dtype=np.int64)
    for ids, _ in blocks:
        lengths[ids + 1] = len(ids)
    starts = np.cumsum(lengths)
    indices = np.empty(starts[-1], dtype=np.int32)
    data = np.empty(starts[-1])
    for ids, values in blocks:
        for unit, row in zip(ids, values, strict=True):
            indices[starts[unit] : starts[unit + 1]] = ids
            data[starts[unit] : starts[unit + 1]] = row
    return sparse.csr_matrix((data, indices, starts), shape=(num_units, num_units))
