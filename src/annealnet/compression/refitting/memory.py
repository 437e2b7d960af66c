"""How much memory a job will take, said before it starts where that is much beside what the machine has.

    bytes ≈ copies · weights + inputs + dense answers + one forward of a batch + inputs of a block + the largest layer's own
            + 48 · pairs of channels, where a plan is made

The largest layer's own are the rows it reads, X ``(r, g, f)``, what it answers there ``(r, o)``, and its Gram matrices
``(g, f, f)`` with what solving and rounding take beside them. What a forward holds at once
(:mod:`~annealnet.compression.network.live`) says how many samples are a batch; where there are several, or dense answers are
computed again, a chain of blocks keeps the inputs of one block for all samples. *Our reconstruction*;
``python -m benchmarks.memory`` compares it with what is taken.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path

from torch import nn

from annealnet.compression.network.answers import all_answers_of
from annealnet.compression.network.graph import Layer, NetworkGraph
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.left_dense import tensor_bytes
from annealnet.compression.network.live import Forward
from annealnet.compression.network.structure import DependencyGroup
from annealnet.compression.refitting.batches import Batches, rows_kept
from annealnet.compression.refitting.blocks import InBlocks, block_of, chain_that_runs
from annealnet.compression.refitting.dense_answers import answer_bytes, are_many

__all__ = ["Memory", "available_memory", "say_memory"]

#: Copies of the weights: dense, with norms folded, on the grids; for plans also the best so far and the one that is built.
_ROUNDING_COPIES, _BUILDING_COPIES = 3, 5
#: Float64 matrices of the size of a layer's Gram matrices at once: itself, the ridge, the factors, the rounding's own.
_GRAMS = 7
#: Bytes of two channels' energy: float64 and its place, as measured, in the sum, in the annealer's units and in its lists.
_PAIR = 4 * 12
#: Copies of a layer's rows, and of its answers there.
_ROWS, _ANSWERS = 3, 4
#: Share of the memory that is free above which a job says what it takes.
_MUCH = 0.5


@dataclass(frozen=True)
class Memory:
    """Bytes beside what the process and the user's network and data take already.

    Attributes:
        weights: of the copies of the network.
        inputs: of the calibration inputs, and the copy that a forward may change.
        answers: of the dense network's layers, at the rows that are kept.
        forward: what one forward of a batch holds at once, and the network's answers to the other batches.
        blocks: inputs of the block of that layer, for all samples, where the network is run block by block.
        layer: what the layer takes that takes most, together with these: rows, answers, Gram matrices.
        pairs: energies of removing two channels of a group, where plans are made; measured, summed and annealed.

    Example:
        >>> str(Memory(3 * 2**20, 2**20, 0, 2**19, 0, 2**19, 0))[:72]
        'about 5 MiB of memory: weights 3.0 MiB, inputs 1.0 MiB, answers 0.0 MiB,'
    """

    weights: int
    inputs: int
    answers: int
    forward: int
    blocks: int
    layer: int
    pairs: int

    @classmethod
    def of(
        cls, dense: nn.Module, graph: NetworkGraph, inputs: Inputs, planned: Collection[DependencyGroup] | None = None
    ) -> Memory:
        """The estimate for a network.

        Args:
            dense: float32, in evaluation mode.
            graph: its structure.
            inputs: all calibration inputs.
            planned: groups whose channels may go, where a plan is made first; None only rounds.
        """
        seen = [layer for layer in graph.layers if not layer.by_value]
        forward, samples = Forward.of(dense, inputs), len(inputs)
        batches = Batches(graph, inputs, forward.at_once(samples))
        answers, many = answer_bytes(graph, samples), are_many(graph, samples)
        chain = chain_that_runs(dense, _a_few(batches)) if many or batches.count > 1 else ()
        own = {layer.name: _layer_bytes(layer, rows_kept(graph, layer, samples)) for layer in seen}
        blocks, layer = _at_the_worst(
            own, chain, [(1 + many) * kept for kept in (_block_bytes(dense, batches, chain) if chain else ())]
        )
        if many and chain:
            answers = _of_a_block(answers, chain)
        given = sum(tensor.nbytes for tensor in inputs.tensors.values())
        return cls(
            (_ROUNDING_COPIES if planned is None else _BUILDING_COPIES) * tensor_bytes(dense),
            given + given * batches.at_once // samples,
            sum(answers.values()),
            forward.bytes(batches.at_once) + _other_answers(dense, batches),
            blocks,
            layer,
            _PAIR * sum(len(group.units) ** 2 for group in planned or ()),
        )

    @property
    def total(self) -> int:
        """Everything together."""
        return sum(getattr(self, part.name) for part in fields(self))

    def __str__(self) -> str:
        parts = ", ".join(f"{part.name} {getattr(self, part.name) / 2**20:,.1f} MiB" for part in fields(self))
        return f"about {self.total / 2**20:,.0f} MiB of memory: {parts}"


def say_memory(memory: Memory, available: int | None, say: Callable[[str], None]) -> None:
    """Says an estimate where it is more than half of what is free, as a warning and as progress; else nothing.

    Args:
        memory: the estimate.
        available: bytes that are free; None is not known, and nothing is said.
        say: told in words.

    Example:
        >>> say_memory(Memory(1, 1, 1, 1, 1, 1, 1), 100, print)
    """
    if available is None or memory.total <= _MUCH * available:
        return
    text = (
        f"this takes {memory}; {available / 2**20:,.0f} MiB are free: give fewer samples in data, or a machine with more "
        "memory, where that is too much"
    )
    say(text)
    warnings.warn(text, stacklevel=3)


def available_memory(source: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that the machine can still give; None where it does not say.

    Example:
        >>> available_memory(Path("not there")) is None
        True
    """
    try:
        lines = source.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(found[0][1]) if found and len(found[0]) > 1 and found[0][1].isdigit() else None


