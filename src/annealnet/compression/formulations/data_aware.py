"""The energy of compression as calibration data see it: pairs of channels, widths, and the true budget.

    E(p, w) = Σ_{l,b} e_{l,b} w_{l,b}  +  pᵀ F p  −  Σ_{l,b,u} e_{l,b} s_{l,u} p_u w_{l,b}

  * e_{l,b}: divergence that rounding layer l to b bits costs after compensation (:mod:`…sensitivity`);
  * F: refit errors of removals, exact up to pairs, scaled by a measured removal in every group (:mod:`…removals`);
  * s_{l,u}: the share of the layer's rounding error that leaves with unit u (its own output channel, its input slots).

Every term is in the unit of the task's divergence (nats of KL, or squared error), so that channels and widths are traded in
one currency; the budget is kept
as the exact byte polynomial of :class:`~annealnet.compression.formulations.space.PlanSpace`. *Our reconstruction*; the
pairwise idea is that of Combinatorial Brain Surgeon (2203.04466) and iCBS (2411.17796), the joint one that of Wang et al.
(2025).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import dimod
import numpy as np
from scipy import sparse

from annealnet.compression.formulations.candidates import Candidates, anneal_plans, best_distinct
from annealnet.compression.formulations.optimal_widths import optimal_widths
from annealnet.compression.formulations.problem import Problem
from annealnet.compression.formulations.starts import feasible_starts
from annealnet.energy import ConstrainedEnergy, SparseEnergy

__all__ = ["DataAware"]


#: Proposals of all reads together: about half a minute on two cores.
_MOST_PROPOSALS = 32_000_000


@dataclass(frozen=True)
class DataAware:
    """Pairwise, data-aware energy under the exact budget.

    Attributes:
        reads: independent anneals.
        sweeps: sweeps per anneal; fewer where the energy is so large that they would take minutes.
    """

    reads: int = 32
    sweeps: int = 2000

    @property
    def measures(self) -> bool:
        """Widths and removals are measured on the calibration data."""
        return True

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "data_aware"

    def energy(self, problem: Problem) -> ConstrainedEnergy:
        """The energy and its constraints over the bits of ``problem.space``."""
        space = problem.space
        linear = np.zeros(space.num_variables)
        for choice, index in space.width_index.items():
            linear[index] = problem.sensitivity.widths.get(choice, 0.0)
        matrix = self._rounding_leaves_with_channels(problem).tocsr()
        if space.removable and space.graph.num_units:
            removals = problem.removals
            bounds = np.append(removals.indptr, np.full(space.num_variables - space.graph.num_units, removals.nnz))
            shape = matrix.shape
            matrix = matrix + sparse.csr_matrix((removals.data, removals.indices, bounds), shape=shape, copy=False)
        energy = SparseEnergy.of_matrix(sparse.csr_matrix(matrix), linear)
        return ConstrainedEnergy(energy, space.constraints(problem.limits))

    def _sweeps(self, num_variables: int) -> int:
        return max(100, min(self.sweeps, _MOST_PROPOSALS // (self.reads * num_variables)))

    def propose(self, problem: Problem, sampler: dimod.Sampler | None, count: int, seed: int) -> Candidates:
        """Anneals the energy; see :class:`~annealnet.compression.formulations.protocol.Formulation`."""
        energy = self.energy(problem)
        starts = self.starts(problem, energy)
        refine = _widths_refined(problem, energy)
        refined = refine(starts)
        found = anneal_plans(energy, sampler, count, seed, self.reads, self._sweeps(energy.num_variables), refined)
        states = np.concatenate([found.states, refine(found.states), refined])
        best = best_distinct(energy, states, count, found.certificate, found.reads)
        given = {state.tobytes() for state in found.states}
        by_widths = sum(state.tobytes() not in given for state in best.states)
        return replace(best, reads={**found.reads, "plans_of_optimal_widths": by_widths})

    def starts(self, problem: Problem, energy: ConstrainedEnergy) -> np.ndarray:
        """Greedy plans on the energy of a problem: uint8 ``(starts, num_variables)``; anneals begin from them refined."""
        removal = np.asarray(energy.energy_part.linear)[: problem.graph.num_units]
        return feasible_starts(problem.space, removal, problem.sensitivity.widths, problem.limits)

    def _rounding_leaves_with_channels(self, problem: Problem) -> sparse.coo_matrix:
        """−½ e_{l,b} s_{l,u} at (u, w_{l,b}) and its mirror: a removed channel has no rounding error."""
        space = problem.space
        rows: list[int] = []
        cols: list[int] = []
        values: list[float] = []
        for layer in problem.graph.layers:
            share = np.zeros(space.graph.num_units)
            own = problem.sensitivity.channel_error.get(layer.name)
            if own is None:
                continue
            outs, ins = layer.out_units, layer.in_units
            np.add.at(share, outs[outs >= 0], own[outs >= 0])
            if layer.groups == 1:  # grouped: the inputs leave together with outputs already counted
                np.add.at(share, ins[ins >= 0], 1 / len(ins))
            touched = np.flatnonzero(share).tolist()
            for b in space.widths[layer.name]:
                index = space.width_index[layer.name, b]
                value = -0.5 * problem.sensitivity.widths[layer.name, b]
                for u in touched:
                    rows += [u, index]
                    cols += [index, u]
                    values += [value * min(1.0, share[u])] * 2
        n = space.num_variables
        return sparse.coo_matrix((values, (rows, cols)), shape=(n, n))


def _widths_refined(problem: Problem, energy: ConstrainedEnergy) -> Callable[[np.ndarray], np.ndarray]:
    """Gives states the widths of least energy for their channels: widths couple with channels and not with each other.

    A state whose widths are the best known already stays as it is; uint8 ``(states, num_variables)``.
    """
    space, units, part = problem.space, problem.graph.num_units, energy.energy_part
    linear, couplings = part.expanded_linear()[0][units:], part.couplings()[units:, :units]

    def refined(state: np.ndarray) -> np.ndarray:
        keep, _ = space.decode(state)
        costs = dict(zip(space.choices, (linear + couplings @ ~keep).tolist(), strict=True))
        bits = optimal_widths(space, keep, costs, problem.limits)
        other = state if bits is None else space.encode(keep, bits)
        return min((state, other), key=lambda one: float(energy.energy(one)))

    return lambda states: np.array([refined(state) for state in states], dtype=np.uint8)
