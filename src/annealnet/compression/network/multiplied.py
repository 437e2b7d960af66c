"""Matrices that no module's call shows: experts in a stack, operands of an ``einsum``, a cell's, a bilinear form's.

Whatever a forward does, its products end in a few of PyTorch's own operations. One run on a few samples shows which
parameters these multiply, seen through views, slices and rows picked out of them; each that is no layer's yet becomes a
:class:`~.kinds.Matrix`, rounded by value, all of it kept. *Our reconstruction*; nothing of it needs a trace.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import LayerKind, kind_of, layer_at, layer_kind, own_tensors
from annealnet.compression.network.labelling import hooked
from annealnet.compression.network.left_dense import left_dense
from annealnet.compression.network.live import batches_of
from annealnet.compression.network.structure import Layer, NetworkGraph, Product
from annealnet.compression.network.ties import first_names

__all__ = ["fixed_layer", "with_matrices", "with_matrices_named"]

#: Operations that multiply rows with a matrix, as they are when PyTorch dispatches them.
PRODUCTS = frozenset((
    "mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "_grouped_mm", "linear", "matmul", "einsum", "convolution",
    "_convolution", "_trilinear", "mkldnn_rnn_layer", "_native_multi_head_attention", "_transformer_encoder_layer_fwd",
    "embedding", "_embedding_bag", "_embedding_bag_forward_only",
))  # fmt: skip
#: Of these, tables: a row that is looked up is multiplied with nothing.
TABLES = frozenset(("embedding", "_embedding_bag", "_embedding_bag_forward_only"))
#: Operations whose answer is the same numbers, or some of them, in memory of its own.
COPIES = frozenset(("clone", "_to_copy", "index", "index_select", "gather", "cat", "stack", "copy"))
#: What is put on top of a weight, W + B·A: where all of it is made of parameters, rounding W rounds what multiplies.
SUMS = frozenset(("add", "sub"))


class _Operands(TorchDispatchMode):
    """Notes which parameters are multiplied, in the order of their first product, and how many multiply-adds that is."""

    def __init__(self, parameters: dict[str, nn.Parameter], constants: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.multiply_adds: dict[str, int] = {}
        self._places: dict[int, list[tuple[int, int, str]]] = {}
        self._kept: list[Tensor] = []  # as long as copies live, nothing else lies where they do
        self._made: set[int] = {one.untyped_storage().data_ptr() for one in (*parameters.values(), *constants)}
        for name, parameter in parameters.items():
            self._note(parameter, (name,))

    def _note(self, tensor: Tensor, names: tuple[str, ...]) -> None:
        begins = int(tensor.storage_offset())
        last = begins + sum(
            (int(extent) - 1) * int(step) for extent, step in zip(tensor.shape, tensor.stride(), strict=True)
        )
        self._places.setdefault(tensor.untyped_storage().data_ptr(), []).extend((begins, last, name) for name in names)

    def _names(self, tensor: Tensor) -> tuple[str, ...]:
        found = self._places.get(tensor.untyped_storage().data_ptr(), ())
        return tuple(name for begins, last, name in found if begins <= tensor.storage_offset() <= last)

    def _is_made(self, operands: list[Tensor], answer: Any) -> bool:
        """Whether an answer is made of matrices that are parameters alone; it is remembered."""
        if not isinstance(answer, Tensor) or answer.layout != torch.strided or not operands:
            return False
        if not all(one.untyped_storage().data_ptr() in self._made for one in operands):
            return False
        self._made.add(answer.untyped_storage().data_ptr())
        self._kept.append(answer)
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        operation = func.overloadpacket.__name__.rstrip("_")
        operands = [
            one for one in tree_leaves((args, kwargs or {})) if isinstance(one, Tensor) and one.layout == torch.strided
        ]
        made = self._is_made(operands, answer)
        if operation not in PRODUCTS | COPIES and not (operation in SUMS and made):
            return answer
        for operand in operands:
            names = self._names(operand) if operand.is_floating_point() else ()
            same = operation in COPIES or (operation in SUMS and operand.shape == answer.shape)
            if same and names and isinstance(answer, Tensor):
                self._note(answer, names)
                self._kept.append(answer)
            elif operation in PRODUCTS:
                macs = 0 if operation in TABLES else _multiply_adds(operation, operand, args, answer)
                for name in names:
                    self.multiply_adds[name] = self.multiply_adds.get(name, 0) + macs // len(names)
        return answer


def _multiply_adds(operation: str, weight: Tensor, args: tuple[Any, ...], answer: Any) -> int:
    """Of one product; of what has an operation of its own (recurrent layers, attention, bilinear forms) one pass per row."""
    result: Tensor = answer[0] if isinstance(answer, tuple) else answer
    if "convolution" in operation:
        rows: Tensor = args[0] if args[6] else result
        return rows.numel() * weight[0].numel()
    if operation not in ("mm", "addmm", "bmm", "baddbmm", "_grouped_mm"):
        return math.prod(result.shape[:-1]) * weight.numel()
    left: Tensor = args[1] if operation in ("addmm", "baddbmm") else args[0]
    return result.numel() * left.shape[-1]


def with_matrices(model: nn.Module, graph: NetworkGraph, inputs: Inputs) -> NetworkGraph:
    """The graph with every further matrix that the network multiplies with, rounded by value, in its place in the order.

    Left out are weights that hooks or parametrisations compute, for what is written there does not last.

    Args:
        model: the network in evaluation mode.
        graph: as traced.
        inputs: samples; what one of them costs is the mean of all.

    Example:
        >>> from annealnet.compression.network.graph import trace
        >>> class Forms(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.form = nn.Parameter(torch.randn(3, 4, 20))
        ...     def forward(self, x):
        ...         return torch.einsum("ni,kij->nkj", x, self.form)
        >>> graph = trace(Forms(), torch.zeros(1, 4))
        >>> [(layer.name, layer.weight_shape, layer.by_value) for layer in graph.layers], graph.macs()
        ([('form', (12, 20), True)], 240)
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if _may_be_matrix(parameter)}
    owned = {part: layer.name for layer in graph.layers for part in own_tensors(layer.name, layer_at(model, layer.name))}
    firsts = first_names(model)
    owned |= {firsts[part]: name for part, name in owned.items() if part in firsts}
    silent = {name for name, parameter in parameters.items() if name not in owned or not graph.output_shapes[owned[name]]}
    if not silent:
        return graph
    seen, batches = _Operands(parameters, model.buffers()), list(batches_of(model, inputs))
    try:
        with torch.no_grad(), seen:
            for batch in batches:
                batch.clone().call(model)
    except Exception:  # what refuses to be watched is left as it was traced
        return graph
    order = list(seen.multiply_adds)
    fresh = [name for name in order if name not in owned and not _is_computed(model, name)]
    named = {_place(model, name): name for name in fresh}
    found = _beside(model, graph, named, [owned.get(name, _place(model, name)) for name in order])
    counted = [(owned.get(name, _place(model, name)), seen.multiply_adds[name]) for name in order if name in silent]
    # of a weight that is used in parts the trace has counted every product under its layer's name
    ours = {layer.name for layer in found.layers} - {product.name for product in graph.products}
    products = [Product(place, np.full(1, -1), macs // len(inputs)) for place, macs in counted if place in ours and macs]
    return replace(found, products=(*graph.products, *products))


def with_matrices_named(model: nn.Module, graph: NetworkGraph, names: Collection[str]) -> NetworkGraph:
    """The graph with those of the layers named that it lacks, as :func:`with_matrices` once found them; nothing is run."""
    known = {layer.name for layer in graph.layers}
    places = {name for name, _ in model.named_parameters()} | {name for name, _ in model.named_modules()}
    missing = [name for name in names if name not in known and name in places]
    layers = [name for name in missing if isinstance(kind_of(layer_at(model, name)), LayerKind)]
    return _beside(model, graph, dict.fromkeys(layers, ""), layers)


def fixed_layer(name: str, model: nn.Module, by_value: bool) -> Layer:
    """A layer all of whose channels stay."""
    module = layer_at(model, name)
    kind = layer_kind(module)
    shape = tuple(kind.weight(module).shape)
    stay_out, stay_in = np.full(shape[0], -1), np.full(shape[1] * kind.groups(module), -1)
    has_bias = kind.bias(module) is not None
    return Layer(name, kind.word, shape, kind.groups(module), stay_out, stay_in, None, has_bias, by_value=by_value)


def _beside(model: nn.Module, graph: NetworkGraph, fresh: Collection[str], order: list[str]) -> NetworkGraph:
    """The graph with further layers, each in front of the first known one that runs after it."""
    if not fresh:
        return graph
    number = {name: place for place, name in enumerate(order)}
    layers = list(graph.layers)
    for name in reversed([name for name in order if name in fresh]):
        later = (place for place, layer in enumerate(layers) if number.get(layer.name, -1) > number[name])
        layers.insert(next(later, len(layers)), fixed_layer(name, model, by_value=True))
    shapes = {**graph.output_shapes, **dict.fromkeys(fresh, 0)}
    return replace(graph, layers=tuple(layers), output_shapes=shapes, pinned=_still_dense(model, graph, layers))


def _still_dense(model: nn.Module, graph: NetworkGraph, layers: list[Layer]) -> tuple[Any, ...]:
    """What is pinned, with the tensors listed anew; the reasons that the trace gave stand."""
    reasons = {pinned.name: pinned.reason for pinned in graph.pinned if pinned.num_bytes}
    folded = [norm.name for norm in graph.norms if norm.folded_into is not None]
    dense = left_dense(model, [layer.name for layer in layers], folded, {}, set())
    channels = [pinned for pinned in graph.pinned if not pinned.num_bytes]
    return (*channels, *(replace(one, reason=reasons.get(one.name, one.reason)) for one in dense))


def _may_be_matrix(parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and parameter.is_floating_point() and parameter.is_contiguous() and parameter.numel() > 0


def _is_computed(model: nn.Module, name: str) -> bool:
    """Whether the parameter is one from which a parametrisation or a hook computes the weight."""
    owner = model.get_submodule(name.rpartition(".")[0])
    return isinstance(owner, parametrize.ParametrizationList) or bool(hooked(model, {name.rpartition(".")[0]}))


def _place(model: nn.Module, name: str) -> str:
    """What the layer with this weight is called: its module, where that is a layer, or the parameter itself."""
    owner, _, leaf = name.rpartition(".")
    module = model.get_submodule(owner)
    kind = kind_of(module)
    return owner if isinstance(kind, LayerKind) and leaf == kind.weight_name and kind.understands(module) else name
