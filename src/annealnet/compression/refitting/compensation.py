"""What is left is refitted to what is gone: closed-form least squares, layer by layer.

Each layer of the pruned network, in execution order, sees the inputs X̂ that the compressed layers before it
produce, and should still answer what the dense layer answers on the dense inputs, Y. Its weights become

    W' = W + argmin_Δ ‖Y − X̂ (W + Δ)‖² + λ ‖Δ‖²,      λ = ridge · mean diag(X̂ᵀX̂)

then they are rounded to their grid (with the Gram matrix X̂ᵀX̂ + λ, so that a rounding that uses it minimises exactly this
error; around W' the rest of it is a square), and every output channel gets the scale a and shift c that fit
``Y ≈ a · X̂ W_q + c`` best (batch norm re-estimated against the dense network; it costs no byte, since the grid's
scale and the bias are stored anyway). *Our reconstruction; the same for every method that is compared.*
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.compression.network.calibration import that_count
from annealnet.compression.network.graph import NetworkGraph
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import bias_of, layer_at, weight_of
from annealnet.compression.network.rows import gram_of, layer_rows, rows_times_weight, sampled_rows, weight_matrix
from annealnet.compression.refitting.blocks import Blocks, block_of, chain_of_blocks
from annealnet.compression.refitting.routing import routed_layers
from annealnet.compression.refitting.settled import Rounded, SettledLayers
from annealnet.compression.refitting.visits import At, visit
from annealnet.compression.rounding import Rounding
from annealnet.compression.rounding.grids import Quantized, dequantize
from annealnet.compression.rounding.stored_numbers import stored_bias

__all__ = [
    "DEFAULT_RIDGE",
    "LEAST_RIDGE",
    "PROBED_FAN_IN",
    "DenseAnswers",
    "check_ridge",
    "compensate",
    "fitted_scale",
    "refit",
    "refitted_behind",
]

DEFAULT_RIDGE = 1e-2
#: What a ridge of 0 is taken as: inputs that are always zero, or copies of each other, make the Gram matrix singular.
LEAST_RIDGE = 1e-6
#: Dense answers that are kept at once; where all would be more, they are computed again block by block.
MOST_ANSWER_BYTES = 2**30
#: In probes, layers with a larger fan-in are neither refitted nor rounded: their Gram matrices would take minutes.
PROBED_FAN_IN = 1024
#: So large may a sum of squares over a layer's rows be; compressed layers answer a little more than dense ones.
_MOST_SQUARES = float(torch.finfo(torch.float32).max) / 4
#: Samples of a probe, and rows per weight of an output channel; more samples where those have too few rows.
_PROBED_SAMPLES, _PROBED_ROWS = 256, 4


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
        most_bytes: int = MOST_ANSWER_BYTES,
    ) -> DenseAnswers:
        """Runs the dense network once (batch norms folded) and keeps the rows' answers of every layer.

        Where these are more than ``most_bytes``, and the network is a chain of blocks, only those outside the blocks.

        Raises:
            ValueError: when an answer is not finite, or what a layer reads or answers is too large to be squared.
        """
        x = Inputs.of(x)
        seen = [layer for layer in graph.layers if not layer.by_value]
        large = sum(4 * sampled_rows(layer) * layer.weight_shape[0] for layer in seen) > most_bytes
        names = chain_of_blocks(dense, x[:2]) if large else ()
        kept = [layer.name for layer in seen if block_of(layer.name, names) is None]
        outputs: dict[str, Tensor] = {}
        at = _keeps_answers(outputs, graph, x, seed)
        if names:
            blocks, answers = Blocks.met(dense, names, lambda: visit(dense, x, kept, at, idle=_unheard))
        else:
            blocks, answers = None, visit(dense, x, kept, at, idle=_unheard)
        counted = x.counted(answers)
        finite = torch.isfinite(answers) if counted is None else torch.isfinite(answers).flatten(2).all(2) | ~counted
        broken = torch.nonzero(~(finite.flatten(1) if finite.ndim > 1 else finite[:, None]).all(1))
        if len(broken):
            raise ValueError(
                f"data: to sample {int(broken[0])} ({len(broken)} in all) the model answers NaN or infinite: leave it out"
            )
        routed = routed_layers(dense, [layer.name for layer in seen], x)
        return cls(x, outputs, that_count(x, answers), seed, blocks, routed)

    def for_probes(self, dense: nn.Module, graph: NetworkGraph) -> DenseAnswers:
        """The same on the first samples only, as many as probes need: 256, and four rows per weight of a refitted output.

        A probe's divergence is taken on the rows that it was fitted to: with fewer rows it would look mended when it is not.
        """
        fan_ins = {layer.name: math.prod(layer.weight_shape[1:]) for layer in graph.layers}
        rows = {name: _PROBED_ROWS * fan_in for name, fan_in in fan_ins.items() if fan_in <= PROBED_FAN_IN}
        needed = [math.ceil(count / positions) for name, count in rows.items() if (positions := graph.output_shapes[name])]
        samples = max([_PROBED_SAMPLES, *needed])
        return self if len(self.x) <= samples else DenseAnswers.of(dense, graph, self.x[:samples], self.seed)


def _keeps_answers(outputs: dict[str, Tensor], graph: NetworkGraph, inputs: Inputs, seed: int) -> At:
    """Notes the answers of a layer of the dense network at its sampled rows."""

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


def check_ridge(ridge: float) -> None:
    """Raises a ValueError unless λ is a finite number of at least 0.

    Example:
        >>> check_ridge(-1)
        Traceback (most recent call last):
        ValueError: ridge=-1 must be a finite number of at least 0: 0.01 is a good start
    """
    if isinstance(ridge, bool) or not isinstance(ridge, numbers.Real) or not math.isfinite(ridge) or ridge < 0:
        raise ValueError(f"ridge={ridge!r} must be a finite number of at least 0: {DEFAULT_RIDGE} is a good start")


def refit(rows: Tensor, target: Tensor, matrix: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Ridge least squares around the present weights, per group.

    Args:
        rows: ``(rows, groups, fan_in)`` inputs X̂.
        target: ``(rows, outputs)`` the answers wanted, Y.
        matrix: ``(groups, fan_in, outputs per group)`` the present weights W.
        ridge: λ in units of the mean diagonal of X̂ᵀX̂; 0 stands for the limit λ → 0, the refit of least change.

    Returns:
        W' with the shape of ``matrix``, and the Gram matrices per row, ridge included: ``(groups, fan_in, fan_in)``.

    Example:
        >>> x = torch.randn(50, 1, 3, generator=torch.Generator().manual_seed(0))
        >>> w = torch.tensor([[[1.0], [2.0], [3.0]]])
        >>> fitted, _ = refit(x, rows_times_weight(x, w), torch.zeros(1, 3, 1), ridge=1e-6)
        >>> bool(torch.allclose(fitted, w, atol=1e-3))
        True
    """
    groups, fan_in, outputs = matrix.shape
    x = rows.transpose(0, 1)
    gram = gram_of(rows)
    residual = target.reshape(len(rows), groups, outputs).transpose(0, 1) - x @ matrix
    scale = gram.diagonal(dim1=1, dim2=2).mean(dim=1)
    # a group whose inputs are all zero keeps its weights: any positive ridge does that
    strength = torch.where(scale > 0, max(ridge, LEAST_RIDGE) * scale, torch.ones_like(scale))
    gram = gram + strength[:, None, None] * torch.eye(fan_in, dtype=gram.dtype)
    step = torch.linalg.solve(gram, (x.transpose(1, 2) @ residual).double()).float()
    return matrix + step, (gram / max(1, len(rows))).float()


