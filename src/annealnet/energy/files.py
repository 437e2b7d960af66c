"""Energies in files: dimod's own formats, NumPy archives, and plain text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dimod
import numpy as np

from annealnet.energy.forms import DenseEnergy, Energy, SparseEnergy, from_bqm
from annealnet.files import arrays_of

__all__ = ["read_energy"]


def read_energy(path: str | Path) -> tuple[Energy, list[Any]]:
    """An energy from a file, and the labels of its variables.

    * ``.bqm``: ``dimod.BinaryQuadraticModel.to_file``; ``.json``: its ``to_serializable``.
    * ``.npz``: ``quadratic`` (or ``Q``) ``(n, n)``, or ``row``, ``col``, ``value``; and ``linear``, ``offset``.
    * anything else is text: ``i j value`` a line (``i i value`` is linear), ``#`` comments; ``# vartype=SPIN`` for ±1.

    Raises:
        ValueError: when the file is missing, cut off or holds something else; names the file and the line.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "problem.coo"
        >>> _ = place.write_text("0 0 -1\\n0 1 2\\n")
        >>> float(read_energy(place)[0].energy(np.array([1, 1])))
        1.0
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"file={str(path)!r} does not exist: give a .bqm, .json, .npz or COO text file")
    if path.suffix == ".npz":
        return _from_archive(path)
    if path.suffix in {".bqm", ".json"}:
        return from_bqm(_model(path))
    return from_bqm(_from_text(path))


def _model(path: Path) -> dimod.BinaryQuadraticModel:
    try:
        if path.suffix == ".bqm":
            with path.open("rb") as file:
                return dimod.BinaryQuadraticModel.from_file(file)
        return dimod.BinaryQuadraticModel.from_serializable(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError, EOFError, AttributeError) as error:
        raise ValueError(f"file={str(path)!r} is no complete dimod model ({error}): write it again with dimod") from error


def _from_archive(path: Path) -> tuple[Energy, list[Any]]:
    arrays = arrays_of(path, f"file={str(path)!r}")
    offset = float(arrays.get("offset", 0.0))
    linear = arrays.get("linear")
    dense = arrays.get("quadratic", arrays.get("Q"))
    if dense is not None:
        energy: Energy = DenseEnergy(dense, linear, offset)
    elif {"row", "col", "value"} <= set(arrays):
        if linear is None:
            linear = np.zeros(1 + int(max(arrays["row"].max(initial=-1), arrays["col"].max(initial=-1))))
        energy = SparseEnergy(arrays["row"], arrays["col"], arrays["value"], linear, offset)
    else:
        raise ValueError(
            f"file={str(path)!r} holds {', '.join(arrays) or 'nothing'}: give quadratic (or Q), or row, col and value"
        )
    return energy, list(range(energy.num_variables))


def _from_text(path: Path) -> dimod.BinaryQuadraticModel:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"file={str(path)!r} is not text: give .bqm, .json or .npz their endings") from error
    spin = any(line.startswith("#") and "vartype=SPIN" in line for line in lines)
    bqm = dimod.BinaryQuadraticModel("SPIN" if spin else "BINARY")
    for number, line in enumerate(lines, start=1):
        fields = line.split("#")[0].split()
        if not fields:
            continue
        try:
            i, j, value = int(fields[0]), int(fields[1]), float(fields[2])
        except (ValueError, IndexError):
            raise ValueError(
                f"file={str(path)!r}, line {number}: {line!r} is not «i j value»: two whole numbers and a value"
            ) from None
        if len(fields) != 3 or min(i, j) < 0 or not np.isfinite(value):
            raise ValueError(
                f"file={str(path)!r}, line {number}: {line!r} must be «i j value» with i, j ≥ 0 and a finite value"
            )
        if i == j:
            bqm.add_linear(i, value)
        else:
            bqm.add_quadratic(i, j, value)
    if not bqm.num_variables:
        raise ValueError(f"file={str(path)!r} holds no «i j value» line: there is nothing to minimise")
    ordered = dimod.BinaryQuadraticModel(bqm.vartype)
    for variable in sorted(bqm.variables):
        ordered.add_variable(variable)
    ordered.update(bqm)
    return ordered
