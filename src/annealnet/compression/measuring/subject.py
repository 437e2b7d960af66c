"""What a job works on: the network given, its float32 copy, its structure, and the task on the calibration data."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from annealnet.compression.measuring.choosing import Chosen, task_of
from annealnet.compression.measuring.tasks import Judge, Task
from annealnet.compression.network.answers import check_network
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.network.graph import NetworkGraph, trace
from annealnet.compression.network.kinds import no_layers

__all__ = ["Subject"]


@dataclass(frozen=True)
class Subject:
    """A trained network with the data that it is judged on; every job begins with one and reports on it.

    Attributes:
        given: the network in what the user gave (:func:`~annealnet.compression.network.given.network_in`).
        dense: the same in float32 and evaluation mode, batch norms folded or not.
        graph: its structure.
        calibration: samples, and labels where there are some.
        chosen: what «as good as the dense network» means, and why it was taken.
    """

    given: nn.Module
    dense: nn.Module
    graph: NetworkGraph
    calibration: Calibration
    chosen: Chosen

    @classmethod
    def of(
        cls,
        given: nn.Module,
        calibration: Calibration,
        task: Task | Judge | None,
        to_do: str,
        stream: bool = False,
    ) -> Subject:
        """Looks at a network, and refuses it before any work is done.

        Args:
            given: the network.
            calibration: the data.
            task: what judges; None looks at answers and labels.
            to_do: the verb of the error for a network without layers.
            stream: whether channels of the residual stream may go.

        Raises:
            ValueError: NaN weights, samples or labels that do not fit, a network without layers that can be traced.

        Example:
            >>> import torch
            >>> subject = Subject.of(nn.Linear(3, 2), Calibration.of(torch.zeros(4, 3)), None, "quantise")
            >>> [layer.name for layer in subject.graph.layers], subject.chosen.task.unit
            ([''], 'nats')
        """
        dense = check_network(given, calibration.x)
        chosen = task_of(dense, calibration, task)
        graph = trace(dense, calibration.x, stream=stream)
        if not graph.layers:
            raise ValueError(no_layers(to_do))
        return cls(given, dense, graph, calibration, chosen)
