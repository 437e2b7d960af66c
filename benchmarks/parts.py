"""A benchmark in parts: each yields its lines."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

__all__ = ["cifar10_folder", "one_core", "parser_of", "run_parts"]

Parts = Mapping[str, Callable[[argparse.Namespace], Iterator[str]]]


def parser_of(text: str | None, parts: Parts, seeds: int) -> argparse.ArgumentParser:
    """A parser of ``--part`` and ``--seeds``; ``text`` is the module's docstring."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", default=",".join(parts), help="comma-separated: " + ", ".join(parts))
    parser.add_argument("--seeds", type=int, default=seeds)
    return parser


def cifar10_folder(parser: argparse.ArgumentParser) -> None:
    """Adds ``--data``: the folder of CIFAR-10 and of the network trained on it (:mod:`annealnet.studies.cifar10`)."""
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"))


def one_core(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parses with ``--threads`` added, and keeps ours to that many cores, as the peers are to one; no warnings."""
    import numba
    import torch

    parser.add_argument("--threads", type=int, default=1, help="cores for ours; the peers use one")
    options = parser.parse_args(arguments)
    numba.set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    return options


def run_parts(parts: Parts, options: argparse.Namespace) -> str:
    """Runs the parts named in ``options.part``, prints each line as it comes, and returns all of them."""
    lines: list[str] = []
    for name in options.part.split(","):
        for line in parts[name](options):
            print(line, file=sys.stderr, flush=True)
            lines.append(line)
        lines.append("")
    return "\n".join(lines)
