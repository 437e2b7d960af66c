"""Planning at the shapes of known networks, random weights: time and memory, each network in a process of its own.

    python -m benchmarks.planning [--only resnet18,vit-ti,llama-135m] [--ratio 6] [--samples 32]

``resnet18`` reads pictures of 64 × 64 pixels, ``vit-ti`` (12 blocks, 192 wide) of 224 × 224, ``llama-135m`` (30 blocks, 576
wide, 49 152 words) texts of 64. Plans are found, networks are not built. Seconds are CPU seconds of all threads: with two
cores it takes between half as long and as long. Needs ``transformers``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from annealnet.architectures import resnet18
from annealnet.compression import Budget, DataAware
from annealnet.compression.formulations.preparing import prepare
from annealnet.compression.network.calibration import read_batches

__all__ = ["SHAPES", "main"]

STEPS = ("trace, dense answers", "widths", "removals", "annealing")
_PIXELS, _WORDS = 64, 64


def _resnet(samples: int) -> tuple[nn.Module, Any]:
    return resnet18(), torch.randn(samples, 3, _PIXELS, _PIXELS)


def _vit(samples: int) -> tuple[nn.Module, Any]:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768, num_labels=1000)
    return ViTForImageClassification(config), {"pixel_values": torch.randn(samples, 3, 224, 224)}


def _llama(samples: int) -> tuple[nn.Module, Any]:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        intermediate_size=1536, tie_word_embeddings=True,
    )  # fmt: skip
    ids = torch.randint(0, config.vocab_size, (samples, _WORDS))
    return LlamaForCausalLM(config), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


SHAPES: Mapping[str, Callable[[int], tuple[nn.Module, Any]]] = {"resnet18": _resnet, "vit-ti": _vit, "llama-135m": _llama}


def _peak() -> float:
    """GB of this process at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def planned(name: str, ratio: float, samples: int) -> dict[str, Any]:
    """Plans one shape: seconds and memory of every step."""
    torch.manual_seed(0)
    network, batch = SHAPES[name](samples)
    found: dict[str, Any] = {"before": _peak(), "weights": sum(p.numel() for p in network.parameters())}

    def step(label: str, work: Callable[[], Any]) -> Any:
        began = time.process_time()
        result = work()
        found[label] = (time.process_time() - began, _peak())
        print(f"{name}: {label}: {found[label][0]:.1f} s, {found[label][1]:.2f} GB", file=sys.stderr, flush=True)
        return result

    data = read_batches([batch], model=network)
    problem = step(STEPS[0], lambda: prepare(network.eval(), data, Budget(size_ratio=ratio), seed=0))
    step(STEPS[1], lambda: problem.sensitivity)
    step(STEPS[2], lambda: problem.removals)
    plans = step(STEPS[3], lambda: DataAware().propose(problem, None, 4, 0))
    keep, bits = problem.space.decode(plans.states[0])
    found |= {
        "units": len(keep), "variables": problem.space.num_variables, "removed": int((~keep).sum()),
        "bytes": problem.space.num_bytes(keep, bits), "limit": problem.limits.bytes,
    }  # fmt: skip
    return found


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """One row per network."""
    seconds = [f"{step}, CPU s" for step in (*STEPS, "all")]
    heads = ["network", "weights", "units", *seconds, "GB at most", "GB before", "removed"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, row in rows.items():
        took = [row[step][0] for step in STEPS]
        cells = [name, f"{row['weights'] / 1e6:.1f} M", f"{row['units']:,}", *(f"{s:.1f}" for s in took)]
        cells += [f"**{sum(took):.1f}**", f"**{row[STEPS[-1]][1]:.2f}**", f"{row['before']:.2f}", f"{row['removed']:,}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> str:
    """Plans every shape in a process of its own and returns the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SHAPES))
    parser.add_argument("--ratio", type=float, default=6.0)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--here", action="store_true", help="one shape in this process, as JSON")
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if options.here:
        return json.dumps(planned(names[0], options.ratio, options.samples))
    rows = {}
    for name in names:
        words = [sys.executable, "-m", "benchmarks.planning", "--here", "--only", name]
        words += ["--ratio", str(options.ratio), "--samples", str(options.samples)]
        rows[name] = json.loads(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])
    return table(rows)


if __name__ == "__main__":
    print(main())
