"""One layer's weights, and its channels' scales, in closed form.

W' = W + argmin_Δ ‖Y − X̂ (W + Δ)‖² + λ ‖Δ‖²,      λ as :mod:`.ridge` says
"""

from __future__ import annotations

import torch
from torch import Tensor

from annealnet.compression.network.rows import gram_of
from annealnet.compression.refitting.ridge import regularised, solved

__all__ = ["fitted_scale", "refit", "scales_to"]


def refit(rows: Tensor, target: Tensor, matrix: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Ridge least squares around the present weights, per group.

    Args:
        rows: ``(rows, groups, fan_in)`` inputs X̂.
        target: ``(rows, outputs)`` the answers wanted, Y.
        matrix: ``(groups, fan_in, outputs per group)`` the present weights W.
        ridge: λ in units of X̂ᵀX̂'s mean diagonal times max(1, 16 · fan_in / rows); 0 stands for the limit λ → 0, the refit of
            least change.

    Returns:
        W' with the shape of ``matrix``, and the Gram matrices per row, ridge included: ``(groups, fan_in, fan_in)``.

    Example:
        >>> from annealnet.compression.network.rows import rows_times_weight
        >>> x = torch.randn(50, 1, 3, generator=torch.Generator().manual_seed(0))
        >>> w = torch.tensor([[[1.0], [2.0], [3.0]]])
        >>> fitted, _ = refit(x, rows_times_weight(x, w), torch.zeros(1, 3, 1), ridge=1e-6)
        >>> bool(torch.allclose(fitted, w, atol=1e-3))
        True
    """
    groups, _, outputs = matrix.shape
    x = rows.transpose(0, 1)
    gram = regularised(gram_of(rows), ridge, len(rows))
    residual = target.reshape(len(rows), groups, outputs).transpose(0, 1) - x @ matrix
    step = solved(gram, (x.transpose(1, 2) @ residual).double()).float()
    return matrix + step, (gram / max(1, len(rows))).float()


def scales_to(answered: Tensor, target: Tensor) -> Tensor:
    """Per column the scale a of the least-squares line target ≈ a · answered + c."""
    centred = answered - answered.mean(0)
    return fitted_scale((centred * (target - target.mean(0))).mean(0), (centred**2).mean(0))


def fitted_scale(covariance: Tensor, variance: Tensor) -> Tensor:
    """Least-squares scales of channels, from the covariance of answer and target and the variance of the answer.

    A channel that is constant, or whose answer points the wrong way, keeps its scale: only its mean is mended.
    """
    scale = covariance / variance.clamp_min(1e-12)
    return torch.where((variance > 1e-12) & (scale > 0), scale, torch.ones_like(scale))
