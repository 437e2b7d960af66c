"""The mutants themselves: what a line may become, and that the book of modules, names and equivalents fits the source."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

TESTS = Path(__file__).resolve().parent
BOOK = tomllib.loads((TESTS / "mutants.toml").read_text(encoding="utf-8"))

SOURCE = '''"""A text with a - b in it."""
LIMIT = 7

def f(a: int = 3, *, b=not_seen + 1):
    """More text."""
    if a < b:
        raise ValueError(f"{a + b}")
    a[0] = -b
    a += np.zeros(2, dtype=kind < 1)
    return max(a, b) if a and b else g(not a)
'''
CHANGES = {
    "comparison": ["a < b → a <= b", "a < b → a >= b"],
    "deletion": ["a += np.zeros(2, dtype=kind < 1) → pass", "a[0] = -b → pass"],
    "sign": ["-b → b"],
    "arithmetic": ["a += np.zeros(2, dtype=kind < 1) → a -= np.zeros(2, dtype=kind < 1)"],
    "constant": ["0 → -1", "0 → 1", "2 → 1", "2 → 3"],
    "extreme": ["max → min"],
    "boolean": ["a and b → a or b", "not a → a"],
}


@pytest.fixture
def mutants(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(TESTS)
    return importlib.import_module("mutants")


def test_facts_change_and_choices_stay(mutants):
    found = mutants.mutants_of(SOURCE)
    assert {kind: sorted(m.change for m in found if m.kind == kind) for kind in CHANGES} == CHANGES
    assert len(found) == sum(map(len, CHANGES.values()))
    (sign,) = [m for m in found if m.kind == "sign"]
    assert (sign.line, sign.text) == (8, "a[0] = -b")
    names: dict = {"kind": 0, "not_seen": 0}
    exec(sign.compiled("f.py"), names)
    a = [0]
    with pytest.raises(NameError):
        names["f"](a, b=[-5])  # np is not there; the line before has run
    assert a == [[-5]]


def test_the_book_fits_the_source(mutants):
    rooms = BOOK["rooms"]
    for modules in rooms.values():
        for module, target in modules.items():
            assert (mutants.SOURCE / module).is_file(), module
            assert all((TESTS.parent / test.split("::")[0]).is_file() for test in target["tests"])
            allowed = [entry for entry in BOOK["equivalent"] if entry["module"] == module]
            mutants.without_equivalents(mutants.mutants_of((mutants.SOURCE / module).read_text(encoding="utf-8")), allowed)
    known = {module for modules in rooms.values() for module in modules}
    assert {entry["module"] for entry in (*BOOK["named"], *BOOK["equivalent"])} <= known
    for entry in BOOK["named"]:
        mutants.replaced(entry["module"], entry["old"], entry["new"])


def test_what_no_longer_fits_is_named(mutants):
    with pytest.raises(ValueError, match="0 times"):
        mutants.replaced("samplers/auto.py", "no such passage", "")
    entry = {"module": "m", "line": "x = 1", "change": "1 → 2"}
    kept, equivalent = mutants.without_equivalents(mutants.mutants_of("x = 1"), [entry])
    assert ([m.change for m in kept], equivalent) == (["1 → 0"], 1)
    with pytest.raises(ValueError, match="m has no mutant '1 → 2' of 'x = 1'"):
        mutants.without_equivalents(mutants.mutants_of("x = 2"), [entry])
