"""The other jobs in the demo: one row each, on the digits, below what a user would take instead."""

from __future__ import annotations

import time
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
        accuracy: 0 to 1.
        bytes: of its file.
        seconds: of its training.
    """

    job: str
    network: str
    accuracy: float
    bytes: int
    seconds: float


def rival_row(seed: int) -> DemoRow:
    """Logistic regression at 4 bit on the same split; its bytes are those of its numbers, without a file around them."""
    from annealnet.datasets import digits
    from annealnet.studies.linear_rival import linear_rival

    began = time.perf_counter()
    accuracy, size = linear_rival(digits(seed).flat, 4, seed)
    return DemoRow("nothing annealed", "64-10, logistic regression at 4 bit", accuracy, size, time.perf_counter() - began)


def demo_rows(seed: int, say: Callable[[str], None]) -> tuple[DemoRow, ...]:
    """The rival's row, then every job's."""
    rows = [rival_row(seed)]
    for home in ROWS:
        module, _, function = home.partition(":")
        row: DemoRow = getattr(import_module(module), function)(seed)
        say(f"{row.job}: {row.accuracy:.2%} ({row.network}, {row.bytes} bytes)")
        rows.append(row)
    return tuple(rows)
