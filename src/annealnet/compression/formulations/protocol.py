"""How a formulation is asked for plans."""

from __future__ import annotations

from typing import Protocol

import dimod

from annealnet.compression.formulations.candidates import Candidates
from annealnet.compression.formulations.problem import Problem

__all__ = ["Formulation"]


class Formulation(Protocol):
    """Turns a problem into an energy and has it minimised."""

    @property
    def name(self) -> str:
        """Short name for tables."""
        ...

    @property
    def measures(self) -> bool:
        """Whether it reads the problem's measured sensitivities."""
        ...

    def propose(self, problem: Problem, sampler: dimod.Sampler | None, count: int, seed: int) -> Candidates:
        """The best plans found within the budget, best energy first."""
        ...
