"""Batch norms folded into the layers before them, or estimated anew."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import NormKind, kind_of, layer_kind
from annealnet.compression.network.precision import copied
from annealnet.compression.network.structure import NetworkGraph

__all__ = ["fold_batch_norms", "reestimate_batch_norms"]


@torch.no_grad()
def fold_batch_norms(model: nn.Module, graph: NetworkGraph) -> nn.Module:
    """A copy in which every foldable batch norm has become part of its layer, ``nn.Identity`` in its place.

        W' = γ / √(σ² + ε) · W,      b' = β + γ / √(σ² + ε) · (b − μ)

    Args:
        model: the dense network that ``graph`` was traced from, or the same after surgery.
        graph: its structure; batch norms with ``folded_into`` are folded, others (pre-activation) stay.

    Returns:
        A new module that computes the same in evaluation; every layer with a ``norm`` has a bias.

    Example:
        >>> from annealnet.compression.network.graph import trace
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1)).eval()
        >>> folded = fold_batch_norms(net, trace(net, torch.zeros(1, 1, 5, 5)))
        >>> x = torch.randn(2, 1, 5, 5)
        >>> bool(torch.allclose(folded(x), net(x), atol=1e-6)), type(folded[1]).__name__
        (True, 'Identity')
    """
    folded = copy.deepcopy(model)
    for norm in graph.norms:
        module = folded.get_submodule(norm.name)
        kind = kind_of(module)
        moments = kind.affine(module) if isinstance(kind, NormKind) else None  # none: it has been folded
        if norm.folded_into is None or moments is None:
            continue
        _fold(folded.get_submodule(norm.folded_into), *moments)
        parent, _, leaf = norm.name.rpartition(".")
        setattr(folded.get_submodule(parent), leaf, nn.Identity())
    return folded


def _fold(layer: nn.Module, gain: Tensor, shift: Tensor) -> None:
    kind = layer_kind(layer)
    weight, bias = kind.weight(layer), kind.bias(layer)
    if bias is not None:
        shift = shift + bias * gain
    scaled = weight * gain.reshape(-1, *([1] * (weight.ndim - 1)))
    kind.put_weight(layer, scaled)
    setattr(layer, kind.bias_name, nn.Parameter(shift, requires_grad=weight.requires_grad))


@torch.no_grad()
def reestimate_batch_norms(model: nn.Module, batches: Iterable[Tensor | Inputs]) -> nn.Module:
    """A copy whose batch norms carry the mean and variance of the given inputs, averaged over the batches.

    Args:
        model: a network; everything but its batch norms runs in evaluation mode.
        batches: inputs of equal weight, at least two samples each.

    Raises:
        ValueError: when there is no batch, or one of a single sample (it has no variance).

    Example:
        >>> net = nn.Sequential(nn.BatchNorm1d(1))
        >>> fresh = reestimate_batch_norms(net, [torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [7.0]])])
        >>> float(fresh[0].running_mean), float(fresh[0].running_var)
        (4.0, 2.0)
    """
    fresh = copied(model).eval()
    norms = [module for module in fresh.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative average
        norm.train()
    seen = 0
    for batch in batches:
        if len(batch) < 2:
            raise ValueError(f"batches holds a batch of {len(batch)} sample: a variance takes at least 2")
        Inputs.of(batch).call(fresh)
        seen += 1
    if not seen:
        raise ValueError("batches is empty: give calibration inputs to estimate the batch norms on")
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return fresh.eval()
