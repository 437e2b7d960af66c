"""A network run once on an example, with labels on every value on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, fx, nn

from annealnet.compression.network.call import Call
from annealnet.compression.network.channel_labels import Channels, LabelClasses, Labelled
from annealnet.compression.network.kinds import LayerKind, LayerLabels, NormKind, kind_of
from annealnet.compression.network.passage import NotUnderstood
from annealnet.compression.network.rules import RULES
from annealnet.compression.network.structure import Pinned

__all__ = ["Labeller"]


class Labeller(fx.Interpreter):
    """Runs the network on the example and labels every value on the way."""

    def __init__(
        self, traced: fx.GraphModule, model: nn.Module, opaque: Mapping[str, str], refused: Mapping[str, str]
    ) -> None:
        super().__init__(traced, garbage_collect_values=True)
        self.opaque, self.refused = opaque, refused
        self.classes = LabelClasses()
        self.values: dict[fx.Node, Labelled | None] = {}
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        self.modules = dict(model.named_modules())
        self.layers: dict[str, tuple[fx.Node, LayerLabels]] = {}
        self.norms: dict[str, tuple[fx.Node, np.ndarray]] = {}
        self.pinned: list[Pinned] = []

    # ---- one step ----------------------------------------------------------------------------------------

    def run_node(self, n: fx.Node) -> Any:
        """Runs one operation, remembers its shape and labels its result."""
        try:
            result = super().run_node(n)
        except (RuntimeError, IndexError, ValueError, TypeError, AssertionError) as error:
            raise ValueError(self._misfit(n, error)) from error
        if isinstance(result, Tensor):
            self.shapes[n] = tuple(result.shape)
        call = Call(n, self.values, self.shapes, self.classes, lambda labels, reason: self._pin(n, labels, reason))
        try:
            self.values[n] = self._label(n, call)
        except NotUnderstood as reason:
            for value in call.labelled():
                self._pin(n, value.labels, str(reason))
            self.values[n] = None
        return result

    def _label(self, node: fx.Node, call: Call) -> Labelled | None:
        if node.op == "call_module":
            return self._module(node, call)
        if not any(True for _ in call.labelled()):
            return None
        if node.op == "output":
            for value in call.labelled():
                self._pin_output(value.labels)
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
            return Channels(labels.axis, labels.outputs)
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

    # ---- pins --------------------------------------------------------------------------------------------

    def _pin(self, node: fx.Node, labels: np.ndarray, reason: str) -> None:
        if self.classes.pin(labels):
            self.pinned.append(Pinned(_place(node), reason))

    def _pin_output(self, labels: np.ndarray) -> None:
        self.classes.pin(labels)
        ends = [name for name, (_, own) in self.layers.items() if np.isin(own.outputs, labels).any()]
        self.pinned += [Pinned(name, "its channels are the network's output") for name in ends]

    def _misfit(self, node: fx.Node, error: Exception) -> str:
        first = next(iter(self.shapes), node)
        text = f"example holds samples of shape {self.shapes.get(first, ())[1:]}"
        module = self.modules.get(str(node.target)) if node.op == "call_module" else None
        kind = None if module is None else kind_of(module)
        if isinstance(kind, LayerKind) and module is not None:
            return f"{text}: layer {node.target!r} expects {kind.expects(module)}; {error}"
        return f"{text}, which does not fit the network at {_place(node)}: {error}"


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
