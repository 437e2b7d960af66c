"""Dependency groups by tracing: which channels of a network can be removed, and what must go with them.

Every layer gives its output channels fresh labels; labels flow through the operations by the rules in ``rules/``: sums tie
them, concatenations line them up, flattening repeats them, heads of an attention go whole, depthwise and grouped
convolutions tie inputs and outputs so that groups stay equal. Labels that reach the output, or anything not understood, are
pinned: those channels stay. Several ways lead into a network (:class:`.ways.Way`); the first that leaves nothing over is
taken, else the one that reaches most.

*Our reconstruction*; the idea of dependency groups is that of DepGraph (Fang et al. 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.compression.network.exported import ExportLabels
from annealnet.compression.network.exporting import NotExported, exported
from annealnet.compression.network.given import working_copy
from annealnet.compression.network.grouping import grouped_units
from annealnet.compression.network.hooks import with_layers_that_run
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import NormKind, kind_of, layer_kind
from annealnet.compression.network.labelling import Labels
from annealnet.compression.network.left_dense import left_dense, tensor_bytes
from annealnet.compression.network.multiplied import with_matrices, with_matrices_named
from annealnet.compression.network.packed import telling
from annealnet.compression.network.stream import StreamLabels
from annealnet.compression.network.structure import (
    AffineCount,
    Beside,
    DependencyGroup,
    Layer,
    NetworkGraph,
    Norm,
    Pinned,
    Product,
)
from annealnet.compression.network.symbolic import SymbolicLabels
from annealnet.compression.network.tracing import symbolic_trace
from annealnet.compression.network.trial import as_tried, tried
from annealnet.compression.network.ways import Way

__all__ = ["AffineCount", "DependencyGroup", "Layer", "NetworkGraph", "Norm", "Pinned", "trace", "traced_again"]


def trace(model: nn.Module, example: Tensor | Inputs, stream: bool = False) -> NetworkGraph:
    """Finds layers, norms, dependency groups, and what has to stay dense.

    Args:
        model: the dense network; neither changed nor run in training mode.
        example: a batch of inputs, one tensor ``(samples, ...)`` or several; one sample is enough, its values do not matter,
            but where sequences are packed: there multiply-adds are counted over all of them.
        stream: whether channels of the residual stream may go, where all that reads and normalises them can follow.

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
        >>> graph.macs(), graph.macs(np.array([True, False, False, False])), graph.way
        (192, 48, 'symbolic')
    """
    inputs = _checked(example)
    some = telling(_twin(model), inputs)
    return with_matrices(_twin(model), _opened(model, inputs, stream, some), some)


def _opened(model: nn.Module, inputs: Inputs, stream: bool, some: Inputs) -> NetworkGraph:
    """By the first way that leaves nothing over, or the one that reaches most; what hooks see is counted on ``some``.

    Where the residual stream was asked for and nothing of it can go, what held it is told first.
    """
    # one sample could not be told from a dimension of extent one
    two = Inputs.joined([inputs[:1], inputs[:1]]).each(Tensor.detach)
    streaming = _with_stream(model, two, inputs) if stream else None
    if streaming is not None and any(group.what == "stream" for group in streaming.groups):
        return streaming
    held = () if streaming is None else tuple(one for one in streaming.pinned if not one.num_bytes)
    graph = _without_stream(model, inputs, some, two)
    known = {(one.name, one.reason) for one in graph.pinned}
    return replace(graph, pinned=(*(one for one in held if (one.name, one.reason) not in known), *graph.pinned))


def _without_stream(model: nn.Module, inputs: Inputs, some: Inputs, two: Inputs) -> NetworkGraph:
    """The same by the ways that leave the residual stream alone."""
    found: list[NetworkGraph] = []
    failures: list[Exception] = []
    for opened in _WAYS.values():
        twin = _twin(model)  # one for each way: a forward may keep what it was traced with
        try:
            with torch.no_grad():
                labels = opened(twin, two)
        except (ValueError, NotExported) as error:
            failures.append(error)
            continue
        labels.pin_unread()
        graph = _structure(labels, inputs)
        found.append(tried(twin, graph, two) if labels.way.keeps_sizes else graph)
        if _complete(labels, found[-1]):
            break
    best = max(found, key=lambda graph: (-graph.stays_dense.num_bytes, graph.num_units)) if found else None
    if best is not None and not best.opaque and not failures:
        return best
    return _by_hooks(_twin(model), best, some, inputs, failures)


def _with_stream(model: nn.Module, two: Inputs, inputs: Inputs) -> NetworkGraph | None:
    """The structure with the residual stream among what may go, where it can; None where it cannot be exported."""
    twin = _twin(model)
    try:
        with torch.no_grad():
            labels = _streaming(twin, two)
    except (ValueError, NotExported):
        return None
    labels.pin_unread()
    return tried(twin, _structure(labels, inputs), two)


def traced_again(
    model: nn.Module,
    example: Inputs,
    way: Way,
    layers: Collection[str],
    groups: Collection[str],
    sizes: Collection[str],
) -> NetworkGraph:
    """The structure of a network that was traced before, from what a plan says of it; nothing is tried.

    Args:
        model: a network of that architecture; its weights do not matter.
        example: inputs of that kind; their values do not matter.
        way: how it was opened.
        layers: names of its layers.
        groups: names of the groups that could go.
        sizes: numbers that go with them, as ``"module.attribute of layer"``.

    Raises:
        ValueError: when it cannot be opened so.
    """
    twin = _twin(model)
    two = Inputs.joined([example[:1], example[:1]])
    graph: NetworkGraph | None = None
    if way in _EVERY_WAY:
        try:
            with torch.no_grad():
                labels = _EVERY_WAY[way](twin, two)
        except NotExported as error:
            raise ValueError(f"model={type(model).__name__} cannot be exported ({error})") from error
        labels.pin_unread()
        graph = _structure(labels, example)
        graph = as_tried(twin, graph, groups, sizes) if way.keeps_sizes else graph
    graph = None if graph is None else with_matrices_named(twin, graph, layers)
    if graph is None or not {layer.name for layer in graph.layers} >= set(layers):
        unreached: list[Exception] = [ValueError("its plan says that no trace reached all of it")]
        graph = _by_hooks(_twin(model), graph, two, example, unreached)
    return with_matrices_named(twin, graph, layers)


def _twin(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode that nobody else sees."""
    return working_copy(model).eval()


