"""Casts in a network's own forward: what was float32 becomes another precision there, and what reads it next may refuse."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from annealnet.compression.network.inputs import Inputs

__all__ = ["Cast", "last_cast"]


@dataclass(frozen=True)
class Cast:
    """A tensor that was float32 and is no longer.

    Attributes:
        dtype: what it becomes.
        module: path of the module whose forward does it; empty for the network's own.
        line: where it stands in the source, ``file.py:7``, and the words there; empty where they are not known.
    """

    dtype: str
    module: str
    line: str

    def __str__(self) -> str:
        place = f"module {self.module!r}" if self.module else "its forward"
        return f"{place} casts float32 to {self.dtype}" + (f" ({self.line})" if self.line else "")


def last_cast(model: nn.Module, inputs: Inputs) -> Cast | None:
    """The last cast out of float32 that a float32 network comes to, by running it until it ends or fails; None without one.

    Example:
        >>> class Doubling(nn.Linear):
        ...     def forward(self, input):
        ...         return super().forward(input.double())
        >>> found = last_cast(nn.Sequential(Doubling(3, 2)), Inputs.of(torch.ones(1, 3)))
        >>> found.dtype, found.module
        ('float64', '0')
    """
    inside: list[str] = []
    watch = _Watch(inside)
    # whatever a forward raises: what it did before is asked for
    with _noting(model, inside), contextlib.suppress(Exception), torch.no_grad(), watch:
        inputs.clone().call(model)
    return watch.last


@contextlib.contextmanager
def _noting(model: nn.Module, inside: list[str]) -> Iterator[None]:
    """Keeps the modules whose forward runs, outermost first, as long as none has failed."""
    with ExitStack() as hooks:
        for name, module in model.named_modules():
            entered = module.register_forward_pre_hook(lambda _module, _given, name=name: inside.append(name))
            hooks.callback(entered.remove)
            hooks.callback(module.register_forward_hook(lambda _module, _given, _found: inside.remove(inside[-1])).remove)
        yield


class _Watch(TorchDispatchMode):
    """Notes casts of floating-point numbers out of float32."""

    def __init__(self, inside: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.last: Cast | None = None
        self._inside = inside

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        casts = func is torch.ops.aten._to_copy.default and args[0].dtype == torch.float32 != found.dtype
        if casts and found.is_floating_point():
            dtype = str(found.dtype).removeprefix("torch.")
            self.last = Cast(dtype, self._inside[-1] if self._inside else "", _line())
        return found


def _line() -> str:
    """Where in the source the network is, torch's files and ours aside."""
    ours = tuple(os.path.join(path, "") for path in (os.path.dirname(torch.__file__), _HERE))
    frames = [frame for frame in traceback.extract_stack() if not frame.filename.startswith(ours)]
    frame = frames[-1] if frames else None
    return f"{os.path.basename(frame.filename)}:{frame.lineno}, {frame.line}" if frame is not None and frame.line else ""


_HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