def _scales_to(answered: Tensor, target: Tensor) -> Tensor:
    """Per column the scale a of the least-squares line target ≈ a · answered + c."""
    centred = answered - answered.mean(0)
    return fitted_scale((centred * (target - target.mean(0))).mean(0), (centred**2).mean(0))


def fitted_scale(covariance: Tensor, variance: Tensor) -> Tensor:
    """Least-squares scales of channels, from the covariance of answer and target and the variance of the answer.

    A channel that is constant, or whose answer points the wrong way, keeps its scale: only its mean is mended.
    """
    scale = covariance / variance.clamp_min(1e-12)
    return torch.where((variance > 1e-12) & (scale > 0), scale, torch.ones_like(scale))


def refitted_behind(graph: NetworkGraph, first: str) -> list[str]:
    """A layer and those behind it, but for layers too wide to be refitted in a probe."""
    names = [layer.name for layer in graph.layers]
    behind = graph.layers[names.index(first) :]
    return [layer.name for layer in behind if math.prod(layer.weight_shape[1:]) <= PROBED_FAN_IN]


@torch.no_grad()
def compensate(
    pruned: nn.Module,
    graph: NetworkGraph,
    keep: np.ndarray,
    bits: Mapping[str, int],
    answers: DenseAnswers,
    rounding: Rounding,
    ridge: float = DEFAULT_RIDGE,
    only: Collection[str] | None = None,
    settled: SettledLayers | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Quantized]:
    """Refits, rounds and re-centres every layer of a pruned network in place, in execution order.

    Args:
        pruned: the network after surgery, batch norms folded; its weights are replaced.
        graph: the dense network's graph.
        keep: bool ``(num_units,)``, True where a unit stays.
        bits: width per layer name.
        answers: the dense network on the calibration inputs.
        rounding: how weights go to their grid.
        ridge: λ in units of the mean diagonal of each Gram matrix.
        only: names of the layers that are treated, the others stay as they are; None treats all.
        settled: keeps finished layers, and has those of an interrupted run.
        progress: called with each layer's name.

    Returns:
        The grid values of each layer treated; the module holds exactly these.
    """
    treated = {layer.name: layer for layer in graph.layers if only is None or layer.name in only}
    quantized: dict[str, Quantized] = {}

    def settle(name: str, module: nn.Module, rounded_now: Callable[[], tuple[Quantized, Rounded]]) -> None:
        done = None if settled is None else settled.fetch(name, module)
        if done is None:
            done, rounded = rounded_now()
            if settled is not None:
                settled.keep(name, module, done, rounded)
        quantized[name] = done
        if progress is not None:
            progress(name)

    def against(outputs: Mapping[str, Tensor]) -> At:
        def at(name: str, module: nn.Module, given: Tensor) -> None:
            layer = treated[name]
            kept_out, _ = graph.keep_for(layer, keep)

            def rounded_now() -> tuple[Quantized, Rounded]:
                rows = layer_rows(module, given, answers.seed, sampled_rows(layer), answers.x)
                if not len(rows):
                    return _settle_by_value(module, bits[name], rounding)
                if name in answers.routed or len(rows) != len(outputs.get(name, ())):
                    # compressed layers may have sent it other samples than the dense ones did: it keeps to its own answers
                    target = rows_times_weight(rows, weight_matrix(module, weight_of(module).detach()))
                else:
                    target = outputs[name][:, torch.from_numpy(kept_out)]
                return _settle(module, rows, target, bits[name], rounding, ridge)

            settle(name, module, rounded_now)

        return at

    def unseen(name: str) -> None:
        module = layer_at(pruned, name)
        settle(name, module, partial(_settle_by_value, module, bits[name], rounding))

    for name, layer in treated.items():
        if layer.by_value:  # nobody sees its inputs, and all that see its answers come after
            unseen(name)
    _visit_in_order(pruned, graph, answers, [name for name, layer in treated.items() if not layer.by_value], against, unseen)
    return {name: quantized[name] for name in treated}


