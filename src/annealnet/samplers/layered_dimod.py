"""A batch of layered models through any dimod sampler: quantum annealers with one embedding for all, and peers."""

from __future__ import annotations

from typing import Any

import dimod
import numpy as np

from annealnet.samplers.external import takes
from annealnet.samplers.layered import CheckedLayers, LayeredReads, LayeredTask
from annealnet.samplers.seeds import Purpose, derived_seed

__all__ = ["DimodLayers"]


class DimodLayers(CheckedLayers):
    """The same batch through any dimod sampler, one model per problem: D-Wave, :class:`EmbeddedSampler`, OpenJij.

    All problems have one graph, so an :class:`~annealnet.samplers.EmbeddedSampler` embeds once and serves all of them.

    Args:
        sampler: any dimod sampler.
        parameters: handed to it with every call (``annealing_time``, ``num_sweeps``, …).
        reverse: parameters for anneals that start from a state (``anneal_schedule``, ``reinitialize_state``); the sampler
            must know ``initial_state``.

    Couplings inside layers are couplings like all others; a graph that has them gets no regular embedding of a biclique.
    Held layers become fields of their neighbours, as on a machine, and are put back into the answer. The schedule of a call
    plays no part: anneals follow ``parameters``. Starts are refused where ``reverse`` is not given. Reads of a problem that
    start, or are held, in the same state are one call. Where the sampler takes a ``seed`` every call gets one of its own,
    which follows from that of the request, unless ``parameters`` fix it. Control errors:
    :class:`~annealnet.samplers.NoisyLayers` around it.

    Example:
        >>> from annealnet.samplers import AnnealingSampler, LayeredModel, Schedule
        >>> model = LayeredModel((np.ones((2, 2)),), (np.array([[0.5, 0.5]]), np.zeros((1, 2))))
        >>> layers = DimodLayers(AnnealingSampler(), num_sweeps=50)
        >>> layers.sample_layers(model, Schedule((1.0,)), reads=4, seed=0).best.tolist()
        [[1, 1, 1, 1]]
    """

    def __init__(
        self,
        sampler: dimod.Sampler,
        *,
        reverse: dict[str, Any] | None = None,
        **parameters: Any,
    ) -> None:
        self.sampler, self.reverse, self.parameters = sampler, reverse, parameters

    def _anneal(self, task: LayeredTask) -> LayeredReads:
        model, states, held = task.model, task.states, task.held_spins
        back = task.started and not held.any()
        if back and self.reverse is None:
            raise ValueError("starts were given, but reverse was not: say how the sampler anneals from a state")
        infos = []
        moving = np.flatnonzero(~held).tolist()
        models = [model.bqm(problem) for problem in range(model.num_problems)] if moving else []
        for call, (problem, reads) in enumerate(task.alike(held | back) if moving else ()):
            bqm, own = models[problem].copy(), states[problem, reads[0]].tolist()
            bqm.fix_variables({v: own[v] for v in np.flatnonzero(held).tolist()})
            parameters = {**self._seed(task, call), **self.parameters}
            if back:
                parameters |= {**(self.reverse or {}), "initial_state": dict(enumerate(own))}
            answer = self.sampler.sample(bqm, num_reads=len(reads), **parameters)
            found = _rows(answer, moving)
            states[problem, reads[:, None], moving] = found[np.arange(len(reads)) % len(found)]
            infos.append(dict(answer.info.get("embedding", {})))
        return LayeredReads(states, model.energy(states), info={"embeddings": infos})

    def _seed(self, task: LayeredTask, call: int) -> dict[str, int]:
        return {"seed": derived_seed(task.seed, Purpose.ANNEALS, call)} if takes(self.sampler, "seed") else {}


def _rows(answer: dimod.SampleSet, variables: list[int]) -> np.ndarray:
    """The states of some variables, as often as they were found."""
    place = {variable: column for column, variable in enumerate(answer.variables)}
    states = np.repeat(answer.record.sample, answer.record.num_occurrences, axis=0)
    return np.asarray(states[:, [place[v] for v in variables]])
