"""Everything is computed in float32 on the CPU: a network in another precision is copied into it."""

from __future__ import annotations

import torch
from torch import nn

from annealnet.compression.network.computed import deep_copy, with_plain_weights

__all__ = ["copied", "in_float32", "precision_in_words"]

_WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def in_float32(model: nn.Module) -> nn.Module:
    """The network with float32 weights on the CPU, none of them computed from others: itself where that is so, else a copy.

    float16 and bfloat16 lose nothing by it; float64 loses what the dense network's float32 file loses as well.

    float32 is what comes back, too: grid values are codes times float32 scales, which narrower numbers do not hold.

    Raises:
        ValueError: when a finite float64 weight is beyond float32, the network cannot be copied, or a tensor is on the meta
            device.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> in_float32(net) is net, in_float32(nn.Linear(2, 1).double()).weight.dtype
        (True, torch.float32)
    """
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if value.is_meta:
            raise ValueError(
                f"model: {name!r} is on the meta device, where tensors have no values: load the weights onto a real device "
                "first (model.to_empty(device='cpu'), then load_state_dict)"
            )
    model = with_plain_weights(model)
    state = model.state_dict()
    if all(value.device.type == "cpu" and value.dtype in (torch.float32, *_WHOLE) for value in state.values()):
        return model
    for name, value in state.items():
        if value.is_floating_point() and bool((torch.isfinite(value) & ~torch.isfinite(value.float())).any()):
            raise ValueError(f"model: {name!r} holds numbers beyond float32 ({float(value.abs().max()):.3g}): rescale it")
    return copied(model).cpu().float()


def copied(model: nn.Module) -> nn.Module:
    """A copy of a user's network.

    Raises:
        ValueError: when there can be none, as where an attribute is the result of an operation that is differentiated.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> copied(net) is net
        False
    """
    try:
        return deep_copy(model)
    except RuntimeError as error:
        raise ValueError(
            f"model cannot be copied ({(str(error).splitlines() or ['RuntimeError'])[0]}): keep no tensor as an attribute "
            "that was computed from its parameters, or detach it"
        ) from error


def precision_in_words(model: nn.Module) -> str:
    """What a report says about the numbers it was computed with.

    Example:
        >>> precision_in_words(nn.Linear(2, 1))
        'float32'
        >>> precision_in_words(nn.Linear(2, 1).bfloat16())
        'float32 (the model given is bfloat16; dense bytes are those of its float32 copy)'
    """
    kinds = dict.fromkeys(str(v.dtype).removeprefix("torch.") for v in model.state_dict().values() if v.is_floating_point())
    others = [kind for kind in kinds if kind != "float32"]
    if not others:
        return "float32"
    return f"float32 (the model given is {' and '.join(others)}; dense bytes are those of its float32 copy)"
