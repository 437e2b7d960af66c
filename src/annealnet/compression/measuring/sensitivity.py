"""What a rounded layer costs the network's answers, measured *after* the layers behind it were refitted.

Errors made early are largely mended by the compensation that follows them, errors made late are not; a sensitivity
taken at the dense network (a Hessian trace, say) does not see that and overrates the early layers several times.
So each layer is rounded alone, the layers behind it are refitted, and the divergence of the network's answers is
divided by the squared error of the layer's own output:

    κ_l = D(dense, network with layer l at b₀ bits, refitted) / ‖Y_l − Ŷ_l(b₀)‖²

D is the task's divergence (:mod:`.task`): nats of KL where there are classes, squared error in a regression.

Then the energy of width b is e_{l,b} = κ_l ‖Y_l − Ŷ_l(b)‖², and of removals κ_r times the refit error in their reading
layer r. Sums of these come close to the true divergence of whole plans, which is why they may be added.
*Our reconstruction.*
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.compression.measuring.task import Task
from annealnet.compression.network.calibration import that_count
from annealnet.compression.network.graph import NetworkGraph
from annealnet.compression.network.kinds import weight_of
from annealnet.compression.network.rows import gram_of, layer_rows, rows_times_weight, sampled_rows, weight_matrix
from annealnet.compression.refitting.compensation import DEFAULT_RIDGE, PROBED_FAN_IN, DenseAnswers, compensate
from annealnet.compression.refitting.staged import StagedForward
from annealnet.compression.rounding import NearestRounding, Rounding
from annealnet.compression.rounding.grids import Quantized, dequantize

__all__ = ["FINE_BITS", "PROBE_BITS", "Sensitivity", "measure_sensitivity"]

#: Width at which a layer's κ is measured: coarse enough to be seen, fine enough to be in the quadratic regime.
PROBE_BITS = 3
#: Width of layers that are refitted but should not add a rounding error of their own.
FINE_BITS = 8


@dataclass(frozen=True)
class Sensitivity:
    """Measured once per network and calibration set; every formulation and baseline may read it.

    Attributes:
        widths: energy e_{l,b} in the task's unit for each (layer, bits).
        kappa: κ_l in the task's unit per mean squared error of the layer's output (summed over channels).
        channel_error: per layer the share of e_{l,b} that falls on each output channel, sums to 1.
    """

    widths: Mapping[tuple[str, int], float]
    kappa: Mapping[str, float]
    channel_error: Mapping[str, np.ndarray]

    def to_document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "widths": [[name, bits, value] for (name, bits), value in self.widths.items()],
            "kappa": dict(self.kappa),
            "channel_error": {name: share.tolist() for name, share in self.channel_error.items()},
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Sensitivity:
        """Reads what :meth:`to_document` gave."""
        return cls(
            {(name, bits): value for name, bits, value in document["widths"]},
            document["kappa"],
            {name: np.array(share) for name, share in document["channel_error"].items()},
        )


@torch.no_grad()
def measure_sensitivity(
    dense: nn.Module,
    graph: NetworkGraph,
    answers: DenseAnswers,
    task: Task,
    layers: Mapping[str, tuple[int, ...]],
    rounding: Rounding,
    ridge: float = DEFAULT_RIDGE,
    progress: Callable[[str], None] | None = None,
) -> Sensitivity:
    """Measures κ and the width energies of the given layers.

    Args:
        dense: the network with batch norms folded.
        graph: its structure.
        answers: its answers on the calibration inputs.
        task: what «as good as the dense network» means.
        layers: the widths each layer may take.
        rounding: how weights go to their grid.
        ridge: λ of the refits.
        progress: called with each layer's name.

    Returns:
        The measured :class:`Sensitivity`.
    """
    widths: dict[tuple[str, int], float] = {}
    kappa: dict[str, float] = {}
    shares: dict[str, np.ndarray] = {}
    forward = StagedForward(dense, answers.x)
    for layer in graph.layers:
        x = forward.reach(layer.name)
        if layer.name not in layers:
            continue
        module = dense.get_submodule(layer.name)
        rows = layer_rows(module, x, answers.seed, sampled_rows(layer))
        gram = _gram(rows)
        errors = {
            b: _output_error(module, rows, gram, answers.outputs[layer.name], b, rounding)
            for b in {*layers[layer.name], PROBE_BITS}
        }
        probe = errors[PROBE_BITS]
        if probe.sum() > 0:
            divergence = _probe(dense, graph, layer.name, answers, task, rounding, ridge, forward)
            kappa[layer.name] = divergence / float(probe.sum())
            shares[layer.name] = probe / probe.sum()
        else:
            kappa[layer.name], shares[layer.name] = 0.0, np.full(len(probe), 1 / len(probe))
        for b in layers[layer.name]:
            widths[layer.name, b] = kappa[layer.name] * float(errors[b].sum())
        if progress is not None:
            progress(layer.name)
    return Sensitivity(widths, kappa, shares)


@dataclass(frozen=True)
class _OnlyCoarse:
    """Layers at :data:`FINE_BITS` go to nearest (they should add no error, and there are many of them), and so do layers too
    wide for a probe, as in :func:`_output_error`.
    """

    rounding: Rounding
    group: int | None = None
    symmetric: bool = True

    def __call__(self, weight: Tensor, bits: int, gram: Tensor | None) -> Quantized:
        narrow = gram is not None and gram.shape[1] <= PROBED_FAN_IN
        return (
            NearestRounding()(weight, bits) if bits == FINE_BITS else self.rounding(weight, bits, gram if narrow else None)
        )

    def quick(self) -> _OnlyCoarse:
        return self


def _gram(rows: Tensor) -> Tensor | None:
    """Gram matrices of a layer's rows; None for layers too wide for a probe."""
    return (gram_of(rows) / len(rows)).float() if rows.shape[2] <= PROBED_FAN_IN else None


def _output_error(
    module: nn.Module, rows: Tensor, gram: Tensor | None, target: Tensor, bits: int, rounding: Rounding
) -> np.ndarray:
    """Mean squared error of each output channel when only this layer is rounded, its scale and shift refitted."""
    rounded = dequantize(rounding(weight_of(module).detach(), bits, gram))
    answered = rows_times_weight(rows, weight_matrix(module, rounded))
    centred, wanted = answered - answered.mean(0), target - target.mean(0)
    scale = (centred * wanted).mean(0) / (centred**2).mean(0).clamp_min(1e-12)
    return ((wanted - scale * centred) ** 2).mean(0).double().numpy()


def _probe(
    dense: nn.Module,
    graph: NetworkGraph,
    name: str,
    answers: DenseAnswers,
    task: Task,
    rounding: Rounding,
    ridge: float,
    forward: StagedForward,
) -> float:
    """Divergence of the network with one layer at the probe's width and the layers behind it refitted."""
    trial = copy.deepcopy(dense)
    bits = {layer.name: FINE_BITS for layer in graph.layers} | {name: PROBE_BITS}
    behind = forward.fork_onto(trial)
    keep = np.ones(graph.num_units, dtype=bool)
    probing = _OnlyCoarse(rounding)
    compensate(trial, graph, keep, bits, answers, probing, ridge, start=behind, first=name, largest_fan_in=PROBED_FAN_IN)
    return task(answers.logits, that_count(answers.x, behind.answer()))
