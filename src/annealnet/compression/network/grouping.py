"""Removable units gathered into dependency groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from annealnet.compression.network.structure import DependencyGroup, Layer, Norm, Product

__all__ = ["grouped_units"]


def grouped_units(
    layers: Sequence[Layer], norms: Sequence[Norm], num_units: int, products: Sequence[Product] = ()
) -> tuple[DependencyGroup, ...]:
    """Units with the same producers, readers and norms form one group.

    Args:
        layers: their outputs and inputs say which units they compute and read.
        norms: which units they normalise.
        num_units: how many there are.
        products: what is computed for each head of an attention.

    Example:
        >>> first = Layer("a", "linear", (2, 3), 1, np.array([0, 1]), np.array([-1, -1, -1]), None, True)
        >>> second = Layer("b", "linear", (1, 2), 1, np.array([-1]), np.array([0, 1]), None, True)
        >>> print(*grouped_units((first, second), (), 2))
        a: 2 units, computed by a; read by b
    """
    producers: list[list[str]] = [[] for _ in range(num_units)]
    readers: list[list[str]] = [[] for _ in range(num_units)]
    normed: list[list[str]] = [[] for _ in range(num_units)]
    for layer in layers:
        for found, slots in ((producers, layer.out_units), (producers if layer.by_columns else readers, layer.in_units)):
            for unit in np.unique(slots[slots >= 0]):
                found[unit].append(layer.name)
    for norm in norms:
        for unit in np.unique(norm.units[norm.units >= 0]):
            normed[unit].append(norm.name)
    members: dict[tuple[tuple[str, ...], ...], list[int]] = {}
    for unit in range(num_units):
        key = (tuple(producers[unit]), tuple(readers[unit]), tuple(normed[unit]))
        members.setdefault(key, []).append(unit)
    groups, begun = [], dict[str, int]()
    kinds = {layer.name: layer.kind for layer in layers}
    heads = {int(unit) for product in products for unit in product.units}
    tables = {layer.name for layer in layers if layer.by_columns}
    over = {norm.name for norm in norms if norm.over is not None}
    for (made, read, norm_names), units in members.items():
        begun[made[0]] = begun.get(made[0], 0) + 1
        name = made[0] if begun[made[0]] == 1 else f"{made[0]}#{begun[made[0]]}"
        what = "neurons" if all(kinds[layer] == "linear" for layer in made) else "channels"
        what = "stream" if not (tables.isdisjoint(made) and over.isdisjoint(norm_names)) else what
        groups.append(DependencyGroup(name, tuple(units), made, read, norm_names, "heads" if units[0] in heads else what))
    return tuple(groups)
