"""Removals tried out: a graph of which sizes stand as numbers cannot say whether the source computes them or knows them.

Parts of every group are removed from a copy of the network, which is run beside the masked network. Where it fails, the
numbers that the modules around keep (``num_heads``, ``split_size``, …) are lowered along with the channels; where that does
not help either, the group is pinned. Blocks that are built alike are tried once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.compression.network.grouping import grouped_units
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.masks import is_mask
from annealnet.compression.network.structure import DependencyGroup, Layer, NetworkGraph, Pinned, Size
from annealnet.compression.network.surgery import mask, remove

__all__ = ["as_tried", "tried", "without"]

#: What modules call the number of their heads, and of all features of all heads.
COUNTS = (
    "num_heads", "num_attention_heads", "n_heads", "n_head", "num_key_value_heads", "num_kv_heads", "heads", "nhead",
)  # fmt: skip
TOTALS = ("all_head_size", "inner_dim", "embed_dim", "split_size", "dim", "hidden_size", "d_model", "hidden_dim")
#: Largest difference between the masked and the narrowed network, as a share of what the removal changes, and of the answer.
_TOLERANCE, _ROUNDING = 1e-2, 1e-6


def tried(model: nn.Module, graph: NetworkGraph, inputs: Inputs) -> NetworkGraph:
    """The graph with the groups that can really go, and the numbers that go with them.

    Args:
        model: the dense network in evaluation mode.
        graph: as traced; every group in it is a guess.
        inputs: a few samples.

    Returns:
        A graph of which every group was removed by halves and gave the answers of the masked network.
    """
    if not graph.groups:
        return graph
    if _works(model, graph, graph.groups, inputs):
        return graph
    alike: dict[tuple[str, ...], list[DependencyGroup]] = {}
    for group in graph.groups:
        alike.setdefault(_likeness(model, group), []).append(group)
    sizes: list[Size] = []
    refused: list[DependencyGroup] = []
    for groups in alike.values():
        variant = next(
            (names for names in _variants() if _works(model, _with(graph, model, groups[:1], names), groups[:1], inputs)),
            None,
        )
        if variant is None:
            refused += groups
        else:
            sizes += _sizes(model, graph, groups, variant)
    found = replace(graph, sizes=tuple(dict.fromkeys(sizes)))
    left = [group for group in graph.groups if group not in refused]
    if left and not _works(model, found, left, inputs):
        singly = [group for group in left if not _works(model, found, [group], inputs)]
        refused += singly or left
    return without(found, refused)


def as_tried(model: nn.Module, graph: NetworkGraph, groups: Collection[str], sizes: Collection[str]) -> NetworkGraph:
    """A graph as :func:`tried` left it once: those groups may go, and those numbers with them, as ``str(size)``."""
    every = _every_size(model, graph, graph.groups, (*COUNTS, *TOTALS))
    found = replace(graph, sizes=tuple(dict.fromkeys(size for size in every if str(size) in sizes)))
    return without(found, [group for group in graph.groups if group.name not in groups])


def _variants() -> list[tuple[str, ...]]:
    """Which numbers to lower: none, heads, all features, both."""
    return [(), COUNTS, TOTALS, (*COUNTS, *TOTALS)]


def _with(graph: NetworkGraph, model: nn.Module, groups: Sequence[DependencyGroup], names: Sequence[str]) -> NetworkGraph:
    return replace(graph, sizes=tuple(_sizes(model, graph, groups, names)))


def _likeness(model: nn.Module, group: DependencyGroup) -> tuple[str, ...]:
    """Groups of equal likeness come from blocks that are built alike."""
    said = []
    for name in (*group.producers, "reads", *group.readers):
        owner, _, leaf = name.rpartition(".")
        said.append(f"{type(model.get_submodule(owner)).__qualname__}.{leaf}" if name != "reads" else name)
    return tuple(said)


def _sizes(model: nn.Module, graph: NetworkGraph, groups: Iterable[DependencyGroup], names: Sequence[str]) -> list[Size]:
    """Numbers kept by the modules around the groups' layers that are those of their channels: each follows one layer."""
    found: dict[tuple[str, str], Size] = {}
    for size in _every_size(model, graph, groups, names):
        found.setdefault((size.module, size.attribute), size)
    return list(found.values())


def _every_size(
    model: nn.Module, graph: NetworkGraph, groups: Iterable[DependencyGroup], names: Sequence[str]
) -> Iterator[Size]:
    """The same with all the layers that a number could be of."""
    for group in groups:
        for producer in group.producers:
            layer = graph.layer(producer)
            owner = producer.rpartition(".")[0]
            for name, value in vars(model.get_submodule(owner)).items():
                slots = _slots(layer, value) if name in names and type(value) is int else None
                if slots is not None:
                    yield Size(owner, name, slots, producer)


