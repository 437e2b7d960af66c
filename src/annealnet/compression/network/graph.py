"""Dependency groups by tracing: which channels of a network can be removed, and what must go with them.

The network is traced symbolically (``torch.fx``) and run once on an example. Every convolution and linear
layer gives its output channels fresh labels; labels flow through the operations by the rules of
``channel_rules``: sums tie them, concatenations line them up, flattening repeats them, depthwise and grouped
convolutions tie inputs and outputs so that groups stay equal. Labels that reach the output, or anything not
understood, are pinned: those channels stay.
*Our reconstruction*; the idea of dependency groups is that of DepGraph (Fang et al. 2023).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, fx, nn

from annealnet.compression.network.grouping import grouped_units
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import NormKind, kind_of, layer_kind
from annealnet.compression.network.labelling import Labeller
from annealnet.compression.network.left_dense import left_dense, tensor_bytes
from annealnet.compression.network.structure import AffineCount, DependencyGroup, Layer, NetworkGraph, Norm, Pinned
from annealnet.compression.network.tracing import symbolic_trace

__all__ = ["AffineCount", "DependencyGroup", "Layer", "NetworkGraph", "Norm", "Pinned", "trace"]


def trace(model: nn.Module, example: Tensor | Inputs) -> NetworkGraph:
    """Finds layers, batch norms, dependency groups, and what has to stay dense.

    Args:
        model: the dense network; neither changed nor run in training mode.
        example: a batch of inputs, one tensor ``(samples, ...)`` or several; one sample is enough, its values do not matter.

    Returns:
        The structure. What is not understood is listed in ``pinned`` and left dense.

    Raises:
        ValueError: when the network cannot be traced, or the example does not fit it.

    Example:
        >>> stem = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        >>> net = nn.Sequential(*stem, nn.Flatten(), nn.Linear(16, 3))
        >>> graph = trace(net, torch.zeros(1, 1, 4, 4))
        >>> print(graph)
        2 layers, 1 groups, 4 removable units
          0: 4 units, computed by 0; normalised by 1; read by 4
        left dense:
          4: its channels are the network's output
        >>> graph.macs(), graph.macs(np.array([True, False, False, False]))
        (192, 48)
    """
    inputs = _checked(example)
    twin = copy.deepcopy(model).eval()
    # one sample could not be told from a dimension of extent one
    batch = Inputs.joined([inputs[:1], inputs[:1]]).each(Tensor.detach)
    traced, opaque = symbolic_trace(twin, batch)
    labeller = Labeller(traced, twin, opaque, _untouchable(traced, twin))
    with torch.no_grad():
        labeller.run(*batch.tensors.values())
    _pin_unread(labeller)
    return _structure(labeller, inputs)


def _checked(example: Tensor | Inputs) -> Inputs:
    if isinstance(example, Inputs) and len(example):
        return example
    if not isinstance(example, Tensor) or example.ndim < 2 or example.shape[0] == 0:
        found = tuple(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise ValueError(f"example={found} is not a batch of inputs: give a tensor of shape (samples, ...)")
    return Inputs.of(example)


def _untouchable(traced: fx.GraphModule, model: nn.Module) -> Mapping[str, str]:
    """Modules that must not be touched, with the reason."""
    calls: dict[str, int] = {}
    direct: set[str] = set()
    for node in traced.graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
        elif node.op == "get_attr":
            direct.add(str(node.target).rpartition(".")[0])
    owners: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name.rpartition(".")[0])
    shared = {name for names in owners.values() if len(set(names)) > 1 for name in names}
    refused = {name: f"is called {count} times" for name, count in calls.items() if count > 1}
    for name in calls:
        module = model.get_submodule(name)
        if module._forward_pre_hooks or module._forward_hooks:
            refused[name] = "has hooks, which may compute its weights or change its answers"
    refused |= {name: "shares its weights with another module" for name in calls if name in shared}
    refused |= {name: "has its weights read directly" for name in calls if name in direct}
    return refused


def _structure(labeller: Labeller, example: Inputs) -> NetworkGraph:
    """The labels as units, groups, layers and norms."""
    classes, found = labeller.classes, labeller.layers
    roots = [int(root) for _, labels in found.values() for root in classes.roots(labels.outputs)]
    order = dict.fromkeys(root for root in roots if root >= 0)
    number = {root: unit for unit, root in enumerate(order)} | {-1: -1}

    def units(labels: np.ndarray) -> np.ndarray:
        return np.array([number[int(root)] for root in classes.roots(labels)], dtype=np.int64)

    folded = _foldable(labeller)
    norms = tuple(Norm(name, units(labels), folded.get(name)) for name, (_, labels) in labeller.norms.items())
    norm_of = {layer: norm for norm, layer in folded.items()}
    layers = tuple(
        _layer(name, labeller.modules[name], units(labels.outputs), units(labels.reads), norm_of.get(name), labels.axis)
        for name, (_, labels) in found.items()
    )
    return NetworkGraph(
        layers=layers,
        norms=norms,
        groups=grouped_units(layers, norms, len(order)),
        num_units=len(order),
        pinned=(*labeller.pinned, *_left_dense(labeller, folded)),
        num_bytes=tensor_bytes(labeller.modules[""]),
        output_shapes={
            name: math.prod(labeller.shapes[node]) // (labeller.shapes[node][0] * len(labels.outputs))
            for name, (node, labels) in found.items()
        },
        signature=example.signature,
    )


def _layer(name: str, module: nn.Module, outputs: np.ndarray, inputs: np.ndarray, norm: str | None, axis: int) -> Layer:
    kind = layer_kind(module)
    return Layer(
        name=name,
        kind=kind.word,
        weight_shape=tuple(kind.weight(module).shape),
        groups=kind.groups(module),
        out_units=outputs,
        in_units=inputs,
        norm=norm,
        has_bias=kind.bias(module) is not None,
        axis=axis,
    )


def _pin_unread(labeller: Labeller) -> None:
    """Channels that no layer reads cannot be masked, hence not compared: they stay."""
    roots = {name: labeller.classes.roots(labels.reads) for name, (_, labels) in labeller.layers.items()}
    read = np.unique(np.concatenate([np.empty(0, np.int64), *roots.values()]))
    for name, (_, labels) in labeller.layers.items():
        own = labeller.classes.roots(labels.outputs)
        if labeller.classes.pin(labels.outputs[(own >= 0) & ~np.isin(own, read)]):
            labeller.pinned.append(Pinned(name, "no layer reads these channels"))


def _left_dense(labeller: Labeller, folded: Mapping[str, str]) -> list[Pinned]:
    """What stays dense, with the tracer's reasons: what it could not look into, and what must not be touched."""
    reasons = {path: f"it is inside {path!r}, whose forward cannot be traced" for path in labeller.opaque}
    reasons |= {name: f"it {reason}" for name, reason in labeller.refused.items()}
    calls = {str(node.target) for node in labeller.graph.nodes if node.op == "call_module"}
    return left_dense(labeller.modules[""], labeller.layers, folded, reasons, calls)


def _foldable(labeller: Labeller) -> dict[str, str]:
    """Batch norms that directly and solely follow a layer, with the layer."""
    found = {}
    for name, (node, _) in labeller.norms.items():
        before, norm = node.all_input_nodes[0], labeller.modules[name]
        layer = str(before.target)
        kind = kind_of(norm)
        if before.op != "call_module" or layer not in labeller.layers or not isinstance(kind, NormKind):
            continue
        # behind a linear layer on (samples, positions, features) it normalises positions
        by_channel = labeller.layers[layer][1].axis == 1
        if by_channel and len(before.users) == 1 and kind.affine(norm) is not None:
            found[name] = layer
    return found
