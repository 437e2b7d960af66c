"""What certificates and reports call a sampler: its class, the solver behind it, and in parentheses what it wraps."""

from __future__ import annotations

from typing import Any

__all__ = ["sampler_name"]


def sampler_name(sampler: object) -> str:
    """The name of a sampler with all that it wraps.

    Example:
        >>> from annealnet.samplers import AnnealingSampler, RetryComposite
        >>> sampler_name(RetryComposite(AnnealingSampler()))
        'RetryComposite(AnnealingSampler)'
    """
    name = type(sampler).__name__
    solver = getattr(getattr(sampler, "solver", None), "name", None)
    if isinstance(solver, str):
        name += f"[{solver}]"
    children = [sampler_name(child) for child in _children(sampler)]
    return f"{name}({', '.join(children)})" if children else name


def _children(sampler: Any) -> list[Any]:
    """What a composite wraps: dimod's ``children``, or the ``child`` of composites that are no dimod ones."""
    wrapped = getattr(sampler, "children", None)
    if isinstance(wrapped, list | tuple):
        return list(wrapped)
    child = getattr(sampler, "child", None)
    return [] if child is None else [child]
