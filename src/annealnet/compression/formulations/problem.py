"""One network to be planned, with everything that was measured on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from scipy import sparse
from torch import nn

from annealnet.compression.formulations.budget import Limits
from annealnet.compression.formulations.space import PlanSpace
from annealnet.compression.measuring.choosing import Chosen
from annealnet.compression.measuring.removals import measure_removals
from annealnet.compression.measuring.sensitivity import Sensitivity, measure_sensitivity
from annealnet.compression.measuring.tasks import Task
from annealnet.compression.network.graph import NetworkGraph
from annealnet.compression.refitting.dense_answers import DenseAnswers
from annealnet.compression.refitting.ridge import DEFAULT_RIDGE
from annealnet.compression.rounding import NearestRounding, Rounding

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """One network to be planned, with everything that was measured on it.

    Attributes:
        dense: the network, batch norms folded.
        space: its plans as bits.
        limits: the budget in bytes and multiply-adds.
        answers: the dense network on the calibration inputs.
        chosen: what «as good as the dense network» means, and why it was taken.
        rounding: how weights go to their grid.
        ridge: λ of the refits.
        progress: told what is being done.
    """

    dense: nn.Module
    space: PlanSpace
    limits: Limits
    answers: DenseAnswers
    chosen: Chosen
    rounding: Rounding
    ridge: float = DEFAULT_RIDGE
    progress: Callable[[str], None] | None = None

    @property
    def graph(self) -> NetworkGraph:
        """The dense network's structure."""
        return self.space.graph

    @property
    def task(self) -> Task:
        """What «as good as the dense network» means."""
        return self.chosen.task

    @cached_property
    def sensitivity(self) -> Sensitivity:
        """Measured on first use, then shared by every formulation and baseline of this problem."""
        asked = {name: widths for name, widths in self.space.widths.items() if len(widths) > 1 or self.space.removable}
        return measure_sensitivity(
            self.dense,
            self.graph,
            self.answers,
            self.task,
            asked,
            self.rounding.quick(),
            self.ridge,
            self._say("sensitivity"),
        )

    @cached_property
    def removals(self) -> sparse.csr_matrix:
        """Pairwise energy of removals in the task's unit, measured on first use: ``(num_units, num_units)``."""
        if self.progress is not None:
            self.progress(f"measuring removals in {len(self.graph.groups)} groups")
        return measure_removals(
            self.dense,
            self.graph,
            self.answers,
            self.task,
            self.sensitivity,
            NearestRounding(),
            self.ridge,
        )

    def under(self, limits: Limits) -> Problem:
        """The same problem, measurements included, under another budget."""
        known = vars(self)
        return replace(self, limits=limits).with_measurements(known.get("sensitivity"), known.get("removals"))

    def with_measurements(
        self, sensitivity: Sensitivity | None = None, removals: sparse.csr_matrix | None = None
    ) -> Problem:
        """The same problem with what an earlier run, or another budget's, has measured; None keeps what is known here.

        Args:
            sensitivity: of this network on these samples.
            removals: with this sensitivity.
        """
        other = replace(self)
        known = {name: vars(self)[name] for name in ("sensitivity", "removals") if name in vars(self)}
        given = {"sensitivity": sensitivity, "removals": removals}
        vars(other).update(known | {name: value for name, value in given.items() if value is not None})
        return other

    def _say(self, what: str) -> Callable[[str], None]:
        def say(name: str) -> None:
            if self.progress is not None:
                self.progress(f"{what}: {name}")

        return say
