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
RUNNING = [*SOURCE, *(path for folder in ("benchmarks", "examples") for path in sorted((ROOT / folder).rglob("*.py")))]
SEED_OWNERS = [ROOT / "src/annealnet/samplers" / name for name in ("seeds.py", "kernels/random.py")]  # the latter: of reads
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


def home_made_seeds(text: str) -> list[str]:
    """Where seeds are reckoned with, or generators made of several numbers: seed 0's second draw would be seed 1's first,
    and two purposes' streams one. ``range(seed, seed + runs)`` names whole runs and is none.
    """
    tree = ast.parse(text)
    named = {id(part) for call in ast.walk(tree) if _called(call) == "range" for part in call.args}
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if (isinstance(node, ast.BinOp) and id(node) not in named and (_is_seed(node.left) or _is_seed(node.right)))
        or (isinstance(node, ast.AugAssign) and _is_seed(node.target))
        or _called(node) == "SeedSequence"
        or (_called(node) in ("default_rng", "manual_seed", "SFC64", "PCG64", "Philox", "RandomState")
            and any(isinstance(part, ast.Tuple | ast.List | ast.BinOp) for part in node.args))
    ]  # fmt: skip


def _called(node: ast.AST) -> str | None:
    """The last name of what is called; None where nothing is."""
    function = node.func if isinstance(node, ast.Call) else None
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)


def _is_seed(node: ast.AST) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name.removeprefix("_").endswith("seed")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("f(seed + number)", 1),
        ("f(2 * self.seed + 1)", 1),
        ("own_seed += 1", 1),
        ("f(1000 * network.seed)", 1),
        ("np.random.SeedSequence([seed, 7])", 1),
        ("np.random.default_rng([seed, epoch])", 1),
        ("torch.manual_seed(k + 1)", 1),
        ("np.random.default_rng(seed)", 0),
        ("range(seed, seed + seeds)", 0),
        ("10 * seeds", 0),
        ("derived_seed(seed, Purpose.ROWS, number + 1)", 0),
    ],
)
def test_the_search_for_home_made_seeds_finds_them(text: str, found: int) -> None:
    assert len(home_made_seeds(text)) == found


@pytest.mark.parametrize("path", RUNNING, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_seeds_follow_from_seeds_in_one_place(path: Path) -> None:
    if path not in SEED_OWNERS:
        assert home_made_seeds(path.read_text(encoding="utf-8")) == []


def test_the_version_is_the_same_everywhere() -> None:
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert project is not None
    assert citation is not None
    assert project[1] == citation[1]
    assert f"## [{project[1]}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
