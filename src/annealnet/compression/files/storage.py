"""The compressed network on disk: ``plan.json`` and a lean ``model.safetensors``, no pickle.

    bytes = plan.json + header + Σ_layers ⌈weights · bits / 8⌉ + 2 per scale + 1 per zero point + 2 per bias + rest

Tensors: ``codes`` uint8, all layers' codes packed, each layer filled up to a byte; ``scales`` and ``biases``
float16, layer after layer (float32 for the whole tensor where float16 would lose a value: twice the bytes);
``rest.<dtype>``, what is not quantised (batch norms that could not be folded, embeddings, …), flat, in the
order of the state dict. Names are not repeated in the file: the order of layers is that of ``bits`` in the
plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from annealnet.compression.files.packing import pack, packed_bytes, unpack
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.safetensors_layout import TensorSpec, dtype_name, header_bytes, safetensors_bytes
from annealnet.compression.network.graph import trace
from annealnet.compression.network.kinds import bias_of, own_tensors, weight_of
from annealnet.compression.network.norms import fold_batch_norms
from annealnet.compression.network.precision import in_float32
from annealnet.compression.network.structure import NetworkGraph, slots_kept
from annealnet.compression.network.surgery import remove
from annealnet.compression.rounding.grids import MAX_BITS, Quantized, dequantize
from annealnet.files import replacing

__all__ = [
    "PLAN_FILE",
    "TENSOR_FILE",
    "dense_bytes",
    "file_bytes",
    "fixed_bytes",
    "load_compressed",
    "put_on_grid",
    "save_compressed",
]

PLAN_FILE = "plan.json"
TENSOR_FILE = "model.safetensors"


# ---- bytes before anything is written --------------------------------------------------------------------


def dense_bytes(model: nn.Module) -> int:
    """Bytes of the model's state dict as a float32 safetensors file.

    Example:
        >>> dense_bytes(nn.Linear(3, 2, bias=False))
        96
    """
    specs = {}
    for name, tensor in model.state_dict().items():
        dtype = "F32" if tensor.is_floating_point() else dtype_name(tensor.dtype)
        specs[name] = TensorSpec(dtype, tuple(tensor.shape))
    return safetensors_bytes(specs)


def file_bytes(graph: NetworkGraph, model: nn.Module, plan: CompressionPlan) -> int:
    """Bytes that :func:`save_compressed` will write for a plan, both files together, exactly.

    Args:
        graph: of the dense network.
        model: the dense network, batch norms folded or not.
        plan: channels kept and widths.

    Example:
        >>> import tempfile
        >>> from annealnet.compression.rounding import NearestRounding
        >>> net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> graph = trace(net, torch.zeros(1, 6))
        >>> plan = CompressionPlan.of(graph, np.arange(8) % 2 == 0, {"0": 3, "2": 8})
        >>> small = remove(net, graph, plan.keep(graph))
        >>> grids = {n: NearestRounding()(small.get_submodule(n).weight, b, None) for n, b in plan.bits.items()}
        >>> with tempfile.TemporaryDirectory() as out:
        ...     _ = save_compressed(out, plan, put_on_grid(small, grids), grids)
        ...     sum(path.stat().st_size for path in Path(out).iterdir()) == file_bytes(graph, net, plan)
        True
    """
    specs = _specs(graph, model, plan)
    return len(plan.to_json().encode()) + safetensors_bytes(specs)


def fixed_bytes(graph: NetworkGraph, model: nn.Module, input_shape: tuple[int, ...] | None = None) -> int:
    """Bytes that no plan exceeds beside its layers' own: ``plan.json``, the header, and what is not quantised.

    With w_l weights, n_l outputs and b_l bits per layer, every plan's files take at most
    ``fixed_bytes + Σ_l ⌈w_l b_l / 8⌉ + Σ_l n_l (2 + 2 · [stores_bias])`` bytes; at most 16 fewer for digits
    of the header, and 16 fewer for each removed channel of a batch norm that could not be folded.

    Args:
        graph: of the dense network.
        model: the dense network, batch norms folded or not.
        input_shape: one sample's shape; None takes the traced one.
    """
    keep = np.ones(graph.num_units, dtype=bool)
    bits = {layer.name: MAX_BITS for layer in graph.layers}
    plan = CompressionPlan.of(graph, keep, bits, input_shape)
    specs = _specs(graph, model, plan)
    rest = sum(spec.num_bytes for name, spec in specs.items() if name.startswith("rest."))
    return len(plan.to_json().encode()) + header_bytes(specs) + rest


def _specs(graph: NetworkGraph, model: nn.Module, plan: CompressionPlan) -> dict[str, TensorSpec]:
    """The tensors of the file for a choice of channels and widths."""
    keep = plan.keep(graph)
    codes = sum(packed_bytes(graph.weights(layer, keep), plan.bits[layer.name]) for layer in graph.layers)
    outputs = {layer.name: int(slots_kept(layer.out_units, keep).sum()) for layer in graph.layers}
    scales = sum(
        count * plan.grid(layer.name).groups(graph.weights(layer, keep) // max(1, count))
        for layer, count in zip(graph.layers, outputs.values(), strict=True)
    )
    specs = {"codes": TensorSpec("U8", (codes,)), "scales": TensorSpec("F16", (scales,))}
    if not plan.symmetric:
        specs["zeros"] = TensorSpec("I8", (scales,))
    biases = sum(outputs[layer.name] for layer in graph.layers if layer.stores_bias)
    if biases:
        specs["biases"] = TensorSpec("F16", (biases,))
    folded = tuple(f"{norm.name}." for norm in graph.norms if norm.folded_into is not None)
    kept = {norm.name: slots_kept(norm.units, keep) for norm in graph.norms if norm.folded_into is None}
    sizes: dict[str, int] = {}
    for name, tensor in _rest(model, [layer.name for layer in graph.layers]).items():
        if not name.startswith(folded):
            channels = kept.get(name.rpartition(".")[0])
            size = int(channels.sum()) if channels is not None and tensor.ndim else tensor.numel()
            sizes[_rest_name(tensor)] = sizes.get(_rest_name(tensor), 0) + size
    return specs | {name: TensorSpec(name.removeprefix("rest."), (size,)) for name, size in sizes.items()}


def _rest(model: nn.Module, layers: list[str]) -> dict[str, Tensor]:
    """The state dict without the layers' weights and biases."""
    own = {part for name in layers for part in own_tensors(name, model.get_submodule(name))}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in own and tensor.numel()}


