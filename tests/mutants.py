"""Mutation testing: whether the tests would notice if a line were wrong.

    python tests/mutants.py --room rounding --sample 60        # or: make mutants

One operator, comparison, sign, number, bound or in-place statement of a module is changed at a time, and the tests that
``mutants.toml`` names for the module must fail. Every mutant runs in a process forked from one that has the libraries loaded
and ``annealnet`` not yet; an import hook hands it the changed module, so that no file is touched. Modules with Numba kernels
run interpreted, nothing is compiled. A mutant that outlasts its time counts as killed.

Mutants that change nothing that can be seen stand in ``mutants.toml`` with the reason; one that fits no mutant any more is
an error. Sampled by seed, so that two runs try the same ones.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.machinery
import os
import random
import signal
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType

from mutations import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "annealnet"


@dataclass(frozen=True)
class Target:
    """A module and what must notice its mutants: the tests of some files, ``only`` those that pytest's -k picks by it."""

    room: str
    module: str
    tests: tuple[str, ...]
    only: str = ""
    interpreted: bool = False


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from changed code."""

    def __init__(self, module: str, code: CodeType) -> None:
        self.name, self.path, self.code = _dotted(module), str(SOURCE / module), code

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        spec = importlib.machinery.ModuleSpec(name, self, origin=self.path)
        spec.has_location = True
        return spec

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, module.__dict__)


class _FirstFailure:
    """A pytest plugin: generated cases are not shrunk, the first that fails is enough."""

    @staticmethod
    def pytest_sessionstart() -> None:
        from hypothesis import Phase, settings

        settings.register_profile("mutants", settings.get_profile("seeded"), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutants")


def _dotted(module: str) -> str:
    return ".".join(["annealnet", *Path(module).with_suffix("").parts])


def preload(modules: Sequence[str]) -> None:
    """Loads what all mutants share, the libraries, and forgets annealnet itself."""
    sys.path.insert(0, str(ROOT / "src"))
    for name in ("pytest", "hypothesis", "numba", "torch", "annealnet", *map(_dotted, modules)):
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.split(".")[0] == "annealnet"]:
        del sys.modules[name]


def run(target: Target, code: Callable[[], CodeType] | None, seconds: float, shown: bool = False) -> tuple[str, float]:
    """«killed», «survived» or «timeout» of the target's tests with a module of changed code, and seconds taken."""
    began = time.perf_counter()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.setsid()
        status = 1
        try:
            status = _tested(target, code, shown)
        finally:
            os._exit(status)
    while time.perf_counter() - began < seconds:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return ("survived" if status == 0 else "killed"), time.perf_counter() - began
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout", time.perf_counter() - began


def _tested(target: Target, code: Callable[[], CodeType] | None, shown: bool) -> int:
    if not shown:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
    import numba
    import pytest

    numba.config.DISABLE_JIT = int(target.interpreted)
    if code is not None:
        sys.meta_path.insert(0, _Changed(target.module, code()))
    os.chdir(ROOT)
    options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore"]
    return int(pytest.main([*options, "-k", target.only, *target.tests], plugins=[_FirstFailure()]))


def replaced(module: str, old: str, new: str) -> CodeType:
    """A module with one passage of its text replaced.

    Raises:
        ValueError: when the passage is not there exactly once.
    """
    source = (SOURCE / module).read_text(encoding="utf-8")
    if source.count(old) != 1:
        raise ValueError(f"{module} has {old!r} {source.count(old)} times, not once: mend mutants.toml")
    return compile(source.replace(old, new), str(SOURCE / module), "exec")


def without_equivalents(mutants: list[Mutant], allowed: list[dict[str, str]]) -> tuple[list[Mutant], int]:
    """The mutants that can be killed, and how many cannot.

    Raises:
        ValueError: when an entry fits no mutant: the source has changed.
    """
    kept = list(mutants)
    for entry in allowed:
        left = [m for m in kept if (m.text, m.change) != (entry["line"], entry["change"])]
        if len(left) == len(kept):
            raise ValueError(f"{entry['module']} has no mutant {entry['change']!r} of {entry['line']!r}: mend mutants.toml")
        kept = left
    return kept, len(mutants) - len(kept)


