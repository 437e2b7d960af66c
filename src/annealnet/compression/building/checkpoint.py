"""What a run has finished, on disk, so that an interrupted one goes on where it stopped with the same result."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Checkpoint"]


class Checkpoint:
    """A file of finished steps, one JSON line each; lines of another run (other weights, data, settings) are ignored.

    Args:
        path: the file; its folder is made. None keeps the steps in memory only.
        run: fingerprint of the run.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "run.jsonl"
        >>> Checkpoint(place, "a").step("probe", lambda: 41)
        41
        >>> Checkpoint(place, "a").step("probe", lambda: 1 / 0)    # finished already
        41
        >>> Checkpoint(place, "b").step("probe", lambda: 42)       # another run
        42
    """

    def __init__(self, path: Path | None, run: str) -> None:
        self._path = path
        self._run = run
        self._done: dict[str, Any] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:
                    continue  # the line that was being written when the run was interrupted
                if entry.get("run") == run:
                    self._done[entry["step"]] = entry["value"]

    def __contains__(self, step: str) -> bool:
        return step in self._done

    def step(self, name: str, work: Callable[[], Any]) -> Any:
        """The value of a finished step, or does the work and keeps what it returns (JSON values)."""
        if name not in self._done:
            value = work()
            self._done[name] = value
            self._append({"run": self._run, "step": name, "value": value})
        return self._done[name]

    def _append(self, entry: dict[str, Any]) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            # a line cut off by an interruption stays on a line of its own
            file.write("\n" + json.dumps(entry))
            file.flush()
            os.fsync(file.fileno())
