"""What the dense network's layers answer, which every refit aims at: kept while small, else run again block by block."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from annealnet.compression.network.answers import that_count
from annealnet.compression.network.graph import NetworkGraph
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import weight_of
from annealnet.compression.network.rows import rows_times_weight, weight_matrix
from annealnet.compression.refitting.batches import Batches, Stacked, rows_kept
from annealnet.compression.refitting.blocks import block_of, chain_that_runs, courses
from annealnet.compression.refitting.courses import Course
from annealnet.compression.refitting.routing import routed_layers

__all__ = ["DenseAnswers", "answer_bytes", "answers_at_rows", "are_many", "unheard"]

#: Dense answers that are kept at once; where all would be more, they are computed again block by block.
MOST_ANSWER_BYTES = 2**30
#: So large may a sum of squares over a layer's rows be; compressed layers answer a little more than dense ones.
_MOST_SQUARES = float(torch.finfo(torch.float32).max) / 4


@dataclass(frozen=True)
class DenseAnswers:
    """What the dense network's layers answer on the calibration inputs, at the sampled rows.

    Attributes:
        batches: the calibration inputs, and the rows that are drawn of each layer.
        outputs: per layer name, ``(rows, out_channels)`` pre-activations without bias; where ``again`` is given of none in
            the chain.
        logits: the network's output, of the positions that count (:func:`.that_count`): ``(samples, classes)``.
        chain: names of the blocks in which networks like this one are run; none: as a whole.
        again: the dense network, where its blocks are run again for what they answer; None where all of it is kept.
        routed: layers that do not read their rows sample by sample, see :func:`.routed_layers`.
    """

    batches: Batches
    outputs: Mapping[str, Tensor]
    logits: Tensor
    chain: tuple[str, ...] = ()
    again: nn.Module | None = None
    routed: frozenset[str] = frozenset()

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        dense: nn.Module,
        graph: NetworkGraph,
        x: Tensor | Inputs,
        seed: int = 0,
        most_bytes: int | None = None,
    ) -> DenseAnswers:
        """Runs the dense network once (batch norms folded) and keeps the rows' answers of every layer.

        Where these are more than ``most_bytes``, and the network is a chain of blocks, only those outside the blocks.

        Raises:
            ValueError: when an answer is not finite, or what a layer reads or answers is too large to be squared.
        """
        batches = Batches.of(dense, graph, x, seed)
        many = are_many(graph, len(batches.inputs), most_bytes)
        chain = chain_that_runs(dense, batches) if many or batches.count > 1 else ()
        seen = [layer.name for layer in graph.layers if not layer.by_value]
        kept = [name for name in seen if not many or block_of(name, chain) is None]
        logits = Stacked(batches.count)
        broken: list[Tensor] = []

        def ends(number: int, answers: Tensor) -> None:
            batch = batches.batch(number)
            broken.append(~_finite(batch, answers))
            logits.add(that_count(batch, answers))

        outputs = answers_at_rows(Course.whole(dense, batches, ends), kept)
        places = torch.nonzero(torch.cat(broken))
        if len(places):
            raise ValueError(
                f"data: to sample {int(places[0])} ({len(places)} in all) the model answers NaN or infinite: leave it out"
            )
        again = dense if many and chain else None
        return cls(batches, outputs, logits.whole(), chain, again, routed_layers(dense, seen, batches.inputs))

    @property
    def x(self) -> Inputs:
        """The calibration inputs."""
        return self.batches.inputs

    @property
    def seed(self) -> int:
        """It draws the sampled positions."""
        return self.batches.seed

    def courses(self, network: nn.Module, layers: Sequence[str]) -> Iterator[tuple[Course, list[str]]]:
        """The parts in which a network like the dense one is run, see :func:`~.blocks.courses`."""
        return courses(network, self.batches, self.chain, layers)

    def beside(self, network: nn.Module, layers: Sequence[str]) -> Iterator[tuple[Course, list[str], Mapping[str, Tensor]]]:
        """The same, and what the dense network's layers answer in each part."""
        if self.again is None:
            for course, some in self.courses(network, layers):
                yield course, some, self.outputs
            return
        for (course, some), (dense, _) in zip(self.courses(network, layers), self.courses(self.again, layers), strict=True):
            outside = bool(some) and block_of(some[0], self.chain) is None
            # a block without layers to tell of is run, too: the next one reads what it answers
            yield course, some, self.outputs if outside else answers_at_rows(dense, some)


def _finite(x: Inputs, answers: Tensor) -> Tensor:
    """Whether all that counts in the answer to a sample is finite: bool ``(samples,)``."""
    counted = x.counted(answers)
    finite = torch.isfinite(answers) if counted is None else torch.isfinite(answers).flatten(2).all(2) | ~counted
    return (finite.flatten(1) if finite.ndim > 1 else finite[:, None]).all(1)


def answer_bytes(graph: NetworkGraph, samples: int) -> dict[str, int]:
    """Bytes of each layer's dense answers, of layers whose inputs are seen."""
    seen = [layer for layer in graph.layers if not layer.by_value]
    return {layer.name: 4 * rows_kept(graph, layer, samples) * layer.weight_shape[0] for layer in seen}


def are_many(graph: NetworkGraph, samples: int, most_bytes: int | None = None) -> bool:
    """Whether dense answers are too many bytes to be kept all at once.

    Args:
        graph: the network's structure.
        samples: how many calibration inputs there are.
        most_bytes: of dense answers; None is :data:`MOST_ANSWER_BYTES`.
    """
    return sum(answer_bytes(graph, samples).values()) > (MOST_ANSWER_BYTES if most_bytes is None else most_bytes)


def answers_at_rows(course: Course, layers: Collection[str]) -> dict[str, Tensor]:
    """What layers of the dense network answer at their sampled rows, ``(rows, out_channels)`` without bias, by name.

    Args:
        course: the dense network, or a part of it.
        layers: names of layers in it; those that no sample comes to answer nothing.

    Raises:
        ValueError: when a layer reads or answers numbers that are too large to be squared.
    """
    met: dict[str, Stacked] = {}
    largest: dict[str, float] = {}

    def keep(name: str, module: nn.Module, rows: Tensor) -> None:
        answered = rows_times_weight(rows, weight_matrix(module, weight_of(module).detach()))
        met.setdefault(name, Stacked(course.batches.count)).add(answered)
        largest[name] = max(largest.get(name, 0.0), *(float(part.abs().max()) for part in (rows, answered) if part.numel()))

    course.each(layers, keep, unheard)
    outputs = {name: answered.whole() for name, answered in met.items()}
    for name, answered in outputs.items():
        _check_squares(name, largest[name], len(answered))
    return outputs


def _check_squares(layer: str, largest: float, rows: int) -> None:
    """Gram matrices and errors are sums of squares over rows, in float32; infinite ones are the answers' to refuse."""
    limit = math.sqrt(_MOST_SQUARES / max(1, rows))
    if limit < largest < math.inf:
        raise ValueError(
            f"data: layer {layer!r} reads or answers numbers as large as {largest:.3g}, and sums of their squares are "
            f"beyond float32: scale the inputs as in training (over {rows} rows none may pass {limit:.1e})"
        )


def unheard(name: str) -> None:
    """A layer that no sample comes to answers nothing."""
