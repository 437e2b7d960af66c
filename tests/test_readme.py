"""What README and documentation print really runs.

Every ```python block runs, the blocks of one file one after the other as a reader would type them, and so
does every ```bash block that follows a line ``<!-- run -->``. A line ``<!-- not run: REASON -->`` before a
python block leaves it out.
"""

from __future__ import annotations

import os
import pkgutil
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:^<!--[ ]*(?P<remark>[^\n]*?)[ ]*-->\n+)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
TIME_LIMIT = 600  # seconds until a hanging example is ended


@dataclass(frozen=True)
class Block:
    """One fenced block of a document."""

    language: str
    code: str
    remark: str


def blocks_of(text: str) -> list[Block]:
    return [Block(m["language"], m["code"], m["remark"] or "") for m in BLOCK.finditer(text)]


def python_of(text: str) -> str:
    """The python of a document as one script."""
    blocks = [b for b in blocks_of(text) if b.language == "python" and not b.remark.startswith("not run:")]
    return "\n".join(block.code for block in blocks)


def bash_of(text: str) -> list[str]:
    """The scripts of a document that are marked for running."""
    return [block.code for block in blocks_of(text) if block.language == "bash" and block.remark == "run"]


def run(command: list[str], folder: Path) -> None:
    """Run in `folder` with this interpreter's commands found first; what it printed is shown if it fails."""
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    answer = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": paths},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
    )
    assert answer.returncode == 0, f"{answer.stdout}\n{answer.stderr}"


PYTHON = [path for path in DOCUMENTS if python_of(path.read_text(encoding="utf-8"))]
BASH = [(path, code) for path in DOCUMENTS for code in bash_of(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("document", PYTHON, ids=lambda path: path.name)
def test_the_python_of_a_document_runs(document: Path, tmp_path: Path) -> None:
    script = tmp_path / "document.py"
    script.write_text(python_of(document.read_text(encoding="utf-8")), encoding="utf-8")
    run([sys.executable, script.name], tmp_path)


@pytest.mark.parametrize(("document", "code"), BASH, ids=[f"{path.name}-{i}" for i, (path, _) in enumerate(BASH)])
def test_the_marked_commands_of_a_document_run(document: Path, code: str, tmp_path: Path) -> None:
    run(["bash", "-euo", "pipefail", "-c", code], tmp_path)


def test_the_readme_has_python_and_commands_to_run() -> None:
    assert DOCUMENTS[0] in PYTHON
    assert any(path == DOCUMENTS[0] for path, _ in BASH)


def test_links_to_files_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
            assert "://" in target or (path.parent / target).exists(), f"{path.name} links to {target}"


def test_names_in_backticks_are_there() -> None:
    found = [
        (path.name, name)
        for path in (*DOCUMENTS, ROOT / "BENCHMARKS.md")
        for name in re.findall(r"`(annealnet(?:\.\w+)+)", path.read_text(encoding="utf-8"))
    ]
    assert len(found) > 3
    for document, name in found:
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError) as error:
            pytest.fail(f"{document} names {name}: {error}")


SAMPLE = """
```python
a = 1
```

<!-- not run: needs a token -->
```python
b = 2
```

<!-- run -->
```bash
echo one
```
```bash
echo two
```
"""


def test_blocks_are_told_apart_by_their_marks() -> None:
    assert python_of(SAMPLE) == "a = 1\n"
    assert bash_of(SAMPLE) == ["echo one\n"]


def test_a_failing_command_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="said before"):
        run(["bash", "-euo", "pipefail", "-c", "echo said before; false; true"], tmp_path)
