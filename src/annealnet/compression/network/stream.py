"""The residual stream, labelled: columns of embeddings, norms over channels, and parameters that meet channels beside them.

Off by default: the other ways leave these channels alone. Here, in an exported graph,

* a table's columns get labels; a head that shares the table reads them;
* a module that takes moments over the channels (:mod:`.kinds.shared_moments`), known by what it answers, lets them through;
* a parameter or buffer that no layer owns (a table of positions, a class token, a gain) gets labels along its channels,
  which become one with those it meets. Where they meet in another way, it stays, as it would without labels.

What can be removed is tried afterwards, as for every exported graph. *Our reconstruction.*
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from annealnet.compression.network.aten import PRODUCTS, RECURRENT, Operands, operation, stack
from annealnet.compression.network.call import Call
from annealnet.compression.network.channel_labels import Channels, Labelled
from annealnet.compression.network.exported import ExportLabels
from annealnet.compression.network.kinds import LayerLabels, layer_kind, takes_moments_over
from annealnet.compression.network.passage import NotUnderstood, Passage
from annealnet.compression.network.ways import Way

__all__ = ["StreamLabels"]

#: What gives its operand as it is, or nothing: in front of a norm's first step, others may take it from there.
_SAME = ("to", "alias", "contiguous", "detach", "clone", "_to_copy")
_CHECKS = ("_assert_tensor_metadata",)


@dataclass(frozen=True)
class _Region:
    """The operations of one call of a module that may be a norm."""

    name: str
    steps: frozenset[fx.Node]
    given: fx.Node
    answer: fx.Node


class StreamLabels(ExportLabels):
    """As :class:`.ExportLabels`, with labels on the residual stream.

    Attributes:
        over: the channels' dimension of each norm that takes its moments over them, by its name.
        beside: tensors that no layer owns, by name, with their dimension of channels and its labels.
    """

    way = Way.STREAM

    def __init__(self, program: torch.export.ExportedProgram, model: nn.Module, samples: int) -> None:
        self.over: dict[str, int] = {}
        self.beside: dict[str, tuple[int, np.ndarray]] = {}
        self._loose: set[fx.Node] = set()
        self._regions = {region.answer: region for region in _regions(program.graph, model)}
        self._inside = {step: region for region in self._regions.values() for step in region.steps}
        self._is_norm: dict[fx.Node, bool] = {}
        super().__init__(program, model, samples)

    # ---- one step ----------------------------------------------------------------------------------------

    def _step(self, node: fx.Node) -> None:
        super()._step(node)
        if node.op == "placeholder" and node in self._names:
            self._seed(node)
        elif self.values.get(node) is not None and node not in self._layer_of and node not in self._inside:
            given = [one for one in node.all_input_nodes if self.values.get(one) is not None]
            if given and all(one in self._loose for one in given):
                self._loose.add(node)

    def _label(self, call: Call) -> Labelled | None:
        region = self._inside.get(call.node)
        if region is not None and self._passes(region):
            value = self.values[region.given]
            return value if call.node is region.answer else None
        self._pin_biases(call)
        try:
            return super()._label(call)
        except (NotUnderstood, AttributeError, TypeError, IndexError, ValueError):
            loose = [node for node in call.node.all_input_nodes if node in self._loose]
            if not loose:
                raise
            for node in loose:  # what only parameters gave yields: it stays
                self.classes.pin(self.values[node].labels)  # type: ignore[union-attr]
                self.values[node] = None
                self._loose.discard(node)
            return super()._label(call)

    def _pin_biases(self, call: Call) -> None:
        """What is added to an attention's scores stays, whatever made it."""
        if operation(call.node) == "scaled_dot_product_attention":
            bias = call.value(call.argument(3, "attn_mask"))
            if bias is not None:
                call.pin(bias.labels, "it is added to the scores of an attention")

    # ---- parameters that meet channels ---------------------------------------------------------------------

    def _seed(self, node: fx.Node) -> None:
        """Labels along the channels of a tensor that no product multiplies with: its only wide dimension, or its last."""
        name, value = self._names[node], node.meta.get("val")
        taken = (*PRODUCTS, *RECURRENT)
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.numel() < 2 or name in self.beside:
            return
        if self._uses[node] != len(node.users) or any(operation(user) in taken for user in node.users):
            return
        if any(user in self._added for user in node.users):  # a layer's bias
            return
        wide = [dim for dim, extent in enumerate(value.shape) if extent > 1]
        axis = wide[0] if len(wide) == 1 else value.ndim - 1
        labels = self.classes.fresh(value.shape[axis])
        self.beside[name] = axis, labels
        self.values[node] = Channels(axis, labels)
        self._loose.add(node)

    # ---- norms over channels -------------------------------------------------------------------------------

    def _passes(self, region: _Region) -> bool:
        """Whether it is a norm over the channels that come in; told once."""
        if region.answer not in self._is_norm:
            self._is_norm[region.answer] = self._found_norm(region)
        return self._is_norm[region.answer]

    def _found_norm(self, region: _Region) -> bool:
        value, name = self.values.get(region.given), region.name
        if not isinstance(value, Channels) or name in self.refused:
            return False
        shape = self.shapes[region.given]
        known = self.norms.get(name)
        if known is not None:  # called once more
            if self.over.get(name) != value.axis:
                return False
            self.classes.tie(known[1], value.labels)
            return True
        if not takes_moments_over(self.modules[name], shape, value.axis):
            return False
        self.norms[name], self.over[name] = (region.answer, value.labels), value.axis
        return True

    # ---- tables ----------------------------------------------------------------------------------------------

    def _layer(self, call: Call, at: Operands) -> Labelled | None:
        """A table's columns are channels, and so is what a head on it reads."""
        given: Any = call.node.args[at.weight]
        weight = self._origin(given)
        assert weight is not None
        place, module = self._located(self._names[weight])
        kind = layer_kind(module)
        if place in self.refused or not self._is_table(self._names[weight]):
            return super()._layer(call, at)
        if place not in self.layers:
            rows, features = kind.weight(module).shape
            axis = len(call.out_shape) - 1
            labels = LayerLabels(axis, np.full(rows, -1), self.classes.fresh(features))
            self.layers[place] = (call.node, labels)
            self.by_value.add(place)
            self.by_columns.add(place)
            self._layer_of[call.node] = place
        columns = self.layers[place][1].reads
        if operation(call.node) == "embedding":
            return Channels(len(call.out_shape) - 1, columns)
        operand: Any = call.node.args[at.x]
        shape = call.shape(operand) or ()
        read = Passage(call.value(operand), shape, call.out_shape, self.classes, call.pin)
        self.classes.tie(read.read(len(shape) - 1, len(columns)), columns)
        return None

    def _is_table(self, name: str) -> bool:
        """Whether rows of it are looked up, by whichever of its names, and else only heads multiply with it."""
        nodes = [node for node, own in self._names.items() if own == name]
        used = [(operation(user), user.args.index(node)) for node in nodes for user in node.users if node in user.args]
        looked_up, every = ("embedding", 0), sum(len(node.users) for node in nodes)
        return looked_up in used and set(used) <= {looked_up, ("linear", 1)} and len(used) == every


