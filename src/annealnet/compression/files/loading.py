"""A compressed network rebuilt from what :mod:`.saving` wrote and a fresh instance of the dense one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from annealnet.compression.files.dense_graph import dense_graph
from annealnet.compression.files.packing import unpack
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.rest import rest, rest_name
from annealnet.compression.files.safetensors_layout import TensorSpec
from annealnet.compression.files.saving import PLAN_FILE, TENSOR_FILE
from annealnet.compression.files.sizes import file_specs, stored_layers
from annealnet.compression.files.stored_layer import StoredLayer
from annealnet.compression.network.given import network_in
from annealnet.compression.network.kinds import bias_of, layer_at, weight_of
from annealnet.compression.network.norms import fold_batch_norms
from annealnet.compression.network.precision import cast_like, copied, in_float32
from annealnet.compression.network.surgery import remove
from annealnet.compression.rounding.grids import Quantized, dequantize
from annealnet.compression.rounding.stored_numbers import EXPONENTS, from_halves

__all__ = ["load_compressed"]


def load_compressed(directory: str | Path, dense_model: nn.Module) -> nn.Module:
    """Rebuilds a compressed network from its two files and a fresh instance of the dense one.

    Args:
        directory: what :func:`~.saving.save_compressed` wrote.
        dense_model: the dense architecture; its weights do not matter, it is not changed. What comes back has its dtypes and
            devices, whatever those of the network were that was saved.

    Returns:
        The compressed network in evaluation mode, equal to the saved one bit for bit where their dtypes are the same.

    Raises:
        ValueError: when files are missing, truncated or damaged, or do not fit the architecture: names the tensor, what was
            found and expected. Nothing is allocated for a file before its sizes are known to be right.
    """
    source = Path(directory)
    for name in (PLAN_FILE, TENSOR_FILE):
        if not (source / name).is_file():
            raise ValueError(f"directory={str(source)!r} has no {name}: give a directory that save() wrote")
    plan = CompressionPlan.load(source / PLAN_FILE)
    given = network_in(dense_model, "dense_model")
    single = in_float32(given)
    dense_model = copied(given) if single is given else single
    path = source / TENSOR_FILE
    with _opened(path) as file:
        found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # not a dict
        specs = {name: TensorSpec(str(entry.get_dtype()), tuple(entry.get_shape())) for name, entry in found.items()}
        graph = dense_graph(dense_model, plan, source / PLAN_FILE)
        _check_specs(path, specs, file_specs(graph, dense_model, plan))
        tensors = {name: file.get_tensor(name) for name in specs}
    layers = stored_layers(graph, plan)
    model = remove(fold_batch_norms(dense_model, graph), graph, plan.keep(graph))
    try:
        _fill(model, layers, tensors)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; copy or save it again") from error
    model.requires_grad_(False)  # as it was saved: torch chooses its kernels by that, too
    return cast_like(model, given).eval()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file whose header has been read, and nothing else."""
    try:
        with safe_open(str(path), framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): copy or save it again") from error


def _check_specs(path: Path, found: Mapping[str, TensorSpec], expected: Mapping[str, TensorSpec]) -> None:
    for name, spec in expected.items():
        if name not in found:
            raise ValueError(f"{path} has no tensor {name!r}: it belongs to another network, or save it again")
        if found[name] != spec:
            raise ValueError(
                f"{path}: tensor {name!r} is {found[name].dtype} of shape {found[name].shape}, expected {spec.dtype} of "
                f"shape {spec.shape}: plan.json and the architecture must be those it was saved with"
            )
    unknown = sorted(set(found) - set(expected))
    if unknown:
        raise ValueError(f"{path} has a tensor {unknown[0]!r} that this network has no place for: give its architecture")


@torch.no_grad()
def _fill(model: nn.Module, layers: Mapping[str, StoredLayer], tensors: Mapping[str, Tensor]) -> None:
    """Puts a file's tensors, whose sizes are known to be right, into the network."""
    stream = tensors["codes"].numpy()
    count = sum(layer.num_exponents for layer in layers.values())
    exponents = iter(stream[:count].view(np.int8).tolist())
    at = 8 * count
    taken = dict.fromkeys(tensors, 0)

    def take(name: str, number: int) -> Tensor:
        taken[name] += number
        return tensors[name][taken[name] - number : taken[name]]

    for name, layer in layers.items():
        module = layer_at(model, name)
        weight, bias = weight_of(module), bias_of(module)
        codes = torch.from_numpy(unpack(stream, layer.weights, layer.grid, at)).reshape(weight.shape)
        at += layer.code_bits
        scale = _numbers(f"scales of layer {name!r}", take("scales", layer.num_scales), next(exponents))
        if not bool((scale > 0).all()):
            raise ValueError(f"scales of layer {name!r} are not all positive")
        zero = None if layer.grid.symmetric else take("zeros", layer.num_scales).reshape(layer.scale_shape)
        grid = Quantized(codes, scale.reshape(layer.scale_shape), layer.grid.bits, zero, layer.grid.group)
        weight.copy_(dequantize(grid))
        if bias is not None:
            bias.copy_(_numbers(f"biases of layer {name!r}", take("biases", layer.outputs), next(exponents)))
    for tensor in rest(model, list(layers)).values():
        tensor.copy_(take(rest_name(tensor), tensor.numel()).reshape(tensor.shape))


def _numbers(what: str, halves: Tensor, exponent: int) -> Tensor:
    if not EXPONENTS[0] <= exponent <= EXPONENTS[1]:
        raise ValueError(f"{what} have exponent {exponent}, outside {EXPONENTS[0]} … {EXPONENTS[1]}")
    if not bool(torch.isfinite(halves).all()):
        raise ValueError(f"{what} hold NaN or infinite numbers")
    return torch.from_numpy(from_halves(halves.numpy(), exponent))