def _rest_name(tensor: Tensor) -> str:
    return f"rest.{dtype_name(tensor.dtype)}"


# ---- writing ---------------------------------------------------------------------------------------------


@torch.no_grad()
def put_on_grid(model: nn.Module, quantized: Mapping[str, Quantized]) -> nn.Module:
    """Sets the layers' weights to their grid values and their biases to float16 numbers, in place; returns the model."""
    for name, grid in quantized.items():
        module = model.get_submodule(name)
        weight_of(module).copy_(dequantize(grid))
        bias = bias_of(module)
        if bias is not None:
            bias.copy_(bias.half().float())
    return model


def save_compressed(
    directory: str | Path, plan: CompressionPlan, model: nn.Module, quantized: Mapping[str, Quantized]
) -> Path:
    """Writes ``plan.json`` and ``model.safetensors``, each to a temporary name first.

    Args:
        directory: made where it does not exist.
        plan: what was decided.
        model: the network after surgery, batch norms folded, its weights on the grids.
        quantized: the grid values of every layer of the plan.

    Returns:
        The directory.

    Raises:
        ValueError: when plan, model and grid values do not agree.
    """
    tensors = _tensors(plan, model, quantized)
    target = Path(directory)
    with replacing(target / TENSOR_FILE) as draft:
        save_file(tensors, str(draft))
    with replacing(target / PLAN_FILE) as draft:
        draft.write_text(plan.to_json(), encoding="utf-8")
    return target


def _tensors(plan: CompressionPlan, model: nn.Module, quantized: Mapping[str, Quantized]) -> dict[str, Tensor]:
    if set(plan.bits) != set(quantized):
        different = sorted(set(plan.bits) ^ set(quantized))
        raise ValueError(f"quantized and plan.bits do not name the same layers: {different[0]!r} is in one only")
    codes, scales, zeros, biases = [], [], [], []
    for name in plan.bits:
        grid, module = quantized[name], model.get_submodule(name)
        if grid.grid != plan.grid(name):
            raise ValueError(f"quantized[{name!r}] lies on {grid.grid}, the plan says {plan.grid(name)}")
        if not torch.equal(dequantize(grid), weight_of(module).detach()):
            raise ValueError(f"model: layer {name!r} does not hold its grid values: call put_on_grid(model, quantized)")
        codes.append(torch.from_numpy(pack(grid.codes.numpy(), grid.grid)))
        scales.append(grid.scale.reshape(-1))
        if grid.zero is not None:
            zeros.append(grid.zero.reshape(-1))
        bias = bias_of(module)
        if bias is not None:
            biases.append(bias.detach())
    tensors = {"codes": torch.cat(codes), "scales": _narrowest(torch.cat(scales))}
    if zeros:
        tensors["zeros"] = torch.cat(zeros)
    if biases:
        tensors["biases"] = _narrowest(torch.cat(biases))
    rest: dict[str, list[Tensor]] = {}
    for tensor in _rest(model, list(plan.bits)).values():
        rest.setdefault(_rest_name(tensor), []).append(tensor.detach().reshape(-1))
    return tensors | {name: torch.cat(parts) for name, parts in rest.items()}