def _regions(graph: fx.Graph, model: nn.Module) -> list[_Region]:
    """Calls of modules without children that take one computed tensor and give one."""
    steps: dict[str, list[fx.Node]] = {}
    leaves = {name for name, module in model.named_modules(remove_duplicate=False) if name and not list(module.children())}
    for node in graph.nodes:
        inside = stack(node)[-1:] if node.op == "call_function" else []
        if inside and inside[0].partition("@")[0] in leaves:
            steps.setdefault(inside[0], []).append(node)
    found = [_region(called.partition("@")[0], nodes) for called, nodes in steps.items()]
    return [region for region in found if region is not None]


def _region(name: str, nodes: list[fx.Node]) -> _Region | None:
    same: set[fx.Node] = set()
    mine = set(nodes)
    for node in nodes:
        ahead = [one for one in node.all_input_nodes[:1] if not _held(one) and (one not in mine or one in same)]
        if operation(node) in _SAME and ahead:
            same.add(node)
    steps = [node for node in nodes if node not in same and operation(node) not in _CHECKS]
    core = set(steps)
    given = {one for node in steps for one in node.all_input_nodes if one not in core and not _held(one)}
    answers = [node for node in steps if any(user not in core and operation(user) not in _CHECKS for user in node.users)]
    if len(given) != 1 or len(answers) != 1:
        return None
    return _Region(name, frozenset(core), given.pop(), answers[0])


def _held(node: fx.Node) -> bool:
    """Whether it is a parameter or a buffer."""
    return node.op == "placeholder" and node.name.startswith(("p_", "b_", "c_"))