def _slots(layer: Layer, value: int) -> tuple[int, ...] | None:
    """The unit behind each of so many things: heads of equal channels, all channels, those of one of several equal parts.

    Where channels that stay lie beside them (the one key and value of all queries), those that may go are looked at alone.
    """
    units = layer.out_units
    found = _things(units, value)
    return _things(units[units >= 0], value) if found is None and (units >= 0).any() else found


def _things(units: np.ndarray, value: int) -> tuple[int, ...] | None:
    if value < 1 or len(units) % value:
        return None
    rows = units.reshape(value, -1)
    if (rows == rows[:, :1]).all():
        return tuple(rows[:, 0].tolist())
    parts = units.reshape(-1, value)
    return tuple(parts[0].tolist()) if (parts == parts[:1]).all() else None


def _works(model: nn.Module, graph: NetworkGraph, groups: Sequence[DependencyGroup], inputs: Inputs) -> bool:
    """Whether parts of the groups' units can go: the first half, which no symmetry of halves survives; and so many at random
    that groups of equal width lose different numbers, which no size read off another group survives.
    """
    inputs = _lively(inputs)
    rng = np.random.default_rng(0)
    for draw in range(2):
        keep = np.ones(graph.num_units, dtype=bool)
        for number, group in enumerate(groups):
            units = np.array(group.units)
            some = min(len(units) - 1, 1 + number % max(1, len(units) - 1))
            keep[units[: len(units) // 2] if draw == 0 else rng.permutation(units)[:some]] = False
        if not keep.all() and not _goes(model, graph, keep, inputs):
            return False
    return True


def _lively(inputs: Inputs) -> Inputs:
    """With noise on what are numbers: to a blank sample a wrong removal answers like a right one."""
    generator = torch.Generator().manual_seed(0)

    def stirred(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        spread = float(tensor.std()) if tensor.numel() > 1 else 0.0
        return tensor + (spread or 1.0) * torch.randn(tensor.shape, generator=generator).to(tensor.dtype)

    named = {name: tensor if is_mask(name) else stirred(tensor) for name, tensor in inputs.kwargs.items()}
    return replace(inputs, args=tuple(map(stirred, inputs.args)), kwargs=named)


def _goes(model: nn.Module, graph: NetworkGraph, keep: np.ndarray, inputs: Inputs) -> bool:
    try:
        with torch.no_grad():
            whole = inputs.clone().answer(model)
            wanted = inputs.clone().answer(mask(model, graph, keep))
            found = inputs.clone().answer(remove(model, graph, keep))
    except Exception:  # whatever a forward raises that does not take fewer channels
        return False
    return _equal(whole, wanted, found)


def _equal(whole: Tensor, wanted: Tensor, found: Tensor) -> bool:
    """Whether two answers differ by far less than the removal changes them."""
    if wanted.shape != found.shape:
        return False
    scale = float(whole.abs().max()) if whole.numel() else 0.0
    change, error = (float((answer - wanted).abs().max()) for answer in (whole, found))
    return error <= _TOLERANCE * change + _ROUNDING * max(scale, 1e-6)


def without(graph: NetworkGraph, refused: Sequence[DependencyGroup]) -> NetworkGraph:
    """The same with some of its groups pinned and named; those that are left keep their names."""
    if not refused:
        return graph
    gone = {unit for group in refused for unit in group.units}
    left = [unit for unit in range(graph.num_units) if unit not in gone]
    number = np.full(graph.num_units + 1, -1, dtype=np.int64)  # the last stands for -1
    number[left] = np.arange(len(left))
    layers = tuple(
        replace(layer, out_units=number[layer.out_units], in_units=number[layer.in_units]) for layer in graph.layers
    )
    norms = tuple(replace(norm, units=number[norm.units]) for norm in graph.norms)
    beside = tuple(replace(one, units=number[one.units]) for one in graph.beside)
    products = tuple(replace(product, units=number[product.units]) for product in graph.products)
    sizes = tuple(
        replace(size, slots=slots)
        for size in graph.sizes
        if (slots := tuple(number[list(size.slots)].tolist())) and max(slots) >= 0
    )
    # what is left keeps its names: a plan says by them which of several groups of one layer could go
    names = {unit: group.name for group in graph.groups for unit in group.units}
    groups = grouped_units(layers, norms, len(left), products)
    reason = "without half of its channels the network does not run, or does not answer the same"
    pinned = tuple(Pinned(group.name, reason) for group in refused)
    return replace(
        graph, layers=layers, norms=norms, products=products, sizes=sizes, num_units=len(left), beside=beside,
        pinned=(*pinned, *graph.pinned),
        groups=tuple(replace(group, name=names[left[group.units[0]]]) for group in groups),
    )  # fmt: skip
