"""The network in what the user gave: wrappers taken off, what cannot be worked on refused before anything else."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy

from annealnet.compression.network.computed import with_plain_weights
from annealnet.compression.network.kinds import with_heads_that_can_go
from annealnet.compression.network.precision import copied

__all__ = ["network_in", "working_copy"]

#: In names of transformers' attention implementations that are compiled.
_KERNELS = ("flex", "flash")


def network_in(model: Any, argument: str = "model") -> nn.Module:
    """The module whose layers are worked on: what ``torch.compile``, ``DataParallel`` or its distributed kin wrap.

    Where weights are computed from others, or heads packed in PyTorch's attention, a copy in which they are plain
    (:mod:`.computed`, :class:`.kinds.HeadwiseAttention`).

    Args:
        model: what the user gave; it is not changed.
        argument: the name errors use.

    Raises:
        ValueError: no ``nn.Module``; one that ``torch.jit`` made, or with such a part in it; a part that ``torch.compile``
            wraps; a lazy layer that has not seen its inputs; an attention that is one compiled kernel; a tensor on the meta
            device. Says what to give instead.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> network_in(nn.DataParallel(net)) is net
        True
        >>> network_in(torch.jit.script(net))
        Traceback (most recent call last):
        ValueError: model was made by torch.jit: its layers cannot be changed; give the module it was made of
    """
    while isinstance(model, nn.Module) and (inside := _wrapped(model)) is not None:
        model = inside
    if not isinstance(model, nn.Module):
        raise ValueError(f"{argument} is a {type(model).__name__}, not an nn.Module: give the network itself")
    for name, module in model.named_modules():
        part = f"{argument}: its part {name!r}" if name else argument
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(f"{part} was made by torch.jit: its layers cannot be changed; give the module it was made of")
        if name and _compiled(module) is not None:
            raise ValueError(
                f"{part} is wrapped by torch.compile: give the module in it ({name}._orig_mod), and compile after"
            )
        if any(is_lazy(tensor) for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))):
            raise ValueError(f"{part} is lazy and has no weights yet: run the model on a batch, and train it")
        attention = str(getattr(getattr(module, "config", None), "_attn_implementation", None))
        if any(kernel in attention for kernel in _KERNELS):
            raise ValueError(
                f"{part} computes its attention as {attention!r}, a kernel that cannot be looked into, nor run in float32 "
                "on every CPU: choose another first, model.set_attn_implementation('sdpa') or 'eager'"
            )
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if value.is_meta:
            raise ValueError(
                f"{argument}: {name!r} is on the meta device, where tensors have no values: load the weights onto a real "
                "device first (model.to_empty(device='cpu'), then load_state_dict)"
            )
    model = with_plain_weights(model)
    packed = any(type(module) is nn.MultiheadAttention for module in model.modules())
    return working_copy(model) if packed else model


def working_copy(model: nn.Module) -> nn.Module:
    """A copy to be traced, masked or narrowed: its attentions count their heads by their weights.

    Raises:
        ValueError: when it cannot be copied.

    Example:
        >>> type(working_copy(nn.MultiheadAttention(8, 2))).__name__
        'HeadwiseAttention'
    """
    return with_heads_that_can_go(copied(model))


def _wrapped(model: nn.Module) -> nn.Module | None:
    return model.module if isinstance(model, DataParallel | DistributedDataParallel) else _compiled(model)


def _compiled(model: nn.Module) -> nn.Module | None:
    """What ``torch.compile`` wraps; its class is not imported, for that loads the compiler."""
    return dict(model.named_children()).get("_orig_mod")
