"""The other jobs in the demo: one row each, on the digits, beside the baseline a user would take instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

__all__ = ["ROWS", "DemoRow", "demo_rows"]

#: One function ``(seed) -> DemoRow`` per job, as ``module:function``.
ROWS: tuple[str, ...] = (
    "annealnet.studies.binary_demo:binary_row",
    "annealnet.studies.whitaker2022:demo_row",
    "annealnet.studies.ising_row:ising_row",
)


@dataclass(frozen=True)
class DemoRow:
    """What one job reached on held-out digits.

    Attributes:
        job: in a few words.
        network: its architecture.
        accuracy: of ours, 0 to 1.
        baseline: name of what it is compared with.
        baseline_accuracy: on the same split.
        bytes: of the file of ours.
        seconds: both trainings together.
    """

    job: str
    network: str
    accuracy: float
    baseline: str
    baseline_accuracy: float
    bytes: int
    seconds: float


def demo_rows(seed: int, say: Callable[[str], None]) -> tuple[DemoRow, ...]:
    """Runs every job's row."""
    rows = []
    for home in ROWS:
        module, _, function = home.partition(":")
        row: DemoRow = getattr(import_module(module), function)(seed)
        say(f"{row.job}: {row.accuracy:.2%} ({row.network}, {row.bytes} bytes; {row.baseline}: {row.baseline_accuracy:.2%})")
        rows.append(row)
    return tuple(rows)
