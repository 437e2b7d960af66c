"""AdaRound (Nagel et al. 2020): up or down for every weight, learned through a soft step that hardens.

    z = s · (⌊w/s⌋ + h(V)),   h(V) = clip(1.2 σ(V) − 0.1, 0, 1)        (eqs. 22, 23)
    min_V (z − w)ᵀ G (z − w) + λ Σ (1 − |2h(V) − 1|^β)                 (eqs. 21, 24), β falling from 20 to 2, Adam

Written from the paper, on the Gram matrix instead of batches of inputs. A baseline: λ and the learning rate are those of
least error among λ = 0.001 … 10, rates 0.003 … 0.03 on four layers of ResNet-20 at 2 to 4 bits.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from annealnet.compression.rounding.lattice import Lattice
from annealnet.whole_numbers import whole_number

__all__ = ["adaround_codes"]

_STRETCH, _SHIFT = 1.2, -0.1
#: λ relative to the error of nearest rounding per weight; share of steps without the regulariser; learning rate.
_REGULARISER, _WARM, _RATE = 3.0, 0.2, 3e-2


@torch.enable_grad()
def adaround_codes(lattice: Lattice, steps: int = 3000) -> np.ndarray:
    """Codes int16 ``(rows, n)``.

    Args:
        lattice: the layer.
        steps: of Adam.

    Raises:
        ValueError: when ``steps`` is not at least 1.

    Example:
        >>> from annealnet.compression.rounding.grids import Grid
        >>> gram = np.array([[1.0, 0.9], [0.9, 1.0]], dtype=np.float32)
        >>> zeros, ones = np.zeros((1, 1), dtype=np.float32), np.ones((1, 1), dtype=np.float32)
        >>> weights = np.array([[0.45, 0.4]], dtype=np.float32)
        >>> lattice = Lattice(gram, weights, ones, zeros, np.zeros(2, dtype=np.int64), Grid(2))
        >>> adaround_codes(lattice, 200).tolist()
        [[1, 0]]
    """
    steps = whole_number("steps", steps, 1)
    width = lattice.scale[:, lattice.column] * lattice.grid.step
    place = lattice.weights / width + (lattice.zero[:, lattice.column] - lattice.grid.low) / lattice.grid.step
    top = (lattice.grid.high - lattice.grid.low) // lattice.grid.step
    below = np.clip(np.floor(place), 0, top - 1)
    share = np.clip(place - below, 0.01, 0.99)
    nearest = np.maximum(lattice.errors(lattice.nearest()), 1e-30)
    gram, weights, widths = map(torch.from_numpy, (lattice.gram, lattice.weights, width.astype(np.float32)))
    base = torch.from_numpy(lattice.values((lattice.grid.low + lattice.grid.step * below).astype(np.int16)))
    v = torch.logit((torch.from_numpy(share.astype(np.float32)) - _SHIFT) / _STRETCH).requires_grad_()
    # every row's error in units of its own at nearest rounding, so that one λ and one rate serve all
    unit = torch.from_numpy((weights.shape[1] / nearest).astype(np.float32))[:, None]
    optimiser = torch.optim.Adam([v], lr=_RATE)
    for step in range(steps):
        h = _soft_step(v)
        gap = base + widths * h - weights
        loss = (unit * gap * (gap @ gram)).sum()
        loss = loss + _REGULARISER * _undecided(h, step / steps)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    up = (v.detach().numpy() > 0).astype(np.int64)
    return np.asarray(lattice.grid.low + lattice.grid.step * (below.astype(np.int64) + up)).astype(np.int16)


def _soft_step(v: Tensor) -> Tensor:
    """h(V), eq. 23."""
    return torch.clamp(_STRETCH * torch.sigmoid(v) + _SHIFT, 0, 1)


def _undecided(h: Tensor, share: float) -> Tensor:
    """Σ (1 − |2h − 1|^β), eq. 24, at a share of the steps: nothing while warm, then β falls from 20 to 2."""
    done = max(0.0, (share - _WARM) / (1 - _WARM))
    beta = 20 - 18 * done
    return (1 - (2 * h - 1).abs().clamp_min(1e-6) ** beta).sum() if done else torch.zeros(())
