"""What annealnet does with one architecture of the zoo, in a process of its own.

    python -m benchmarks.zoo.judging "BERT"

Prints one line of JSON per step as it ends, so that what is known outlives a crash or a time limit.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import annealnet as an
from annealnet.compression import CompressedNetwork
from annealnet.compression.network.calibration import read_batches
from annealnet.compression.network.graph import NetworkGraph, trace
from annealnet.compression.network.precision import in_float32
from annealnet.compression.network.surgery import mask, remove
from annealnet.compression.rounding import GptqRounding
from annealnet.exporting import onnx_session
from annealnet.samplers.seeds import Purpose, derived_seed

from . import ARCHITECTURES, Architecture
from .architecture import Batch, answer

__all__ = ["STEPS", "Trial", "judged", "main"]

BITS, SIZE_RATIO = 4, 6.0
#: What is judged does not depend on the rounding: a fast one.
ROUNDING = GptqRounding()


@dataclass
class Trial:
    """An architecture on its way through the library; what one step makes, later ones use."""

    architecture: Architecture
    samples: int = 32
    seed: int = 0
    smalls: list[CompressedNetwork] = field(default_factory=list)

    @cached_property
    def model(self) -> nn.Module:
        """As the library takes it: weights that are computed from others are plain ones."""
        return in_float32(self.architecture.build(self.seed))

    @cached_property
    def batches(self) -> list[Batch]:
        return self.architecture.batches(self.seed, self.samples)

    @cached_property
    def unseen(self) -> Batch:
        """A batch of another size than those the library saw."""
        return self.architecture.batches(derived_seed(self.seed, Purpose.TABLE_ROWS), 5)[0]

    @cached_property
    def graph(self) -> NetworkGraph:
        return trace(self.model, read_batches(self.batches, model=self.model).x)

    @property
    def small(self) -> CompressedNetwork:
        """The compressed network, or where that failed the rounded one."""
        if not self.smalls:
            raise RuntimeError("neither quantize nor compress gave a network")
        return self.smalls[-1]


def opened(trial: Trial) -> str:
    """Which of the three ways the trace went; one without a name for it is the symbolic one."""
    return str(getattr(trial.graph, "way", "symbolic"))


def on_grids(trial: Trial) -> float:
    """Share of the dense network's bytes that lie on grids."""
    return 1.0 - trial.graph.stays_dense.share


def removable(trial: Trial) -> float:
    """Share of its bytes that are weights from or to a removable unit: those that would be gone if all such units went."""
    graph = trial.graph
    everything, nothing = np.ones(graph.num_units, dtype=bool), np.zeros(graph.num_units, dtype=bool)
    gone = sum(graph.weights(layer, everything) - graph.weights(layer, nothing) for layer in graph.layers)
    return 4 * gone / graph.num_bytes


def removed_as_masked(trial: Trial) -> float | None:
    """The largest difference between the network without half of its units and the one that ignores them; None without any.

    Raises:
        RuntimeError: when to ignore them changes nothing, so that there is nothing to see.
    """
    graph = trial.graph
    if not graph.num_units:
        return None
    rng = np.random.default_rng(trial.seed)
    keep = rng.random(graph.num_units) < 0.5
    for group in graph.groups:
        keep[rng.choice(group.units)] = True
    masked, removed = mask(trial.model, graph, keep), remove(trial.model, graph, keep)
    if not distance(masked, trial.model, trial.unseen):
        raise RuntimeError("masking half of the units changes no answer")
    return distance(removed, masked, trial.unseen)


def rounded(trial: Trial) -> float:
    """Size ratio at 4 bits."""
    trial.smalls.append(an.quantize(trial.model, trial.batches, bits=BITS, rounding=ROUNDING, seed=trial.seed))
    return trial.small.report.size_ratio


def compressed(trial: Trial) -> float:
    """Size ratio where a sixth is asked for."""
    budget = an.Budget(size_ratio=SIZE_RATIO)
    small = an.compress(trial.model, trial.batches, budget=budget, rounding=ROUNDING, seed=trial.seed)
    trial.smalls.append(small)
    return small.report.size_ratio


def reloaded(trial: Trial) -> float:
    """The largest difference between the small network and what its files give."""
    with tempfile.TemporaryDirectory() as folder:
        trial.small.save(folder)
        again = an.load(folder, trial.architecture.build(trial.seed))
    return distance(again, trial.small.model, trial.unseen)


def in_onnx(trial: Trial) -> float:
    """The largest difference between the small network and its ONNX file in ONNX Runtime, on a batch of another size.

    Where that is padded, at the positions that count: what a query answers that sees padding only is nobody's to define.
    In the library's own session: a plain one multiplies 4-bit weights with activations rounded to 8 bits (MatMulNBits).
    """
    with tempfile.TemporaryDirectory() as folder:
        path = trial.small.export_onnx(Path(folder) / "small.onnx")
        session = onnx_session(path)
    theirs = answer(trial.small.model, trial.unseen)
    wanted = [given.name for given in session.get_inputs()]
    named = trial.unseen if isinstance(trial.unseen, dict) else {wanted[0]: trial.unseen}
    answers = session.run(None, {name: named[name].numpy() for name in wanted})
    ours = [torch.from_numpy(each) for each in answers if each.shape == tuple(theirs.shape)]
    if not ours:
        raise RuntimeError(f"no output of {[each.shape for each in answers]} has the answer's shape {tuple(theirs.shape)}")
    difference = ours[0] - theirs
    mask = trial.unseen.get("attention_mask") if isinstance(trial.unseen, dict) else None
    padded = mask is not None and tuple(difference.shape[:2]) == tuple(mask.shape)
    return _largest(difference[mask.bool()] if padded and mask is not None else difference)


def distance(first: nn.Module, second: nn.Module, batch: Batch) -> float:
    """The largest difference between two networks' answers."""
    return _largest(answer(first, batch) - answer(second, batch))


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max())


#: Columns of the table, in the order in which a trial goes through them.
STEPS: dict[str, Callable[[Trial], Any]] = {
    "opened": opened,
    "on grids": on_grids,
    "removable": removable,
    "removed = masked": removed_as_masked,
    "4 bit": rounded,
    "6×": compressed,
    "reload": reloaded,
    "ONNX": in_onnx,
}


def judged(trial: Trial) -> Iterator[dict[str, Any]]:
    """One record per step: its value or its error, and its seconds; first the network itself, last the memory.

    ``MB`` is the process's peak, ``MB before`` what it had taken when the network and its batches stood.
    """
    weights = sum(parameter.numel() for parameter in trial.model.parameters())
    answer(trial.model, trial.batches[0])
    before = _megabytes()
    yield {"step": "weights", "value": weights}
    for name, step in STEPS.items():
        began = time.perf_counter()
        try:
            found: dict[str, Any] = {"value": step(trial)}
        except Exception as error:  # whatever a library does to a network is a row of the table
            found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:1000]}
        yield {"step": name, **found, "seconds": round(time.perf_counter() - began, 2)}
    yield {"step": "MB before", "value": before}
    yield {"step": "MB", "value": _megabytes()}


def _megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[each.name for each in ARCHITECTURES])
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    architecture = next(each for each in ARCHITECTURES if each.name == options.name)
    for record in judged(Trial(architecture, options.samples, options.seed)):
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
