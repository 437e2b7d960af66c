"""``torch.export``: a network as a graph of ATen operations, or the reason why there is none."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from annealnet.compression.network.aten import where
from annealnet.compression.network.forward import plain_attention
from annealnet.compression.network.inputs import Inputs

__all__ = ["NotExported", "exported"]


class NotExported(Exception):
    """The network's forward cannot be exported; the message says why."""


def exported(model: nn.Module, inputs: Inputs) -> torch.export.ExportedProgram:
    """The network in evaluation mode as a graph of ATen operations, for inputs of exactly these shapes.

    Raises:
        NotExported: with torch's reason.

    Example:
        >>> program = exported(nn.Linear(3, 2).eval(), Inputs.of(torch.zeros(2, 3)))
        >>> [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
        ['aten.linear.default']
    """
    kwargs = {**inputs.kwargs, **inputs.settings}
    try:
        with _quiet(), torch.no_grad(), plain_attention():
            program = torch.export.export(model, inputs.args, kwargs, strict=False)
    except Exception as error:
        raise NotExported((str(error).strip().splitlines() or [type(error).__name__])[0]) from error
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, Tensor) and not all(isinstance(extent, int) for extent in value.shape):
            raise NotExported(f"how many rows {where(node)} has depends on the values before it")
    return program


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What export tells on its way is not for our users: where it fails it prints the graph, and the reason is raised."""
    names = ("torch.export", "torch._export", "torch.fx.experimental.symbolic_shapes", "torch._subclasses.fake_tensor")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
