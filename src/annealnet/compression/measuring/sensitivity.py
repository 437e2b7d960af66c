"""What a rounded layer costs the network's answers, measured *after* the layers behind it were refitted.

A layer is rounded, the layers behind it are refitted, and the divergence of the network's answers is divided by the squared
error of the layer's own output:

    κ_l = D(dense, network with layer l at b₀ bits, refitted) / ‖Y_l − Ŷ_l(b₀)‖²

D is the task's divergence (:mod:`.task`): nats of KL where there are classes, squared error in a regression. What the
rounding of every layer does before a refit comes from a few passes back through the network (:mod:`.first_order`); what the
refit mends, which a sensitivity taken at the dense network (a Hessian trace, say) does not see, from a few probes of
neighbours (:mod:`.bands`). So the cost grows with the number of layers and not with its square.

Then the energy of width b is e_{l,b} = κ_l ‖Y_l − Ŷ_l(b)‖², and of removals κ_r times the refit error in their reading
layer r. Sums of these come close to the true divergence of whole plans, which is why they may be added.
*Our reconstruction.*
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.compression.measuring.bands import mended
from annealnet.compression.measuring.first_order import Change, first_order
from annealnet.compression.measuring.tasks import Task
from annealnet.compression.network.answers import answers_of
from annealnet.compression.network.graph import Layer, NetworkGraph
from annealnet.compression.network.kinds import Matrix, layer_at, weight_of
from annealnet.compression.refitting.compensation import compensate
from annealnet.compression.refitting.dense_answers import DenseAnswers
from annealnet.compression.refitting.least_squares import fitted_scale
from annealnet.compression.refitting.probes import answers_for_probes, fits_probes, probed_gram, refitted_behind
from annealnet.compression.refitting.ridge import DEFAULT_RIDGE
from annealnet.compression.rounding import NearestRounding, Rounding
from annealnet.compression.rounding.grids import Quantized, dequantize

__all__ = ["FINE_BITS", "PROBE_BITS", "OnlyCoarse", "Sensitivity", "divergence_rounded", "measure_sensitivity"]

#: Width at which a layer's κ is measured: coarse enough to be seen, fine enough to be in the quadratic regime.
PROBE_BITS = 3
#: Width of layers that are refitted but should not add a rounding error of their own.
FINE_BITS = 8
#: Output channels on which widths other than the probe's are tried: how errors fall with bits differs little between them.
_SAMPLED_CHANNELS = 64


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
    alone: dict[str, _Alone] = {}

    def measure(name: str, module: nn.Module, rows: Tensor) -> None:
        alone[name] = _alone(module, rows, layers[name], rounding)
        if progress is not None:
            progress(name)

    unseen = [layer.name for layer in graph.layers if layer.name in layers and _is_unseen(layer, dense)]
    watched = [name for name in layers if name not in unseen]
    for course, some in answers.courses(dense, watched):
        course.look(some, measure, unseen.append)
    seen = {name: {name: own.change} for name, own in alone.items() if own.probed.sum() > 0}
    first = first_order(dense, answers.x, task, seen, answers.seed)
    fewer = answers_for_probes(answers, dense, graph)

    def probe(band: list[str]) -> float:
        return divergence_rounded(dense, graph, band, fewer, task, rounding, ridge)

    divergences = mended(first, probe)
    alone |= {name: _by_value(layer_at(dense, name), layers[name], rounding) for name in unseen}
    # what nobody sees the inputs of has no first order: its bands share by the errors of the weights
    divergences |= mended({name: total for name in unseen if (total := float(alone[name].probed.sum())) > 0}, probe)
    kappa = {
        name: divergences[name] / float(own.probed.sum()) if name in divergences else 0.0 for name, own in alone.items()
    }
    widths = {(name, b): kappa[name] * error for name, own in alone.items() for b, error in own.errors.items()}
    return Sensitivity(widths, kappa, {name: own.shares for name, own in alone.items()})


def _is_unseen(layer: Layer, dense: nn.Module) -> bool:
    """Whether no call of a module is this layer, so that its answers cannot be watched."""
    return layer.by_value or isinstance(layer_at(dense, layer.name), Matrix)


@dataclass(frozen=True, eq=False)
class _Alone:
    """What rounding does to a layer's own output.

    Attributes:
        errors: mean squared error at each width asked for, summed over channels.
        probed: of each output channel at the probe's width: float64 ``(outputs,)``.
        change: what the probe's rounding adds to the layer.
    """

    errors: Mapping[int, float]
    probed: np.ndarray
    change: Change

    @property
    def shares(self) -> np.ndarray:
        """Of each output channel in the error; even where there is none."""
        return self.probed / self.probed.sum() if self.probed.sum() > 0 else np.full(len(self.probed), 1 / len(self.probed))


def _alone(module: nn.Module, rows: Tensor, widths: tuple[int, ...], rounding: Rounding) -> _Alone:
    weight, seen = weight_of(module).detach(), probed_gram(rows)
    gram = None if seen is None else seen.float()
    mean = rows.mean(0).double()
    products = _products(rows, gram, mean)
    groups = rows.shape[1]

    def rounded(bits: int, some: Tensor) -> tuple[np.ndarray, Tensor]:
        """Mean squared error of each of those output channels once its scale and shift are fitted; and what is added."""
        own = weight[some]
        matrix, answered = (
            one.reshape(groups, len(some) // groups, -1).transpose(1, 2).double()
            for one in (own, dequantize(rounding(own, bits, gram)))
        )
        scale = fitted_scale(products(answered, matrix), products(answered, answered))
        step = scale.unsqueeze(1) * answered - matrix
        return products(step, step).clamp_min(0).reshape(-1).numpy(), step

    every = torch.arange(len(weight))
    probed, step = rounded(PROBE_BITS, every)
    shift = -torch.einsum("gi,gio->go", mean, step).reshape(-1).float()
    change = Change(step.transpose(1, 2).reshape(weight.shape).float(), shift)
    some = every if groups > 1 else _some_of(len(weight))
    errors = _other_widths(probed, widths, some, lambda bits, some: rounded(bits, some)[0])
    return _Alone(errors, probed, change)


def _by_value(module: nn.Module, widths: tuple[int, ...], rounding: Rounding) -> _Alone:
    """For layers that are rounded without data the error is that of the weights."""
    weight = weight_of(module).detach()

    def step(bits: int, some: Tensor) -> Tensor:
        return dequantize(rounding(weight[some], bits, None)) - weight[some]

    def squares(change: Tensor) -> np.ndarray:
        return np.asarray((change.double() ** 2).flatten(1).sum(1).numpy())

    at_probe = step(PROBE_BITS, torch.arange(len(weight)))
    probed = squares(at_probe)
    errors = _other_widths(probed, widths, _some_of(len(weight)), lambda bits, some: squares(step(bits, some)))
    return _Alone(errors, probed, Change(at_probe, torch.zeros(len(weight))))


def _some_of(channels: int) -> Tensor:
    """All of a few channels, evenly spaced ones of many, ascending.

    Example:
        >>> _some_of(3).tolist(), len(_some_of(1000)), _some_of(1000)[:3].tolist()
        ([0, 1, 2], 64, [0, 15, 31])
    """
    if channels <= _SAMPLED_CHANNELS:
        return torch.arange(channels)
    return torch.arange(_SAMPLED_CHANNELS) * channels // _SAMPLED_CHANNELS


def _other_widths(
    probed: np.ndarray, widths: tuple[int, ...], some: Tensor, error: Callable[[int, Tensor], np.ndarray]
) -> dict[int, float]:
    """Errors of all channels at each width: those of some of them, as a multiple of theirs at the probe's width."""
    whole, theirs = float(probed.sum()), float(probed[some.numpy()].sum())
    if not theirs > 0:  # these channels are on the probe's grid: ask all
        some, theirs = torch.arange(len(probed)), whole
    scale = whole / theirs if theirs > 0 else 1.0
    return {b: whole if b == PROBE_BITS else scale * float(error(b, some).sum()) for b in widths}


