"""What stays dense: every tensor of a network that no layer on a grid owns, with its bytes and the reason.

The listing is complete: layers on grids own their weights and biases, folded batch norms go away, and all other
parameters and stored buffers are named here, be they a recurrent layer's, an attention's ``in_proj_weight``, or a
parameter on a user's own module.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from annealnet.compression.network.kinds import LayerKind, kind_of, layer_at, own_tensors
from annealnet.compression.network.structure import Pinned
from annealnet.compression.network.ties import distinct_state

__all__ = ["left_dense", "tensor_bytes"]


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
    owned = {tensor for name in layers for tensor in own_tensors(name, layer_at(model, name))}
    sizes: dict[tuple[str, str], int] = {}
    for name, tensor in distinct_state(model).items():
        owner = name.rpartition(".")[0]
        if name not in owned and owner not in folded and tensor.numel():
            place = owner if _is_known(model.get_submodule(owner)) else name
            sizes[place, owner] = sizes.get((place, owner), 0) + _bytes(tensor)
    return [
        Pinned(place, f"stays dense: {_reason(model, place, owner, layers, reasons, calls)}", num_bytes)
        for (place, owner), num_bytes in sizes.items()
    ]


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
