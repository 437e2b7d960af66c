"""ATen operations of an exported graph: their names, where their operands stand, what depends on what."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import fx

__all__ = [
    "CUTS",
    "FILLED",
    "NORMS",
    "PRODUCTS",
    "RECURRENT",
    "TURNS",
    "Operands",
    "alive",
    "operation",
    "stack",
    "use_counts",
    "where",
]


class Operands(NamedTuple):
    """Where an operation that multiplies with a weight has its operands; -1 where it has none."""

    x: int
    weight: int
    bias: int


#: Operations whose weight may be a parameter on a grid.
PRODUCTS = {
    "linear": Operands(0, 1, 2),
    "addmm": Operands(1, 2, 0),
    "mm": Operands(0, 1, -1),
    "matmul": Operands(0, 1, -1),
    "embedding": Operands(1, 0, -1),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), Operands(0, 1, 2)),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), Operands(0, 1, 2)),
}
#: Of these, what leaves out rows of a matrix.
CUTS = ("split", "split_with_sizes", "chunk", "slice")
#: What exchanges the dimensions of a tensor.
TURNS = ("permute", "transpose", "t", "numpy_T", "movedim")
#: Tensors filled with one number, whichever of their entries go.
FILLED = ("zeros", "ones", "full", "new_zeros", "new_ones", "new_full")
#: Recurrent layers, whose matrices are listed.
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
#: Norms of each channel, or of each group of channels.
NORMS = ("batch_norm", "_native_batch_norm_legit_no_training", "group_norm", "instance_norm")


def alive(graph: fx.Graph) -> list[fx.Node]:
    """What the answers depend on: weights of attention that are averaged for nobody tie no heads."""
    alive: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node.op == "placeholder" or node.is_impure() or any(user in alive for user in node.users):
            alive.add(node)
    return [node for node in graph.nodes if node in alive]


def use_counts(graph: fx.Graph, names: dict[fx.Node, str]) -> dict[fx.Node, int]:
    """How often each parameter is used, by whichever of its names."""
    count: dict[str, int] = {}
    for node, name in names.items():
        count[name] = count.get(name, 0) + len(node.users)
    return {node: count[name] for node, name in names.items()}


def operation(node: fx.Node) -> str:
    """The plain name of an operation: ``aten.add_.Tensor`` is ``add``, and so are ``torch.add`` and ``x.add_``."""
    target: Any = node.target
    packet = getattr(target, "overloadpacket", None)
    name = target if isinstance(target, str) else str(getattr(packet if packet is not None else target, "__name__", ""))
    return name if name.startswith("__") else name.rstrip("_")


def stack(node: fx.Node) -> list[str]:
    """The modules whose forward an operation is part of, outermost first."""
    return [str(entry[0]) for entry in (node.meta.get("nn_module_stack") or {}).values()]


def where(node: fx.Node) -> str:
    """Where an operation is, for a reader of the network's code."""
    inside = [name for name in stack(node) if name and not name.startswith("_")]
    return f"{operation(node)} in {inside[-1]}" if inside else operation(node)
