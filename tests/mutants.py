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
import ast
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "annealnet"

ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}  # fmt: skip
#: Every comparison's neighbour and its opposite.
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
EXTREMES = {"min": "max", "minimum": "maximum", "argmin": "argmax", "amin": "amax", "floor": "ceil", "all": "any"}
EXTREMES |= {other: name for name, other in EXTREMES.items()}
#: Keywords whose values say how, not what.
SETTINGS = {"dtype", "strict", "kind", "order", "inplace", "copy", "assume_unique", "sort_labels", "cache", "encoding"}

Change = tuple[str, ast.AST]  # kind and what stands there instead


@dataclass(frozen=True, eq=False)
class Mutant:
    """One change of one module: ``node`` at ``field`` (and ``index``) of ``parent`` becomes ``instead``."""

    module: str
    line: int
    text: str
    kind: str
    change: str
    tree: ast.Module
    parent: ast.AST
    field: str
    index: int | None
    instead: ast.AST

    def compiled(self) -> CodeType:
        """The changed module; spoils the shared tree, so only in a process of its own."""
        if self.index is None:
            setattr(self.parent, self.field, self.instead)
        else:
            getattr(self.parent, self.field)[self.index] = self.instead
        return compile(ast.fix_missing_locations(self.tree), str(SOURCE / self.module), "exec")


@dataclass(frozen=True)
class Target:
    """A module and what must notice its mutants."""

    room: str
    module: str
    tests: tuple[str, ...]
    interpreted: bool


def changes(node: ast.AST, field: str) -> Iterator[Change]:
    """What a node may become that stands at a field of its parent."""
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not isinstance(node.left, ast.List):
        yield "arithmetic", ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
    elif isinstance(node, ast.AugAssign):
        if type(node.op) in ARITHMETIC:
            yield "arithmetic", ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)
        yield "deletion", ast.Pass()
    elif isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                operators = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                yield "comparison", ast.Compare(node.left, operators, node.comparators)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not, ast.Invert)):
        yield "boolean" if isinstance(node.op, ast.Not) else "sign", node.operand
    elif isinstance(node, ast.BoolOp):
        yield "boolean", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield "boolean", ast.Constant(not node.value)
        elif isinstance(node.value, (int, float)):
            yield from (("constant", ast.Constant(node.value + step)) for step in (1, -1))
    elif isinstance(node, ast.Name) and node.id in EXTREMES:
        yield "extreme", ast.Name(EXTREMES[node.id], node.ctx)
    elif isinstance(node, ast.Attribute) and node.attr in EXTREMES:
        yield "extreme", ast.Attribute(node.value, EXTREMES[node.attr], node.ctx)
    elif isinstance(node, ast.Assign | ast.Expr) and _in_place(node):
        yield "deletion", ast.Pass()
    if field == "test" and isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)):
        yield "boolean", ast.UnaryOp(ast.Not(), node)


def _in_place(node: ast.Assign | ast.Expr) -> bool:
    """Whether a statement changes something that is there: an entry, or what a call does."""
    return isinstance(node.targets[0], ast.Subscript) if isinstance(node, ast.Assign) else isinstance(node.value, ast.Call)


#: Fields and statements that hold no fact: types, decorators, defaults, errors and their messages.
UNSEEN_FIELDS = {"annotation", "returns", "decorator_list", "defaults", "kw_defaults", "bases", "msg", "type_params"}
UNSEEN_NODES = (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom)


def children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    """The parts of a node that can be wrong, with field and index."""
    if isinstance(node, ast.keyword) and node.arg in SETTINGS:
        return
    for field, value in ast.iter_fields(node):
        if field in UNSEEN_FIELDS:
            continue
        for index, part in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(part, ast.AST) and not isinstance(part, UNSEEN_NODES) and not _chosen(node, part):
                yield field, index, part


def _chosen(parent: ast.AST, node: ast.AST) -> bool:
    """Whether a statement is a choice and not a fact: a field's default, a module's constant."""
    if not isinstance(node, (ast.Assign, ast.AnnAssign)):
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return isinstance(parent, ast.ClassDef) or (isinstance(parent, ast.Module) and all(map(_constant, targets)))


def _constant(target: ast.AST) -> bool:
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    return all(isinstance(name, ast.Name) and (name.id.strip("_").isupper() or name.id == "__all__") for name in names)


def mutants_of(module: str) -> list[Mutant]:
    """All mutants of a module, in the order of its lines."""
    source = (SOURCE / module).read_text(encoding="utf-8")
    tree, lines = ast.parse(source), source.splitlines()
    found: list[Mutant] = []

    def visit(parent: ast.AST) -> None:
        for field, index, node in children(parent):
            for kind, instead in changes(node, field):
                line = getattr(node, "lineno", 0)
                change = f"{ast.unparse(node)} → {ast.unparse(instead)}"
                found.append(
                    Mutant(module, line, lines[line - 1].strip(), kind, change, tree, parent, field, index, instead)
                )
            visit(node)

    visit(tree)
    return sorted(found, key=lambda mutant: mutant.line)


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
    for name in ("pytest", "hypothesis", "annealnet", *map(_dotted, modules)):
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
    return int(pytest.main([*options, *target.tests], plugins=[_FirstFailure()]))


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
        self._known: dict[tuple[tuple[str, ...], bool], float] = {}

    def of(self, target: Target) -> float:
        """The limit of a target.

        Raises:
            ValueError: when its tests fail without any mutant.
        """
        key = target.tests, target.interpreted
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
        mutants, equivalent = without_equivalents(mutants_of(target.module), allowed)
        pool += [(target, mutant) for mutant in mutants if asked.kind in (None, mutant.kind)]
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
        outcome, seconds = run(target, mutant.compiled, limit, asked.verbose)
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
    parser.add_argument("--kind", help="only mutants of this kind: arithmetic, comparison, sign, constant, …")
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
        Target(room, module, tuple(found["tests"]), found.get("interpreted", False))
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