def _checked(example: Tensor | Inputs) -> Inputs:
    if isinstance(example, Inputs) and len(example):
        return example
    if not isinstance(example, Tensor) or example.ndim < 2 or example.shape[0] == 0:
        found = tuple(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise ValueError(f"example={found} is not a batch of inputs: give a tensor of shape (samples, ...)")
    return Inputs.of(example)


def _symbolic(model: nn.Module, inputs: Inputs) -> Labels:
    traced, opaque = symbolic_trace(model, inputs)
    return SymbolicLabels(traced, model, inputs, opaque)


def _exported(model: nn.Module, inputs: Inputs) -> Labels:
    return ExportLabels(exported(model, inputs), model, len(inputs))


def _streaming(model: nn.Module, inputs: Inputs) -> Labels:
    return StreamLabels(exported(model, inputs), model, len(inputs))


_WAYS: dict[Way, Callable[[nn.Module, Inputs], Labels]] = {Way.SYMBOLIC: _symbolic, Way.EXPORT: _exported}
_EVERY_WAY = _WAYS | {Way.STREAM: _streaming}


def _complete(labels: Labels, graph: NetworkGraph) -> bool:
    """Whether no other way could find more: only norms stay dense, and only the network's outputs are pinned."""
    model = labels.modules[""]
    dense = [pinned.name for pinned in graph.pinned if pinned.num_bytes]
    return all("the network's output" in pinned.reason for pinned in labels.pinned) and all(
        name in labels.modules and isinstance(model.get_submodule(name), _NORMS) for name in dense
    )


#: What is stored as it is, however a network is opened.
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def _by_hooks(
    model: nn.Module, graph: NetworkGraph | None, some: Inputs, inputs: Inputs, failures: list[Exception]
) -> NetworkGraph:
    """What a trace could not look into, or the whole network where nothing could be traced."""
    begun = graph or NetworkGraph((), (), (), 0, (), {}, inputs.signature, way=Way.HOOKS)
    try:
        found = with_layers_that_run(model, begun, some)
    except Exception:  # the example does not fit, whatever the forward raises: the trace says it better
        found = begun
    if not found.layers or (graph is not None and found is begun):
        if graph is None:
            raise _refused(model, inputs, failures)
        return graph
    reasons = [f"{type(model).__name__} cannot be traced ({error}): nothing can be removed" for error in failures[:1]]
    pinned = graph.pinned if graph is not None else tuple(Pinned("model", reason) for reason in reasons)
    channels = [one for one in pinned if not one.num_bytes]
    names = [layer.name for layer in found.layers]
    folded = [norm.name for norm in found.norms if norm.folded_into is not None]
    dense = left_dense(model, names, folded, {}, set())
    return replace(found, pinned=(*channels, *dense), num_bytes=tensor_bytes(model))


def _refused(model: nn.Module, inputs: Inputs, failures: list[Exception]) -> Exception:
    """What the way for inputs of this kind said."""
    if isinstance(failures[0], ValueError) and len(inputs.args) == 1 and not inputs.kwargs:
        return failures[0]
    return ValueError(f"model={type(model).__name__} cannot be traced ({failures[-1]}): it must run on the example")


def _structure(labeller: Labels, inputs: Inputs) -> NetworkGraph:
    """The labels as units, groups, layers and norms."""
    classes, found = labeller.classes, labeller.layers
    made = [labels.reads if name in labeller.by_columns else labels.outputs for name, (_, labels) in found.items()]
    order = dict.fromkeys(int(root) for labels in made for root in classes.roots(labels) if root >= 0)
    number = {root: unit for unit, root in enumerate(order)}

    def units(labels: np.ndarray) -> np.ndarray:
        """What no layer makes stays."""
        return np.array([number.get(int(root), -1) for root in classes.roots(labels)], dtype=np.int64)

    folded = _foldable(labeller)
    over = labeller.over if isinstance(labeller, StreamLabels) else {}
    norms = tuple(
        Norm(name, units(labels), folded.get(name), over.get(name)) for name, (_, labels) in labeller.norms.items()
    )
    beside = labeller.beside if isinstance(labeller, StreamLabels) else {}
    meeting = [Beside(name, axis, units(labels)) for name, (axis, labels) in beside.items()]
    norm_of = {layer: norm for norm, layer in folded.items()}
    layers = tuple(
        _layer(name, labeller, units(labels.outputs), units(labels.reads), norm_of.get(name), labels.axis)
        for name, (_, labels) in found.items()
    )
    products = tuple(Product(name, units(labels), macs) for name, labels, macs in labeller.products)
    return NetworkGraph(
        layers=layers,
        norms=norms,
        groups=grouped_units(layers, norms, len(order), products),
        num_units=len(order),
        pinned=(*labeller.pinned, *_left_dense(labeller, folded)),
        num_bytes=tensor_bytes(labeller.modules[""]),
        output_shapes={name: labeller.positions(name) for name in found},
        signature=inputs.signature,
        products=products,
        way=labeller.way,
        opaque=bool(labeller.opaque),
        beside=tuple(one for one in meeting if (one.units >= 0).any()),
    )


def _layer(name: str, labels: Labels, outputs: np.ndarray, inputs: np.ndarray, norm: str | None, axis: int) -> Layer:
    module = labels.located(name)
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
        by_value=name in labels.by_value,
        by_columns=name in labels.by_columns,
    )


def _left_dense(labels: Labels, folded: Mapping[str, str]) -> list[Pinned]:
    """What stays dense, with the tracer's reasons: what it could not look into, and what must not be touched."""
    reasons = {path: f"it is inside {path!r}, whose forward cannot be traced" for path in labels.opaque}
    reasons |= {name: f"it {reason}" for name, reason in labels.refused.items()}
    return left_dense(labels.modules[""], labels.layers, folded, reasons, labels.called)


def _foldable(labels: Labels) -> dict[str, str]:
    """Batch norms that directly and solely follow a layer, with the layer."""
    found = {}
    for name in labels.norms:
        norm, layer = labels.modules[name], labels.layer_before(name)
        kind = kind_of(norm)
        if layer is None or layer in labels.by_value or not isinstance(kind, NormKind):
            continue
        # behind a linear layer on (samples, positions, features) it normalises positions
        if labels.layers[layer][1].axis == 1 and kind.affine(norm) is not None:
            found[name] = layer
    return found
