"""The structure of a fresh dense network, traced again for the plan that a file holds, whatever input that names."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.network.graph import traced_again
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.signature import Signature
from annealnet.compression.network.structure import NetworkGraph

__all__ = ["dense_graph"]

#: Elements of the largest input on which a network is run to see its structure, where shapes alone do not tell.
_LARGEST_RUN = 2**22


def dense_graph(dense_model: nn.Module, plan: CompressionPlan, source: Path) -> NetworkGraph:
    """The dense network's structure for the plan's input.

    A plan may name any input, so that shapes alone are computed, without memory for values. Only networks that have to be
    exported, or in which a value decides what is computed, are run, on inputs that are not large.
    """
    if not any(sample.shape for sample in plan.inputs.samples):
        raise ValueError(f"{source} does not say what the input is: save the network again")
    said = _in_words(plan.inputs)

    def again(inputs: Inputs) -> NetworkGraph:
        return traced_again(dense_model, inputs, plan.way, tuple(plan.bits), tuple(plan.kept), plan.sizes)

    def misfit(error: Exception) -> ValueError:
        return ValueError(f"{source}: its input {said} does not fit the dense model: {str(error).splitlines()[0]}")

    if not plan.way.needs_values:
        with FakeTensorMode(allow_non_fake_inputs=True):
            shapes_only = Inputs.zeros(plan.inputs)
        try:
            with _silent("torch._subclasses.fake_tensor"):
                return again(shapes_only)
        except ValueError as error:
            if not isinstance(error.__cause__, DataDependentOutputException | DynamicOutputShapeException):
                raise misfit(error) from error
    if plan.inputs.num_elements > _LARGEST_RUN:
        raise ValueError(f"{source}: its input {said} has more than {_LARGEST_RUN} elements: too many to run")
    try:
        return again(Inputs.zeros(plan.inputs))
    except ValueError as error:
        raise misfit(error) from error


def _in_words(called: Signature) -> str:
    if called.is_single:
        return str(called.args[0].shape)
    text = ", ".join(f"{name} {sample.shape}" for name, sample in called.named_samples.items())
    return text if len(text) <= 200 else f"{text[:200]}…"


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """A logger that tells of every shape that does not fit, though the error is raised as well."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