class Limits:
    """Seconds that a mutant's tests may take: several times what they take on the module as it is, found out once."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[str, ...], str, bool], float] = {}

    def of(self, target: Target) -> float:
        """The limit of a target.

        Raises:
            ValueError: when its tests fail without any mutant.
        """
        key = target.tests, target.only, target.interpreted
        if key not in self._known:
            outcome, seconds = run(target, None, 600.0)
            if outcome != "survived":
                raise ValueError(f"{', '.join(target.tests)}: {outcome} with {target.module} as it is: mend the tests first")
            self._known[key] = 10.0 + 4 * seconds
        return self._known[key]


def drawn(
    targets: list[Target], equivalents: list[dict[str, str]], asked: argparse.Namespace
) -> list[tuple[Target, Mutant]]:
    """The mutants of some modules that are to be tried."""
    pool: list[tuple[Target, Mutant]] = []
    skipped = 0
    for target in targets:
        allowed = [entry for entry in equivalents if entry["module"] == target.module]
        mutants, equivalent = without_equivalents(mutants_of((SOURCE / target.module).read_text(encoding="utf-8")), allowed)
        pool += [(target, mutant) for mutant in mutants if asked.kind is None or mutant.kind in asked.kind]
        skipped += equivalent
    whole = len(pool)
    if asked.sample is not None and asked.sample < whole:
        pool = random.Random(asked.seed).sample(pool, asked.sample)
    print(f"{targets[0].room}: {len(pool)} of {whole} mutants, {skipped} more are equivalent", flush=True)
    return pool


def generated(targets: list[Target], equivalents: list[dict[str, str]], asked: argparse.Namespace) -> int:
    """Runs the mutants of one room and prints which survived and how many were killed; how many survived."""
    tried, killed, limits = Counter[str](), Counter[str](), Limits()
    end = time.perf_counter() + (asked.seconds or float("inf"))
    for target, mutant in drawn(targets, equivalents, asked):
        limit = limits.of(target)
        if time.perf_counter() > end:
            print("  … out of time", flush=True)
            break
        outcome, seconds = run(target, partial(mutant.compiled, str(SOURCE / target.module)), limit, asked.verbose)
        tried[mutant.kind] += 1
        killed[mutant.kind] += outcome != "survived"
        if asked.verbose or outcome == "survived":
            place = f"{target.module}:{mutant.line}"
            print(f"  {outcome} {place} [{mutant.kind}] {mutant.change}  ({seconds:.1f} s)", flush=True)
    for kind in sorted(tried):
        print(f"  {kind:12} {killed[kind]:4} of {tried[kind]:4} killed")
    total, dead = tried.total(), killed.total()
    print(f"{targets[0].room}: {dead} of {total} killed, {dead / max(1, total):.1%}", flush=True)
    return total - dead


def named(targets: list[Target], entries: list[dict[str, str]], shown: bool) -> int:
    """Runs the mutants that have a name; how many survived."""
    by_module, limits = {target.module: target for target in targets}, Limits()
    survived = 0
    for entry in entries:
        if entry["module"] not in by_module:
            continue
        target = by_module[entry["module"]]
        code = partial(replaced, entry["module"], entry["old"], entry["new"])
        code()  # a passage that is gone is an error here, not a kill
        outcome, seconds = run(target, code, limits.of(target), shown)
        survived += outcome == "survived"
        print(f"{outcome}: {entry['name']} ({entry['module']}, {seconds:.1f} s)", flush=True)
    return survived


def main() -> int:
    """The command; exit code 1 where a mutant survives."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--room", help="only modules of this room")
    parser.add_argument("--module", default="", help="only modules whose path contains this")
    parser.add_argument("--kind", nargs="+", help="only mutants of these kinds: arithmetic, comparison, sign, constant, …")
    parser.add_argument("--sample", type=int, help="so many mutants of each room, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="start no further mutant of a room after so many seconds")
    parser.add_argument(
        "--named", action="store_true", help="the mutants that mutants.toml names, instead of generated ones"
    )
    parser.add_argument("--verbose", action="store_true", help="show every mutant, and what its tests print")
    asked = parser.parse_args()
    book = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    targets = [
        Target(room, module, tuple(found["tests"]), found.get("only", ""), found.get("interpreted", False))
        for room, modules in book["rooms"].items()
        for module, found in modules.items()
        if asked.room in (None, room) and asked.module in module
    ]
    preload([target.module for target in targets])
    if asked.named:
        return int(named(targets, book["named"], asked.verbose) > 0)
    rooms = [[target for target in targets if target.room == room] for room in book["rooms"]]
    return int(sum(generated(room, book.get("equivalent", []), asked) for room in rooms if room) > 0)


if __name__ == "__main__":
    sys.exit(main())
