"""Bytes of a file, with errors that name it."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path


def bytes_of(path: Path) -> bytes:
    """The content of a file, unpacked if it begins like a gzip file (whatever its name)."""
    content = existing(path).read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} is a damaged gzip file ({error}): copy it again") from error


def existing(path: Path) -> Path:
    """The path itself, refused with a ValueError where nothing lies there."""
    if not path.exists():
        raise ValueError(f"{path} does not exist: give the path of a file or folder that does")
    return path
