"""Tensors that have several names: a head that shares its embedding's table is there once, stored once, counted once."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["distinct_state", "first_names"]


def first_names(model: nn.Module) -> dict[str, str]:
    """Every name of a parameter or buffer, with the first name of the same tensor.

    Example:
        >>> net = nn.ModuleDict({"table": nn.Embedding(5, 2), "head": nn.Linear(2, 5, bias=False)})
        >>> net["head"].weight = net["table"].weight
        >>> first_names(net)
        {'table.weight': 'table.weight', 'head.weight': 'table.weight'}
    """
    first: dict[int, str] = {}
    held = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: first.setdefault(id(tensor), name) for name, tensor in held}


def distinct_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict, every tensor under its first name only.

    Example:
        >>> net = nn.ModuleDict({"table": nn.Embedding(5, 2), "head": nn.Linear(2, 5, bias=False)})
        >>> net["head"].weight = net["table"].weight
        >>> list(distinct_state(net))
        ['table.weight']
    """
    names = first_names(model)
    return {name: tensor for name, tensor in model.state_dict().items() if names.get(name, name) == name}
