"""CSV and NPZ, written and read back, whole and damaged."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annealnet.datasets import read_csv, read_npz

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "a1a" / "a1a.csv.gz"
tables = arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(-1e6, 1e6, width=32))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example writes the file anew
@given(table=tables, column=st.integers(0, 5), zipped=st.booleans(), data=st.data())
def test_what_is_written_is_read(tmp_path: Path, table: np.ndarray, column: int, zipped: bool, data) -> None:
    column = min(column, table.shape[1])
    labels = data.draw(st.lists(st.integers(-3, 3), min_size=len(table), max_size=len(table)))
    rows = [[repr(float(v)) for v in row] for row in table]
    for row, label in zip(rows, labels, strict=True):
        row.insert(column, str(label))
    text = "\n".join(",".join(row) for row in rows) + "\n"
    path = tmp_path / ("t.csv.gz" if zipped else "t.csv")
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    features, classes = read_csv(path, label=column, header=False)
    assert np.array_equal(features, table)
    assert classes.tolist() == [sorted(set(labels)).index(label) for label in labels]


@pytest.mark.parametrize(
    "text",
    [
        "y,a,b\n1,0.5,2\n-1,3,4\n",  # a header of words
        "label,0,1\n1,0.5,2\n-1,3,4\n",  # features named by numbers
        "0,1,2\n1,0.5,2\n-1,3,4\n",  # unnamed columns, as pandas writes them
        "1,0.5,2\n-1,3,4\n",  # no header
        "\ufeff1,0.5,2\r\n-1,3,4\r\n\r\n",  # as spreadsheets save it
        "ship,0.5,2\nfrog,3,4\n",  # labels in words
    ],
)
def test_a_header_is_recognised(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8", newline="")
    features, labels = read_csv(tmp_path / "t.csv")
    assert features.tolist() == [[0.5, 2], [3, 4]]
    assert labels.tolist() == [1, 0]


def test_the_label_column_can_be_named_and_counted_from_the_end(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,kind\n1,2,x\n3,4,w\n")
    by_name = read_csv(tmp_path / "t.csv", label="kind")
    by_place = read_csv(tmp_path / "t.csv", label=-1)
    assert by_name[0].tolist() == by_place[0].tolist() == [[1, 2], [3, 4]]
    assert by_name[1].tolist() == by_place[1].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        ("1\n2\n", {}, "one column"),
        ("1,2\n1,2,3\n", {}, "row 2: 3 columns where the first row has 2"),
        ("y,a\n1,2\n0,x\n", {}, "row 3, feature 0: 'x' is not a finite number"),
        ("y,a\n1,nan\n", {}, "row 2, feature 0: 'nan'"),
        ("1,2\n0,1e99\n", {}, "row 2, feature 0: '1e99'"),
        ("y,a\n", {}, "a header and no rows"),
        ("y,a\n1,2\n", {"label": "z"}, "label 'z' is no column"),
        ("y,a\n1,2\n", {"label": 2}, "label column 2 is outside the 2 columns"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, text: str, options: dict, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_csv(tmp_path / "t.csv", **options)


def test_a_binary_file_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(ValueError, match="not text in UTF-8"):
        read_csv(tmp_path / "t.csv")


def test_an_archive_is_read(tmp_path: Path) -> None:
    x = np.arange(6, dtype=np.float64).reshape(2, 3)
    np.savez_compressed(tmp_path / "d.npz", x=x, y=np.array([4, 2], np.uint8))
    samples, labels = read_npz(tmp_path / "d.npz")
    assert np.array_equal(samples, x)
    assert (labels.dtype, labels.tolist()) == (np.int64, [4, 2])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 3))}, "no array y"),
        ({"x": np.zeros((2, 3)), "y": np.zeros(3, int)}, "one integer label per sample"),
        ({"x": np.zeros((2, 3)), "y": np.zeros(2)}, "y has dtype float64"),
        ({"x": np.array([[np.nan]]), "y": np.zeros(1, int)}, "x holds NaN"),
    ],
)
def test_a_wrong_archive_is_refused(tmp_path: Path, arrays: dict, message: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_npz(tmp_path / "d.npz")


def test_pickled_objects_and_other_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "o.npz", x=np.array([{}], dtype=object), y=np.zeros(1, int))
    (tmp_path / "w.npz").write_text("words")
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    for name in ("o.npz", "w.npz", "single.npz"):
        with pytest.raises(ValueError, match=r"no whole \.npz archive of arrays"):
            read_npz(tmp_path / name)


@pytest.mark.skipif(not SHARED.exists(), reason=f"no {SHARED.name} in the shared data")
def test_the_shared_a1a() -> None:
    features, labels = read_csv(SHARED)
    assert features.shape == (1605, 123)
    assert set(np.unique(features)) == {0, 1}
    assert np.bincount(labels).tolist() == [1210, 395]
