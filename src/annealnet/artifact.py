"""One file for a small network and all that its answers need: preparation, labels, network. Raw features in, labels out.

A safetensors file (no pickle): arrays under short names, and facts as JSON values in its metadata. A checksum over both
tells damage; every fact is asked for by kind and bounds (:mod:`annealnet.parts`): a hostile file ends in a ValueError.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from annealnet.files import replacing
from annealnet.parts import Parts
from annealnet.preparation import Preparation

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Deployed", "SmallNetwork"]

_VERSION = 1
#: Who reads the network of a job: module and class.
_JOBS = {
    "binary": "annealnet.binary.deploy:DeployedBinary",
    "selection": "annealnet.selection.deploy:DeployedSelection",
    "ising": "annealnet.ising.deploy:DeployedIsing",
}


class Deployed(Protocol):
    """A network as it answers: what each job's ``deploy`` gives.

    Attributes:
        job: in files.
    """

    job: ClassVar[str]

    def scores(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Prepared inputs ``(N, width)`` → scores ``(N, classes)``."""

    def to_module(self) -> nn.Module:
        """The same in PyTorch, float32."""

    def to_parts(self) -> Parts:
        """For a file."""

    @classmethod
    def from_parts(cls, parts: Parts, preparation: Preparation) -> Deployed:
        """What :meth:`to_parts` gave.

        Raises:
            ValueError: parts that do not fit together, or to the preparation.
        """


@dataclass(frozen=True, eq=False)
class SmallNetwork:
    """A network of one of the three small jobs, ready to answer.

    Attributes:
        preparation: of raw features and labels.
        network: what answers.

    Example:
        >>> import tempfile
        >>> import annealnet as an
        >>> x, y = np.array([[0.0, 900.0], [1.0, 100.0], [0.1, 800.0], [0.9, 150.0]]), ["no", "yes", "no", "yes"]
        >>> model = an.BinaryNetworkClassifier(hidden=(2,), sweeps=20, random_state=0).fit(x, y)
        >>> path = model.save(tempfile.mkdtemp() + "/net.anb")
        >>> an.load(path).predict(x).tolist()
        ['no', 'yes', 'no', 'yes']
    """

    preparation: Preparation
    network: Deployed

    def decision_function(self, X: Any) -> NDArray[np.float32]:
        """Scores ``(samples, classes)``; with two classes that of the second above the first, ``(samples,)``.

        Raises:
            ValueError: another number of features, NaN or infinite numbers.
        """
        scores = self.network.scores(self.preparation.inputs(X))
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels ``(samples,)`` of raw features ``(samples, features)``; errors as :meth:`decision_function`."""
        return self.preparation.decode(self.decision_function(X))

    def to_module(self) -> nn.Module:
        """Raw features ``(samples, features)`` → scores ``(samples, classes)``, in PyTorch."""
        from annealnet.preparation.module import prepared_module

        return prepared_module(self.preparation.coding, self.network.to_module())

    def export_onnx(self, path: str | Path) -> Path:
        """The same as an ONNX file; needs ``annealnet[onnx]``."""
        import torch

        from annealnet.exporting import export_module_onnx

        return export_module_onnx(self.to_module(), torch.zeros(2, self.preparation.coding.features), path)

    # ---- file ------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The file's content.

        Raises:
            ValueError: labels that no file can hold.
        """
        parts = self.preparation.to_parts() | self.network.to_parts()
        facts = {"job": self.network.job, **parts.facts}
        text = {name: json.dumps(value, separators=(",", ":"), ensure_ascii=False) for name, value in facts.items()}
        arrays = {name: np.ascontiguousarray(array) for name, array in parts.arrays.items() if array.size}
        return _written(arrays, {"annealnet": str(_VERSION), **text, "crc": str(_checksum(arrays, text))})

    @property
    def num_bytes(self) -> int:
        """Size of the file: everything that an answer needs."""
        return len(self.to_bytes())

    def save(self, path: str | Path) -> Path:
        """Writes the file under a temporary name, then renames it; gives the path."""
        content = self.to_bytes()
        with replacing(path) as draft:
            draft.write_bytes(content)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> SmallNetwork:
        """Reads what :meth:`save` wrote.

        Raises:
            ValueError: a file that is something else, of a newer version, cut off or damaged.
        """
        parts = _read(Path(path))
        preparation = Preparation.from_parts(parts)
        module, _, name = _JOBS[parts.choice("job", tuple(_JOBS))].partition(":")
        kind: type[Deployed] = getattr(import_module(module), name)
        return cls(preparation, kind.from_parts(parts, preparation))


#: safetensors' names of our dtypes.
_DTYPES = {"uint8": "U8", "int8": "I8", "int16": "I16", "float16": "F16", "float32": "F32"}


def _written(arrays: dict[str, NDArray[Any]], metadata: dict[str, str]) -> bytes:
    """A safetensors file, byte for byte the same each time (the library's own writer shuffles the metadata)."""
    header: dict[str, Any] = {"__metadata__": metadata}
    data, at = [], 0
    for name in sorted(arrays, key=lambda name: (-arrays[name].itemsize, name)):  # aligned without gaps
        array, begin = arrays[name], at
        at += array.nbytes
        header[name] = {"dtype": _DTYPES[str(array.dtype)], "shape": list(array.shape), "data_offsets": [begin, at]}
        data.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(data)


def _checksum(arrays: dict[str, NDArray[Any]], text: dict[str, str]) -> int:
    found = 0
    for name in sorted(text):
        found = zlib.crc32(f"{name}={text[name]};".encode(), found)
    for name in sorted(arrays):
        found = zlib.crc32(f"{name}:{arrays[name].dtype.str}{arrays[name].shape}".encode(), found)
        found = zlib.crc32(arrays[name].tobytes(), found)
    return found


def _read(path: Path) -> Parts:
    """Arrays and facts of a file whose checksum fits."""
    other = ValueError(f"{path} is no network file of annealnet, cut off or damaged: give a file written by save()")
    try:
        with safe_open(path, framework="np") as file:
            text = dict(file.metadata() or {})
            if "annealnet" not in text:
                raise other
            arrays = {name: file.get_tensor(name) for name in list(file.keys())}
    except (SafetensorError, TypeError, KeyError, AttributeError, MemoryError) as error:
        raise other from error
    version, crc = text.pop("annealnet"), text.pop("crc", "")
    if version != str(_VERSION):
        raise ValueError(f"{path} is of version {version:.20}, this annealnet reads version {_VERSION}: install a newer one")
    if crc != str(_checksum(arrays, text)):
        raise other
    try:
        facts = {name: json.loads(value) for name, value in text.items()}
    except (ValueError, RecursionError) as error:
        raise other from error
    return Parts(arrays, facts, str(path))
