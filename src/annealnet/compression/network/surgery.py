"""Channels really go: surgery on a copy of the network, and the masked network that computes the same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from annealnet.compression.network.given import working_copy
from annealnet.compression.network.kinds import (
    LayerKind,
    NormKind,
    OnlyKept,
    kind_of,
    layer_at,
    layer_kind,
    narrow_moments,
    weight_of,
)
from annealnet.compression.network.kinds.narrowing import narrowed
from annealnet.compression.network.structure import Beside, NetworkGraph, Norm, slots_kept
from annealnet.compression.network.ties import first_names

__all__ = ["mask", "remove"]


def remove(model: nn.Module, graph: NetworkGraph, keep: np.ndarray) -> nn.Module:
    """A copy of the network without the channels of removed units.

    Args:
        model: the dense network that ``graph`` was traced from, or the same with batch norms folded.
        graph: its structure.
        keep: bool ``(num_units,)``, True where a unit stays.

    Returns:
        A new module: weights and norms narrowed, ``groups`` of depthwise convolutions and of group norms lowered. In
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
    small = working_copy(model)
    names = first_names(small)
    for layer in graph.layers:
        module, (kept_out, kept_in) = layer_at(small, layer.name), graph.keep_for(layer, keep)
        if not (kept_out.all() and kept_in.all()):
            layer_kind(module).narrow(module, kept_out, kept_in)
    for norm in graph.norms:
        _narrow_norm(small.get_submodule(norm.name), norm, keep)
    for beside in graph.beside:
        _narrow_beside(small, beside, keep)
    _tie_again(small, names)
    for size in graph.sizes:
        left = int(slots_kept(np.array(size.slots), keep).sum())
        if left < len(size.slots):
            setattr(small.get_submodule(size.module), size.attribute, left)
    return small


def mask(model: nn.Module, graph: NetworkGraph, keep: np.ndarray) -> nn.Module:
    """A copy of the network, shapes unchanged, that ignores the channels of removed units.

    Every layer that reads a removed channel has zero weights there, and a norm that takes its moments over channels
    (:mod:`.kinds.shared_moments`) sees those that stay alone. Arguments, errors as in :func:`remove`.

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
    masked = working_copy(model)
    with torch.no_grad():
        for layer in graph.layers:
            weight = weight_of(layer_at(masked, layer.name))
            _, kept_in = graph.keep_for(layer, keep)
            by_group = torch.from_numpy(kept_in).reshape(layer.groups, -1)
            by_output = by_group.repeat_interleave(len(layer.out_units) // layer.groups, dim=0)
            weight.mul_(by_output.reshape(*by_output.shape, *([1] * (weight.ndim - 2))))
    for norm in graph.norms:
        kept = slots_kept(norm.units, keep)
        if norm.over is not None and not kept.all():
            parent, _, leaf = norm.name.rpartition(".")
            whole = masked.get_submodule(norm.name)
            setattr(masked.get_submodule(parent), leaf, OnlyKept(whole, kept, norm.over))
    return masked


def _narrow_norm(module: nn.Module, norm: Norm, keep: np.ndarray) -> None:
    kind, kept = kind_of(module), slots_kept(norm.units, keep)
    if norm.over is not None:
        narrow_moments(module, kept)
    elif isinstance(kind, NormKind) and not kept.all():  # any other module stands where the norm was folded
        kind.narrow(module, kept)


def _narrow_beside(model: nn.Module, beside: Beside, keep: np.ndarray) -> None:
    """A tensor of the network without the entries of removed units."""
    kept = slots_kept(beside.units, keep)
    if kept.all():
        return
    owner, _, leaf = beside.name.rpartition(".")
    module = model.get_submodule(owner)
    tensor = getattr(module, leaf)
    every = [np.ones(extent, dtype=bool) for extent in tensor.shape[: beside.axis]]
    setattr(module, leaf, narrowed(tensor, *every, kept))


def _tie_again(model: nn.Module, names: Mapping[str, str]) -> None:
    """Tensors that had several names have them again, after the one under the first name was narrowed."""
    for name, first in names.items():
        if name == first:
            continue
        (owner, _, leaf), (_, _, source) = name.rpartition("."), first.rpartition(".")
        module = model.get_submodule(owner)
        tensor = getattr(model.get_submodule(first.rpartition(".")[0]), source)
        if getattr(module, leaf) is tensor:
            continue
        setattr(module, leaf, tensor)
        kind = kind_of(module)
        if isinstance(kind, LayerKind) and leaf == kind.weight_name:
            outputs, inputs = kind.weight(module).shape[:2]
            kind.resize(module, outputs, inputs * kind.groups(module))
