"""What the dense network's layers answer, which every refit aims at: kept while small, else run again block by block."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from annealnet.compression.network.answers import that_count
from annealnet.compression.network.graph import Layer, NetworkGraph
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import weight_of
from annealnet.compression.network.rows import layer_rows, rows_times_weight, sampled_rows, weight_matrix
from annealnet.compression.refitting.blocks import Blocks, block_of, chain_of_blocks
from annealnet.compression.refitting.routing import routed_layers
from annealnet.compression.refitting.visits import At, visit

__all__ = ["DenseAnswers", "answer_bytes", "blocks_run_again", "keeps_answers", "rows_kept", "unheard"]

#: Dense answers that are kept at once; where all would be more, they are computed again block by block.
MOST_ANSWER_BYTES = 2**30
#: So large may a sum of squares over a layer's rows be; compressed layers answer a little more than dense ones.
_MOST_SQUARES = float(torch.finfo(torch.float32).max) / 4


@dataclass(frozen=True)
class DenseAnswers:
    """What the dense network's layers answer on the calibration inputs, at the sampled rows.

    Attributes:
        x: the calibration inputs.
        outputs: per layer name, ``(rows, out_channels)`` pre-activations without bias; of layers in ``blocks`` none.
        logits: the network's output, of the positions that count (:func:`.that_count`): ``(samples, classes)``.
        seed: draws the sampled positions.
        blocks: the chain of blocks that is run again, block by block; None where the answers of all layers are kept.
        routed: layers that do not read their rows sample by sample, see :func:`.routed_layers`.
    """

    x: Inputs
    outputs: Mapping[str, Tensor]
    logits: Tensor
    seed: int
    blocks: Blocks | None = None
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
        x = Inputs.of(x)
        seen = [layer for layer in graph.layers if not layer.by_value]
        names = blocks_run_again(dense, graph, x, most_bytes)
        kept = [layer.name for layer in seen if block_of(layer.name, names) is None]
        outputs: dict[str, Tensor] = {}
        at = keeps_answers(outputs, graph, x, seed)
        if names:
            blocks, answers = Blocks.met(dense, names, lambda: visit(dense, x, kept, at, idle=unheard))
        else:
            blocks, answers = None, visit(dense, x, kept, at, idle=unheard)
        counted = x.counted(answers)
        finite = torch.isfinite(answers) if counted is None else torch.isfinite(answers).flatten(2).all(2) | ~counted
        broken = torch.nonzero(~(finite.flatten(1) if finite.ndim > 1 else finite[:, None]).all(1))
        if len(broken):
            raise ValueError(
                f"data: to sample {int(broken[0])} ({len(broken)} in all) the model answers NaN or infinite: leave it out"
            )
        routed = routed_layers(dense, [layer.name for layer in seen], x)
        return cls(x, outputs, that_count(x, answers), seed, blocks, routed)


def rows_kept(graph: NetworkGraph, layer: Layer, samples: int) -> int:
    """Rows that are kept of a layer: all there are, or as many as are sampled, and one of each sample at least."""
    positions = max(1, graph.output_shapes[layer.name])
    return min(samples * positions, max(samples, sampled_rows(layer)))


def answer_bytes(graph: NetworkGraph, samples: int) -> dict[str, int]:
    """Bytes of each layer's dense answers, of layers whose inputs are seen."""
    seen = [layer for layer in graph.layers if not layer.by_value]
    return {layer.name: 4 * rows_kept(graph, layer, samples) * layer.weight_shape[0] for layer in seen}


def blocks_run_again(dense: nn.Module, graph: NetworkGraph, x: Inputs, most_bytes: int | None = None) -> tuple[str, ...]:
    """Names of the blocks whose answers are not kept but computed again; none where all answers are few enough bytes.

    Args:
        dense: the network.
        graph: its structure.
        x: all calibration inputs.
        most_bytes: of dense answers; None is :data:`MOST_ANSWER_BYTES`.
    """
    most = MOST_ANSWER_BYTES if most_bytes is None else most_bytes
    large = sum(answer_bytes(graph, len(x)).values()) > most
    return chain_of_blocks(dense, x[:2]) if large else ()


def keeps_answers(outputs: dict[str, Tensor], graph: NetworkGraph, inputs: Inputs, seed: int) -> At:
    """Notes in ``outputs`` what a layer of the dense network answers at its sampled rows.

    The layer raises a ValueError where it reads or answers numbers that are too large to be squared.
    """

    def keep(name: str, module: nn.Module, given: Tensor) -> None:
        rows = layer_rows(module, given, seed, sampled_rows(graph.layer(name)), inputs)
        outputs[name] = rows_times_weight(rows, weight_matrix(module, weight_of(module).detach()))
        _check_squares(name, rows, outputs[name])

    return keep


def _check_squares(layer: str, *values: Tensor) -> None:
    """Gram matrices and errors are sums of squares over rows, in float32; infinite ones are the answers' to refuse."""
    limit = math.sqrt(_MOST_SQUARES / max(1, len(values[0])))
    largest = max((float(part.abs().max()) for part in values if part.numel()), default=0.0)
    if limit < largest < math.inf:
        raise ValueError(
            f"data: layer {layer!r} reads or answers numbers as large as {largest:.3g}, and sums of their squares are "
            f"beyond float32: scale the inputs as in training (over {len(values[0])} rows none may pass {limit:.1e})"
        )


def unheard(name: str) -> None:
    """A layer that no sample comes to answers nothing."""
