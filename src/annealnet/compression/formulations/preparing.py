"""From the user's network, data and budget to a planning problem, everything refused before work starts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from annealnet.compression.files.sizes import dense_bytes, fixed_bytes, leaving_bytes
from annealnet.compression.formulations.budget import Budget, Limits
from annealnet.compression.formulations.problem import Problem
from annealnet.compression.formulations.space import PlanSpace
from annealnet.compression.measuring.subject import Subject
from annealnet.compression.measuring.tasks import Judge, Task
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.network.graph import NetworkGraph
from annealnet.compression.network.left_dense import in_given_bytes
from annealnet.compression.network.norms import fold_batch_norms
from annealnet.compression.network.structure import Pinned
from annealnet.compression.refitting.dense_answers import DenseAnswers
from annealnet.compression.refitting.memory import Memory, available_memory, say_memory
from annealnet.compression.refitting.ridge import DEFAULT_RIDGE, check_ridge
from annealnet.compression.rounding import AnnealedRounding, Rounding
from annealnet.compression.rounding.grids import MAX_BITS, Grid

__all__ = ["PRUNABLE", "WIDTHS", "prepare"]

#: Bits per weight that a layer may take.
WIDTHS = (2, 3, 4, 5, 6, 7, 8)
#: What may be removed: of convolutions, between linear layers, of attentions; and, where asked for, of the residual stream.
PRUNABLE = ("channels", "neurons", "heads", "stream")
#: What is removed unless something else is said.
_PRUNED = PRUNABLE[:3]
#: Width of the first and the last layer unless they are named.
_END_WIDTH = 8


def prepare(
    model: nn.Module,
    calibration: Calibration,
    budget: Budget,
    *,
    task: Task | Judge | None = None,
    widths: Sequence[int] = WIDTHS,
    layer_widths: Mapping[str, Sequence[int]] | None = None,
    prune: bool | Collection[str] = True,
    rounding: Rounding | None = None,
    ridge: float = DEFAULT_RIDGE,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Problem:
    """Checks the input, traces the network, folds its batch norms and lays out the plan space.

    Raises:
        ValueError: NaN weights, samples that do not fit, a network that cannot be traced or has nothing to compress,
            labels that do not fit, widths out of range, unknown layers, a budget that cannot be met (says the smallest that
            can).

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
        >>> prepare(net, Calibration.of(torch.randn(8, 4)), Budget(size_ratio=2)).space.num_variables
        34
    """
    check_ridge(ridge)
    kinds = _kinds(prune)
    subject = Subject.of(model, calibration, task, "compress", stream="stream" in kinds)
    dense, chosen = subject.dense, subject.chosen
    graph = _without_word_of(subject.graph, kinds)
    allowed = _widths(graph, widths, layer_widths)
    folded = fold_batch_norms(dense, graph)
    rounding = rounding or AnnealedRounding(seed=seed)
    grid = Grid(MAX_BITS, rounding.group, rounding.symmetric)
    overhead = fixed_bytes(graph, folded, grid)
    fixed = frozenset(group.name for group in graph.groups if group.what not in kinds)
    leaving = leaving_bytes(graph, folded)
    space = PlanSpace(graph, allowed, overhead, len(fixed) < len(graph.groups), fixed, grid, leaving)
    limits = budget.limits(dense_bytes(model), graph.macs())
    _check_reachable(space, limits, dense_bytes(model))
    say = progress or (lambda _: None)
    planned = [group for group in graph.groups if group.name not in fixed]
    say_memory(Memory.of(dense, graph, calibration.x, planned), available_memory(), say)
    say(f"data: {calibration}")
    say(f"task: {chosen}")
    say(f"{len(graph.layers)} layers, {len(graph.groups)} groups, {graph.num_units} removable channels")
    for pinned in in_given_bytes(graph, dense, model).pinned:
        say(f"left dense: {pinned}")
    answers = DenseAnswers.of(folded, graph, calibration.x, seed)
    return Problem(folded, space, limits, answers, chosen, rounding, ridge, progress=progress)


def _without_word_of(graph: NetworkGraph, kinds: Collection[str]) -> NetworkGraph:
    """The graph that says so where the residual stream was asked for and has no channel that could go."""
    if "stream" not in kinds or any(group.what == "stream" for group in graph.groups):
        return graph
    reason = "asked for, but nothing of it can go: something that reads or normalises it, or the answer, holds it as it is"
    return replace(graph, pinned=(Pinned("stream", reason), *graph.pinned))


def _kinds(prune: bool | Collection[str]) -> frozenset[str]:
    """What may be removed."""
    if isinstance(prune, bool | np.bool_):
        return frozenset(_PRUNED if prune else ())
    unknown = [prune] if isinstance(prune, str) else [kind for kind in prune if kind not in PRUNABLE]
    if unknown:
        words = ", ".join(map(repr, PRUNABLE))
        raise ValueError(f"prune={prune!r} names {unknown[0]!r}: give True, False, or a list of some of {words}")
    return frozenset(prune)


def _widths(
    graph: NetworkGraph, widths: Sequence[int], layer_widths: Mapping[str, Sequence[int]] | None
) -> dict[str, tuple[int, ...]]:
    names = [layer.name for layer in graph.layers]
    # a table is no first layer, and often most of the network
    ends = [name for name in names if graph.output_shapes[name]] or names
    asked = {ends[0]: (_END_WIDTH,), ends[-1]: (_END_WIDTH,)} | {k: tuple(v) for k, v in (layer_widths or {}).items()}
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise ValueError(f"layer_widths names {unknown[0]!r}, the network's layers are {', '.join(names)}")
    for name, values in [("widths", tuple(widths)), *asked.items()]:
        if not values or any(b not in WIDTHS for b in values):
            raise ValueError(f"{name}={values!r} must hold whole numbers from 2 to 8")
    return {name: tuple(sorted({int(b) for b in asked.get(name, widths)})) for name in names}


def _check_reachable(space: PlanSpace, limits: Limits, dense: int) -> None:
    keep, bits = space.smallest()
    least = space.num_bytes(keep, bits)
    if limits.bytes is not None and least > limits.bytes:
        raise ValueError(
            f"budget of {limits.bytes} bytes cannot be met: the smallest this network can become is {least} bytes "
            f"(size_ratio={np.floor(100 * dense / least) / 100:g}); ask for no less"
        )
    least_macs = space.graph.macs(keep)
    if limits.macs is not None and least_macs > limits.macs:
        ratio = np.floor(100 * space.graph.macs() / least_macs) / 100
        raise ValueError(
            f"budget of {limits.macs} multiply-adds cannot be met: the fewest are {least_macs} (macs_ratio={ratio:g}); "
            "ask for no less"
        )
