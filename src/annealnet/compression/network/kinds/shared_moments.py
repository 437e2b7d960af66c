"""Norms that take their moments over all channels: layer norms, RMS norms, a group norm of one group, anybody's own.

They are known by what they compute, whatever their class: on large random inputs, ε aside, a module answers

    y = γ · x / √mean(x²) + β      or      y = γ · (x − mean(x)) / √mean((x − mean(x))²) + β

with one γ and β for each channel. **A channel that goes does not exist**: of n channels m are left, moments are taken over
these m, and γ and β of the m stay as they were. So the narrowed module is the plain module of m channels (its class, its
exporters, its configuration hold), and the masked network gives the same module the m channels alone.

Zeros in the place of removed channels would be another definition: moments over n numbers of which n − m are zero. An RMS
norm of m channels answers the same with γ √(n/m) and ε n/m; a layer norm cannot, since zeros move its mean. Ours also
changes the network less: on MiniLM-L6 behind a linear head, without the weakest quarter of its 384 channels, the squared
error of the answers is 0.49 of their square (0.55 with γ √(n/m)), and 0.088 (0.099) once the layers have been refitted.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.compression.network.kinds.narrowing import narrowed

__all__ = ["OnlyKept", "narrow_moments", "takes_moments_over"]

#: Scale of the inputs beside which ε does not matter; samples; largest error of a fitted γ and β, as a share.
_LARGE, _SAMPLES, _TOLERANCE = 1e3, 16, 1e-3


def takes_moments_over(module: nn.Module, shape: tuple[int, ...], axis: int) -> bool:
    """Whether a module normalises by moments over the channels, alone or with all other dimensions but the samples'.

    Args:
        module: in evaluation mode; a copy of it is run.
        shape: of its input; the first dimension is the samples'.
        axis: the channels' dimension.

    Example:
        >>> x = (2, 5, 8)
        >>> takes_moments_over(nn.LayerNorm(8), x, 2), takes_moments_over(nn.RMSNorm(8), x, 2)
        (True, True)
        >>> takes_moments_over(nn.Linear(8, 8), x, 2), takes_moments_over(nn.GroupNorm(1, 5), x, 1)
        (False, True)
    """
    channels = shape[axis]
    if channels < 2 or not _only_vectors(module, channels):
        return False
    generator = torch.Generator().manual_seed(0)
    x = _LARGE * (0.3 + torch.randn(_SAMPLES, *shape[1:], generator=generator))
    try:
        with torch.no_grad():
            answered = copy.deepcopy(module).eval()(x)
    except Exception:  # whatever a forward raises that takes something else
        return False
    if not isinstance(answered, Tensor) or answered.shape != x.shape:
        return False
    every = tuple(range(1, x.ndim))
    return any(
        _is_scaled(answered, _normalised(x, dims, centred), axis)
        for dims in dict.fromkeys([(axis,), every])
        for centred in (False, True)
    )


def _only_vectors(module: nn.Module, channels: int) -> bool:
    """Whether all it holds are numbers of its channels."""
    held = [*module.parameters(), *module.buffers()]
    return all(tensor.shape in ((channels,), ()) for tensor in held) and not list(module.children())


def _normalised(x: Tensor, dims: tuple[int, ...], centred: bool) -> Tensor:
    x = x.double()
    x = x - x.mean(dims, keepdim=True) if centred else x
    return x * torch.rsqrt(x.square().mean(dims, keepdim=True))


def _is_scaled(answered: Tensor, normalised: Tensor, axis: int) -> bool:
    """Whether each channel of the answer is a line of the normalised one."""
    y, z = (part.double().movedim(axis, -1).flatten(0, -2) for part in (answered, normalised))
    centre_y, centre_z = y - y.mean(0), z - z.mean(0)
    gain = (centre_y * centre_z).sum(0) / centre_z.square().sum(0).clamp_min(1e-12)
    error = (centre_y - gain * centre_z).abs().max()
    return bool(torch.isfinite(y).all() and gain.abs().max() > 0 and error <= _TOLERANCE * float(y.abs().max()))


def narrow_moments(module: nn.Module, kept: np.ndarray) -> None:
    """Leaves the channels kept, bool ``(channels,)``: in every vector it holds and every number it notes of them.

    Example:
        >>> norm = nn.LayerNorm(3)
        >>> narrow_moments(norm, np.array([True, False, True]))
        >>> norm
        LayerNorm((2,), eps=1e-05, elementwise_affine=True, bias=True)
    """
    before, after = len(kept), int(kept.sum())
    for held in (module._parameters, module._buffers):
        for name, tensor in held.items():
            if tensor is not None and tensor.shape == (before,):
                setattr(module, name, narrowed(tensor, kept))
    for name, value in list(vars(module).items()):
        noted: Any = value
        if type(noted) is int and noted == before:
            setattr(module, name, after)
        elif isinstance(noted, tuple | list) and tuple(noted) == (before,):
            setattr(module, name, type(noted)([after]))


class OnlyKept(nn.Module):
    """A norm in a masked network: it sees the channels kept alone, the others answer zero.

    Args:
        norm: the module of all channels; it is narrowed.
        kept: bool ``(channels,)``.
        axis: the channels' dimension of its input.

    Example:
        >>> norm = OnlyKept(nn.RMSNorm(3), np.array([True, False, True]), 1)
        >>> norm(torch.tensor([[1.0, 5.0, 1.0]])).round(decimals=3).tolist()
        [[1.0, 0.0, 1.0]]
    """

    def __init__(self, norm: nn.Module, kept: np.ndarray, axis: int) -> None:
        super().__init__()
        narrow_moments(norm, kept)
        self.norm, self.axis = norm, axis
        self.register_buffer("places", torch.from_numpy(np.flatnonzero(kept)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shape unchanged."""
        places = self.places
        assert isinstance(places, Tensor)
        answered = self.norm(x.index_select(self.axis, places))
        return torch.zeros_like(x, dtype=answered.dtype).index_copy(self.axis, places, answered)
