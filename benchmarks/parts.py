"""A benchmark in parts: each yields its lines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping

__all__ = ["run_parts"]


def run_parts(parts: Mapping[str, Callable[[argparse.Namespace], Iterator[str]]], options: argparse.Namespace) -> str:
    """Runs the parts named in ``options.part``, prints each line as it comes, and returns all of them."""
    lines: list[str] = []
    for name in options.part.split(","):
        for line in parts[name](options):
            print(line, file=sys.stderr, flush=True)
            lines.append(line)
        lines.append("")
    return "\n".join(lines)
