"""What every sampler of ours has in common: models in, energies in, checked requests, answers with a certificate."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dimod
import numpy as np

from annealnet.energy import Cardinality, Certificate, ConstrainedEnergy, Constraint, Energy, from_bqm, lower_bound
from annealnet.samplers.answers import scored
from annealnet.samplers.compiled import CompiledEnergy, compile_energy
from annealnet.samplers.schedule import Clock, Progress
from annealnet.samplers.seeds import checked_seed, kernel_words
from annealnet.whole_numbers import whole_number

__all__ = ["NativeSampler", "Task"]


class NativeSampler(dimod.Sampler):
    """A dimod sampler whose work is done by ``sample_energy``.

    Attributes:
        parameters: names that :meth:`sample` takes, as dimod asks.
        properties: a description.
        keeps_constraints: whether ``sample_energy`` keeps the constraints of an energy exactly; others take its plain QUBO.
    """

    keeps_constraints: bool = False

    # dimod declares both as abstract properties; every instance has its own
    parameters: Any = None
    properties: Any = None

    def __init__(self, parameters: Sequence[str], description: str) -> None:
        self.parameters = {name: [] for name in parameters}
        self.properties = {"description": description}

    def fingerprint_state(self) -> dict[str, Any]:
        """What the answers depend on, see :mod:`.fingerprint`: what it was made with."""
        return {name: value for name, value in vars(self).items() if name not in ("parameters", "properties")}

    def sample(self, bqm: dimod.BinaryQuadraticModel, **parameters: Any) -> dimod.SampleSet:
        """Samples a binary quadratic model; parameters as ``sample_energy``.

        ``initial_states`` are in the model's variable order and vartype.
        """
        unknown = sorted(set(parameters) - set(self.parameters))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no parameter: there are {', '.join(self.parameters)}")
        if bqm.num_variables == 0:
            return dimod.SampleSet.from_samples_bqm([{}], bqm)
        energy, labels = from_bqm(bqm)
        starts = parameters.get("initial_states")
        if starts is not None and bqm.vartype is dimod.SPIN:
            parameters["initial_states"] = (np.asarray(starts) + 1) // 2
        found = self.sample_energy(energy, **parameters)
        answer = dimod.SampleSet.from_samples(
            (found.record.sample, [labels[i] for i in found.variables]), energy=found.record.energy, vartype="BINARY",
            num_occurrences=found.record.num_occurrences, info=found.info, sort_labels=False,
        )  # fmt: skip
        return answer.change_vartype(bqm.vartype, inplace=False)

    @abstractmethod
    def sample_energy(self, energy: Energy | ConstrainedEnergy, **parameters: Any) -> dimod.SampleSet:
        """Samples an energy; answers are :func:`.scored`, so that ``first`` is feasible wherever a read is."""


@dataclass(frozen=True)
class Task:
    """A checked request to a stochastic sampler.

    Attributes:
        energy: as asked for.
        plain: the energy without its constraints.
        constraints: what every state returned must keep.
        compiled: the energy as flat arrays.
        reads: states asked for.
        seed: of everything.
        clock: running since the request came.
        progress: told the share done, or None.
    """

    energy: Energy | ConstrainedEnergy
    plain: Energy
    constraints: Sequence[Constraint]
    compiled: CompiledEnergy
    reads: int
    seed: int
    clock: Clock
    progress: Progress | None

    @classmethod
    def of(
        cls,
        energy: Energy | ConstrainedEnergy,
        num_reads: int,
        seed: int | None,
        time_limit: float | None,
        progress: Progress | None,
        num_sweeps: int | None = None,
    ) -> Task:
        """Checks and compiles.

        Raises:
            ValueError: when a number is out of range.
        """
        reads = whole_number("num_reads", num_reads, 1)
        if num_sweeps is not None:
            whole_number("num_sweeps", num_sweeps, 1)
        clock = Clock(time_limit)
        chosen = checked_seed(seed)
        plain = energy.energy_part if isinstance(energy, ConstrainedEnergy) else energy
        constraints = tuple(energy.constraints) if isinstance(energy, ConstrainedEnergy) else ()
        return cls(energy, plain, constraints, compile_energy(plain), reads, chosen, clock, progress)

    @property
    def stream(self) -> np.uint64:
        """Seed of the kernels' random streams."""
        return np.uint64(kernel_words(self.seed)[0])

    def starts(self, given: np.ndarray | None, count: int | None = None) -> np.ndarray:
        """int8 ``(count, n)`` of given or random states; random ones keep the cardinalities.

        Raises:
            ValueError: when ``given`` has another shape or holds something else than 0 and 1.
        """
        reads, n = count or self.reads, self.plain.num_variables
        if given is not None:
            states = np.array(given)
            if states.shape != (reads, n) or not np.isin(states, (0, 1)).all():
                raise ValueError(f"initial_states has shape {states.shape}: give 0 and 1 of shape ({reads}, {n})")
            return np.ascontiguousarray(states, dtype=np.int8)
        return self.random_states(np.random.default_rng(self.seed), reads)

    def random_states(self, rng: np.random.Generator, count: int | None = None) -> np.ndarray:
        """int8 ``(count, n)`` that keep the cardinalities."""
        states = rng.integers(0, 2, (count or self.reads, self.plain.num_variables), dtype=np.int8)
        for constraint in self.constraints:
            if isinstance(constraint, Cardinality):
                members = np.array(constraint.variables, dtype=np.int64)
                for state in states:
                    state[members] = 0
                    state[rng.choice(members, constraint.count, replace=False)] = 1
        return states

    def answer(self, sampler: str, states: np.ndarray, **info: Any) -> dimod.SampleSet:
        """The states :func:`.scored`; ``info`` gains timing, seed and certificate."""
        found = scored(self.energy, states, {})
        seconds = self.clock.elapsed
        certificate = Certificate(
            float(found.first.energy), lower_bound(self.energy), False, sampler, self.seed, self.reads, seconds
        )
        told = {"timing": {"total": seconds}, "seed": self.seed, "certificate": certificate.to_document(), **info}
        found.info.update(told)
        return found
