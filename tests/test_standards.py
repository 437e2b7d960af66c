"""House rules that a machine can check."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = sorted((ROOT / "src").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
LONGEST_FILE = 450  # lines; more hold more than one idea
LONGEST_FUNCTION = 70
# folders of one machine; put together so that this file does not name them itself
MACHINE_PATH = re.compile(
    "|".join(rf"(?<![\w.$])/{folder}/" for folder in ("work", "root", "farm", "home/[a-z]+", "opt/wheels"))
)


def tracked_texts() -> list[tuple[str, str]]:
    """Every tracked file that is text, with its content."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout: which files belong to the project is unknown")
    texts = []
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            try:
                texts.append((name, path.read_text(encoding="utf-8")))
            except UnicodeDecodeError:
                continue
    return texts


def test_no_file_names_a_path_of_one_machine() -> None:
    found = [name for name, text in tracked_texts() if MACHINE_PATH.search(text)]
    assert found == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/".join(["", "work", "x"]), True),
        ("/".join(["", "root", ""]), True),
        ("frame/work/x", False),
        ("network/", False),
    ],
)
def test_the_search_for_machine_paths_finds_them(text: str, found: bool) -> None:
    assert bool(MACHINE_PATH.search(text)) == found


@pytest.mark.parametrize("path", [*SOURCE, *BENCHMARKS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_source_file_says_what_it_is_and_fits_one_idea(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert not text.strip() or ast.get_docstring(tree), "the module has no docstring"
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= LONGEST_FUNCTION, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCE, ids=lambda path: path.relative_to(ROOT / "src").as_posix())
def test_public_classes_and_functions_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = [
        node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


def test_the_version_is_the_same_everywhere() -> None:
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert project is not None
    assert citation is not None
    assert project[1] == citation[1]
    assert f"## [{project[1]}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
