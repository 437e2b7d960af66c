"""The compressed network on disk: ``plan.json`` and a lean ``model.safetensors``, no pickle.

    bytes = plan.json + header + ⌈Σ_layers bits / 8⌉ + rest,      bits: those of a :class:`.StoredLayer`

Tensors: ``codes`` uint8, all exponents and then all layers' codes, bit after bit; ``scales`` and ``biases`` float16, layer
after layer, to be multiplied by 2^exponent; ``zeros`` int8 on asymmetric grids; ``rest.<dtype>``, what is not quantised
(norms over features, batch norms that could not be folded, class tokens, …), flat, in the order of the state dict. Names are
not repeated in the file: the order of layers is that of ``bits`` in the plan.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from annealnet.compression.files.packing import pack, unpack
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.safetensors_layout import TensorSpec, dtype_name, header_bytes, safetensors_bytes
from annealnet.compression.files.stored_layer import StoredLayer, stored_specs
from annealnet.compression.network.given import network_in
from annealnet.compression.network.graph import traced_again
from annealnet.compression.network.inputs import Inputs, Signature
from annealnet.compression.network.kinds import bias_of, layer_at, own_tensors, weight_of
from annealnet.compression.network.norms import fold_batch_norms
from annealnet.compression.network.precision import cast_like, copied, in_float32
from annealnet.compression.network.structure import NetworkGraph, slots_kept
from annealnet.compression.network.surgery import remove
from annealnet.compression.network.ties import distinct_state
from annealnet.compression.rounding.grids import MAX_BITS, Grid, Quantized, dequantize
from annealnet.compression.rounding.stored_numbers import EXPONENTS, from_halves, stored_bias, to_halves
from annealnet.files import replacing

__all__ = [
    "PLAN_FILE",
    "TENSOR_FILE",
    "dense_bytes",
    "file_bytes",
    "fixed_bytes",
    "leaving_bytes",
    "load_compressed",
    "put_on_grid",
    "save_compressed",
]

PLAN_FILE = "plan.json"
TENSOR_FILE = "model.safetensors"
#: Elements of the largest input on which a network is run to see its structure, where shapes alone do not tell.
_LARGEST_RUN = 2**22


# ---- bytes before anything is written --------------------------------------------------------------------


def dense_bytes(model: nn.Module) -> int:
    """Bytes of the model's state dict as a safetensors file: two of each bfloat16 or float16 number, four of a float32 one.

    A float64 network is counted as the float32 file that serves as well.

    Example:
        >>> dense_bytes(nn.Linear(3, 2, bias=False)), dense_bytes(nn.Linear(3, 2, bias=False).bfloat16())
        (96, 84)
    """
    specs = {}
    for name, tensor in distinct_state(model).items():
        dtype = torch.float32 if tensor.dtype == torch.float64 else tensor.dtype
        specs[name] = TensorSpec(dtype_name(dtype), tuple(tensor.shape))
    return safetensors_bytes(specs)


def file_bytes(graph: NetworkGraph, model: nn.Module, plan: CompressionPlan) -> int:
    """Bytes that :func:`save_compressed` will write for a plan, both files together, exactly.

    Args:
        graph: of the dense network.
        model: the dense network, batch norms folded or not.
        plan: channels kept and widths.

    Example:
        >>> import tempfile
        >>> from annealnet.compression.network.graph import trace
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


def fixed_bytes(graph: NetworkGraph, model: nn.Module, grid: Grid | None = None) -> int:
    """Bytes that no plan exceeds beside its layers' own: ``plan.json``, the header, and what is not quantised.

    Every plan's files take at most ``fixed_bytes + ⌈Σ_l bits_l / 8⌉`` bytes, with the bits of a :class:`.StoredLayer`, less
    the :func:`leaving_bytes` of what it removes; at most 16 fewer for digits of the header.

    Args:
        graph: of the dense network.
        model: the dense network, batch norms folded or not.
        grid: how scales are shared; None is one scale per output channel.
    """
    keep = np.ones(graph.num_units, dtype=bool)
    bits = {layer.name: MAX_BITS for layer in graph.layers}
    plan = CompressionPlan.of(graph, keep, bits, grid)
    specs = _specs(graph, model, plan)
    rest = sum(spec.num_bytes for name, spec in specs.items() if name.startswith("rest."))
    return len(plan.to_json().encode()) + header_bytes(specs) + rest


