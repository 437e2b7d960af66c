"""The published Hamiltonian as a planner: γ is raised until the optimum of H meets the budget.

The paper has no hard constraint; «γ sets the reduction». So γ is bisected, each time with the *exact* optimum (it is
known in milliseconds, see :mod:`.published`), and the least γ whose optimum is within the budget is taken. A sampler
that is passed in samples H at that γ; the exact optimum stays among the candidates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import dimod
import numpy as np

from annealnet.compression.formulations.budget import NoPlan
from annealnet.compression.formulations.candidates import Candidates
from annealnet.compression.formulations.hamiltonian import B_MAX, FilterBlock, FilterLayer, Hamiltonian, balanced_beta
from annealnet.compression.formulations.problem import Problem
from annealnet.compression.network.kinds import layer_at, weight_of
from annealnet.energy import Certificate
from annealnet.samplers import sample_energy, sampler_name

__all__ = ["Published", "blocks_of", "plan_of"]

#: γ doubles this often at most before the budget counts as out of reach of the published form.
_DOUBLINGS = 80
_BISECTIONS = 40


def blocks_of(problem: Problem) -> tuple[tuple[FilterBlock, ...], tuple[tuple[int, ...], ...]]:
    """The network's filters as the Hamiltonian sees them, and the unit behind each filter.

    A dependency group is one block: its filters' norms are means over the layers that produce them. Layers whose
    outputs must stay have a width and no filters. Layers with one possible width have filters and no bits of width.
    """
    graph, widths = problem.graph, problem.space.widths
    blocks: list[FilterBlock] = []
    units: list[tuple[int, ...]] = []
    placed: set[str] = set()
    for group in graph.groups:
        members = set(group.units)
        total, weights = dict.fromkeys(group.units, 0.0), dict.fromkeys(group.units, 0)
        layers = []
        for layer in graph.layers:
            made = [int(u) in members for u in layer.out_units]
            if not any(made):
                continue
            weight = weight_of(layer_at(problem.dense, layer.name)).detach()
            for out, unit in enumerate(layer.out_units):
                if made[out]:
                    total[int(unit)] += float(weight[out].abs().sum())
                    weights[int(unit)] += weight[out].numel()
            if layer.name not in placed:
                placed.add(layer.name)
                slots = sum(made) / len(group.units)
                fixed = weight.numel() - sum(made) * weight[0].numel()
                step = float(weight.max() - weight.min()) / 2**B_MAX
                size = round(slots * weight[0].numel())
                layers.append(FilterLayer(layer.name, size, step, fixed, len(widths[layer.name]) > 1))
        norms = np.array([total[u] / max(1, weights[u]) for u in group.units])
        if not problem.space.most_removed(group):
            layers = [replace(entry, fixed=entry.fixed + entry.size * len(norms)) for entry in layers]
            norms = np.empty(0)
        blocks.append(FilterBlock(norms, tuple(layers)))
        units.append(tuple(group.units) if problem.space.most_removed(group) else ())
    for layer in graph.layers:
        if layer.name not in placed:
            weight = weight_of(layer_at(problem.dense, layer.name)).detach()
            step = float(weight.max() - weight.min()) / 2**B_MAX
            own = FilterLayer(layer.name, 0, step, weight.numel(), len(widths[layer.name]) > 1)
            blocks.append(FilterBlock(np.empty(0), (own,)))
            units.append(())
    return tuple(blocks), tuple(units)


@dataclass(frozen=True)
class Published:
    """Wang et al. 2025 on dependency groups.

    Attributes:
        beta: weight of L_q; None balances it against L_p (:func:`.published.balanced_beta`).
    """

    beta: float | None = None

    @property
    def measures(self) -> bool:
        """Weights alone decide."""
        return False

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "published"

    def hamiltonian(self, problem: Problem) -> tuple[Hamiltonian, tuple[tuple[int, ...], ...]]:
        """H at the least γ whose optimum meets the budget.

        Raises:
            NoPlan: when no γ does.
        """
        blocks, units = blocks_of(problem)
        beta = balanced_beta(blocks) if self.beta is None else self.beta
        lowest = (
            min(min(w) for w in problem.space.widths.values() if len(w) > 1)
            if any(len(w) > 1 for w in problem.space.widths.values())
            else B_MAX - 1
        )

        def at(gamma: float) -> Hamiltonian:
            return Hamiltonian(blocks, gamma, beta, max_reduction=B_MAX - lowest)

        def meets(gamma: float) -> bool:
            h = at(gamma)
            keep, bits = plan_of(problem, h, units, h.optimum()[0])
            return problem.space.fits(keep, bits, problem.limits)

        high = 1e-6 * max(1e-12, sum(float(b.norms.sum()) ** 2 for b in blocks))
        for _ in range(_DOUBLINGS):
            if meets(high):
                break
            high *= 2
        else:
            raise NoPlan("budget is out of reach of the published Hamiltonian: take formulation=DataAware()")
        low = 0.0
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if meets(middle) else (middle, high)
        return at(high), units

    def propose(self, problem: Problem, sampler: dimod.Sampler | None, count: int, seed: int) -> Candidates:
        """The exact optimum, and what a sampler finds at the same γ."""
        h, units = self.hamiltonian(problem)
        energy = h.energy()
        optimum, least, seconds = h.optimum()
        found, name = [optimum], "BlockPrefixSolver"
        if sampler is not None:
            name = f"BlockPrefixSolver, {sampler_name(sampler)}"
            answer = sample_energy(sampler, energy, num_reads=max(count, 32), seed=seed)
            order = np.argsort([int(v) for v in answer.variables])
            found += list(answer.record.sample[:, order])
        states, energies = [], []
        for x in found:
            keep, bits = plan_of(problem, h, units, x)
            if problem.space.fits(keep, bits, problem.limits):
                states.append(problem.space.encode(keep, bits))
                energies.append(float(energy.energy(np.asarray(x))))
        unique, first = np.unique(np.array(states, dtype=np.uint8), axis=0, return_index=True)
        best = np.argsort(np.array(energies)[first], kind="stable")[:count]
        certificate = Certificate(least, least, True, name, seed, len(found), seconds)
        reads = {"reads": len(found), "feasible_reads": len(states), "mended_reads": 0}
        return Candidates(unique[best], np.array(energies)[first][best], certificate, reads)


def plan_of(
    problem: Problem, h: Hamiltonian, units: tuple[tuple[int, ...], ...], x: np.ndarray
) -> tuple[np.ndarray, dict[str, int]]:
    """The plan that bits of the Hamiltonian stand for: keep ``(num_units,)`` and a width per layer.

    H knows every width from b_max down; a layer that may not take the one it says takes the next below, or its least.
    """
    removed, widths = h.decode(x)
    keep = np.ones(problem.graph.num_units, dtype=bool)
    for block, members, gone in zip(h.blocks, units, removed, strict=True):
        if len(members):
            members_array = np.array(members)
            keep[members_array[gone]] = False
            if gone.all():  # H may empty a layer; a network cannot: the strongest channel stays
                keep[members_array[int(np.argmax(block.norms))]] = True
    asked = {name: max(allowed) for name, allowed in problem.space.widths.items()} | widths
    allowed = problem.space.widths
    return keep, {
        name: max((b for b in allowed[name] if b <= most), default=min(allowed[name])) for name, most in asked.items()
    }
