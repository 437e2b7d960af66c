"""Layers to which a network sends some samples and not others: experts of a mixture, each with rows of its own.

A compressed network may send them elsewhere than the dense one did, and what is compared row by row would then compare
different samples. Such layers are known by running a few samples in both orders: what a layer reads turns round with the
samples where it reads them one by one. *Our reconstruction.* What is chosen within a sample (some of its positions, as many
in each) is not noticed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from annealnet.compression.network.inputs import Inputs
from annealnet.compression.refitting.visits import visit

__all__ = ["routed_layers"]

#: Samples that are run; a prime number above most small extents, so that few shapes are divided by it by chance.
_SAMPLES = 7
#: Largest difference, as a share of the largest number: products of batches in another order round differently.
_TOLERANCE = 1e-3


def routed_layers(network: nn.Module, layers: Sequence[str], x: Inputs) -> frozenset[str]:
    """Names of the layers that do not read their rows sample by sample, or that none of these samples comes to.

    Args:
        network: a module in evaluation mode.
        layers: names of its layers.
        x: inputs; the first seven are used.

    Example:
        >>> class Chooses(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        ...     def forward(self, x):
        ...         x, mine = self.first(x), x[:, 0] > 0
        ...         y = torch.zeros_like(x)
        ...         y[mine] = self.second(x[mine])
        ...         return y
        >>> x = torch.randn(7, 2, generator=torch.Generator().manual_seed(0))
        >>> sorted(routed_layers(Chooses(), ["first", "second"], Inputs.of(x)))
        ['second']
    """
    some = x[:_SAMPLES]
    count = len(some)
    if count < 2:
        return frozenset()
    straight = _reads(network, layers, some)
    try:
        turned = _reads(network, layers, some[torch.arange(count - 1, -1, -1)])
    except (RuntimeError, ValueError):  # samples must come in their order, as sequences packed by length
        return frozenset(layers) - straight.keys()
    aligned = {name for name, given in straight.items() if name in turned and _turns(given, turned[name], count)}
    return frozenset(layers) - aligned


def _reads(network: nn.Module, layers: Sequence[str], x: Inputs) -> dict[str, Tensor]:
    """What each layer reads, of those that run."""
    found: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, given: Tensor) -> None:
        found[name] = given.clone()

    visit(network, x, layers, keep, answer=False, idle=lambda name: None)
    return found


def _turns(given: Tensor, turned: Tensor, count: int) -> bool:
    """Whether two inputs are the same but for the order of the samples, in whichever dimension these lie."""
    if given.shape != turned.shape or given.numel() % count or not given.numel():
        return False
    limit = _TOLERANCE * float(given.abs().max()) if given.is_floating_point() else 0.0

    def same(one: Tensor, other: Tensor) -> bool:
        return float((one - other).abs().max()) <= limit

    if any(same(given.flip(dim), turned) for dim, extent in enumerate(given.shape) if extent == count):
        return True
    ahead = [(count, -1), *([(len(given) // count, count, -1)] if len(given) % count == 0 else [])]
    return any(same(given.reshape(form).flip(len(form) - 2), turned.reshape(form)) for form in ahead)
