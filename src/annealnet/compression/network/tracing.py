"""Symbolic tracing that steps over the parts ``torch.fx`` cannot look into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx, nn

from annealnet.compression.network.kinds import kind_of

__all__ = ["symbolic_trace"]


class _Tracer(fx.Tracer):
    """Remembers the innermost module that could not be traced; ``opaque`` modules and those of a known kind are leaves."""

    def __init__(self, opaque: frozenset[str]) -> None:
        super().__init__()
        self.opaque = opaque
        self.failed: str | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = kind_of(m) is not None or module_qualified_name in self.opaque
        return known or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            if self.failed is None:
                self.failed = self.path_of_module(m)
            raise


def symbolic_trace(model: nn.Module) -> tuple[fx.GraphModule, dict[str, str]]:
    """Traces a module; submodules that cannot be traced become single opaque calls.

    Args:
        model: the module; it is not changed and its submodules are shared with the result.

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
        tracer = _Tracer(frozenset(opaque))
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
