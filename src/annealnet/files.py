"""Files that are whole or not there: written under a temporary name, then renamed; archives that are whole or refused."""

from __future__ import annotations

import secrets
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["arrays_of", "checkpoint_folder", "replacing"]

#: What NumPy and zipfile raise on files that are cut off, altered, encrypted or hold objects.
_DAMAGED = (
    EOFError, MemoryError, NotImplementedError, OSError, OverflowError, RuntimeError, SyntaxError, ValueError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary name beside ``path``; what was written there becomes ``path`` when the block ends well.

    Args:
        path: the file to be; its folder is made when it is missing. An old file stays until the new one is whole.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "runs" / "a.txt"
        >>> with replacing(target) as draft:
        ...     _ = draft.write_text("whole")
        >>> target.read_text(), [p.name for p in target.parent.iterdir()]
        ('whole', ['a.txt'])
    """
    target = Path(path).resolve()  # what a link points to is replaced, not the link
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{secrets.token_hex(8)}.draft")  # every writer's own, in threads of one process too
    try:
        yield draft
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def checkpoint_folder(folder: str | Path | None) -> Path | None:
    """The folder of a checkpoint, made when it is missing; None is none.

    Raises:
        ValueError: when it is a file, or cannot be made.

    Example:
        >>> checkpoint_folder(None) is None
        True
    """
    if folder is None:
        return None
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"checkpoint={str(folder)!r} cannot be a folder ({error}): name a folder that can be written"
        ) from error
    return place


def arrays_of(path: str | Path, called: str) -> dict[str, NDArray[Any]]:
    """The arrays of a NumPy archive (``.npz``); nothing is unpickled.

    Args:
        path: the archive.
        called: what the error calls it: an argument and its value.

    Raises:
        ValueError: when it is missing, damaged, a single array, or holds Python objects.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "a.npz"
        >>> np.savez(place, x=np.arange(3))
        >>> arrays_of(place, f"file={place}")
        {'x': array([0, 1, 2])}
    """
    try:
        with Path(path).open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                raise ValueError("it is a single array")
            with content:
                return dict(content)
    except _DAMAGED as error:
        raise ValueError(f"{called} is no whole .npz archive of arrays ({error}): save it again with numpy.savez") from error
