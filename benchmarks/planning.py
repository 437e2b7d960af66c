"""Planning at ResNet-18's shapes: random weights, 2 880 removable units, one command, time and memory.

python -m benchmarks.planning [--ratio 10] [--samples 32] [--pixels 64]
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence

import torch

from annealnet.architectures import resnet18
from annealnet.compression import Budget, DataAware
from annealnet.compression.formulations.preparing import prepare
from annealnet.compression.network.calibration import Calibration


def main(arguments: Sequence[str] | None = None) -> str:
    """Plans (does not build) and returns one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratio", type=float, default=10.0)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--pixels", type=int, default=64)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    network = resnet18().eval()
    x = torch.randn(options.samples, 3, options.pixels, options.pixels)
    began = time.perf_counter()
    problem = prepare(network, Calibration.of(x), Budget(size_ratio=options.ratio), seed=0)
    marks = [("trace, fold, dense answers", time.perf_counter() - began)]
    for name, work in (("width energies", lambda: problem.sensitivity), ("removal energies", lambda: problem.removals)):
        began = time.perf_counter()
        work()
        marks.append((name, time.perf_counter() - began))
    began = time.perf_counter()
    found = DataAware().propose(problem, None, 4, 0)
    marks.append((f"annealing {problem.space.num_variables} bits", time.perf_counter() - began))
    keep, bits = problem.space.decode(found.states[0])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rows = [f"| {name} | {seconds:.1f} s |" for name, seconds in marks]
    total = sum(seconds for _, seconds in marks)
    return "\n".join(
        [
            "| step | |", "|---|---|", *rows, f"| **all** | **{total:.1f} s**, {memory:.2f} GB at most |",
            f"| the plan | {int((~keep).sum())} of {len(keep)} units removed, {problem.space.num_bytes(keep, bits)} of "
            f"{problem.limits.bytes} bytes |",
        ]
    )  # fmt: skip


if __name__ == "__main__":
    print(main())
