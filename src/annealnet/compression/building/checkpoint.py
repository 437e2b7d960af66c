"""What a run has finished, on disk, so that an interrupted one goes on where it stopped with the same result."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from annealnet.files import checkpoint_folder

__all__ = ["Checkpoint"]

_FILE = "steps.jsonl"


class Checkpoint:
    """A folder of finished steps: ``steps.jsonl``, one JSON line each, with its hash.

    Lines of another run (another network, other data, settings) are left alone, and so are lines that were cut off or
    damaged: their steps are done again.

    Args:
        folder: made when it is missing. None keeps the steps in memory only.
        run: fingerprint of the run.

    Raises:
        ValueError: when the folder is a file, or cannot be made.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "run"
        >>> Checkpoint(place, "a").step("probe", lambda: 41)
        41
        >>> Checkpoint(place, "a").step("probe", lambda: 1 / 0)    # finished already
        41
        >>> Checkpoint(place, "b").step("probe", lambda: 42)       # another run
        42
    """

    def __init__(self, folder: str | Path | None, run: str) -> None:
        place = checkpoint_folder(folder)
        self._path = None if place is None else place / _FILE
        self._run = run
        self._done: dict[str, Any] = {}
        if self._path is not None and self._path.exists():
            for line in self._path.read_bytes().split(b"\n"):
                entry = _entry(line)
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
        with self._path.open("a") as file:
            # a line cut off by an interruption stays on a line of its own
            file.write("\n" + json.dumps({**entry, "sha256": _hash(entry)}))
            file.flush()
            os.fsync(file.fileno())


def _entry(line: bytes) -> dict[str, Any]:
    """A line's entry; empty where it is not as it was written."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    if not isinstance(entry, dict) or entry.pop("sha256", None) != _hash(entry):
        return {}
    return entry


def _hash(entry: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