def leaving_bytes(graph: NetworkGraph, model: nn.Module) -> tuple[int, ...]:
    """Bytes outside layers that leave with each unit, ``(num_units,)``: its numbers in norms that were not folded,
    and in the tensors beside.

    Args:
        graph: of the dense network.
        model: the dense network, batch norms folded or not.

    Example:
        >>> from annealnet.compression.network.graph import trace
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 1, 1))
        >>> leaving_bytes(trace(net, torch.zeros(1, 1, 5, 5)), net)    # 2 of γ and 2 of β, 4 bytes each
        (16, 16)
    """
    leaving = np.zeros(graph.num_units + 1, dtype=np.int64)  # the last stands for -1
    for name, tensor in _rest(model, [layer.name for layer in graph.layers]).items():
        units = _slots(graph, name, tensor)
        if units is not None:
            np.add.at(leaving, units, tensor.element_size() * (tensor.numel() // len(units)))
    return tuple(leaving[:-1].tolist())


def _slots(graph: NetworkGraph, name: str, tensor: Tensor) -> np.ndarray | None:
    """The units along the dimension in which a tensor outside the layers loses entries; None where it does not."""
    norms = {norm.name: norm.units for norm in graph.norms if norm.folded_into is None}
    beside = {one.name: one.units for one in graph.beside}
    return beside.get(name, norms.get(name.rpartition(".")[0]) if tensor.ndim else None)


def _layers(graph: NetworkGraph, plan: CompressionPlan) -> dict[str, StoredLayer]:
    """What the file holds of each layer, in the plan's order."""
    keep = plan.keep(graph)
    return {name: StoredLayer.of(graph, graph.layer(name), keep, plan.grid(name)) for name in plan.bits}


def _specs(graph: NetworkGraph, model: nn.Module, plan: CompressionPlan) -> dict[str, TensorSpec]:
    """The tensors of the file for a choice of channels and widths."""
    keep = plan.keep(graph)
    specs = stored_specs(_layers(graph, plan).values())
    folded = tuple(f"{norm.name}." for norm in graph.norms if norm.folded_into is not None)
    sizes: dict[str, int] = {}
    for name, tensor in _rest(model, [layer.name for layer in graph.layers]).items():
        if not name.startswith(folded):
            units = _slots(graph, name, tensor)
            size = tensor.numel() if units is None else tensor.numel() // len(units) * int(slots_kept(units, keep).sum())
            sizes[_rest_name(tensor)] = sizes.get(_rest_name(tensor), 0) + size
    return specs | {name: TensorSpec(name.removeprefix("rest."), (size,)) for name, size in sizes.items()}


def _rest(model: nn.Module, layers: list[str]) -> dict[str, Tensor]:
    """The state dict without the layers' weights and biases."""
    own = {part for name in layers for part in own_tensors(name, layer_at(model, name))}
    return {name: tensor for name, tensor in distinct_state(model).items() if name not in own and tensor.numel()}


def _rest_name(tensor: Tensor) -> str:
    return f"rest.{dtype_name(torch.float32 if tensor.is_floating_point() else tensor.dtype)}"


def _in_file(tensor: Tensor) -> Tensor:
    """What is not quantised, as a file holds it whatever the network's dtype is: numbers in float32."""
    return tensor.detach().cpu().float() if tensor.is_floating_point() else tensor.detach().cpu()


# ---- writing ---------------------------------------------------------------------------------------------


@torch.no_grad()
def put_on_grid(model: nn.Module, quantized: Mapping[str, Quantized]) -> nn.Module:
    """Sets the layers' weights to their grid values and their biases to what a file holds, in place; returns the model.

    In a network of a narrower dtype both are rounded to it; a file holds the grid values themselves, and these biases.
    """
    for name, grid in quantized.items():
        module = layer_at(model, name)
        weight_of(module).copy_(dequantize(grid))
        bias = bias_of(module)
        if bias is not None:
            bias.copy_(stored_bias(bias))
    return model


def save_compressed(
    directory: str | Path, plan: CompressionPlan, model: nn.Module, quantized: Mapping[str, Quantized]
) -> Path:
    """Writes ``plan.json`` and ``model.safetensors``, each to a temporary name first.

    Args:
        directory: made where it does not exist.
        plan: what was decided.
        model: the network after surgery, batch norms folded, its weights on the grids, or rounded from there to its dtype.
        quantized: the grid values of every layer of the plan; the file holds these, exactly, whatever the model's dtype is.

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
    layers = [_checked(name, plan, model, quantized[name]) for name in plan.bits]
    stream = np.zeros(stored_specs(layers)["codes"].num_bytes, dtype=np.uint8)
    exponents: list[int] = []
    parts: dict[str, list[Tensor]] = {"scales": [], "zeros": [], "biases": []}
    at = 8 * sum(layer.num_exponents for layer in layers)
    for name, layer in zip(plan.bits, layers, strict=True):
        grid, module = quantized[name], layer_at(model, name)
        packed = pack(grid.codes.numpy(), grid.grid, at % 8)
        stream[at // 8 : at // 8 + len(packed)] |= packed
        at += layer.code_bits
        numbers = {"scales": grid.scale}
        if grid.zero is not None:
            parts["zeros"].append(grid.zero.reshape(-1))
        bias = bias_of(module)
        if bias is not None:
            numbers["biases"] = bias.detach()
        for part, values in numbers.items():
            halves, exponent = _halves(f"{part} of layer {name!r}", values)
            parts[part].append(halves)
            exponents.append(exponent)
    stream[: len(exponents)] = np.array(exponents, dtype=np.int8).view(np.uint8)
    for tensor in _rest(model, list(plan.bits)).values():
        parts.setdefault(_rest_name(tensor), []).append(_in_file(tensor).reshape(-1))
    return {"codes": torch.from_numpy(stream)} | {name: torch.cat(found) for name, found in parts.items() if found}


def _checked(name: str, plan: CompressionPlan, model: nn.Module, grid: Quantized) -> StoredLayer:
    """A layer of the model, when plan, module and grid values agree."""
    module = layer_at(model, name)
    if grid.grid != plan.grid(name):
        raise ValueError(f"quantized[{name!r}] lies on {grid.grid}, the plan says {plan.grid(name)}")
    weight = weight_of(module).detach().cpu()
    if not torch.equal(dequantize(grid).to(weight.dtype), weight):
        raise ValueError(f"model: layer {name!r} does not hold its grid values: call put_on_grid(model, quantized)")
    return StoredLayer(len(grid.codes), grid.codes[0].numel(), grid.grid, bias_of(module) is not None)


def _halves(what: str, values: Tensor) -> tuple[Tensor, int]:
    """Numbers as the file holds them: float16, flat, and their exponent."""
    numbers = values.reshape(-1).cpu().float().numpy()
    halves, exponent = to_halves(numbers)
    if not np.array_equal(from_halves(halves, exponent), numbers):
        raise ValueError(f"{what} are not numbers that a file holds: take Quantized.stored and put_on_grid")
    return torch.from_numpy(halves), exponent


# ---- reading ---------------------------------------------------------------------------------------------


def load_compressed(directory: str | Path, dense_model: nn.Module) -> nn.Module:
    """Rebuilds a compressed network from its two files and a fresh instance of the dense one.

    Args:
        directory: what :func:`save_compressed` wrote.
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
        graph = _traced(dense_model, plan, source / PLAN_FILE)
        _check_specs(path, specs, _specs(graph, dense_model, plan))
        tensors = {name: file.get_tensor(name) for name in specs}
    layers = _layers(graph, plan)
    model = remove(fold_batch_norms(dense_model, graph), graph, plan.keep(graph))
    try:
        _fill(model, layers, tensors)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; copy or save it again") from error
    model.requires_grad_(False)  # as it was saved: torch chooses its kernels by that, too
    return cast_like(model, given).eval()


def _traced(dense_model: nn.Module, plan: CompressionPlan, source: Path) -> NetworkGraph:
    """The dense network's structure for the plan's input.

    A plan may name any input, so that shapes alone are computed, without memory for values. Only networks that have to be
    exported, or in which a value decides what is computed, are run, on inputs that are not large.
    """
    if not any(sample.shape for sample in plan.inputs.samples):
        raise ValueError(f"{source} does not say what the input is: save the network again")
    said = _in_words(plan.inputs)

    def again(inputs: Inputs) -> NetworkGraph:
        return traced_again(dense_model, inputs, plan.way, tuple(plan.bits), tuple(plan.kept), plan.sizes)

    def misfit(error: Exception) -> ValueError:
        return ValueError(f"{source}: its input {said} does not fit the dense model: {str(error).splitlines()[0]}")

    if plan.way == "symbolic":
        with FakeTensorMode(allow_non_fake_inputs=True):
            shapes_only = plan.inputs.zeros()
        try:
            with _silent("torch._subclasses.fake_tensor"):
                return again(shapes_only)
        except ValueError as error:
            if not isinstance(error.__cause__, DataDependentOutputException | DynamicOutputShapeException):
                raise misfit(error) from error
    if plan.inputs.num_elements > _LARGEST_RUN:
        raise ValueError(f"{source}: its input {said} has more than {_LARGEST_RUN} elements: too many to run")
    try:
        return again(plan.inputs.zeros())
    except ValueError as error:
        raise misfit(error) from error


def _in_words(called: Signature) -> str:
    if called.is_single:
        return str(called.args[0].shape)
    text = ", ".join(f"{name} {sample.shape}" for name, sample in called.named_samples.items())
    return text if len(text) <= 200 else f"{text[:200]}…"


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """A logger that tells of every shape that does not fit, though the error is raised as well."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


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
    for tensor in _rest(model, list(layers)).values():
        tensor.copy_(take(_rest_name(tensor), tensor.numel()).reshape(tensor.shape))


def _numbers(what: str, halves: Tensor, exponent: int) -> Tensor:
    if not EXPONENTS[0] <= exponent <= EXPONENTS[1]:
        raise ValueError(f"{what} have exponent {exponent}, outside {EXPONENTS[0]} … {EXPONENTS[1]}")
    if not bool(torch.isfinite(halves).all()):
        raise ValueError(f"{what} hold NaN or infinite numbers")
    return torch.from_numpy(from_halves(halves.numpy(), exponent))
