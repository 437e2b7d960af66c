"""A batch of layered models through any dimod sampler: quantum annealers with one embedding for all, and peers."""

from __future__ import annotations

from typing import Any

import dimod
import numpy as np

from annealnet.samplers.layered import CheckedLayers, LayeredReads, LayeredTask

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
    plays no part: anneals follow ``parameters``. Starts are refused where ``reverse`` is not given. Control errors:
    :class:`~annealnet.samplers.NoisyLayers` around it.
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
        model, reads, states, free = task.model, task.reads, task.states, task.free
        ends = np.cumsum([0, *model.sizes])
        moving = np.concatenate([np.arange(a, b) for a, b, f in zip(ends[:-1], ends[1:], free, strict=True) if f])
        infos = []
        for problem in range(model.num_problems):
            bqm = model.bqm(problem)
            bqm.fix_variables({int(v): int(states[problem, 0, v]) for v in range(ends[-1]) if v not in set(moving)})
            parameters = dict(self.parameters)
            if task.started and free.all():
                if self.reverse is None:
                    raise ValueError("starts were given, but reverse was not: say how the sampler anneals from a state")
                parameters |= self.reverse
                parameters["initial_state"] = {int(v): int(states[problem, 0, v]) for v in moving}
            answer = self.sampler.sample(bqm, num_reads=reads, **parameters)
            rows = dimod.as_samples(answer)
            order = [list(rows[1]).index(v) for v in moving.tolist()]
            found = np.repeat(rows[0], answer.record.num_occurrences, axis=0)[:reads, order]
            states[problem][:, moving] = found[np.arange(reads) % len(found)]
            infos.append(dict(answer.info.get("embedding", {})))
        return LayeredReads(states, model.energy(states), info={"embeddings": infos})
