"""Weights that are computed from others at every call: weight norm, spectral norm, a parametrisation of the user's own.

What is trained is not what multiplies. Once training is over the product is all that counts, so that networks are compressed
with such weights as plain parameters: W = g v / ‖v‖ is taken once, and g and v go.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

__all__ = ["deep_copy", "with_plain_weights"]


def with_plain_weights(model: nn.Module) -> nn.Module:
    """The network with every computed weight a parameter of its own: itself where there is none, else a copy.

    Example:
        >>> net = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
        >>> plain = with_plain_weights(net)
        >>> sorted(plain.state_dict()), bool(torch.equal(plain.weight, net.weight))
        (['bias', 'weight'], True)
    """
    if not any(_computes(module) for module in model.modules()):
        return model
    plain = deep_copy(model)
    for module in list(plain.modules()):
        trains = {part: part.training for part in module.modules()}
        module.eval()  # spectral norm takes a step of its iteration at every call in training
        if parametrize.is_parametrized(module):
            _settle(module)
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(module, hook.name)
            if isinstance(hook, SpectralNorm):
                remove_spectral_norm(module, hook.name)
        for part, training in trains.items():
            part.training = training
    return plain


@torch.no_grad()
def _settle(module: nn.Module) -> None:
    """Takes every parametrised tensor of a module as it is, and gives the module back its class.

    Copies share the class that torch made for the original, so that nothing may be taken from it, as torch itself would.
    """
    held: Any = module.parametrizations
    found = {name: getattr(module, name).detach().clone() for name in held}
    trained = {name: [parameter.requires_grad for parameter in held[name].parameters()] for name in held}
    module.__class__ = type(module).__bases__[0]
    del module._modules["parametrizations"]
    for name, value in found.items():
        if trained[name]:
            module.register_parameter(name, nn.Parameter(value, requires_grad=any(trained[name])))
        else:
            module.register_buffer(name, value)
    # tensors without names of their own are stored in order: as they stand in a network that never computed any
    module._parameters = dict(sorted(module._parameters.items(), key=lambda item: item[0].startswith("bias")))


def deep_copy(model: nn.Module) -> nn.Module:
    """A copy, also where the old weight norm keeps the result of an operation as an attribute, which torch does not copy."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():
            weight = getattr(module, hook.name, None) if isinstance(hook, WeightNorm | SpectralNorm) else None
            if isinstance(weight, Tensor) and not weight.is_leaf:
                memo[id(weight)] = weight.detach().clone()
    return copy.deepcopy(model, memo)


def _computes(module: nn.Module) -> bool:
    old = any(isinstance(hook, WeightNorm | SpectralNorm) for hook in module._forward_pre_hooks.values())
    return old or parametrize.is_parametrized(module)
