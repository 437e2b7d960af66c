"""The trained value: a network of ±1 weights, its answers, and its file of one bit per weight."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annealnet.binary.network.architecture import Architecture, Codes, check_codes, one_per_class, single_output
from annealnet.files import replacing

__all__ = ["BinaryNetwork"]

_MAGIC = b"ANB1"
Signs = NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class BinaryNetwork:
    """A feed-forward network with weights ±1 and sign activations; its scores are whole numbers.

    f_l = sign(W_l f_{l−1} + b_l), class scores C · (W_L f_{L−1}); the first of the largest scores wins.

    Args:
        shape: the layers.
        weights: int8 ±1, one ``(n_l, fan_in)`` per layer.
        biases: int16 ``(n_l,)`` per layer of signs where the shape has biases, else empty.
        codes: int8 ``(classes, n_L)``, see :func:`annealnet.binary.one_per_class`.

    Raises:
        ValueError: shapes that do not fit, weights that are not ±1.

    Example:
        >>> network = BinaryNetwork.random(Architecture((64, 256, 10)), one_per_class(10), seed=0)
        >>> network.num_bytes  # 18 944 weights of one bit, and 29 bytes around them
        2397
        >>> network.predict(np.ones((2, 64), dtype=np.int8)).shape
        (2,)
    """

    shape: Architecture
    weights: tuple[Signs, ...]
    biases: tuple[NDArray[np.int16], ...]
    codes: Codes

    def __post_init__(self) -> None:
        expected = self.shape.weight_shapes()
        if tuple(w.shape for w in self.weights) != expected:
            raise ValueError(f"weights have shapes {[w.shape for w in self.weights]}, the architecture has {list(expected)}")
        if any((np.abs(w) != 1).any() for w in self.weights):
            raise ValueError("weights hold something else than -1 and 1")
        sizes = self.shape.sizes[1:-1] if self.shape.bias else ()
        if tuple(len(b) for b in self.biases) != sizes:
            raise ValueError(f"biases have lengths {[len(b) for b in self.biases]}, the architecture has {list(sizes)}")
        check_codes(self.codes, self.shape.sizes[-1])

    @classmethod
    def random(cls, shape: Architecture, codes: Codes, seed: int) -> BinaryNetwork:
        """Fair coins for weights; biases of zero."""
        flat = np.random.default_rng(seed).choice(np.array([-1, 1], dtype=np.int8), shape.num_weights)
        return cls.from_flat(shape, codes, flat, np.zeros(shape.num_biases, dtype=np.int16))

    @classmethod
    def from_flat(cls, shape: Architecture, codes: Codes, w: Signs, b: NDArray[np.int16] | None = None) -> BinaryNetwork:
        """From all weights ``(W,)`` and biases in one row each, layer by layer."""
        biases: tuple[NDArray[np.int16], ...] = ()
        if shape.bias:
            given = np.zeros(shape.num_biases, np.int16) if b is None else np.asarray(b, dtype=np.int16)
            biases = tuple(np.split(given, np.cumsum(shape.sizes[1:-1])[:-1])) if len(shape.sizes) > 2 else ()
        return cls(shape, shape.split(np.asarray(w, dtype=np.int8)), biases, np.asarray(codes, dtype=np.int8))

    @property
    def flat_weights(self) -> Signs:
        """All weights ``(W,)``."""
        return np.concatenate([w.ravel() for w in self.weights])

    @property
    def flat_biases(self) -> NDArray[np.int16]:
        """All biases; zeros where the shape has none: ``(H,)``."""
        if not self.biases:
            return np.zeros(sum(self.shape.sizes[1:-1]), dtype=np.int16)
        return np.concatenate(self.biases)

    def scores(self, x: NDArray[np.int8]) -> NDArray[np.int64]:
        """Class scores of inputs ``(N, n_0)`` (±1, or whole numbers): ``(N, classes)``.

        The plain computation, for checking; :class:`annealnet.binary.PackedNetwork` is the fast one.

        Raises:
            ValueError: when ``x`` has another width.
        """
        inputs = np.asarray(x)
        if inputs.ndim != 2 or inputs.shape[1] != self.shape.sizes[0]:
            raise ValueError(f"x has shape {inputs.shape}: give (samples, {self.shape.sizes[0]})")
        layers = [inputs.astype(np.int64)]
        for m in range(1, self.shape.depth + 1):
            read = np.concatenate([layers[k] for k in self.shape.sources(m)], axis=1)
            z = read @ self.weights[m - 1].T.astype(np.int64)
            if m < self.shape.depth:
                z = z + (self.biases[m - 1] if self.biases else 0)
                layers.append(np.where(z > 0, 1, -1))
            else:
                found: NDArray[np.int64] = z @ self.codes.T.astype(np.int64)
                return found
        raise AssertionError("a network has at least one layer")

    def predict(self, x: NDArray[np.int8]) -> NDArray[np.int64]:
        """Class numbers ``(N,)``."""
        return np.asarray(self.scores(x).argmax(axis=1))

    def errors(self, x: NDArray[np.int8], y: NDArray[Any]) -> int:
        """Samples answered wrongly."""
        return int((self.predict(x) != y).sum())

    # ---- file ------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The file's content: header, one bit per weight (1 for +1), int16 biases, a checksum."""
        outputs = self.shape.sizes[-1]
        kind = 2
        if np.array_equal(self.codes, single_output()):
            kind = 0
        elif np.array_equal(self.codes, one_per_class(outputs)):
            kind = 1
        skips = self.shape.skips or ((),) * self.shape.depth
        head = struct.pack("<BBB", kind, self.shape.bias, len(self.shape.sizes))
        head += struct.pack(f"<{len(self.shape.sizes)}I", *self.shape.sizes)
        for skip in skips:
            head += struct.pack(f"<B{len(skip)}B", len(skip), *skip)
        if kind == 2:
            head += struct.pack("<I", len(self.codes)) + self.codes.tobytes()
        bits = np.packbits(self.flat_weights > 0, bitorder="little").tobytes()
        body = head + bits + (b"".join(b.astype("<i2").tobytes() for b in self.biases))
        return _MAGIC + struct.pack("<I", len(head)) + body + struct.pack("<I", zlib.crc32(body))

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return len(self.to_bytes())

    def save(self, path: str | Path) -> Path:
        """Writes the file under a temporary name, then renames it."""
        with replacing(path) as draft:
            draft.write_bytes(self.to_bytes())
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> BinaryNetwork:
        """Reads what :meth:`save` wrote.

        Raises:
            ValueError: for a file that is something else, cut off or damaged.
        """
        return cls.from_bytes(Path(path).read_bytes(), str(path))

    @classmethod
    def from_bytes(cls, content: bytes, name: str = "content") -> BinaryNetwork:
        """The network of :meth:`to_bytes`."""
        if content[:4] != _MAGIC or len(content) < 12:
            raise ValueError(f"{name!r} is no binary network: such a file begins with {_MAGIC.decode()}")
        body = content[8:-4]
        if zlib.crc32(body) != struct.unpack("<I", content[-4:])[0]:
            raise ValueError(f"{name!r} is cut off or damaged: its checksum does not fit")
        kind, bias, count = struct.unpack_from("<BBB", body)
        at = 3
        sizes = struct.unpack_from(f"<{count}I", body, at)
        at += 4 * count
        skips = []
        for _ in range(count - 1):
            length = body[at]
            skips.append(tuple(body[at + 1 : at + 1 + length]))
            at += 1 + length
        shape = Architecture(sizes, tuple(skips) if any(skips) else (), bool(bias))
        codes = single_output() if kind == 0 else one_per_class(sizes[-1])
        if kind == 2:
            (classes,) = struct.unpack_from("<I", body, at)
            codes = np.frombuffer(body, np.int8, classes * sizes[-1], at + 4).reshape(classes, sizes[-1]).copy()
            at += 4 + codes.size
        num_bytes = -(-shape.num_weights // 8)
        bits = np.unpackbits(np.frombuffer(body, np.uint8, num_bytes, at), count=shape.num_weights, bitorder="little")
        b = np.frombuffer(body, "<i2", shape.num_biases, at + num_bytes).astype(np.int16)
        return cls.from_flat(shape, codes, (2 * bits.astype(np.int8) - 1), b)
