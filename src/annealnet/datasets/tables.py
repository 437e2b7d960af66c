"""Tables of numbers: CSV and NPZ."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annealnet.datasets.files import bytes_of, existing
from annealnet.files import arrays_of

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


def read_csv(path: str | Path, label: int | str = 0, header: bool | None = None) -> tuple[Floats, Labels]:
    """A table of numbers with one column of class labels, plain or gzipped.

    Args:
        path: comma-separated file.
        label: the column of labels, by number (0 is the first, -1 the last) or by its name in the header.
            Labels may be numbers or words; they are numbered 0, 1, … in their sorted order (-1 and +1
            become 0 and 1).
        header: whether the first row names the columns. None: recognised (it holds a word outside the
            label column, or above a number in it; or it counts 0, 1, 2, … as pandas writes unnamed columns).

    Returns:
        Features float32, shape (N, columns - 1), and labels int64, shape (N,).

    Raises:
        ValueError: the file is missing or empty, a row has another length, a feature is not a finite
            number (row and column are named), or there is no such label column.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "table.csv"
    >>> _ = file.write_text("width,height,kind\\n1,2,oak\\n3,4,elm\\n")
    >>> read_csv(file, label="kind")
    (array([[1., 2.],
           [3., 4.]], dtype=float32), array([1, 0]))
    """
    file = Path(path)
    rows = _csv_rows(file)
    names = rows[0]
    if isinstance(label, str):
        if label not in names:
            raise ValueError(f"label {label!r} is no column of {file}: its first row is {', '.join(names[:8])} …")
        column, header = names.index(label), True
    elif -len(names) <= label < len(names):
        column = label % len(names)
    else:
        raise ValueError(f"label column {label} is outside the {len(names)} columns of {file}")
    if header is None:
        header = _looks_like_a_header(rows, column)
    body = rows[1:] if header else rows
    if not body:
        raise ValueError(f"{file} has a header and no rows: give at least one sample")
    words = [row.pop(column) for row in body]
    return _numbers(body, file, first_line=2 if header else 1), _class_numbers(words)


def _csv_rows(file: Path) -> list[list[str]]:
    try:
        text = bytes_of(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not text in UTF-8 ({error}): save it as CSV in UTF-8") from error
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    if not rows:
        raise ValueError(f"{file} is empty: give at least one row")
    for line, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise ValueError(f"{file}, row {line}: {len(row)} columns where the first row has {len(rows[0])}")
    if len(rows[0]) < 2:
        raise ValueError(f"{file} has one column: expected a label and at least one feature, comma-separated")
    return rows


def _looks_like_a_header(rows: list[list[str]], label: int) -> bool:
    names = rows[0]
    if names == [str(i) for i in range(len(names))]:
        return True
    if not all(map(_is_number, names[:label] + names[label + 1 :])):
        return True
    # pixels may be named 0, 1, 2, …: then only the name of the label column gives the header away
    return len(rows) > 1 and not _is_number(names[label]) and _is_number(rows[1][label])


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _numbers(rows: list[list[str]], file: Path, first_line: int) -> Floats:
    try:
        table = np.array(rows, dtype=np.float64)
    except ValueError:
        table = np.array([[float(w) if _is_number(w) else np.nan for w in row] for row in rows])
    wrong = np.argwhere(~(np.abs(table) <= np.finfo(np.float32).max))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"{file}, row {row + first_line}, feature {column}: {rows[row][column]!r} is not a finite number"
            ": fill in or remove it"
        )
    return table.astype(np.float32)


def _class_numbers(words: list[str]) -> Labels:
    keys: NDArray[Any] = np.array([float(w) for w in words] if all(map(_is_number, words)) else words)
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def read_npz(path: str | Path, x: str = "x", y: str = "y") -> tuple[NDArray[Any], Labels]:
    """Samples and labels from a NumPy ``.npz`` archive (no pickled objects).

    Args:
        path: archive written by ``numpy.savez`` or ``numpy.savez_compressed``.
        x: name of the array of samples, shape (N, ...), numbers.
        y: name of the array of labels, shape (N,), integers.

    Raises:
        ValueError: the file is missing or no archive, an array is missing or has another shape or kind.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "data.npz"
    >>> np.savez(file, x=np.zeros((2, 3), np.float32), y=np.array([0, 1]))
    >>> samples, labels = read_npz(file)
    >>> samples.shape, labels.tolist()
    ((2, 3), [0, 1])
    """
    return labelled(arrays_of(existing(Path(path)), str(path)), path, x, y)


def labelled(arrays: dict[str, NDArray[Any]], path: str | Path, x: str, y: str) -> tuple[NDArray[Any], Labels]:
    """Samples and labels of an archive's arrays; arguments and errors as in :func:`read_npz`."""
    missing = [name for name in (x, y) if name not in arrays]
    if missing:
        raise ValueError(
            f"{path} holds {', '.join(arrays)} but no array {' and no '.join(missing)}: "
            f"save it with numpy.savez(path, {x}=samples, {y}=labels)"
        )
    samples, labels = arrays[x], arrays[y]
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != samples.shape[:1]:
        raise ValueError(
            f"{path}: {y} has dtype {labels.dtype} and shape {labels.shape}, {x} has shape {samples.shape}: "
            "give one integer label per sample"
        )
    if np.issubdtype(samples.dtype, np.floating) and not np.all(np.isfinite(samples)):
        raise ValueError(f"{path}: {x} holds NaN or infinity: fill in or remove those samples")
    return samples, labels.astype(np.int64)
