"""`annealnet study zhang2025`: networks trained on an annealer (Zhang & Kamenev, arXiv 2506.05244) beside backpropagation.

(a) error against effort, (b) the glass-to-order transition, (c) depth by windows of two layers, (d) Grover's queries; where
MNIST's test part is there, (a) on it, too, and (e) the protocol of Laydevant et al.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from annealnet.report.study import Chart, StudyReport, Table, write_study
from annealnet.studies.zhang_parts import depth_parts, grover_parts, protocol_parts, transition_parts
from annealnet.studies.zhang_scaling import scaling_parts

__all__ = ["run_study"]


def run_study(out: Path, data: Path | None, seeds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All parts; writes study.json, study.md, study.html and pictures to ``out``.

    Args:
        out: folder of the results.
        data: folder with MNIST's ``t10k`` files for parts (a) and (e); None leaves them out and says so.
        seeds: of the runs; part (e) takes five splits at least.
        say: told what is being done.
    """
    if data is not None and not (data / "t10k-images-idx3-ubyte.gz").exists():
        raise ValueError(f"data={str(data)!r} has no t10k-images-idx3-ubyte.gz: give the folder of MNIST's test part")
    parts: list[Table | Chart] = [*scaling_parts(data, seeds, say), *transition_parts(say), *depth_parts(seeds, say)]
    parts += grover_parts(say)
    if data is not None:
        parts += protocol_parts(data, max(5, seeds), say)
    left_out = "" if data is not None else " MNIST was left out, and Laydevant's protocol with it: give --data."
    exponents = next(part for part in parts if isinstance(part, Table) and part.title.startswith("Exponent"))
    found = "; ".join(f"{row[0]}, {row[1]} {row[2]} ({row[3]})" for row in exponents.rows)
    summary = (
        f"Exponents of the test error against training effort: {found}; published on MNIST: 1.01 for annealer "
        f"training, 0.78 for backpropagation. Our training rule is a reconstruction of the paper's.{left_out}"
    )
    report = StudyReport("Networks trained on an annealer", summary, tuple(parts), {"seeds": seeds, "data": str(data)})
    write_study(report, out)
    return dict(json.loads(json.dumps(report.to_document())))
