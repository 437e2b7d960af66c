"""What stays dense: every tensor of a network that no layer on a grid owns, with its bytes and the reason.

The listing is complete: layers on grids own their weights and biases, folded batch norms go away, and all other
parameters and stored buffers are named here, be they a recurrent layer's, an attention's ``in_proj_weight``, or a
parameter on a user's own module.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from torch import Tensor, nn

from annealnet.compression.network.kinds import LayerKind, kind_of, layer_at, own_tensors
from annealnet.compression.network.precision import given_bytes
from annealnet.compression.network.structure import NetworkGraph, Pinned
from annealnet.compression.network.ties import distinct_state

__all__ = ["in_given_bytes", "left_dense", "tensor_bytes"]


def tensor_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and stored buffers as they are.

    Example:
        >>> tensor_bytes(nn.Linear(3, 2))
        32
    """
    return sum(_bytes(tensor) for tensor in distinct_state(model).values())


def left_dense(
    model: nn.Module, layers: Collection[str], folded: Collection[str], reasons: Mapping[str, str], calls: Collection[str]
) -> list[Pinned]:
    """One entry per module that holds such tensors; one per tensor where the module is not torch's but the user's own.

    Args:
        model: the dense network.
        layers: names of the layers on grids.
        folded: names of the batch norms that are folded into one.
        reasons: why some modules are left alone, by name; what holds of a module holds of all in it.
        calls: names of the modules that the traced forward calls; nothing inside them is called for itself.

    Returns:
        Entries in the order of the state dict; their bytes and those of ``layers`` and ``folded`` are all there are.
    """
    state = distinct_state(model)
    return [
        Pinned(
            place,
            f"stays dense: {_reason(model, place, owner, layers, reasons, calls)}",
            sum(_bytes(state[name]) for name in names),
        )
        for (place, owner), names in _left(model, layers, folded).items()
    ]


def in_given_bytes(graph: NetworkGraph, dense: nn.Module, given: nn.Module) -> NetworkGraph:
    """The structure with what stays dense, and the whole, counted in the dtypes of the network that was given.

    Args:
        graph: traced on a float32 copy, whose bytes it counts.
        dense: the float32 copy, batch norms folded or not.
        given: the user's network; its float64 numbers count as the float32 ones that serve as well.

    Example:
        >>> import torch
        >>> from annealnet.compression.network.graph import trace
        >>> dense = nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4))
        >>> given = nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4)).bfloat16()
        >>> print(in_given_bytes(trace(dense, torch.zeros(2, 2)), dense, given).stays_dense)
        16 of 40 bytes (40.0 %) stay dense
    """
    folded = [norm.name for norm in graph.norms if norm.folded_into is not None]
    each = given_bytes(dense, given)
    left = _left(dense, [layer.name for layer in graph.layers], folded)
    sizes = {place: sum(each[name] for name in names) for (place, _), names in left.items()}
    pinned = tuple(replace(one, num_bytes=sizes[one.name]) if one.num_bytes else one for one in graph.pinned)
    own = given_bytes(given, given)
    return replace(graph, pinned=pinned, num_bytes=sum(own[name] for name in distinct_state(given)))


def _left(model: nn.Module, layers: Collection[str], folded: Collection[str]) -> dict[tuple[str, str], list[str]]:
    """Names of the tensors that stay dense by (place that is listed, module that holds them)."""
    owned = {tensor for name in layers for tensor in own_tensors(name, layer_at(model, name))}
    found: dict[tuple[str, str], list[str]] = {}
    for name, tensor in distinct_state(model).items():
        owner = name.rpartition(".")[0]
        if name not in owned and owner not in folded and tensor.numel():
            place = owner if _is_known(model.get_submodule(owner)) else name
            found.setdefault((place, owner), []).append(name)
    return found


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _is_known(module: nn.Module) -> bool:
    """Whether its class says what its tensors are: torch's own do, and those that a kind is registered for."""
    return kind_of(module) is not None or type(module).__module__.startswith("torch.")


def _reason(
    model: nn.Module,
    place: str,
    owner: str,
    layers: Collection[str],
    reasons: Mapping[str, str],
    calls: Collection[str],
) -> str:
    for path in _ahead(owner):
        if path in reasons:
            return reasons[path]
    for path in _ahead(owner)[:-1]:
        if path in calls:
            return f"it is inside {path!r}, and {type(model.get_submodule(path)).__name__} is not understood"
    if place != owner:
        return "no known layer owns it"
    module = model.get_submodule(owner)
    kind = kind_of(module)
    if owner in layers:
        return "it is neither the layer's weight nor its bias"
    if isinstance(kind, LayerKind):
        return "it is not called as a module by the traced forward"
    if kind is None:
        return f"{type(module).__name__} is not a kind of layer whose weights go on a grid"
    return kind.why_dense(module)


def _ahead(name: str) -> list[str]:
    """A module's path and those of all modules it is in, outermost first: ``a.b`` → ``["a", "a.b"]``."""
    parts = name.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]