def _narrowest(values: Tensor) -> Tensor:
    """float16 where that keeps every value, else float32."""
    half = values.half()
    return half if torch.equal(half.float(), values) else values.float()


# ---- reading ---------------------------------------------------------------------------------------------


def load_compressed(directory: str | Path, dense_model: nn.Module) -> nn.Module:
    """Rebuilds a compressed network from its two files and a fresh instance of the dense one.

    Args:
        directory: what :func:`save_compressed` wrote.
        dense_model: the dense architecture; its weights do not matter, it is not changed.

    Returns:
        The compressed network in evaluation mode, equal to the saved one bit for bit.

    Raises:
        ValueError: when files are missing or truncated, or do not fit the architecture: names the tensor,
        what was
            found and expected.
    """
    source = Path(directory)
    for name in (PLAN_FILE, TENSOR_FILE):
        if not (source / name).is_file():
            raise ValueError(f"directory={str(source)!r} has no {name}: give a directory that save() wrote")
    plan = CompressionPlan.load(source / PLAN_FILE)
    dtype = getattr(torch, plan.input_dtype, None)
    if not isinstance(dtype, torch.dtype) or not plan.input_shape:
        raise ValueError(f"{source / PLAN_FILE} does not say what the input is: save the network again")
    dense_model = in_float32(dense_model)
    graph = trace(dense_model, torch.zeros((1, *plan.input_shape), dtype=dtype))
    model = remove(fold_batch_norms(dense_model, graph), graph, plan.keep(graph))
    path = source / TENSOR_FILE
    try:
        tensors = load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): copy or save it again") from error
    _check_sizes(path, tensors, _specs(graph, dense_model, plan))
    _fill(model, plan, tensors)
    return model.eval()


def _check_sizes(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, TensorSpec]) -> None:
    for name, spec in expected.items():
        if name not in found:
            raise ValueError(f"{path} has no tensor {name!r}: it belongs to another network, or save it again")
        tensor = found[name]
        dtypes = {spec.dtype, "F32"} if name in ("scales", "biases") else {spec.dtype}
        if tuple(tensor.shape) != spec.shape or dtype_name(tensor.dtype) not in dtypes:
            raise ValueError(
                f"{path}: tensor {name!r} is {dtype_name(tensor.dtype)} of shape {tuple(tensor.shape)}, expected "
                f"{spec.dtype} of shape {spec.shape}: plan.json and the architecture must be those it was saved with"
            )
    unknown = sorted(set(found) - set(expected))
    if unknown:
        raise ValueError(f"{path} has a tensor {unknown[0]!r} that this network has no place for: give its architecture")


@torch.no_grad()
def _fill(model: nn.Module, plan: CompressionPlan, tensors: Mapping[str, Tensor]) -> None:
    taken = dict.fromkeys(tensors, 0)

    def take(name: str, count: int) -> Tensor:
        taken[name] += count
        return tensors[name][taken[name] - count : taken[name]]

    for name, bits in plan.bits.items():
        module = model.get_submodule(name)
        weight, bias = weight_of(module), bias_of(module)
        grid = plan.grid(name)
        packed = take("codes", packed_bytes(weight.numel(), bits)).numpy()
        codes = torch.from_numpy(unpack(packed, weight.numel(), grid)).reshape(weight.shape)
        shape = (len(weight),) if grid.group is None else (len(weight), grid.groups(weight[0].numel()))
        scale = take("scales", math.prod(shape)).float().reshape(shape)
        zero = None if grid.symmetric else take("zeros", math.prod(shape)).reshape(shape)
        weight.copy_(dequantize(Quantized(codes, scale, bits, zero, grid.group)))
        if bias is not None:
            bias.copy_(take("biases", len(weight)).float())
    for tensor in _rest(model, list(plan.bits)).values():
        tensor.copy_(take(_rest_name(tensor), tensor.numel()).reshape(tensor.shape))
