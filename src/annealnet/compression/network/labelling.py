"""What is known of a network while labels flow through it, whichever tracer carries them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import fx, nn

from annealnet.compression.network.call import Call
from annealnet.compression.network.channel_labels import Channels, LabelClasses, Labelled
from annealnet.compression.network.kinds import LayerKind, LayerLabels, layer_at
from annealnet.compression.network.structure import Pinned
from annealnet.compression.network.ways import Way

__all__ = ["VIEWS", "Labels", "untouchable"]

#: What may lie between a parameter and its product: the same numbers, or some of them.
VIEWS = (
    "t", "transpose", "permute", "view", "reshape", "split", "split_with_sizes", "chunk", "getitem", "slice", "select",
    "unsqueeze", "squeeze", "to", "alias", "contiguous", "numpy_T", "unbind", "expand", "clone", "index", "index_select",
)  # fmt: skip


class Labels(ABC):
    """Labels of every value, the layers and norms found, and what had to be pinned.

    Attributes:
        way: how the network was opened.
        modules: all modules by name.
        samples: of the example that the network was traced on.
        refused: modules that must not be touched, with the reason.
        opaque: modules that could not be looked into, with the reason.
        classes: which labels are one.
        values: labels of everything computed so far.
        shapes: shapes of every tensor computed so far.
        layers: where each layer is computed, and its labels, in order of execution.
        norms: where each norm is computed, and the labels of its channels.
        by_value: layers whose inputs nobody sees: they are rounded without data.
        by_columns: layers that are tables: their channels are columns of the weight, labelled among what it reads.
        products: multiply-adds without weights: where, the labels of what they are computed for, and how many for each.
        pinned: channels that stay, with the reason.
    """

    way: Way

    def __init__(self, model: nn.Module, samples: int, opaque: Mapping[str, str] | None = None) -> None:
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.samples = samples
        self.refused: dict[str, str] = {}
        self.opaque = dict(opaque or {})
        self.classes = LabelClasses()
        self.values: dict[fx.Node, Labelled | None] = {}
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        self.layers: dict[str, tuple[fx.Node, LayerLabels]] = {}
        self.norms: dict[str, tuple[fx.Node, np.ndarray]] = {}
        self.by_value: set[str] = set()
        self.by_columns: set[str] = set()
        self.products: list[tuple[str, np.ndarray, int]] = []
        self.pinned: list[Pinned] = []

    def located(self, name: str) -> nn.Module:
        """The layer of that name."""
        return layer_at(self.modules[""], name)

    @abstractmethod
    def layer_before(self, norm: str) -> str | None:
        """The layer that a norm directly and solely follows."""

    @abstractmethod
    def positions(self, name: str) -> int:
        """How often a sample meets each weight of a layer; 0 where its weights cost no multiply-adds."""

    def times(self, kind: LayerKind, node: fx.Node, given: Any, labels: LayerLabels) -> int:
        """Outputs per sample and channel; of a transposed convolution, which spreads what it is given, inputs."""
        if kind.spreads and given in self.shapes:
            return math.prod(self.shapes[given]) // (self.samples * len(labels.reads))
        return math.prod(self.shapes[node]) // (self.samples * len(labels.outputs))

    @property
    @abstractmethod
    def called(self) -> set[str]:
        """Names of modules that the forward calls and the trace does not look into."""

    def count(self, call: Call, name: str, place: str) -> None:
        """Multiply-adds of a product of computed tensors, for each head or channel that carries labels."""
        if name == "scaled_dot_product_attention":
            query, key = (call.shape(call.argument(place, "")) for place in (0, 1))
            value = call.shape(call.argument(2, ""))
            if query is None or key is None or value is None:
                return
            macs = math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])
        elif name in ("matmul", "bmm"):
            left = call.shape(call.argument(0, ""))
            macs = math.prod(call.out_shape) * (left or (1,))[-1]
        else:
            return
        found = self.values.get(call.node)
        labels = found.labels if isinstance(found, Channels) else np.full(1, -1)
        self.products.append((place, labels, macs // (self.samples * len(labels))))

    # ---- pins --------------------------------------------------------------------------------------------

    def pin(self, place: str, labels: np.ndarray, reason: str) -> None:
        """Channels stay, and why, where that is news."""
        if self.classes.pin(labels):
            self.pinned.append(Pinned(place, reason))

    def pin_output(self, labels: np.ndarray) -> None:
        """What the network answers stays."""
        self.classes.pin(labels)
        ends = [name for name, (_, own) in self.layers.items() if np.isin(own.outputs, labels).any()]
        self.pinned += [Pinned(name, "its channels are the network's output") for name in ends]

    def pin_unread(self) -> None:
        """Channels that no layer reads cannot be masked, hence not compared: they stay."""
        roots = [self.classes.roots(labels.reads) for _, labels in self.layers.values()]
        read = np.unique(np.concatenate([np.empty(0, np.int64), *roots]))
        for name, (_, labels) in self.layers.items():
            own = self.classes.roots(labels.outputs)
            self.pin(name, labels.outputs[(own >= 0) & ~np.isin(own, read)], "no layer reads these channels")


def untouchable(model: nn.Module, calls: Mapping[str, int], direct: set[str]) -> dict[str, str]:
    """Modules that must not be touched, with the reason.

    Args:
        model: the network.
        calls: how often each module is called.
        direct: modules whose parameters are read past them.
    """
    owners: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name.rpartition(".")[0])
    shared = {name for names in owners.values() if len(set(names)) > 1 for name in names}
    refused = {name: f"is called {count} times" for name, count in calls.items() if count > 1}
    refused |= hooked(model, calls)
    refused |= {name: "shares its weights with another module" for name in calls if name in shared}
    return refused | {name: "has its weights read directly" for name in calls if name in direct}


def hooked(model: nn.Module, names: Mapping[str, int] | set[str]) -> dict[str, str]:
    """Modules with hooks, which may compute their weights."""
    found = {}
    for name in names:
        module = model.get_submodule(name)
        if module._forward_pre_hooks or module._forward_hooks:
            found[name] = "has hooks, which may compute its weights or change its answers"
    return found