def _products(rows: Tensor, gram: Tensor | None, mean: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Covariance of the outputs of two weight matrices ``(groups, fan_in, outputs)``, channel by channel.

    From the Gram matrix, many times cheaper than the rows themselves, where there is one.
    """
    if gram is not None:
        centred = gram.double() - mean.unsqueeze(2) * mean.unsqueeze(1)
        return lambda one, other: (one * (centred @ other)).sum(1)
    deviations = (rows - mean.float()).transpose(0, 1)
    return lambda one, other: ((deviations @ one.float()) * (deviations @ other.float())).mean(1).double()


@dataclass(frozen=True)
class OnlyCoarse:
    """Layers at :data:`FINE_BITS` go to nearest (they should add no error, and there are many of them), and layers too wide
    for a probe are rounded without data, as in :func:`_alone`; on grids of the same kind as in the network that is planned.
    """

    rounding: Rounding

    @property
    def group(self) -> int | None:
        """The planned network's."""
        return self.rounding.group

    @property
    def symmetric(self) -> bool:
        """The planned network's."""
        return self.rounding.symmetric

    def __call__(self, weight: Tensor, bits: int, gram: Tensor | None) -> Quantized:
        if bits == FINE_BITS:
            return NearestRounding(self.group, self.symmetric)(weight, bits)
        return self.rounding(weight, bits, gram if gram is not None and fits_probes(gram.shape[1]) else None)

    def quick(self) -> OnlyCoarse:
        return self


@torch.no_grad()
def divergence_rounded(
    dense: nn.Module,
    graph: NetworkGraph,
    names: Sequence[str],
    answers: DenseAnswers,
    task: Task,
    rounding: Rounding,
    ridge: float,
) -> float:
    """Divergence of the network with some layers at :data:`PROBE_BITS`, they and the layers behind them refitted.

    Arguments as in :func:`measure_sensitivity`; ``names`` in order of execution.
    """
    trial = copy.deepcopy(dense)
    bits = {layer.name: FINE_BITS for layer in graph.layers} | dict.fromkeys(names, PROBE_BITS)
    keep = np.ones(graph.num_units, dtype=bool)
    treated = {*names, *refitted_behind(graph, names[0])}
    compensate(trial, graph, keep, bits, answers, OnlyCoarse(rounding), ridge, treated)
    return task(answers.logits, answers_of(trial, answers.x, answers.batches.at_once))
