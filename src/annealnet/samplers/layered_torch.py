"""The layered anneal in PyTorch: whole layers of all replicas as matrix products, for CUDA."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from annealnet.samplers.layered import CheckedLayers, LayeredReads, LayeredTask

__all__ = ["TorchLayeredAnnealing"]


class TorchLayeredAnnealing(CheckedLayers):
    """As :class:`~annealnet.samplers.LayeredAnnealing`, on a torch device; the same distribution from other random numbers.

    A layer's fields are h + s_{l−1} J_{l−1} + s_{l+1} J_lᵀ over all problems and reads at once. A layer with couplings
    inside is drawn spin by spin, each over all problems and reads at once: right, but n_l small steps in place of one.

    Args:
        device: where; None takes CUDA where there is one.
        quenches: most sweeps at temperature zero at the end.

    Example:
        >>> from annealnet.samplers import LayeredModel, Schedule
        >>> model = LayeredModel((np.ones((3, 2)),), (np.full((4, 3), 0.1), np.zeros((4, 2))))
        >>> found = TorchLayeredAnnealing("cpu").sample_layers(model, Schedule.forward(0.1, 5.0, 50), reads=2, seed=1)
        >>> found.states.shape, found.energies.min().round(3).item()
        ((4, 2, 5), -6.3)
    """

    def __init__(self, device: str | None = None, quenches: int = 10) -> None:
        if quenches < 0:
            raise ValueError(f"quenches={quenches!r} must not be negative")
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.quenches = quenches

    def _anneal(self, task: LayeredTask) -> LayeredReads:
        model, states = task.model, task.states
        generator = torch.Generator(self.device).manual_seed(task.seed)
        spins = [self._sent(block.reshape(-1, block.shape[-1])) for block in model.split(states)]
        outer = [self._sent(block).repeat_interleave(task.reads, 0) for block in model.fields]
        blocks = [self._sent(block) for block in model.couplings]
        inner = [None if block is None else self._sent(block) for block in model.inner]
        for beta in (*task.schedule.betas, *[0.0] * self.quenches):
            for layer in np.flatnonzero(task.free).tolist():
                fields, inside = _local(layer, spins, outer, blocks), inner[layer]
                uniform = torch.rand(fields.shape, generator=generator, device=self.device) if beta else None
                if inside is None:
                    spins[layer] = _moved(spins[layer], fields, beta, uniform)
                else:
                    _move_in_turn(spins[layer], torch.addmm(fields, spins[layer], inside), inside, beta, uniform)
        found = torch.cat(spins, 1).to(torch.int8).cpu().numpy().reshape(states.shape)
        return LayeredReads(found, model.energy(found))

    def _sent(self, block: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32)).to(self.device)


def _moved(spins: Tensor, fields: Tensor, beta: float, uniform: Tensor | None) -> Tensor:
    """Spins drawn at β from ``uniform``, or, without it, turned along their fields."""
    if uniform is None:
        return torch.where(fields == 0, spins, torch.sign(fields))
    return (uniform < torch.sigmoid(2 * beta * fields)).float().mul_(2).sub_(1)


def _move_in_turn(spins: Tensor, fields: Tensor, inside: Tensor, beta: float, uniform: Tensor | None) -> None:
    """As :func:`_moved`, in place and spin by spin, the fields of the layer following each."""
    for i in range(spins.shape[1]):
        after = _moved(spins[:, i], fields[:, i], beta, None if uniform is None else uniform[:, i])
        fields.addr_(after - spins[:, i], inside[i])
        spins[:, i] = after


def _local(layer: int, spins: list[Tensor], outer: list[Tensor], blocks: list[Tensor]) -> Tensor:
    fields = outer[layer]
    if layer > 0:
        fields = torch.addmm(fields, spins[layer - 1], blocks[layer - 1])
    if layer + 1 < len(spins):
        fields = torch.addmm(fields, spins[layer + 1], blocks[layer].T)
    return fields
