"""Running a network layer by layer, so that a layer can be changed before what follows has seen it.

Sequential compensation (refit a layer on the inputs that the *already compressed* layers before it produce) needs the input
of every layer in turn. One forward pass of the network's own module gives them: a hook in front of each layer is told the
input, may change the layer, and the pass goes on with what it left. No trace is needed for that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import Gates, LayerKind, kind_of, layer_at, weight_of

__all__ = ["At", "Enough", "listen", "never_runs", "visit"]

#: Told a layer's name, the layer, and its input ``(samples, …)``; may change the layer in place.
At = Callable[[str, nn.Module, Tensor], None]


class _Product(TorchFunctionMode):
    """Sees, inside a module's forward, what its weight is multiplied with; a convolution's operand as it is padded.

    The weight may be turned before: ``x @ weight.T``.
    """

    def __init__(self, weight: Tensor, met: Callable[[Tensor], None]) -> None:
        super().__init__()
        self._weights, self._met = [weight], met

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if any(one is weight for one in (*args[1:2], kwargs.get("weight")) for weight in self._weights):
            x = args[0] if args else kwargs["input"]
            self._met(_padded(x, args[4] if len(args) > 4 else kwargs.get("padding", 0)) if "conv" in func.__name__ else x)
        found = func(*args, **kwargs)
        if any(one is self._weights[0] for one in args[:1]) and _is_turned(found, self._weights[0]):
            self._weights.append(found)
        return found


def _is_turned(found: Any, weight: Tensor) -> bool:
    """Whether it is a matrix transposed, in the same memory."""
    turned = isinstance(found, Tensor) and found.ndim == weight.ndim == 2 and found.data_ptr() == weight.data_ptr()
    return turned and (tuple(found.shape), found.stride()) == (tuple(weight.shape)[::-1], weight.stride()[::-1])


def _padded(x: Tensor, padding: Any) -> Tensor:
    """With the zeros that a convolution puts around it."""
    if isinstance(padding, str):
        raise ValueError(f"padding={padding!r} inside a forward of one's own is not understood: give numbers")
    widths = [padding] * (x.ndim - 2) if isinstance(padding, int) else list(padding)
    return F.pad(x, [width for width in reversed(widths) for _ in range(2)])


def _is_inside(module: nn.Module) -> bool:
    kind = kind_of(module)
    return isinstance(kind, LayerKind) and kind.inside


class Enough(Exception):
    """Nothing behind is asked for."""


@torch.no_grad()
def visit(
    network: nn.Module,
    x: Tensor | Inputs,
    layers: Collection[str],
    at: At,
    answer: bool = True,
    idle: Callable[[str], None] | None = None,
) -> Tensor | None:
    """One forward pass that stops in front of each layer asked for, the first time that it is called.

    Args:
        network: a module in evaluation mode; its forward sees a copy of the inputs, whatever it does to them.
        x: all inputs.
        layers: names of layers that are modules of the network.
        at: called in front of each of them, in the order in which they run.
        answer: whether to go on to the end once all layers have been met.
        idle: told of each layer that no sample came to, as happens to experts of a mixture; None refuses these.

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
    found: Tensor | None = listen(network, layers, at, lambda: inputs.clone().answer(network), answer, idle)
    return found


def listen(
    network: nn.Module,
    layers: Collection[str],
    at: At,
    run: Callable[[], Any],
    answer: bool = True,
    idle: Callable[[str], None] | None = None,
) -> Any:
    """Runs something of a network and stops in front of each layer asked for; as :func:`visit`, whatever is run.

    Args:
        network: has the layers.
        layers: names of layers that are modules.
        at: called in front of each of them.
        run: runs the network, or a part of it.
        answer: whether to go on to the end once all layers have been met.
        idle: told of each layer that does not run; None refuses these.

    Raises:
        ValueError: when a layer does not run, and ``idle`` is None.
    """
    waiting = dict.fromkeys(layers)
    within: list[tuple[nn.Module, ExitStack]] = []

    def reached(name: str, module: nn.Module, given: Tensor) -> None:
        if name not in waiting or not given.numel():  # an expert may be called with no sample at all
            return
        del waiting[name]
        with torch.autocast("cpu", enabled=False):  # what a forward runs under is not for what is computed about it
            at(name, module, given)
        if not waiting and not answer:
            raise Enough

    def before(name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def met(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not _is_inside(module):
                reached(name, module, args[0] if args else next(iter(kwargs.values())))
            elif name in waiting:
                stack = ExitStack()
                stack.enter_context(_Product(weight_of(module), lambda given: reached(name, module, given)))
                within.append((module, stack))

        return met

    def stepped(name: str, layer: Gates) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def met(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if name in waiting:
                given = [*args, *([kwargs["input"]] if not args else []), *([kwargs["hx"]] if "hx" in kwargs else [])]
                reached(name, layer, layer.reads(*given))

        return met

    def left(module: nn.Module, args: tuple[Any, ...], found: Any) -> None:
        if within and within[-1][0] is module:
            within.pop()[1].close()

    try:
        with ExitStack() as hooks:
            for name in layers:
                layer = layer_at(network, name)
                if isinstance(layer, Gates):
                    hooks.enter_context(layer.owner.register_forward_pre_hook(stepped(name, layer), with_kwargs=True))
                    continue
                hooks.enter_context(layer.register_forward_pre_hook(before(name), with_kwargs=True))
                if _is_inside(layer):
                    hooks.enter_context(layer.register_forward_hook(left, always_call=True))
            found = run()
    except Enough:
        return None
    if waiting and idle is not None:
        for name in list(waiting):
            idle(name)
    elif waiting:
        raise never_runs(next(iter(waiting)))
    return found


def never_runs(layer: str) -> ValueError:
    """What is said of a layer that no sample comes to, where that is not expected."""
    return ValueError(f"layer={layer!r} never runs in this network: name a layer of the traced graph")
