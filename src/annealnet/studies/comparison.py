"""Methods side by side: the same network, budget, calibration data, compensation and fine-tuning; only plans differ."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import nn

from annealnet.compression.baselines.methods import BASELINES
from annealnet.compression.building.checkpoint import Checkpoint
from annealnet.compression.building.finetune import FineTuning, fine_tune
from annealnet.compression.building.plans import Built, build, finished
from annealnet.compression.files.sizes import dense_bytes
from annealnet.compression.formulations import FORMULATIONS, Problem
from annealnet.compression.formulations.budget import Budget, NoPlan
from annealnet.compression.formulations.preparing import prepare
from annealnet.compression.job import plan_and_build
from annealnet.compression.measuring.tasks import Task
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.reporting import measure
from annealnet.compression.rounding import Rounding

__all__ = ["CANDIDATES", "METHODS", "Outcome", "best_of", "compare", "for_budget", "in_words"]

Say = Callable[[str], None]
#: Plans of a method that are built and re-ranked on the calibration data: ours, and the baselines' where they have so many.
CANDIDATES = 4
#: Every method of a comparison, ours first.
METHODS = (*FORMULATIONS, *BASELINES)


@dataclass(frozen=True)
class Outcome:
    """One method at one budget with one seed.

    Attributes:
        method: its name.
        budget: what was asked for, whole: :func:`in_words` rounds it for tables.
        seed: of calibration data and solver.
        bytes, macs: of the network built.
        divergence: on the calibration data, in nats where there are classes.
        accuracy: on the test data, before fine-tuning.
        tuned: on the test data, after it; None where there was none.
        seconds: planning and building.
    """

    method: str
    budget: Budget
    seed: int
    bytes: int
    macs: int
    divergence: float
    accuracy: float
    tuned: float | None
    seconds: float

    def to_document(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Outcome:
        """What :meth:`to_document` gave."""
        return cls(**document | {"budget": Budget(**document["budget"])})


def for_budget(problem: Problem, budget: Budget, model: nn.Module) -> Problem:
    """The same problem, measurements included, under another budget."""
    return problem.under(budget.limits(dense_bytes(model), problem.graph.macs()))


def in_words(budget: Budget) -> str:
    """Short, for tables: budgets that differ in the seventh digit read alike.

    Example:
        >>> in_words(Budget(size_ratio=10)), in_words(Budget(bytes=4096, macs_ratio=2.00000001))
        ('10x', '4096 bytes and 2x fewer multiply-adds')
    """
    parts = [f"{budget.size_ratio:g}x" if budget.size_ratio else "", f"{budget.bytes} bytes" if budget.bytes else ""]
    parts.append(f"{budget.macs_ratio:g}x fewer multiply-adds" if budget.macs_ratio else "")
    return " and ".join(part for part in parts if part)


def best_plan(problem: Problem, method: str, seed: int) -> Built | None:
    """The method's network of least divergence; None if it finds no plan within the budget."""
    if method in FORMULATIONS:
        try:
            return plan_and_build(problem, FORMULATIONS[method], None, CANDIDATES, seed, Checkpoint(None, ""))[0]
        except NoPlan:
            return None
    return best_of(problem, BASELINES[method](problem, CANDIDATES, seed))


def best_of(problem: Problem, plans: Sequence[tuple[np.ndarray, Mapping[str, int]]]) -> Built | None:
    """The plan of least divergence, rounded with full effort as ours is; None where there is no plan."""
    built = [build(problem, keep, bits, problem.rounding.quick()) for keep, bits in plans]
    best = min(built, key=lambda one: one.divergence, default=None)
    return None if best is None else finished(problem, best)


def compare(
    model: nn.Module,
    calibration: Calibration,
    test: Calibration,
    budgets: Sequence[Budget],
    seed: int,
    *,
    methods: Sequence[str] = METHODS,
    rounding: Rounding | None = None,
    fine_tuning: FineTuning | None = None,
    training: Calibration | None = None,
    steps: Checkpoint | None = None,
    say: Say = lambda _: None,
) -> tuple[list[Outcome], dict[tuple[str, Budget], Built]]:
    """Runs every method at every budget with one seed.

    Returns:
        The outcomes, and the networks by (method, budget) (fine-tuned where asked; only those built in this run).
    """
    steps = steps or Checkpoint(None, "")
    common: Problem | None = None
    outcomes, networks = [], {}
    for budget in budgets:
        for method in methods:
            step = f"{method} at {budget!r}, seed {seed}"
            said = f"{method} at {in_words(budget)}, seed {seed}"
            if step not in steps:
                if common is None:
                    common = prepare(model, calibration, budget, rounding=rounding, seed=seed)
                    measured = (common.sensitivity, common.removals)  # once for every budget and method
                    say(f"seed {seed}: measured {len(measured[0].widths)} widths, {common.graph.num_units} channels")
                problem = for_budget(common, budget, model)
                began = time.perf_counter()
                built = best_plan(problem, method, seed)
                seconds = time.perf_counter() - began
                if built is None:
                    say(f"{said}: no plan within the budget")
                    continue
                outcome = _measured(
                    problem, built, method, budget, seed, test, seconds, fine_tuning, training or calibration
                )
                networks[method, budget] = built
                steps.step(step, outcome.to_document)
            outcomes.append(Outcome.from_document(steps.step(step, dict)))
            tuned = "" if outcomes[-1].tuned is None else f", fine-tuned {outcomes[-1].tuned:.2%}"
            say(f"{said}: {outcomes[-1].bytes} bytes, accuracy {outcomes[-1].accuracy:.2%}{tuned}")
    return outcomes, networks


def _measured(
    problem: Problem,
    built: Built,
    method: str,
    budget: Budget,
    seed: int,
    test: Calibration,
    seconds: float,
    fine_tuning: FineTuning | None,
    training: Calibration,
) -> Outcome:
    accuracy = _accuracy(built.model, test, problem.task)
    tuned = None
    if fine_tuning is not None:
        grids = fine_tune(built.model, built.grids, problem.dense, problem.task, training.x, training.y, fine_tuning, seed)
        built.grids.update(grids)  # type: ignore[attr-defined]
        tuned = _accuracy(built.model, test, problem.task)
    size, macs = built.num_bytes(problem), problem.graph.macs(built.keep)
    return Outcome(method, budget, seed, size, macs, built.divergence, accuracy, tuned, seconds)


def _accuracy(model: nn.Module, test: Calibration, task: Task) -> float:
    found = measure(model, test.x, test.y, task)[2]
    if found is None:
        raise ValueError("methods are compared by accuracy: give test data with a class for each sample")
    return found
