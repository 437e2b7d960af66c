"""The way into most networks: ``torch.export``'s graph of ATen operations, with labels on every value.

Parameters are inputs of that graph, and its signature says whose they are: a layer is an operation that multiplies with a
parameter, whatever module's forward does it. Sizes were computed on the way and stand in the graph as numbers, so what can
be removed is tried afterwards (:mod:`.trial`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from annealnet.compression.network.aten import (
    CUTS,
    FILLED,
    NORMS,
    PRODUCTS,
    RECURRENT,
    TURNS,
    Operands,
    alive,
    operation,
    stack,
    use_counts,
    where,
)
from annealnet.compression.network.call import Call
from annealnet.compression.network.channel_labels import Channels, Labelled
from annealnet.compression.network.kinds import (
    Embedding,
    Gates,
    LayerKind,
    LayerLabels,
    Linear,
    Matrix,
    NormKind,
    kind_of,
    layer_kind,
    matrix_of,
    why_whole,
)
from annealnet.compression.network.labelling import VIEWS, Labels, hooked
from annealnet.compression.network.passage import NotUnderstood, Passage
from annealnet.compression.network.rules import RULES
from annealnet.compression.network.structure import Pinned
from annealnet.compression.network.ties import first_names
from annealnet.compression.network.ways import Way

__all__ = ["ExportLabels"]


class ExportLabels(Labels):
    """Labels on every value of an exported graph.

    Args:
        program: what :func:`~.exporting.exported` gave.
        model: the network it is of.
        samples: of the example that it was exported for.
    """

    way = Way.EXPORT

    def __init__(self, program: torch.export.ExportedProgram, model: nn.Module, samples: int) -> None:
        super().__init__(model, samples)
        self.graph = program.graph
        self._names = _owners(program, model)
        held = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        self._parameters = {node for node, name in self._names.items() if name in held}
        self._uses = use_counts(self.graph, self._names)
        self._constants = _constants(program)
        self.shapes |= {node: _shape(node) for node in alive(self.graph) if isinstance(node.meta.get("val"), Tensor)}
        self._added = self._biases_added()
        self._layer_of: dict[fx.Node, str] = {}
        self._parted: dict[str, LayerLabels] = {}
        self._tables: dict[str, np.ndarray] = {}
        self.refused = hooked(model, set(self.modules))
        for node in alive(self.graph):
            self._step(node)
        self._settle_tables()
        for place, module in model.named_modules():
            why = why_whole(module) if isinstance(module, nn.MultiheadAttention) else None
            self.pinned += [] if why is None else [Pinned(place, f"its heads stay: {why}")]

    # ---- one step ----------------------------------------------------------------------------------------

    def _step(self, node: fx.Node) -> None:
        if node in self._parameters:
            self._label_parts(node)
        if node.op == "output":
            for operand in node.all_input_nodes:
                found = self.values.get(operand)
                if found is not None:
                    self.pin_output(found.labels)
        if node.op != "call_function":
            return
        pin = lambda labels, reason: self.pin(where(node), labels, reason)  # noqa: E731
        call = Call(node, self.values, self.shapes, self.classes, pin, False, self._constants)
        try:
            self.values[node] = self._label(call)
            if not any(self._origin(factor) for factor in node.args[:3]):  # behind them an attention's biases
                self.count(call, operation(node), where(node))
        except (NotUnderstood, AttributeError, TypeError, IndexError, ValueError) as reason:
            said = str(reason) if isinstance(reason, NotUnderstood) else "its operands are not as expected"
            for found in call.labelled():
                self.pin(where(node), found.labels, said)
            self.values[node] = None

    def _label(self, call: Call) -> Labelled | None:
        name = operation(call.node)
        if call.node in self._added:
            return self.values[self._added[call.node]]
        if name in RECURRENT:
            self._recurrent(call)
            return None
        if name in PRODUCTS:
            owned: Any = call.node.args[PRODUCTS[name].weight : PRODUCTS[name].weight + 1]
            if owned and self._origin(owned[0]) is not None:
                return self._layer(call, PRODUCTS[name])
        if name == "index" and (table := self._parameter_table(call)) is not None:
            return table
        if name in NORMS and (found := self._norm(call)) is not _NO_NORM:
            return found if isinstance(found, Channels) else None
        if not any(True for _ in call.labelled()):
            return self._filled(call) if name in FILLED else None
        rule = RULES.get(name)
        if rule is None:
            raise NotUnderstood("this operation is not understood")
        return rule(call)

    def _layer(self, call: Call, at: Operands) -> Labelled | None:
        """An operation that multiplies with a parameter: a layer, where nothing else uses the parameter."""
        given: Any = call.node.args[at.weight]
        weight = self._origin(given)
        assert weight is not None
        name = self._names[weight]
        place, module = self._located(name)
        if place in self.refused:
            raise NotUnderstood(f"it {self.refused[place]}")
        if place in self._parted:
            return self._part(call, at, place)
        if place in self.layers:  # once more: a head on an embedding's table, a module that is called again
            for found in call.labelled():
                self.pin(where(call.node), found.labels, "its weights are used several times")
            return None
        kind = layer_kind(module)
        operand: Any = call.node.args[at.x]
        passage = Passage(call.value(operand), call.shape(operand), call.out_shape, self.classes, call.pin)
        alone = self._is_straight(given, weight, kind, call) and self._is_whole(place, module, call, at)
        labels = kind.labels(module, passage) if alone else _fixed(kind, module, passage)
        if alone and isinstance(kind, Embedding) and _is_turned(call.node):
            return self._table(call, place, len(labels.outputs))
        self.layers[place] = (call.node, labels)
        self.by_value |= set() if alone and kind.reads_rows else {place}
        self._layer_of[call.node] = place
        if (labels.outputs < 0).all() and (labels.reads < 0).all():
            return None
        return Channels(labels.axis, labels.outputs)

    def _filled(self, call: Call) -> Channels | None:
        """Of ``(samples, heads, queries, keys)`` filled with one number any head may go, if the source asks how many."""
        shape = call.out_shape
        return Channels(1, self.classes.fresh(shape[1])) if len(shape) == 4 and shape[1] > 1 else None

    def _parameter_table(self, call: Call) -> Channels | None:
        """A parameter from which rows are picked, as Swin's biases by relative position; None where it is used otherwise."""
        given: Any = call.node.args[0]
        if given not in self._parameters or len(self.shapes[given]) != 2 or self._uses[given] != 1:
            return None
        name, indices = self._names[given], call.argument(1, "indices")
        place, module = self._located(name)
        picks_rows = isinstance(indices, list | tuple) and len(indices) == 1
        if not picks_rows or not isinstance(module, Matrix) or place in self.layers or not _is_turned(call.node):
            return None
        return self._table(call, place, self.shapes[given][0])

    def _table(self, call: Call, place: str, rows: int) -> Channels:
        """A table whose columns are put where heads are: one that has a number for each head loses columns with them."""
        axis = len(call.out_shape) - 1
        columns = self._tables[place] = self.classes.fresh(call.out_shape[axis])
        self.layers[place] = (call.node, LayerLabels(axis, np.full(rows, -1), columns))
        self.by_value.add(place)
        return Channels(axis, columns)

    def _settle_tables(self) -> None:
        """Columns of tables that are not those of heads stay; parameters from which they are picked stay dense."""
        heads = [self.classes.roots(labels) for _, labels, _ in self.products]
        found = np.unique(np.concatenate([np.empty(0, np.int64), *heads]))
        for place, columns in self._tables.items():
            if not np.isin(self.classes.roots(columns), found[found >= 0]).all():
                self.classes.pin(columns)
                if isinstance(self.located(place), Matrix):
                    del self.layers[place]

    def _label_parts(self, node: fx.Node) -> None:
        """The rows of a weight that is cut, or used in several calls, carry labels of their own."""
        place, module = self._located(self._names[node])
        kind = kind_of(module)
        uses = list(node.users)
        cut = all(operation(user) in CUTS for user in uses)
        several = len(uses) > 1 and all(operation(user) == "linear" and place in stack(user)[-1:] for user in uses)
        if (cut or several) and len(uses) == self._uses[node] and type(kind) is Linear and place not in self.refused:
            outputs, inputs = self.shapes[node]
            rows = self.classes.fresh(outputs)
            self.values[node] = Channels(0, rows)
            self._parted[place] = LayerLabels(1, rows, np.full(inputs, -1))

    def _part(self, call: Call, at: Operands, place: str) -> Labelled | None:
        """Rows of a weight times one of several inputs: rounded without data; each product's multiply-adds are counted."""
        operand: Any = call.node.args[at.x]
        value, rows = call.value(operand), call.value(call.node.args[at.weight])
        self.layers.setdefault(place, (call.node, self._parted[place]))
        self.by_value.add(place)
        if value is not None:
            self.pin(where(call.node), value.labels, "its weights are used several times, on several inputs")
        if not isinstance(rows, Channels) or rows.axis != 0 or call.out_shape[-1] != len(rows.labels):
            raise NotUnderstood("its weights are not cut by rows")
        macs = int(np.prod(call.out_shape)) * (call.shape(operand) or (1,))[-1]
        self.products.append((place, rows.labels, macs // (self.samples * len(rows.labels))))
        self._layer_of[call.node] = place
        return Channels(len(call.out_shape) - 1, rows.labels)

    def _origin(self, node: Any) -> fx.Node | None:
        """The matrix, a parameter, that an operand is, or is seen through views; None where it is computed, or no matrix."""
        while isinstance(node, fx.Node) and node not in self._names and operation(node) in VIEWS:
            node = node.args[0]
        found = node if isinstance(node, fx.Node) and node in self._parameters else None
        return found if found is not None and len(self.shapes[found]) >= 2 else None

    def _located(self, name: str) -> tuple[str, nn.Module]:
        """The layer that owns a parameter: its module, where that is a layer with this weight, or the parameter itself."""
        owner, _, leaf = name.rpartition(".")
        module = self.modules[owner]
        kind = kind_of(module)
        if isinstance(kind, LayerKind) and leaf == kind.weight_name:
            return owner, module
        return name, matrix_of(module, leaf)

    def _is_straight(self, given: Any, weight: fx.Node, kind: LayerKind, call: Call) -> bool:
        """Whether an operand is the weight as its kind multiplies it, used once: ``x @ weight.T`` is linear, too."""
        by_hand = operation(call.node) in ("matmul", "mm", "addmm") and type(kind) is Linear
        if by_hand and isinstance(given, fx.Node) and operation(given) in TURNS and len(given.users) == 1:
            given = given.args[0]
        elif by_hand:
            return False
        return given is weight and self._uses[weight] == 1

    def _is_whole(self, place: str, module: nn.Module, call: Call, at: Operands) -> bool:
        """Whether the module's call is this operation: it is called for itself, and with its own bias."""
        bias: Any = call.node.args[at.bias] if 0 <= at.bias < len(call.node.args) else None
        own = layer_kind(module).bias(module)
        has_own = bias is not None or call.node in self._added.values()
        return place in stack(call.node)[-1:] and has_own == (own is not None)

    def _biases_added(self) -> dict[fx.Node, fx.Node]:
        """Sums by hand of a layer's product and its own bias, which is used for nothing else: ``x @ weight.T + bias``."""
        found = {}
        for total in alive(self.graph):
            bias = next((one for one in total.all_input_nodes if one in self._parameters), None)
            if operation(total) != "add" or len(total.args) != 2 or total.kwargs or bias is None or self._uses[bias] != 1:
                continue
            product: Any = total.args[0] if total.args[1] is bias else total.args[1]
            at = PRODUCTS.get(operation(product)) if isinstance(product, fx.Node) and len(product.users) == 1 else None
            weight = self._origin(product.args[at.weight]) if at is not None else None
            place, module = self._located(self._names[weight]) if weight is not None else ("", self.modules[""])
            kind = kind_of(module)
            if weight is None or type(kind) is not Linear or self._names[bias] != f"{place}.{kind.bias_name}":
                continue
            if self.shapes[bias] == (len(kind.weight(module)),):  # one number for each output
                found[total] = product
        return found

    def _recurrent(self, call: Call) -> None:
        """Every matrix of a recurrent layer is a layer, on what it reads where its module is called; units stay."""
        for found in call.labelled():
            self.pin(where(call.node), found.labels, "units of a recurrent layer stay")
        for node in call.node.all_input_nodes:
            name = self._names.get(node)
            if name is None or len(self.shapes[node]) != 2:
                continue
            place, module = self._located(name)
            if place in self.layers:
                continue
            passage = Passage(None, None, (self.samples, *self.shapes[node]), self.classes, call.pin)
            self.layers[place] = (node, layer_kind(module).labels(module, passage))
            if not (isinstance(module, Gates) and self._uses[node] == 1 and self._is_called(name.rpartition(".")[0], call)):
                self.by_value.add(place)

    def _is_called(self, name: str, call: Call) -> bool:
        """Whether the operation is the call of a module, which no hook changes."""
        stack = [str(entry[0]) for entry in (call.node.meta.get("nn_module_stack") or {}).values()]
        return name in stack[-1:] and name not in self.refused

    def _norm(self, call: Call) -> Any:
        """A norm that a module owns: the one that holds its parameters, or, without any, the one whose forward it is."""
        places = [self._names[node] for node in call.node.all_input_nodes if node in self._names]
        owners = {name.rpartition(".")[0] for name in places} or set(stack(call.node)[-1:])
        module = self.modules.get(next(iter(owners))) if len(owners) == 1 else None
        kind = None if module is None else kind_of(module)
        if module is None or not isinstance(kind, NormKind):
            return _NO_NORM
        (name,) = owners
        operand: Any = call.node.args[0]
        passed = kind.passes(
            module, Passage(call.value(operand), call.shape(operand), call.out_shape, self.classes, call.pin)
        )
        stays = np.full(kind.num_channels(module), -1, dtype=np.int64)
        self.norms[name] = (call.node, stays if passed is None else passed.labels)
        return passed

    # ---- what else the structure asks ----------------------------------------------------------------------

    def layer_before(self, norm: str) -> str | None:
        """The layer that a norm directly and solely follows."""
        before = self.norms[norm][0].args[0]
        return self._layer_of.get(before) if isinstance(before, fx.Node) and len(before.users) == 1 else None

    def positions(self, name: str) -> int:
        """See :class:`.Labels`; parts of a weight count their own."""
        node, labels = self.layers[name]
        counted = node.op != "placeholder" and name not in self._parted and name not in self._tables
        kind = layer_kind(self.located(name))
        return self.times(kind, node, node.args[0], labels) if counted and kind.multiplies else 0

    @property
    def called(self) -> set[str]:
        """None: every module is looked into."""
        return set()


_NO_NORM = object()


def _fixed(kind: LayerKind, module: nn.Module, passage: Passage) -> LayerLabels:
    """A layer of which nothing can be removed."""
    if passage.value is not None:
        passage.pin(passage.value.labels, "its weights are used several times, or not by their own module")
    outputs, inputs = kind.weight(module).shape[:2]
    axis = len(passage.out_shape) - 1
    return LayerLabels(axis, np.full(outputs, -1), np.full(inputs * kind.groups(module), -1))


def _owners(program: torch.export.ExportedProgram, model: nn.Module) -> dict[fx.Node, str]:
    """The first name of the parameter or buffer behind each input of the graph that is one."""
    signature = program.graph_signature
    held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    by_name = first_names(model)
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    return {nodes[key]: by_name[name] for key, name in held.items() if key in nodes and name in by_name}


def _constants(program: torch.export.ExportedProgram) -> dict[fx.Node, np.ndarray]:
    """Lists of whole numbers that stand in the source, ``x[..., [-2], :]``, and where they are taken up."""
    names = program.graph_signature.inputs_to_lifted_tensor_constants
    found: dict[fx.Node, np.ndarray] = {}
    for node in program.graph.nodes:
        held = program.constants.get(names.get(node.name, ""))
        if isinstance(held, Tensor) and held.ndim == 1 and held.dtype == torch.int64:
            found[node] = held.numpy()
        elif operation(node) == "lift_fresh_copy" and node.args[0] in found:
            found[node] = found[node.args[0]]
    return found


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(int(extent) for extent in node.meta["val"].shape)


def _is_turned(node: fx.Node, steps: int = 2) -> bool:
    """Whether what a table gives is turned, perhaps after a view of it: its last dimension becomes another."""
    names = {operation(user): user for user in node.users}
    return any(name in TURNS or (name in VIEWS and steps > 1 and _is_turned(user, 1)) for name, user in names.items())
