"""Channels really go: surgery on a copy of the network, and the masked network that computes the same."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.compression.network.structure import Layer, NetworkGraph, Norm, slots_kept

__all__ = ["mask", "remove"]


def remove(model: nn.Module, graph: NetworkGraph, keep: np.ndarray) -> nn.Module:
    """A copy of the network without the channels of removed units.

    Args:
        model: the dense network that ``graph`` was traced from, or the same with batch norms folded.
        graph: its structure.
        keep: bool ``(num_units,)``, True where a unit stays.

    Returns:
        A new module: weights and batch norms narrowed, ``groups`` of depthwise convolutions lowered. In
        evaluation it computes what :func:`mask` computes, up to rounding of floating-point sums.

    Raises:
        ValueError: when ``keep`` has the wrong shape or leaves a group empty.

    Example:
        >>> from annealnet.compression.network.graph import trace
        >>> net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> graph = trace(net, torch.zeros(1, 2))
        >>> remove(net, graph, np.array([True, False, True, False]))
        Sequential(
          (0): Linear(in_features=2, out_features=2, bias=True)
          (1): ReLU()
          (2): Linear(in_features=2, out_features=1, bias=True)
        )
    """
    keep = graph.checked_keep(keep)
    small = copy.deepcopy(model)
    for layer in graph.layers:
        _narrow_layer(small.get_submodule(layer.name), layer, *graph.keep_for(layer, keep))
    for norm in graph.norms:
        _narrow_norm(small.get_submodule(norm.name), norm, keep)
    return small


def mask(model: nn.Module, graph: NetworkGraph, keep: np.ndarray) -> nn.Module:
    """A copy of the network, shapes unchanged, that ignores the channels of removed units.

    Every layer that reads a removed channel has zero weights there. Arguments, errors as in :func:`remove`.

    Example:
        >>> from annealnet.compression.network.graph import trace
        >>> net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> graph = trace(net, torch.zeros(1, 2))
        >>> keep = np.array([True, False, True, False])
        >>> x = torch.randn(5, 2)
        >>> bool(torch.allclose(mask(net, graph, keep)(x), remove(net, graph, keep)(x), atol=1e-5))
        True
    """
    keep = graph.checked_keep(keep)
    masked = copy.deepcopy(model)
    with torch.no_grad():
        for layer in graph.layers:
            weight = masked.get_submodule(layer.name).weight
            assert isinstance(weight, Tensor)
            _, kept_in = graph.keep_for(layer, keep)
            by_group = torch.from_numpy(kept_in).reshape(layer.groups, -1)
            by_output = by_group.repeat_interleave(len(layer.out_units) // layer.groups, dim=0)
            weight.mul_(by_output.reshape(*by_output.shape, *([1] * (weight.ndim - 2))))
    return masked


def _narrowed(parameter: Tensor, *kept: np.ndarray) -> Tensor:
    """The entries kept along the leading dimensions; a parameter stays a parameter."""
    tensor = parameter.detach()
    for dim, here in enumerate(kept):
        tensor = tensor.index_select(dim, torch.from_numpy(np.flatnonzero(here)).to(tensor.device))
    tensor = tensor.clone()
    if isinstance(parameter, nn.Parameter):
        return nn.Parameter(tensor, requires_grad=parameter.requires_grad)
    return tensor


def _narrow_layer(module: nn.Module, layer: Layer, kept_out: np.ndarray, kept_in: np.ndarray) -> None:
    if kept_out.all() and kept_in.all():
        return
    # all groups of a grouped convolution read the same places; a depthwise output reads its only one
    kept_reads = np.ones(1, dtype=bool) if layer.depthwise else kept_in[: len(kept_in) // layer.groups]
    assert isinstance(module.weight, Tensor)
    module.weight = _narrowed(module.weight, kept_out, kept_reads)
    if isinstance(module.bias, Tensor):
        module.bias = _narrowed(module.bias, kept_out)
    outputs, inputs = int(kept_out.sum()), int(kept_in.sum())
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = outputs, inputs
    elif isinstance(module, nn.Conv1d | nn.Conv2d):
        module.out_channels, module.in_channels = outputs, inputs
        if layer.depthwise:
            module.groups = inputs


def _narrow_norm(module: nn.Module, norm: Norm, keep: np.ndarray) -> None:
    kept = slots_kept(norm.units, keep)
    if isinstance(module, nn.Identity) or kept.all():  # an identity: the norm has been folded
        return
    for name in ("weight", "bias", "running_mean", "running_var"):
        tensor = getattr(module, name)
        if isinstance(tensor, Tensor):
            setattr(module, name, _narrowed(tensor, kept))
    module.num_features = int(kept.sum())  # type: ignore[assignment]
