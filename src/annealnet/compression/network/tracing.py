"""Symbolic tracing that steps over the parts ``torch.fx`` cannot look into."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import kind_of

__all__ = ["symbolic_trace"]


class _Tracer(fx.Tracer):
    """Remembers the innermost module that could not be traced; ``opaque`` modules and those of a known kind are leaves."""

    def __init__(self, opaque: frozenset[str], inputs: Inputs | None) -> None:
        super().__init__()
        self.opaque, self.inputs = opaque, inputs
        self.failed: str | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        kind = kind_of(m)
        known = (kind is not None and not getattr(kind, "inside", False)) or module_qualified_name in self.opaque
        return known or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """Placeholders for the tensors given, in their order; settings and defaults are what they are."""
        inputs = self.inputs
        if inputs is None:
            return super().create_args_for_root(root_fn, is_module, concrete_args)
        positional = [name for name in inspect.signature(root_fn).parameters if name not in inputs.kwargs][1:]
        names = [*positional, *(f"input_{place}" for place in range(len(inputs.args)))][: len(inputs.args)]
        args = [self.create_proxy("placeholder", name, (), {}) for name in names]
        kwargs = {name: self.create_proxy("placeholder", name, (), {}) for name in inputs.kwargs}
        return lambda root: root_fn(root, *args, **kwargs, **inputs.settings), [self.root]

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            if self.failed is None:
                self.failed = self.path_of_module(m)
            raise


def symbolic_trace(model: nn.Module, inputs: Inputs | None = None) -> tuple[fx.GraphModule, dict[str, str]]:
    """Traces a module; submodules that cannot be traced become single opaque calls.

    Args:
        model: the module; it is not changed and its submodules are shared with the result.
        inputs: what it is called with: the traced module takes their tensors by position, in the order of
            :attr:`.Inputs.tensors`. None takes all parameters of the forward.

    Returns:
        The traced module, and the opaque submodules' names with the reason for each.

    Raises:
        ValueError: when the outermost forward itself cannot be traced.

    Example:
        >>> traced, opaque = symbolic_trace(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
        >>> [node.op for node in traced.graph.nodes], opaque
        (['placeholder', 'call_module', 'call_module', 'output'], {})
    """
    opaque: dict[str, str] = {}
    while True:
        tracer = _Tracer(frozenset(opaque), inputs)
        try:
            graph = tracer.trace(model)
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            if not tracer.failed or tracer.failed in opaque:
                raise ValueError(
                    f"model={type(model).__name__} cannot be traced ({type(error).__name__}: {reason}): its "
                    "forward decides by a tensor's value or shape; move that part into a submodule, which is "
                    "then left dense"
                ) from error
            opaque[tracer.failed] = reason
            continue
        return fx.GraphModule(model, graph, type(model).__name__), opaque
