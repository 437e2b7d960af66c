"""A network run once on an example, with labels on every value on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, fx, nn

from annealnet.compression.network.call import Call
from annealnet.compression.network.channel_labels import Channels, LabelClasses, Labelled
from annealnet.compression.network.channel_rules import FUNCTION_RULES
from annealnet.compression.network.passage import NotUnderstood, flattened, kept, spatial
from annealnet.compression.network.shape_rules import SHAPE_RULES
from annealnet.compression.network.structure import Pinned

__all__ = ["Labeller", "QuantizableLayer", "conv_groups"]

QuantizableLayer = nn.Conv1d | nn.Conv2d | nn.Linear
_RULES = FUNCTION_RULES | SHAPE_RULES


def conv_groups(module: QuantizableLayer) -> int:
    """Groups of a convolution, 1 for linear layers."""
    return 1 if isinstance(module, nn.Linear) else int(module.groups)


def _modules(names: str) -> tuple[type[nn.Module], ...]:
    return tuple(getattr(nn, name) for name in names.split())


_ELEMENTWISE = _modules("""
    ReLU ReLU6 LeakyReLU ELU SELU CELU GELU SiLU Mish Hardswish Hardsigmoid Hardtanh Sigmoid Tanh Softplus
    Softsign LogSigmoid Threshold Tanhshrink Softshrink Hardshrink Identity Dropout Dropout1d Dropout2d
    Dropout3d AlphaDropout
""")
_SPATIAL = _modules("""
    MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d LPPool1d LPPool2d AdaptiveAvgPool1d
    AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d Upsample
    ZeroPad1d ZeroPad2d ConstantPad1d ConstantPad2d ReflectionPad1d ReflectionPad2d ReplicationPad1d
    ReplicationPad2d
""")
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


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
        self.layers: dict[str, tuple[fx.Node, np.ndarray, np.ndarray]] = {}
        self.norms: dict[str, tuple[fx.Node, np.ndarray]] = {}
        self.pinned: list[Pinned] = []

    # ---- one step ----------------------------------------------------------------------------------------

    def run_node(self, n: fx.Node) -> Any:
        """Runs one operation, remembers its shape and labels its result."""
        try:
            result = super().run_node(n)
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
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
        rule = _RULES.get(_operation(node))
        if rule is None:
            raise NotUnderstood("this operation is not understood")
        return rule(call)

    def _module(self, node: fx.Node, call: Call) -> Labelled | None:
        name, module = str(node.target), self.modules[str(node.target)]
        if name in self.opaque:
            raise NotUnderstood(f"its forward cannot be traced: {self.opaque[name]}")
        if name in self.refused and any(True for _ in module.parameters()):
            raise NotUnderstood(f"it {self.refused[name]}")
        if type(module) in (nn.Conv1d, nn.Conv2d, nn.Linear):
            return self._layer(node, name, module, call)
        if isinstance(module, _BATCH_NORMS):
            return self._norm(node, name, module, call)
        if not any(True for _ in call.labelled()):
            return None
        if type(module) in _ELEMENTWISE or (isinstance(module, nn.PReLU) and module.num_parameters == 1):
            return kept(call.passage())
        if type(module) in _SPATIAL:
            return spatial(call.passage())
        if isinstance(module, nn.Flatten):
            return flattened(call.passage(), module.start_dim, module.end_dim)
        raise NotUnderstood(f"{type(module).__name__} is not understood")

    def _layer(self, node: fx.Node, name: str, module: QuantizableLayer, call: Call) -> Channels:
        linear = isinstance(module, nn.Linear)
        axis = len(call.out_shape) - 1 if linear else 1
        groups = conv_groups(module)
        outputs, inputs = len(module.weight), module.weight.shape[1] * groups
        value = call.value(call.argument(0, "input"))
        if isinstance(value, Channels) and value.axis == axis:
            reads = value.labels
        else:
            if value is not None:
                self._pin(node, value.labels, "it works along another dimension than the channels")
            reads = np.full(inputs, -1, dtype=np.int64)
        labels = self.classes.fresh(outputs)
        if groups > 1:
            self._tie_groups(reads, labels, groups)
        self.layers[name] = (node, labels, reads)
        return Channels(axis, labels)

    def _tie_groups(self, reads: np.ndarray, labels: np.ndarray, groups: int) -> None:
        """Depthwise: an output goes with its input. Grouped: equal places of all groups go together."""
        if groups == len(reads):
            self.classes.tie(np.repeat(reads, len(labels) // groups), labels)
            return
        for slots in (reads, labels):
            by_group = slots.reshape(groups, -1)
            for group in by_group[1:]:
                self.classes.tie(by_group[0], group)

    def _norm(self, node: fx.Node, name: str, module: nn.Module, call: Call) -> Labelled | None:
        channels = module.num_features
        assert isinstance(channels, int)
        value = call.value(call.argument(0, "input"))
        if value is None:
            self.norms[name] = (node, np.full(channels, -1, dtype=np.int64))
            return None
        if kept(call.passage()).axis != 1:
            raise NotUnderstood("it normalises another dimension than the channels")
        self.norms[name] = (node, value.labels)
        return value

    # ---- pins --------------------------------------------------------------------------------------------

    def _pin(self, node: fx.Node, labels: np.ndarray, reason: str) -> None:
        if self.classes.pin(labels):
            self.pinned.append(Pinned(_place(node), reason))

    def _pin_output(self, labels: np.ndarray) -> None:
        self.classes.pin(labels)
        ends = [name for name, (_, own, _) in self.layers.items() if np.isin(own, labels).any()]
        self.pinned += [Pinned(name, "its channels are the network's output") for name in ends]

    def _misfit(self, node: fx.Node, error: Exception) -> str:
        first = next(iter(self.shapes), node)
        text = f"example holds samples of shape {self.shapes.get(first, ())[1:]}"
        module = self.modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            return f"{text}: layer {node.target!r} expects {module.in_channels} channels in dimension 1; {error}"
        if isinstance(module, nn.Linear):
            return f"{text}: layer {node.target!r} expects {module.in_features} features at the end; {error}"
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
