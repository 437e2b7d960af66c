"""Sizes of safetensors files, said before they are written."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from annealnet.compression.files.safetensors_layout import TensorSpec, dtype_name, header_bytes, safetensors_bytes

DTYPES = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.float16, torch.bfloat16, torch.int32)
DTYPES += (torch.float32, torch.float64, torch.int64)


@settings(max_examples=50, deadline=None)
@given(
    tensors=st.dictionaries(
        st.text("abcxyz._0é", min_size=1, max_size=8),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 12), max_size=3)),
        min_size=1,
        max_size=6,
    )
)
def test_file_sizes_of_any_tensors(tensors: dict[str, tuple[torch.dtype, list[int]]]) -> None:
    specs = {name: TensorSpec(dtype_name(dtype), tuple(shape)) for name, (dtype, shape) in tensors.items()}
    content = {name: torch.zeros(shape, dtype=dtype) for name, (dtype, shape) in tensors.items()}
    assert safetensors_bytes(specs) == len(save(content))


def test_the_header_is_what_stands_before_the_data() -> None:
    content = save({"b": torch.zeros(2), "a": torch.zeros(3, dtype=torch.int64)})
    specs = {"b": TensorSpec("F32", (2,)), "a": TensorSpec("I64", (3,))}
    assert header_bytes(specs) == len(content) - 8 - 24 == 8 + int.from_bytes(content[:8], "little")


def test_an_empty_file_is_two_braces() -> None:
    assert safetensors_bytes({}) == len(save({}))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn, torch.qint8])
def test_dtypes_that_cannot_be_stored_are_named(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"dtype={dtype} cannot be stored: convert"):
        dtype_name(dtype)
