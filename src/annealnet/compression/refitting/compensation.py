"""What is left is refitted to what is gone: closed-form least squares, layer by layer.

Each layer of the pruned network, in execution order, sees the inputs X̂ that the compressed layers before it
produce, and should still answer what the dense layer answers on the dense inputs, Y. Its weights become

    W' = W + argmin_Δ ‖Y − X̂ (W + Δ)‖² + λ ‖Δ‖²,      λ = ridge · max(1, 16 · fan_in / rows) · mean diag(X̂ᵀX̂)

then they are rounded to their grid (with the Gram matrix X̂ᵀX̂ + λ, so that a rounding that uses it minimises exactly this
error; around W' the rest of it is a square), and every output channel gets the scale a and shift c that fit
``Y ≈ a · X̂ W_q + c`` best (batch norm re-estimated against the dense network; it costs no byte, since the grid's
scale and the bias are stored anyway). *Our reconstruction; the same for every method that is compared.*
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.compression.network.graph import NetworkGraph
from annealnet.compression.network.kinds import bias_of, layer_at, weight_of
from annealnet.compression.network.rows import rows_times_weight, weight_matrix
from annealnet.compression.refitting.courses import AtRows
from annealnet.compression.refitting.dense_answers import DenseAnswers
from annealnet.compression.refitting.least_squares import refit, scales_to
from annealnet.compression.refitting.ridge import DEFAULT_RIDGE
from annealnet.compression.refitting.settled import Rounded, SettledLayers
from annealnet.compression.rounding import Rounding
from annealnet.compression.rounding.grids import Quantized, dequantize
from annealnet.compression.rounding.stored_numbers import stored_bias

__all__ = ["compensate"]


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
        ridge: λ in units of each Gram matrix's mean diagonal times max(1, 16 · fan_in / rows).
        only: names of the layers that are treated, the others stay as they are; None treats all.
        settled: keeps finished layers, and has those of an interrupted run.
        progress: called with each layer's name.

    Returns:
        The grid values of each layer treated; the module holds exactly these.
    """
    treated = {layer.name: layer for layer in graph.layers if only is None or layer.name in only}
    quantized: dict[str, Quantized] = {}

    def settle(name: str, module: nn.Module, done: Quantized, rounded: Rounded) -> None:
        if settled is not None:
            settled.keep(name, module, done, rounded)
        quantized[name] = done
        if progress is not None:
            progress(name)

    def against(outputs: Mapping[str, Tensor]) -> AtRows:
        def at(name: str, module: nn.Module, rows: Tensor) -> None:
            kept_out, _ = graph.keep_for(treated[name], keep)
            if not len(rows):
                settle(name, module, *_settle_by_value(module, bits[name], rounding))
                return
            if name in answers.routed or len(rows) != len(outputs.get(name, ())):
                # compressed layers may have sent it other samples than the dense ones did: it keeps to its own answers
                target = rows_times_weight(rows, weight_matrix(module, weight_of(module).detach()))
            else:
                target = outputs[name][:, torch.from_numpy(kept_out)]
            settle(name, module, *_settle(module, rows, target, bits[name], rounding, ridge))

        return at

    def unseen(name: str) -> None:
        module = layer_at(pruned, name)
        settle(name, module, *_settle_by_value(module, bits[name], rounding))

    for name in treated:  # what is finished changes nothing in front of it: it is put in place before anything runs
        done = None if settled is None else settled.fetch(name, layer_at(pruned, name))
        if done is not None:
            quantized[name] = done
            if progress is not None:
                progress(name)
    left = [name for name in treated if name not in quantized]
    for name in left:
        if treated[name].by_value:  # nobody sees its inputs, and all that see its answers come after
            unseen(name)
    for course, some, outputs in answers.beside(pruned, [name for name in left if not treated[name].by_value]):
        course.change(some, against(outputs), unseen)
    return {name: quantized[name] for name in treated}


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
    grid = grid.rescaled(scales_to(answered, target))
    # storing rounded the new scales: the shift is taken for the scales that are kept
    answered = rows_times_weight(rows, weight_matrix(module, dequantize(grid)))
    shift = (target - answered).mean(0)
    weight.copy_(dequantize(grid))
    bias = bias_of(module)
    if bias is not None:
        bias.copy_(stored_bias(bias + shift))
    return grid, rounded
