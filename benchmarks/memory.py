"""What a job says it takes of memory, beside what it takes: the most resident memory of a process less that before the job.

Two networks are rounded twice: with all calibration inputs in one forward, and in batches of at most 64 MiB of tensors.

python -m benchmarks.memory [NAME …]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
from collections.abc import Callable, Sequence

import torch
from torch import nn

import annealnet as an
from annealnet.architectures import resnet20
from annealnet.compression import DataAware
from annealnet.compression.network import live
from annealnet.compression.network.answers import check_network
from annealnet.compression.network.calibration import read_batches
from annealnet.compression.network.graph import trace
from annealnet.compression.refitting.memory import Memory
from annealnet.compression.rounding import GptqRounding

__all__ = ["NETWORKS", "main", "measured"]


def _wide() -> tuple[nn.Module, torch.Tensor]:
    """Weights and Gram matrices are most of it."""
    layers = [nn.Linear(1024, 2048), nn.ReLU(), nn.Linear(2048, 1024), nn.ReLU(), nn.Linear(1024, 10)]
    return nn.Sequential(*layers), torch.randn(2048, 1024)


def _pictures() -> tuple[nn.Module, torch.Tensor]:
    """One forward of all samples is most of it."""
    return resnet20(), torch.randn(512, 3, 32, 32)


def _positions() -> tuple[nn.Module, torch.Tensor]:
    """Dense answers and attention are most of it."""
    layer = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True)
    return nn.Sequential(nn.Linear(32, 128), nn.TransformerEncoder(layer, 4), nn.Linear(128, 8)), torch.randn(256, 64, 32)


class _Residual(nn.Module):
    """Two convolutions and what goes past them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.past = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(y + self.past(x))


def _residual() -> tuple[nn.Module, torch.Tensor]:
    """ResNet-18's shape, 16 channels wide, on 1 024 pictures of 96 × 96."""
    sizes = [(16, 16, 1), (16, 32, 2), (32, 64, 2), (64, 128, 2)]
    stages = [nn.Sequential(_Residual(*size), _Residual(size[1], size[1], 1)) for size in sizes]
    stem = [nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)]
    return nn.Sequential(*stem, *stages, *head), torch.randn(1024, 3, 96, 96)


def _texts() -> tuple[nn.Module, torch.Tensor]:
    """An encoder of six blocks on 512 texts of 128 tokens."""
    layer = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True)
    network = nn.Sequential(nn.Embedding(1000, 128), nn.TransformerEncoder(layer, 6), nn.Linear(128, 8))
    return network, torch.randint(1000, (512, 128))


def _channels() -> tuple[nn.Module, torch.Tensor]:
    """Pairs of channels are most of it, where a plan is made."""
    blocks = [nn.Sequential(nn.Linear(32, 1024), nn.ReLU(), nn.Linear(1024, 32), nn.ReLU()) for _ in range(6)]
    return nn.Sequential(*blocks, nn.Linear(32, 10)), torch.randn(512, 32)


#: Bytes that forwards may hold: those of a case in batches, and no limit.
_FEW, _ANY = 2**26, 2**40

#: What makes a network and its inputs, and how much a forward may hold.
NETWORKS: dict[str, tuple[Callable[[], tuple[nn.Module, torch.Tensor]], int]] = {
    "wide": (_wide, _ANY),
    "pictures": (_pictures, _ANY),
    "positions": (_positions, _ANY),
    "residual": (_residual, _ANY),
    "residual-in-batches": (_residual, _FEW),
    "texts": (_texts, _ANY),
    "texts-in-batches": (_texts, _FEW),
    "channels-planned": (_channels, _ANY),
}
_HALF = an.Budget(size_ratio=1.1)
#: Of these, what is compressed; the others are quantised.
PLANNED = ("channels-planned",)


def measured(name: str) -> tuple[int, int, str]:
    """Bytes said, bytes taken, and what was said in words; run it in a process of its own."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    # what is loaded once, whatever the network, is no part of it
    an.quantize(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), torch.randn(4, 4, 8), 4, rounding=GptqRounding())
    few = DataAware(reads=2, sweeps=20)
    an.compress(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)), torch.randn(8, 4), _HALF, formulation=few)
    make, live.MOST_FORWARD_BYTES = NETWORKS[name]
    network, x = make()
    before = _most()
    if name in PLANNED:
        an.compress(network.eval(), [x], an.Budget(size_ratio=5), rounding=GptqRounding(), formulation=few, candidates=1)
    else:
        an.quantize(network.eval(), [x], 4, rounding=GptqRounding())
    taken = _most() - before
    dense = check_network(network, x)
    graph = trace(dense, x[:2])
    said = Memory.of(dense, graph, read_batches([x]).x, graph.groups if name in PLANNED else None)
    return said.total, taken, str(said)


def _most() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _tell(name: str, pipe: multiprocessing.connection.Connection) -> None:
    pipe.send(json.dumps(measured(name)))


def in_a_process_of_its_own(name: str) -> tuple[int, int, str]:
    """What :func:`measured` gives."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(name, there))
    process.start()
    said, taken, words = json.loads(here.recv())
    process.join()
    return said, taken, words


def main(arguments: Sequence[str] | None = None) -> str:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(NETWORKS), metavar="NAME", help=", ".join(NETWORKS))
    rows = []
    for name in parser.parse_args(arguments).names:
        said, taken, words = in_a_process_of_its_own(name)
        rows.append(f"| {name} | {said / 2**20:.0f} MiB | {taken / 2**20:.0f} MiB | {said / max(1, taken):.2f} | {words} |")
    return "\n".join(["| network | said | taken | said over taken | of that |", "|---|---|---|---|---|", *rows])


if __name__ == "__main__":
    print(main())
