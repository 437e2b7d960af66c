"""Any dimod sampler on any energy, scored by the true energy."""

from __future__ import annotations

import inspect
from typing import Any

import dimod
import numpy as np

from annealnet.energy import ConstrainedEnergy, Energy
from annealnet.samplers.answers import lowest_first, scored

__all__ = ["sample_energy", "takes"]


def takes(sampler: dimod.Sampler, name: str) -> bool:
    """Whether a sampler has a parameter: declared, or named in the signature of ``sample`` (not all declare theirs).

    Example:
        >>> takes(dimod.RandomSampler(), "num_reads"), takes(dimod.ExactSolver(), "seed")
        (True, False)
    """
    return name in (sampler.parameters or {}) or name in inspect.signature(sampler.sample).parameters


def sample_energy(sampler: dimod.Sampler, energy: Energy | ConstrainedEnergy, **parameters: Any) -> dimod.SampleSet:
    """Hands an energy to a sampler: ours get its structure, others the plain QUBO of ``to_bqm()``.

    Auxiliary bits are dropped and every state is :func:`.scored` by the energy itself: ``first`` is feasible wherever a
    read is, ``is_feasible`` tells which reads keep the constraints, ``objective`` their energies alone. ``num_reads`` and
    ``seed`` are passed where the sampler knows them.

    Args:
        sampler: any dimod sampler.
        energy: what to minimise.
        parameters: for the sampler.

    Returns:
        Samples over variables 0 … n−1, the feasible ones first, by ascending energy, then the others.

    Example:
        >>> from annealnet.energy import DenseEnergy
        >>> energy = DenseEnergy(np.zeros((2, 2)), np.array([-1.0, 1.0]))
        >>> float(sample_energy(dimod.ExactSolver(), energy, num_reads=1).first.energy)
        -1.0
    """
    known = {name: value for name, value in parameters.items() if name not in ("num_reads", "seed") or takes(sampler, name)}
    if hasattr(sampler, "sample_energy"):
        answer = sampler.sample_energy(energy, **known)
    else:
        answer = sampler.sample(energy.to_bqm(), **known)
    column = {variable: i for i, variable in enumerate(answer.variables)}
    states = answer.record.sample[:, [column[i] for i in range(energy.num_variables)]]
    states = (states > 0).astype(np.int8)
    return lowest_first(scored(energy, states, dict(answer.info), answer.record.num_occurrences))
