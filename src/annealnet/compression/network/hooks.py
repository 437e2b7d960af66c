"""The third way into a network: its layers in the order in which they run, seen by hooks. All can be rounded, none narrowed.

Where a trace stops at a module that it cannot look into, the layers inside are found so, too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import LayerKind, kind_of, layer_kind
from annealnet.compression.network.labelling import untouchable
from annealnet.compression.network.live import batches_of
from annealnet.compression.network.multiplied import fixed_layer
from annealnet.compression.network.structure import Layer, NetworkGraph

__all__ = ["with_layers_that_run"]


def with_layers_that_run(model: nn.Module, graph: NetworkGraph, inputs: Inputs) -> NetworkGraph:
    """The graph with all layers that run in the network, in that order; those that were not traced stay as wide as they are.

    Args:
        model: the network in evaluation mode.
        graph: as traced; may be empty.
        inputs: samples; what one of them costs is the mean of all.

    Example:
        >>> from annealnet.compression.network.graph import trace
        >>> class Decides(nn.Sequential):
        ...     def forward(self, x):
        ...         return super().forward(x if float(x.sum()) > 0 else -x)
        >>> graph = trace(Decides(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), torch.ones(1, 2))
        >>> graph.way, [layer.name for layer in graph.layers], graph.num_units
        ('hooks', ['0', '2'], 0)
    """
    known = {layer.name for layer in graph.layers}
    hidden = {name for name, module in model.named_modules() if name not in known and isinstance(kind_of(module), LayerKind)}
    if not hidden:
        return graph
    runs = _runs(model, inputs, hidden | known & {name for name, _ in model.named_modules()})
    refused = untouchable(model, {name: count for name, (_, count, _) in runs.items()}, set())
    found = [_layer(name, model) for name in runs if name in hidden and name not in refused]
    if not found:
        return graph
    shapes = dict(graph.output_shapes)
    for layer in found:
        numbers = runs[layer.name][2]
        kind = layer_kind(model.get_submodule(layer.name))
        shapes[layer.name] = numbers // (len(inputs) * layer.weight_shape[0]) if kind.multiplies else 0
    order = {name: place for name, (place, _, _) in runs.items()}
    places: list[tuple[int, Layer]] = []
    last = -1
    for layer in graph.layers:  # a matrix that is no module of its own runs with what stands before it
        last = order.get(layer.name, last)
        places.append((last, layer))
    places += [(order[layer.name], layer) for layer in found]
    layers = [layer for _, layer in sorted(places, key=lambda place: place[0])]
    idle = _idle(model, {layer.name for layer in found}, hidden - set(runs))
    shapes |= dict.fromkeys(idle, 0)
    return replace(
        graph, layers=(*layers, *(fixed_layer(name, model, by_value=True) for name in idle)), output_shapes=shapes
    )


def _idle(model: nn.Module, ran: set[str], others: set[str]) -> list[str]:
    """Layers that none of these samples came to, while a sister did: experts of a mixture."""
    sisters = {_numberless(name) for name in ran}
    found = [name for name, _ in model.named_modules() if name in others and _numberless(name) in sisters]
    refused = untouchable(model, dict.fromkeys(found, 1), set())
    return [name for name in found if name not in refused]


def _layer(name: str, model: nn.Module) -> Layer:
    kind = layer_kind(model.get_submodule(name))
    return fixed_layer(name, model, by_value=kind.inside or not kind.reads_rows)


def _numberless(name: str) -> str:
    """What the parts of one list have in common: ``experts.3.up`` is ``experts.*.up``."""
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def _runs(model: nn.Module, inputs: Inputs, names: set[str]) -> dict[str, tuple[int, int, int]]:
    """Place of the first call, calls in one pass, and numbers that it answers to all samples, of each module that runs."""
    runs: dict[str, tuple[int, int, int]] = {}
    calls: dict[str, int] = {}

    def behind(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def ran(module: nn.Module, args: tuple[Any, ...], answer: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            place, most, numbers = runs.get(name, (len(runs), 0, 0))
            runs[name] = place, max(most, calls[name]), numbers + (answer.numel() if isinstance(answer, Tensor) else 1)

        return ran

    batches = list(batches_of(model, inputs))
    with ExitStack() as hooks, torch.no_grad():
        for name in sorted(names):
            hooks.enter_context(model.get_submodule(name).register_forward_hook(behind(name)))
        for batch in batches:
            calls.clear()
            batch.clone().call(model)
    return runs
