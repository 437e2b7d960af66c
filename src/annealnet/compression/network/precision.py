"""Everything is computed in float32 on the CPU, on a copy of a network in another precision or elsewhere.

What comes back has the dtypes and the devices of the network that was given, tensor by tensor.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from annealnet.compression.network.computed import deep_copy, with_plain_weights

__all__ = ["cast_like", "copied", "given_bytes", "in_float32", "precision_in_words"]

_WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def in_float32(model: nn.Module) -> nn.Module:
    """The network with float32 weights on the CPU, none of them computed from others: itself where that is so, else a copy.

    float16 and bfloat16 lose nothing by it; float64 loses what the dense network's float32 file loses as well.

    Raises:
        ValueError: when a finite float64 weight is beyond float32, or the network cannot be copied.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> in_float32(net) is net, in_float32(nn.Linear(2, 1).double()).weight.dtype
        (True, torch.float32)
    """
    model = with_plain_weights(model)
    held = dict(_held(model))
    if all(value.device.type == "cpu" and value.dtype in (torch.float32, *_WHOLE) for value in held.values()):
        return model
    for name, value in held.items():
        if value.is_floating_point() and bool((torch.isfinite(value) & ~torch.isfinite(value.float())).any()):
            raise ValueError(f"model: {name!r} holds numbers beyond float32 ({float(value.abs().max()):.3g}): rescale it")
    return copied(model).cpu().float()


@torch.no_grad()
def cast_like(small: nn.Module, given: nn.Module) -> nn.Module:
    """Brings a network that was made of a float32 copy to the dtypes and devices of the one that was given, in place.

    Every parameter and buffer becomes what the tensor of its name was. One that was not there, as the bias that a folded
    batch norm leaves behind, becomes what its module's others were.

    Args:
        small: made of :func:`in_float32`'s answer: names are those of ``given``, shapes may be smaller.
        given: the user's network.

    Returns:
        ``small``. Where a number is beyond the narrower dtype, all of it stays float32 on the CPU, and a warning says so.

    Example:
        >>> cast_like(nn.Linear(2, 1), nn.Linear(4, 1).bfloat16()).weight.dtype
        torch.bfloat16
    """
    wanted = dict(_held(given))
    likes = {name: _like(name, wanted) for name, _ in _held(small)}
    cast = {name: _as(value, likes[name]) for name, value in _held(small)}
    for name, value in _held(small):
        if value.is_floating_point() and bool((torch.isfinite(value) & ~torch.isfinite(cast[name].to(value.device))).any()):
            kind = str(cast[name].dtype).removeprefix("torch.")
            warnings.warn(
                f"model: {name!r} of the smaller network holds numbers beyond {kind} ({float(value.abs().max()):.3g}): it "
                "comes back in float32 on the CPU; give model.float(), or model.bfloat16(), to choose",
                stacklevel=2,
            )
            return small
    for name, value in _held(small):
        value.data = cast[name]
    return small


def given_bytes(copy: nn.Module, given: nn.Module) -> dict[str, int]:
    """Bytes that the tensors in the state dict of a float32 copy have in the network given; float64 ones count as float32.

    Args:
        copy: :func:`in_float32`'s answer, batch norms folded or not, or the network given itself.
        given: the user's network.

    Example:
        >>> given_bytes(nn.Linear(3, 2), nn.Linear(3, 2).bfloat16())
        {'weight': 12, 'bias': 4}
    """
    wanted = dict(_held(given))
    return {name: value.numel() * _item_bytes(value, _like(name, wanted)) for name, value in copy.state_dict().items()}


def _item_bytes(value: Tensor, like: Tensor | None) -> int:
    if like is None or not (value.is_floating_point() and like.is_floating_point()):
        return value.element_size()
    return min(like.element_size(), torch.float32.itemsize)


def _held(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers, each once."""
    yield from model.named_parameters()
    yield from model.named_buffers()


def _like(name: str, wanted: dict[str, Tensor]) -> Tensor | None:
    """The tensor of that name, or one of the same module, or of the module around it, and so on."""
    if name in wanted:
        return wanted[name]
    place = name
    while place:
        place = place.rpartition(".")[0]
        near = (value for other, value in wanted.items() if not place or other.startswith(f"{place}."))
        found = next((value for value in near if value.is_floating_point()), None)
        if found is not None:
            return found
    return None


def _as(value: Tensor, like: Tensor | None) -> Tensor:
    if like is None:
        return value
    return value.to(like.device, like.dtype if value.is_floating_point() and like.is_floating_point() else value.dtype)


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
    """What a report says about the numbers that a network was computed with.

    Example:
        >>> precision_in_words(nn.Linear(2, 1))
        'float32'
        >>> precision_in_words(nn.Linear(2, 1).bfloat16())
        'float32 on the CPU (the model given, and what comes back, is bfloat16 on cpu)'
    """
    tensors = [value for _, value in _held(model) if value.is_floating_point()]
    kinds = dict.fromkeys(str(value.dtype).removeprefix("torch.") for value in tensors)
    places = dict.fromkeys(str(value.device) for value in tensors)
    if not set(kinds) - {"float32"} and not set(places) - {"cpu"}:
        return "float32"
    return f"float32 on the CPU (the model given, and what comes back, is {' and '.join(kinds)} on {' and '.join(places)})"
