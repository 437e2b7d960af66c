"""How many bytes a safetensors file takes, before it is written.

A file is eight bytes of header length, a JSON header padded to a multiple of eight, and the tensors' bytes.
The writer lists tensors by dtype, widest alignment first, then by name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

__all__ = ["TensorSpec", "dtype_name", "header_bytes", "safetensors_bytes"]

#: dtypes in the order of the format's enumeration, with the bytes of one element.
_ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "F64": 8,
    "I64": 8, "U64": 8,
}  # fmt: skip
_RANK = {name: rank for rank, name in enumerate(_ITEM_BYTES)}
_NAMES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.float16: "F16",
    torch.bfloat16: "BF16", torch.int32: "I32", torch.float32: "F32", torch.float64: "F64", torch.int64: "I64",
}  # fmt: skip


@dataclass(frozen=True)
class TensorSpec:
    """What the header says of a tensor: the format's dtype name and the shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes of its data."""
        return _ITEM_BYTES[self.dtype] * math.prod(self.shape)


def dtype_name(dtype: torch.dtype) -> str:
    """The format's name of a dtype.

    Raises:
        ValueError: for dtypes that cannot be stored.

    Example:
        >>> dtype_name(torch.float16)
        'F16'
    """
    if dtype not in _NAMES:
        raise ValueError(f"dtype={dtype} cannot be stored: convert the tensor to one of {', '.join(map(str, _NAMES))}")
    return _NAMES[dtype]


def header_bytes(specs: Mapping[str, TensorSpec]) -> int:
    """Bytes before the data: the length word and the padded header."""
    header, offset = {}, 0
    for name, spec in sorted(specs.items(), key=lambda item: (-_RANK[item[1].dtype], item[0])):
        end = offset + spec.num_bytes
        header[name] = {"dtype": spec.dtype, "shape": list(spec.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return 8 + -(-len(text) // 8) * 8


def safetensors_bytes(specs: Mapping[str, TensorSpec]) -> int:
    """Bytes of the whole file, without metadata.

    Example:
        >>> from safetensors.torch import save
        >>> safetensors_bytes({"w": TensorSpec("F32", (3, 2))}) == len(save({"w": torch.zeros(3, 2)}))
        True
    """
    return header_bytes(specs) + sum(spec.num_bytes for spec in specs.values())
