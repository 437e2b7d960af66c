"""What an answer to ``sample_energy`` looks like: states, and how they are ranked."""

from __future__ import annotations

from typing import Any

import dimod
import numpy as np

from annealnet.energy import ConstrainedEnergy, Energy

__all__ = ["lowest_first", "scored"]


def scored(
    energy: Energy | ConstrainedEnergy,
    states: np.ndarray,
    info: dict[str, Any],
    num_occurrences: np.ndarray | None = None,
) -> dimod.SampleSet:
    """Samples over variables 0 … n−1, vartype BINARY, in the order of the states.

    Every sample has, beside its bits,

    * ``objective``: the energy E alone;
    * ``is_feasible``: whether it keeps the constraints, as dimod's constrained samplers say it;
    * ``energy``: what dimod ranks by: E for a feasible state, E + λ for any other, with λ beyond the energy's range
      (:attr:`.ConstrainedEnergy.penalty`). So ``first``, ``lowest()``, ``truncate(…)`` and every composite that keeps the
      lowest take a feasible state wherever there is one, and among several the lowest.

    Args:
        energy: with or without constraints.
        states: ``(reads, n)`` of 0 and 1.
        info: of the answer.
        num_occurrences: ``(reads,)`` how often each was found; None counts each once.

    Example:
        >>> from annealnet.energy import DenseEnergy, OneHot
        >>> model = ConstrainedEnergy(DenseEnergy(np.zeros((2, 2)), np.array([-1.0, -2.0])), [OneHot([0, 1])])
        >>> answer = scored(model, np.array([[1, 1], [1, 0]]), {})
        >>> answer.record.objective.tolist(), answer.record.is_feasible.tolist(), float(answer.first.energy)
        ([-3.0, -1.0], [False, True], -1.0)
    """
    objective = np.atleast_1d(energy.energy(states))
    good, ranked = np.ones(len(states), dtype=bool), objective
    if isinstance(energy, ConstrainedEnergy):
        good = energy.feasible(states)
        ranked = objective if good.all() else objective + np.where(good, 0.0, energy.penalty)
    return dimod.SampleSet.from_samples(
        (states, list(range(energy.num_variables))), energy=ranked, num_occurrences=num_occurrences, vartype="BINARY",
        info=info, sort_labels=False, objective=objective, is_feasible=good,
    )  # fmt: skip


def lowest_first(answer: dimod.SampleSet) -> dimod.SampleSet:
    """The same samples by ascending energy; equal ones keep their order."""
    order = np.argsort(answer.record.energy, kind="stable")
    return dimod.SampleSet(answer.record[order], answer.variables, answer.info, answer.vartype)
