"""Small networks of every make with random weights: what annealnet does with each, as a table.

    python -m benchmarks.zoo [--only "BERT,Llama"] [--limit 300] [--samples 32] [--json zoo.json]

Each architecture has a process of its own and a time limit. *Opened* says how its graph was read; *on grids* is the share
of its bytes whose layer can be rounded, *removable* the share that are weights from or to a channel, neuron or head that
can go. Weights are rounded by GPTQ, plans are annealed. *Removed = masked*, *reload* and *ONNX* are the largest differences
of answers (limits 1e-4, 1e-5, 1e-3; the last two of the network at a sixth, or where that failed at 4 bits). *MB* is the
peak of the process, and in front of it how much of that came after the imports and the network. What is not as it must be
is marked ✗; the reasons stand below.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import ARCHITECTURES, Architecture
from .judging import SIZE_RATIO, STEPS

__all__ = ["main", "run", "table"]

Row = dict[str, Any]

#: Largest differences of answers that pass.
LIMITS = {"removed = masked": 1e-4, "reload": 1e-5, "ONNX": 1e-3}


def run(architecture: Architecture, samples: int, seed: int, limit: float) -> Row:
    """Judges an architecture in a fresh process: step → record of its value or error, and its seconds."""
    words = [sys.executable, "-m", "benchmarks.zoo.judging", architecture.name]
    words += ["--samples", str(samples), "--seed", str(seed)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=limit)
        said, ending = done.stdout, f"the process ended with {done.returncode}: {' '.join(done.stderr.split())[-300:]}"
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        ending = f"not done within {limit:g} s"
    records = [json.loads(line) for line in said.splitlines() if line.startswith('{"step"')]
    row = {record.pop("step"): record for record in records}
    missing = [step for step in STEPS if step not in row]
    return row | {step: {"error": ending if step == missing[0] else "not reached"} for step in missing}


def complaint(architecture: Architecture, step: str, record: Row) -> str | None:
    """What is wrong with a step, None if nothing is."""
    if "error" in record:
        return str(record["error"])
    value = record["value"]
    if value is None and architecture.removable:
        return "nothing can be removed"
    if step in LIMITS and value is not None and not value <= LIMITS[step]:
        return f"{value:.1e} apart, at most {LIMITS[step]:.0e} are allowed"
    if step == "on grids" and value < architecture.grids:
        return f"{value:.1%} of its bytes can be rounded, {architecture.grids:.0%} must be".replace("%", " %")
    if step == "removable" and value < architecture.removable:
        return f"{value:.1%} of its bytes are of what can go, {architecture.removable:.0%} must be".replace("%", " %")
    if step == "6×" and value < SIZE_RATIO:
        return f"{value:.2f}× where {SIZE_RATIO:g}× were asked for"
    return None


def _cell(architecture: Architecture, step: str, record: Row) -> str:
    mark = " ✗" if complaint(architecture, step, record) else ""
    if "error" in record:
        return "✗"
    value = record["value"]
    if value is None:
        return "–"
    if step in ("on grids", "removable"):
        return f"{100 * value:.1f} %{mark}"
    if step in LIMITS:
        return f"{value:.0e}{mark}"
    return f"{value}{mark}" if isinstance(value, str) else f"{value:.2f}×{mark}"


def table(rows: dict[str, Row]) -> str:
    """The rows as Markdown, the reasons of every ✗ below."""
    heads = ["architecture", "weights", *STEPS, "seconds", "MB"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    reasons = []
    for architecture in (each for each in ARCHITECTURES if each.name in rows):
        row = rows[architecture.name]
        steps = {step: row[step] for step in STEPS}
        cells = [architecture.name, f"{row.get('weights', {}).get('value', 0):,}"]
        cells += [_cell(architecture, step, record) for step, record in steps.items()]
        cells += [f"{sum(record.get('seconds', 0) for record in steps.values()):.0f}", _memory(row)]
        lines.append("| " + " | ".join(cells) + " |")
        reasons += _reasons(architecture, steps)
    return "\n".join([*lines, "", *reasons])


def _reasons(architecture: Architecture, steps: Row) -> list[str]:
    """A line for each thing that is wrong, with the steps it spoils."""
    found: dict[str, list[str]] = {architecture.why: ["less on grids"]} if architecture.why else {}
    for step, record in steps.items():
        if wrong := complaint(architecture, step, record):
            found.setdefault(wrong, []).append(step)
    return [f"- {architecture.name}, {', '.join(spoilt)}: {wrong[:240]}" for wrong, spoilt in found.items()]


def _memory(row: Row) -> str:
    if "MB" not in row:
        return "–"
    return f"+{row['MB']['value'] - row['MB before']['value']} of {row['MB']['value']}"


def main(arguments: Sequence[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [each.name for each in ARCHITECTURES]
    parser.add_argument("--only", default=",".join(names), help="comma-separated names")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds per architecture")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="read what stands there of other architectures, and write all records")
    options = parser.parse_args(arguments)
    wanted = options.only.split(",")
    if unknown := set(wanted) - set(names):
        parser.error(f"--only names {min(unknown)!r}, the zoo has {', '.join(names)}")
    rows: dict[str, Row] = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    for architecture in (each for each in ARCHITECTURES if each.name in wanted):
        rows[architecture.name] = run(architecture, options.samples, options.seed, options.limit)
        print(table({architecture.name: rows[architecture.name]}), file=sys.stderr, flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False))
    return table(rows)


if __name__ == "__main__":
    print(main())
