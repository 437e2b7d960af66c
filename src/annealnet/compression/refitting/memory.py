"""How much memory a job will take, said before it starts where that is much beside what the machine has.

    bytes ≈ copies · weights + 2 · inputs + dense answers + one forward of all samples + the largest layer's own

The largest layer's own are the rows it reads, X ``(r, g, f)``, what it answers there ``(r, o)``, and its Gram matrices
``(g, f, f)`` with what solving and rounding take beside them. What a forward holds at once is counted on one sample and on
two, and grows by as much with each sample. *Our reconstruction*; ``python -m benchmarks.memory`` compares it with what is
taken.
"""

from __future__ import annotations

import contextlib
import math
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from annealnet.compression.network.graph import Layer, NetworkGraph
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.left_dense import tensor_bytes
from annealnet.compression.refitting.blocks import block_of
from annealnet.compression.refitting.dense_answers import answer_bytes, blocks_run_again, rows_kept

__all__ = ["BUILDING_COPIES", "ROUNDING_COPIES", "Memory", "available_memory", "say_memory"]

#: Copies of the weights: dense, with norms folded, on the grids; for plans also the best so far and the one that is built.
ROUNDING_COPIES, BUILDING_COPIES = 3, 5
#: Float64 matrices of the size of a layer's Gram matrices at once: itself, the ridge, the factors, the rounding's own.
_GRAMS = 7
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
        forward: what one forward of all samples holds at once.
        layer: what the layer takes that takes most: rows, answers, Gram matrices.

    Example:
        >>> print(Memory(3 * 2**20, 2**20, 2**19, 0, 2**19))
        about 5 MiB of memory: weights 3.0 MiB, inputs 1.0 MiB, answers 0.5 MiB, forward 0.0 MiB, layer 0.5 MiB
    """

    weights: int
    inputs: int
    answers: int
    forward: int
    layer: int

    @classmethod
    def of(cls, dense: nn.Module, graph: NetworkGraph, inputs: Inputs, copies: int = ROUNDING_COPIES) -> Memory:
        """The estimate for a network.

        Args:
            dense: float32, in evaluation mode.
            graph: its structure.
            inputs: all calibration inputs.
            copies: of the weights, see :data:`ROUNDING_COPIES`.
        """
        seen = [layer for layer in graph.layers if not layer.by_value]
        answers = answer_bytes(graph, len(inputs))
        if names := blocks_run_again(dense, graph, inputs):
            answers = _of_a_block(answers, names)
        return cls(
            copies * tensor_bytes(dense),
            2 * sum(tensor.numel() * tensor.element_size() for tensor in inputs.tensors.values()),
            sum(answers.values()),
            _forward_bytes(dense, inputs),
            max((_layer_bytes(layer, rows_kept(graph, layer, len(inputs))) for layer in seen), default=0),
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
        >>> say_memory(Memory(1, 1, 1, 1, 1), 100, print)
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


def _forward_bytes(dense: nn.Module, inputs: Inputs) -> int:
    """What a forward of all samples holds at once."""
    one = _live_bytes(dense, inputs[:1])
    if len(inputs) < 2:
        return one
    each = max(0, _live_bytes(dense, inputs[:2]) - one)
    return max(one, each * len(inputs))


def _live_bytes(dense: nn.Module, inputs: Inputs) -> int:
    some, live = inputs.clone(), _Live()
    # operations of a higher order let nobody watch: what was seen up to there
    with contextlib.suppress(NotImplementedError), torch.no_grad(), live:
        some.call(dense)
    return live.most


class _Live(TorchDispatchMode):
    """Counts the bytes of tensors that are made and not yet gone."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = self._now = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        given = {_place(tensor) for tensor in pytree.tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        found = func(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves(found):
            if isinstance(tensor, Tensor) and _place(tensor) not in given | self._seen:
                self._count(tensor)
        return found

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        place, size = _place(tensor), storage.nbytes()
        self._seen.add(place)
        self._now += size
        self.most = max(self.most, self._now)
        weakref.finalize(storage, self._gone, place, size)

    def _gone(self, place: int, size: int) -> None:
        self._seen.discard(place)
        self._now -= size


def _place(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