def _layer_bytes(layer: Layer, rows: int) -> int:
    fan_in, outputs = math.prod(layer.weight_shape[1:]), layer.weight_shape[0]
    return 4 * rows * (_ROWS * layer.groups * fan_in + _ANSWERS * outputs) + 8 * _GRAMS * layer.groups * fan_in**2


def _of_a_block(answers: dict[str, int], names: tuple[str, ...]) -> dict[str, int]:
    """Of layers in a chain of blocks only the block's that has most; the others are computed when they are needed."""
    kept = {name: count for name, count in answers.items() if block_of(name, names) is None}
    sums = [sum(count for name, count in answers.items() if block_of(name, names) == at) for at in range(len(names))]
    return kept | {"largest block": max(sums)}


def _other_answers(dense: nn.Module, batches: Batches) -> int:
    """What the network answers to all samples but those of one batch."""
    others = len(batches.inputs) - batches.at_once
    return others * all_answers_of(dense, batches.inputs[:1], 1).nbytes if others else 0


def _a_few(batches: Batches) -> Batches:
    return replace(batches, inputs=batches.inputs[:2], at_once=2)


def _block_bytes(dense: nn.Module, batches: Batches, chain: tuple[str, ...]) -> list[int]:
    """What is kept at each block, for all samples; counted on a few of them."""
    few = _a_few(batches)
    blocks, kept = InBlocks.met(dense, chain, few), list[int]()
    for number in range(len(chain)):
        kept.append(blocks.num_bytes * len(batches.inputs) // len(few.inputs))
        blocks.course(number).each((), lambda *_: None)
    return kept


def _at_the_worst(own: dict[str, int], chain: tuple[str, ...], kept: list[int]) -> tuple[int, int]:
    """Bytes of a block's inputs and of a layer in it that are most together; of a layer outside the chain no block's."""
    pairs = [(0 if (at := block_of(name, chain)) is None else kept[at], size) for name, size in own.items()]
    return max(pairs, key=sum, default=(0, 0))
