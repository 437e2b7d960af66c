"""`quantize`: rounding only. Every layer on its grid, none removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.measuring.subject import Subject
from annealnet.compression.measuring.tasks import Judge, Task
from annealnet.compression.network.calibration import read_batches
from annealnet.compression.network.fingerprint import run_fingerprint
from annealnet.compression.network.given import network_in
from annealnet.compression.network.graph import NetworkGraph
from annealnet.compression.network.left_dense import in_given_bytes
from annealnet.compression.network.norms import fold_batch_norms
from annealnet.compression.refitting.compensation import compensate
from annealnet.compression.refitting.dense_answers import DenseAnswers
from annealnet.compression.refitting.memory import Memory, available_memory, say_memory
from annealnet.compression.refitting.ridge import DEFAULT_RIDGE, check_ridge
from annealnet.compression.refitting.settled import SettledLayers
from annealnet.compression.reporting import delivered
from annealnet.compression.result import CompressedNetwork
from annealnet.compression.rounding import AnnealedRounding, Rounding, rounder_name
from annealnet.compression.rounding.grids import MAX_BITS, MIN_BITS, Grid
from annealnet.whole_numbers import SEEDS, whole_number

__all__ = ["quantize"]


def quantize(
    model: nn.Module,
    data: Iterable[Any],
    bits: int | Mapping[str, int] = 4,
    *,
    output: str | int | None = None,
    task: Task | Judge | None = None,
    rounding: Rounding | None = None,
    group: int | None = None,
    symmetric: bool = True,
    ridge: float = DEFAULT_RIDGE,
    checkpoint: str | Path | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> CompressedNetwork:
    """Rounds the weights of a trained network, layer by layer, each seeing what the rounded layers before it answer.

    For a layer with inputs X̂ (of the quantised network so far) and answers Y (of the dense one), codes c and scales s
    minimise ‖Y − X̂ z‖² + λ ‖z − w‖², z = s (c − o): a least-squares refit and then the annealed rounding of what it gives.
    The mean of every output is brought back to the dense network's (bias correction). Labels only serve the report.
    Everything is computed in float32 on the CPU (annealed rounding on CUDA where there is one), on a copy where the network
    is in another precision or on another device; the rounded network has the dtypes and devices of the one given, and the
    report is of that one, beside the dense one in float32.

    Args:
        model: a trained network; it is not changed. Of one in ``torch.compile`` or ``DataParallel`` the network inside.
        data: calibration batches as the model takes them (:func:`annealnet.compress` says which); a few hundred to a few
            thousand samples.
        bits: 1 … 8 for all layers, or per layer name (layers not named get 8).
        output: name or number of the answer that counts, of several that the model gives; None finds it.
        task: what the report measures, as of :func:`annealnet.compress`; it does not change what is rounded.
        rounding: how weights go to their grid; None anneals. Its own ``group`` and ``symmetric`` must be those given here.
        group: weights of an output channel that share a scale, such as 32, 64 or 128; None for all of them.
        symmetric: whether zero points are 0.
        ridge: λ ≥ 0 in units of each Gram matrix's mean diagonal times max(1, 16 · fan_in / rows); 0 is the refit of least
            change.
        checkpoint: a folder in which finished layers are kept; the same call goes on from it after an interruption.
        seed: of everything stochastic; the same seed gives the same network.
        progress: told each layer's name.

    Returns:
        The network on its grids, with plan, report and files, as :func:`annealnet.compress` gives. The report's certificate
        speaks of layer errors: the sum of E_r over all rows, and a lower bound of it on the final inputs and scales.

    Raises:
        ValueError: NaN weights, empty or NaN data, samples or labels that do not fit, unknown layers or widths, a network
            without layers that can be traced. All before any work is done.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        >>> small = quantize(net, [torch.randn(64, 16)], bits=3)
        >>> small.plan.bits, bool(small.report.size_ratio > 3)
        ({'0': 3, '2': 3}, True)
    """
    seed = whole_number("seed", seed, 0, SEEDS - 1)
    group = None if group is None else whole_number("group", group, 1)
    check_ridge(ridge)
    given = network_in(model)
    say = progress or (lambda _: None)
    subject = Subject.of(given, read_batches(data, model=given, output=output), task, "quantise")
    graph, x = subject.graph, subject.calibration.x
    widths = _widths(graph, bits)
    chosen = _rounder(rounding, group, symmetric, seed)
    _announce(subject, say)
    keep = np.ones(graph.num_units, dtype=bool)
    plan = CompressionPlan.of(graph, keep, widths, Grid(8, group, symmetric))
    answers = DenseAnswers.of(fold_batch_norms(subject.dense, graph), graph, x, seed)
    run = run_fingerprint(given, subject.calibration, "quantize", sorted(widths.items()), chosen, ridge, seed)
    kept = SettledLayers(checkpoint, run, rounder_name(chosen))
    small = fold_batch_norms(subject.dense, graph)
    grids = compensate(small, graph, keep, widths, answers, chosen, ridge, settled=kept, progress=say)
    said = {
        "bits": widths if isinstance(bits, Mapping) else int(bits),
        "output": output,
        "seed": seed,
        "ridge": ridge,
        "group": group,
        "symmetric": symmetric,
    }
    return delivered(subject, plan, small, grids, chosen, kept.certificate(seed), said)


def _announce(subject: Subject, say: Callable[[str], None]) -> None:
    """Tells what will be done, and what memory it takes where that is scarce."""
    say_memory(Memory.of(subject.dense, subject.graph, subject.calibration.x), available_memory(), say)
    say(f"data: {subject.calibration}")
    say(f"task: {subject.chosen}")
    for pinned in in_given_bytes(subject.graph, subject.dense, subject.given).pinned:
        say(f"left dense: {pinned}")
    say(f"reading the dense network's answers to {len(subject.calibration.x)} samples")


def _rounder(rounding: Rounding | None, group: int | None, symmetric: bool, seed: int) -> Rounding:
    """The one given, whose grids must be those asked for; else the annealed one."""
    chosen = rounding if rounding is not None else AnnealedRounding(group=group, symmetric=symmetric, seed=seed)
    if (chosen.group, chosen.symmetric) != (group, symmetric):
        raise ValueError(
            f"rounding gives group={chosen.group!r}, symmetric={chosen.symmetric!r}, asked for are group={group!r}, "
            f"symmetric={symmetric!r}: give both the same"
        )
    return chosen


def _widths(graph: NetworkGraph, bits: int | Mapping[str, int]) -> dict[str, int]:
    names = [layer.name for layer in graph.layers]
    if not isinstance(bits, Mapping):
        return dict.fromkeys(names, _width(bits))
    unknown = [name for name in bits if name not in names]
    if unknown:
        raise ValueError(f"bits names {unknown[0]!r}, the network's layers are {', '.join(names)}")
    return {name: _width(bits.get(name, 8)) for name in names}


def _width(bits: int) -> int:
    try:
        return whole_number("bits", bits, MIN_BITS, MAX_BITS)
    except ValueError as error:
        raise ValueError(f"{error}, or a dict of them by layer") from None