def _visit_in_order(
    pruned: nn.Module,
    graph: NetworkGraph,
    answers: DenseAnswers,
    layers: Sequence[str],
    against: Callable[[Mapping[str, Tensor]], At],
    idle: Callable[[str], None],
) -> None:
    """Meets the layers of the pruned network in order, beside the dense network's answers; block by block if need be."""
    blocks = answers.blocks
    owner = {name: None if blocks is None else blocks.owner(name) for name in layers}
    if blocks is None or all(number is None for number in owner.values()):
        visit(pruned, answers.x, layers, against(answers.outputs), answer=False, idle=idle)
        return
    begins = next(place for place, name in enumerate(layers) if owner[name] is not None)
    visit(pruned, answers.x, layers[:begins], against(answers.outputs), answer=False, idle=idle)
    # what blocks are given beside may be computed by compressed layers in front of them, and be as narrow as these
    own, _ = Blocks.met(pruned, blocks.names, lambda: answers.x.clone().answer(pruned))
    dense, small = blocks.first, own.first
    for number in range(len(blocks.names)):
        inside = [name for name in layers if owner[name] == number]
        outputs: dict[str, Tensor] = {}
        dense = blocks.run(number, dense, inside, _keeps_answers(outputs, graph, answers.x, answers.seed), _unheard)
        small = own.run(number, small, inside, against(outputs), idle)
    behind = [name for name in layers[begins:] if owner[name] is None]
    visit(pruned, answers.x, behind, against(answers.outputs), answer=False, idle=idle)


def _unheard(name: str) -> None:
    """A layer that no sample comes to answers nothing."""


def _settle_by_value(module: nn.Module, bits: int, rounding: Rounding) -> tuple[Quantized, Rounded]:
    """One layer without data: rounded to the nearest grid values, a bias as it is stored."""
    weight = weight_of(module)
    wanted = weight.detach().clone()
    grid = rounding(wanted, bits, None)
    weight.copy_(dequantize(grid))
    bias = bias_of(module)
    if bias is not None:
        bias.copy_(stored_bias(bias))
    return grid, Rounded(grid, wanted, None)


def _settle(
    module: nn.Module, rows: Tensor, target: Tensor, bits: int, rounding: Rounding, ridge: float
) -> tuple[Quantized, Rounded]:
    """One layer: refit, round, re-centre; the module then holds the grid's values and a bias as it is stored."""
    weight = weight_of(module)
    matrix, gram = refit(rows, target, weight_matrix(module, weight.detach()), ridge)
    fitted = matrix.transpose(1, 2).reshape(weight.shape)
    grid = rounding(fitted, bits, gram)
    answered = rows_times_weight(rows, weight_matrix(module, dequantize(grid)))
    rounded = Rounded(grid, fitted, gram)
    grid = grid.rescaled(_scales_to(answered, target))
    # storing rounded the new scales: the shift is taken for the scales that are kept
    answered = rows_times_weight(rows, weight_matrix(module, dequantize(grid)))
    shift = (target - answered).mean(0)
    weight.copy_(dequantize(grid))
    bias = bias_of(module)
    if bias is not None:
        bias.copy_(stored_bias(bias + shift))
    return grid, rounded
