"""Which networks of the zoo ``torch.export`` opens, and out of which ATen operations.

    python -m benchmarks.zoo.exports

Prints a line per architecture, then each architecture's operations with their counts, then how many architectures use each.
"""

from __future__ import annotations

import argparse
import inspect
import time
import warnings
from collections import Counter

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram, export

from annealnet.compression.network.outputs import answer_in

from . import ARCHITECTURES, Architecture
from .architecture import answer

__all__ = ["exported", "main", "operations"]


def exported(architecture: Architecture) -> ExportedProgram:
    """The network's graph with a batch of any size.

    Raises:
        RuntimeError: an exported network answers differently from the network itself.
    """
    model = architecture.build()
    batch, other = architecture.batches(seed=0, samples=13)
    arguments, named = architecture.call(batch, model)
    names = inspect.signature(model.forward).parameters
    given = dict(zip(names, arguments, strict=False)) | named
    sizes = {name: {0: Dim("batch")} if isinstance(value, Tensor) else None for name, value in given.items()}
    with torch.no_grad():
        program = export(model, arguments, named, dynamic_shapes=sizes, strict=False)
        arguments, named = architecture.call(other, model)
        ours, theirs = answer_in(program.module()(*arguments, **named)), answer(model, other)
    if not torch.allclose(ours, theirs, atol=1e-5):
        raise RuntimeError(f"answers differ by {float((ours - theirs).abs().max()):.1e} on a batch of another size")
    return program


def operations(program: ExportedProgram) -> Counter[str]:
    """How often each operation stands in the graph."""
    return Counter(str(node.target) for node in program.graph.nodes if node.op == "call_function")


def main(arguments: list[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="comma-separated names")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    wanted = options.only.split(",") if options.only else [each.name for each in ARCHITECTURES]
    found: dict[str, Counter[str]] = {}
    for architecture in (each for each in ARCHITECTURES if each.name in wanted):
        start = time.perf_counter()
        try:
            found[architecture.name] = operations(exported(architecture))
            said = f"{len(found[architecture.name])} operations in {sum(found[architecture.name].values())} nodes"
        except Exception as error:
            said = f"FAILED {type(error).__name__}: {error}"
        print(f"{architecture.name}: {said} ({time.perf_counter() - start:.1f} s)", flush=True)
    lines = []
    for name, counts in found.items():
        lines += ["", f"## {name}", *(f"{count:5d}  {target}" for target, count in sorted(counts.items()))]
    users = Counter(target for counts in found.values() for target in counts)
    totals = sum(found.values(), Counter())
    lines += [
        "",
        "## All: architectures that use it, nodes",
        *(f"{n:4d} {totals[t]:6d}  {t}" for t, n in users.most_common()),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(main())
