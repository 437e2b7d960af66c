"""The cheapest way into a network: ``torch.fx``'s symbolic trace, run once on an example, known modules its leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, fx, nn

from annealnet.compression.network.call import Call
from annealnet.compression.network.channel_labels import Channels, Labelled
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import LayerKind, NormKind, kind_of, layer_kind
from annealnet.compression.network.labelling import VIEWS, Labels, untouchable
from annealnet.compression.network.passage import NotUnderstood
from annealnet.compression.network.rules import RULES
from annealnet.compression.network.ways import Way

__all__ = ["SymbolicLabels"]


class SymbolicLabels(Labels):
    """Runs the traced network on the example and labels every value on the way.

    Args:
        traced: what :func:`~.tracing.symbolic_trace` gave.
        model: the network it is of.
        inputs: a batch.
        opaque: modules that could not be traced, with the reason.
    """

    way = Way.SYMBOLIC

    def __init__(self, traced: fx.GraphModule, model: nn.Module, inputs: Inputs, opaque: Mapping[str, str]) -> None:
        super().__init__(model, len(inputs), opaque)
        self.graph = traced.graph
        self.refused = untouchable(model, *_calls(traced))
        _Run(traced, self).run(*inputs.tensors.values())

    def step(self, node: fx.Node, result: Any) -> None:
        """Remembers the shape of one operation's result and labels it."""
        if isinstance(result, Tensor):
            self.shapes[node] = tuple(result.shape)
        pin = lambda labels, reason: self.pin(_place(node), labels, reason)  # noqa: E731
        call = Call(node, self.values, self.shapes, self.classes, pin)
        try:
            self.values[node] = self._label(node, call)
            if not any(map(_is_held, node.all_input_nodes)):
                self.count(call, _operation(node), _place(node))
        except NotUnderstood as reason:
            for value in call.labelled():
                self.pin(_place(node), value.labels, str(reason))
            self.values[node] = None

    def _label(self, node: fx.Node, call: Call) -> Labelled | None:
        if node.op == "call_module":
            return self._module(node, call)
        if not any(True for _ in call.labelled()):
            return None
        if node.op == "output":
            for value in call.labelled():
                self.pin_output(value.labels)
            return None
        rule = RULES.get(_operation(node))
        if rule is None:
            raise NotUnderstood("this operation is not understood")
        return rule(call)

    def _module(self, node: fx.Node, call: Call) -> Labelled | None:
        name, module = str(node.target), self.modules[str(node.target)]
        if name in self.opaque:
            raise NotUnderstood(f"its forward cannot be traced: {self.opaque[name]}")
        if name in self.refused and any(True for _ in module.parameters()):
            raise NotUnderstood(f"it {self.refused[name]}")
        kind = kind_of(module)
        if isinstance(kind, LayerKind):
            labels = kind.labels(module, call.passage())
            self.layers[name] = (node, labels)
            if not kind.reads_rows:
                self.by_value.add(name)
            return None if (labels.outputs < 0).all() else Channels(labels.axis, labels.outputs)
        if isinstance(kind, NormKind):
            passed = kind.passes(module, call.passage())
            stays = np.full(kind.num_channels(module), -1, dtype=np.int64)
            self.norms[name] = (node, stays if passed is None else passed.labels)
            return passed
        if not any(True for _ in call.labelled()):
            return None
        if kind is None:
            raise NotUnderstood(f"{type(module).__name__} is not understood")
        return kind.passes(module, call.passage())

    # ---- what else the structure asks ----------------------------------------------------------------------

    def layer_before(self, norm: str) -> str | None:
        """The layer that a norm directly and solely follows."""
        before = self.norms[norm][0].all_input_nodes[0]
        alone = before.op == "call_module" and len(before.users) == 1
        return str(before.target) if alone and str(before.target) in self.layers else None

    def positions(self, name: str) -> int:
        """See :class:`.Labels`."""
        node, labels = self.layers[name]
        kind = layer_kind(self.located(name))
        return self.times(kind, node, node.args[0] if node.args else None, labels) if kind.multiplies else 0

    @property
    def called(self) -> set[str]:
        """Names of modules that the forward calls."""
        return {str(node.target) for node in self.graph.nodes if node.op == "call_module"}


class _Run(fx.Interpreter):
    """One pass over the example."""

    def __init__(self, traced: fx.GraphModule, labels: SymbolicLabels) -> None:
        super().__init__(traced, garbage_collect_values=True)
        self.labels = labels

    def run_node(self, n: fx.Node) -> Any:
        """Runs one operation and labels its result."""
        try:
            result = super().run_node(n)
        except (RuntimeError, IndexError, ValueError, TypeError, AssertionError) as error:
            raise ValueError(self._misfit(n, error)) from error
        self.labels.step(n, result)
        return result

    def _misfit(self, node: fx.Node, error: Exception) -> str:
        labels = self.labels
        first = next(iter(labels.shapes), node)
        text = f"example holds samples of shape {labels.shapes.get(first, ())[1:]}"
        module = labels.modules.get(str(node.target)) if node.op == "call_module" else None
        kind = None if module is None else kind_of(module)
        if isinstance(kind, LayerKind) and module is not None:
            return f"{text}: layer {node.target!r} expects {kind.expects(module)}; {error}"
        return f"{text}, which does not fit the network at {_place(node)}: {error}"


def _calls(traced: fx.GraphModule) -> tuple[dict[str, int], set[str]]:
    """How often each module is called, and whose parameters are read past them."""
    calls: dict[str, int] = {}
    direct: set[str] = set()
    for node in traced.graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
        elif node.op == "get_attr":
            direct.add(str(node.target).rpartition(".")[0])
    return calls, direct


def _is_held(node: Any) -> bool:
    """Whether it is a parameter or a buffer, perhaps seen through views: a matrix counts its own multiply-adds."""
    while isinstance(node, fx.Node) and _operation(node) in VIEWS and node.args:
        node = node.args[0]
    return isinstance(node, fx.Node) and node.op == "get_attr"


def _operation(node: fx.Node) -> str:
    """The plain name of a torch function or tensor method; empty for anything else."""
    if node.op == "call_method":
        return str(node.target).rstrip("_")
    target = node.target
    if node.op != "call_function" or isinstance(target, str):
        return ""
    home = getattr(target, "__module__", None)
    if home is not None and home not in ("_operator", "builtins", "math") and not home.startswith("torch"):
        return ""
    name = getattr(target, "__name__", "").rstrip("_")
    return name[1:] if home == "_operator" and name in ("iadd", "isub", "imul", "itruediv") else name


def _place(node: fx.Node) -> str:
    """Where an operation is, for a reader of the network's code."""
    if node.op == "call_module":
        return str(node.target)
    stack = node.meta.get("nn_module_stack") or {}
    names = [str(entry[0]) for entry in stack.values()]
    operation = _operation(node) or str(node.name)
    return f"{operation} in {names[-1]}" if names and names[-1] else operation
