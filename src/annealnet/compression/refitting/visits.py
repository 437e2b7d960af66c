"""Running a network layer by layer, so that a layer can be changed before what follows has seen it.

Sequential compensation (refit a layer on the inputs that the *already compressed* layers before it produce) needs the input
of every layer in turn. One forward pass of the network's own module gives them: a hook in front of each layer is told the
input, may change the layer, and the pass goes on with what it left. No trace is needed for that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn

from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import layer_at

__all__ = ["At", "listen", "visit"]

#: Told a layer's name, the layer, and its input ``(samples, …)``; may change the layer in place.
At = Callable[[str, nn.Module, Tensor], None]


class _Enough(Exception):
    """Nothing behind is asked for."""


@torch.no_grad()
def visit(network: nn.Module, x: Tensor | Inputs, layers: Collection[str], at: At, answer: bool = True) -> Tensor | None:
    """One forward pass that stops in front of each layer asked for, the first time that it is called.

    Args:
        network: a module in evaluation mode; its forward sees a copy of the inputs, whatever it does to them.
        x: all inputs.
        layers: names of layers that are modules of the network.
        at: called in front of each of them, in the order in which they run.
        answer: whether to go on to the end once all layers have been met.

    Returns:
        The network's answer, after all that ``at`` did; None where it was not asked for.

    Raises:
        ValueError: when a layer is not a module of the network that runs.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)).eval()
        >>> def fill(name, layer, x):
        ...     print(name, x.tolist())
        ...     layer.weight.data.fill_(1.0)      # changed before it runs
        >>> visit(net, torch.ones(1, 2), ["0", "2"], fill)
        0 [[1.0, 1.0]]
        2 [[2.0, 2.0]]
        tensor([[4.]])
    """
    inputs = Inputs.of(x)
    if not layers and not answer:
        return None
    found: Tensor | None = listen(network, layers, at, lambda: inputs.clone().answer(network), answer)
    return found


def listen(network: nn.Module, layers: Collection[str], at: At, run: Callable[[], Any], answer: bool = True) -> Any:
    """Runs something of a network and stops in front of each layer asked for; as :func:`visit`, whatever is run.

    Args:
        network: has the layers.
        layers: names of layers that are modules.
        at: called in front of each of them.
        run: runs the network, or a part of it.
        answer: whether to go on to the end once all layers have been met.

    Raises:
        ValueError: when a layer does not run.
    """
    waiting = dict.fromkeys(layers)
    hooks = []

    def before(name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def met(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if name not in waiting:
                return
            del waiting[name]
            given = args[0] if args else next(iter(kwargs.values()))
            at(name, module, given)
            if not waiting and not answer:
                raise _Enough

        return met

    try:
        for name in layers:
            hook = layer_at(network, name).register_forward_pre_hook(before(name), with_kwargs=True)
            hooks.append(hook)  # one by one: those that are there are removed, whatever comes
        found = run()
    except _Enough:
        return None
    finally:
        for hook in hooks:
            hook.remove()
    if waiting:
        raise ValueError(f"layer={next(iter(waiting))!r} never runs in this network: name a layer of the traced graph")
    return found
