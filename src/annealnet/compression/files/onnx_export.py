"""ONNX files: weights as grid codes behind ``DequantizeLinear``, packed INT4 up to 4 bits and int8 above.

The network is exported by ``torch.onnx`` with a dynamic batch; then every layer's float initialiser is
replaced by its codes and one scale per output channel (ONNX opset 21, per-axis dequantisation). Nothing is
rounded anew: the ONNX model multiplies the very weights that the torch model multiplies.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.compression.network.answering import Answering
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import LayerKind, layer_at, layer_kind, own_tensors
from annealnet.compression.network.masks import is_mask
from annealnet.compression.rounding.grids import Quantized, dequantize
from annealnet.exporting import captured, onnx_session, optional, write_model
from annealnet.whole_numbers import whole_number

__all__ = ["Latency", "export_onnx", "onnx_latency", "onnx_names"]

_INT4_BITS = 4
#: Positions of sequences whose length is free, where they are timed.
_LENGTH = 16
#: What :class:`.Answering` puts in front of the names of parameters.
_WRAPPED = "network."


def export_onnx(model: nn.Module, quantized: Mapping[str, Quantized], path: str | Path, example: Tensor | Inputs) -> Path:
    """Writes a compressed network as an ONNX model whose weights are grid codes.

    Args:
        model: the network after surgery, batch norms folded, its weights on the grids; not changed.
        quantized: the grid values of each layer.
        path: the file to write.
        example: a batch of inputs; the model's batch is dynamic, and so is the length of sequences of whole numbers where
            the network allows it. One input by position is called ``input``, several ``input_0`` and so on, those by name
            have it; the one answer that counts is ``output``.

    Returns:
        The path.

    Raises:
        ValueError: when the network cannot be captured, or a layer does not hold its grid values.

    Example:
        >>> import tempfile
        >>> from annealnet.compression.rounding import NearestRounding
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> grids = {name: NearestRounding()(net.get_submodule(name).weight, 4, None) for name in ("0", "2")}
        >>> from annealnet.compression.files.on_grid import put_on_grid
        >>> x = torch.randn(5, 4)
        >>> with tempfile.TemporaryDirectory() as out:
        ...     path = export_onnx(put_on_grid(net, grids), grids, Path(out) / "net.onnx", torch.zeros(1, 4))
        ...     (answer,) = onnx_session(path).run(None, {"input": x.numpy()})
        >>> bool(np.allclose(answer, net(x).detach().numpy(), atol=1e-5))
        True
    """
    inputs = Inputs.of(example)
    exported = _unwrapped(captured(Answering(model, inputs), onnx_names(inputs)))
    graph = exported.graph
    initialisers = {tensor.name: tensor for tensor in graph.initializer}
    dequantised: dict[str, Quantized] = {}
    for name, grid in quantized.items():
        module = layer_at(model, name)
        place = _find_weight(name, layer_kind(module), grid, initialisers, dequantised)
        if place is None and (_is_folded(module, grid) or not _is_read(model, name, inputs)):
            continue
        if place is None:
            raise ValueError(
                f"quantized[{name!r}] is not what the model's layer {name!r} holds: fold batch norms and call put_on_grid "
                "first"
            )
        found, order = place
        if found not in dequantised:
            _put_codes(graph, initialisers[found], grid, order)
            dequantised[found] = grid
    optional("onnx.checker").check_model(exported)
    return write_model(exported, path)


def onnx_names(inputs: Inputs) -> dict[str, Tensor]:
    """Tensors in the order of :attr:`.Inputs.tensors`, by the names that an ONNX model's inputs have."""
    own = ["input"] if len(inputs.args) == 1 else [f"input_{place}" for place in range(len(inputs.args))]
    return dict(zip(own, inputs.args, strict=True)) | dict(inputs.kwargs)


def _unwrapped(exported: Any) -> Any:
    """Initialisers under the names that the model's own parameters have, not :class:`.Answering`'s."""
    wrapped = {tensor.name for tensor in exported.graph.initializer if tensor.name.startswith(_WRAPPED)}
    for tensor in exported.graph.initializer:
        tensor.name = tensor.name.removeprefix(_WRAPPED)
    for node in exported.graph.node:
        for place, name in enumerate(node.input):
            if name in wrapped:
                node.input[place] = name.removeprefix(_WRAPPED)
    return exported


# ---- codes in place of floats ----------------------------------------------------------------------------


def _find_weight(
    name: str, kind: LayerKind, grid: Quantized, initialisers: Mapping[str, Any], taken: Mapping[str, Quantized]
) -> tuple[str, tuple[int, ...]] | None:
    """The initialiser that holds a layer's weight, and the order in which it has the weight's dimensions; None where there
    is none. A stack of matrices, of which the layer holds the rows of all, has more of them.
    """
    onnx, weight = optional("onnx"), dequantize(grid).numpy()
    own = f"{name}.{kind.weight_name}"
    for candidate in (own, *(other for other in initialisers if other != own)):
        if candidate in taken:  # two layers with equal weights share one initialiser
            if torch.equal(dequantize(taken[candidate]), dequantize(grid)):
                return candidate, tuple(range(weight.ndim))
            continue
        tensor = initialisers.get(candidate)
        if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT or math.prod(tensor.dims) != weight.size:
            continue
        value = onnx.numpy_helper.to_array(tensor)
        for order in _orders(kind, value.ndim):
            laid = value.transpose(np.argsort(order))
            same = laid.shape == weight.shape or (weight.ndim == 2 < laid.ndim and laid.shape[-1] == weight.shape[1])
            if same and np.array_equal(laid.reshape(weight.shape), weight):
                return candidate, order
    return None


def _is_folded(module: nn.Module, grid: Quantized) -> bool:
    """Whether a layer holds its grid values, so that the exporter has made another constant of them, as it does of a table
    whose rows are picked in an order known beforehand, or of a recurrent layer's gates: the same answers, in float32.
    """
    held = layer_kind(module).weight(module).detach().cpu().float()
    return torch.equal(held, dequantize(grid))


def _orders(kind: LayerKind, count: int) -> list[tuple[int, ...]]:
    """In which orders an initialiser may have a weight's dimensions: with the first two exchanged (``MatMul``,
    ``ConvTranspose``), or the last two (a product with each matrix of a stack).
    """
    straight = tuple(range(count))
    if count < 2:
        return []
    first, last = (1, 0, *straight[2:]), (*straight[:-2], count - 1, count - 2)
    return [straight, *([first] if kind.transposed_in_onnx else []), *([last] if not kind.reads_rows and count > 2 else [])]


def _is_read(model: nn.Module, name: str, inputs: Inputs) -> bool:
    """Whether the answer that counts depends on a layer; if not, it is not part of the ONNX model."""
    twin = copy.deepcopy(model).eval().requires_grad_(True)
    answer = inputs[:1].clone().answer(twin)
    weight = twin.get_parameter(own_tensors(name, layer_at(twin, name))[0])
    return torch.autograd.grad(answer.sum(), weight, allow_unused=True)[0] is not None


def _put_codes(graph: Any, initialiser: Any, grid: Quantized, order: tuple[int, ...]) -> None:
    """The initialiser becomes codes and scales, and a ``DequantizeLinear`` gives the name it had.

    ONNX knows scales along one axis: the codes of a grid with groups are laid out with a row per group, and reshaped after.
    """
    name, codes = initialiser.name, grid.codes.numpy()
    if grid.group is None and codes.ndim == len(order):  # nothing but scales along an axis
        initialiser.CopyFrom(_code_tensor(f"{name}.codes", np.ascontiguousarray(codes.transpose(order)), grid.bits))
        _put_steps(graph, name, [("DequantizeLinear", _coded(graph, name, grid), {"axis": order.index(0)})])
        return
    laid = [initialiser.dims[order.index(dim)] for dim in range(len(order))]  # before dimensions are exchanged
    steps = _rows_by_group(graph, initialiser, grid)
    if len(laid) > 2:
        steps.append(("Reshape", [_constant(graph, f"{name}.shape", laid)], {}))
    if list(order) != sorted(order):
        steps.append(("Transpose", [], {"perm": list(order)}))
    _put_steps(graph, name, steps)


#: An operation, its inputs but for what the one before gives, its attributes.
_Step = tuple[str, list[str], dict[str, Any]]


def _rows_by_group(graph: Any, initialiser: Any, grid: Quantized) -> list[_Step]:
    """Codes with a row per group, dequantised, and cut to the weights' number: a row per output."""
    name, rows = initialiser.name, len(grid.codes)
    flat = grid.codes.numpy().reshape(rows, -1)
    groups, length = grid.grid.groups(flat.shape[1]), grid.group or flat.shape[1]
    padded = np.zeros((rows, groups * length), dtype=np.int8)
    padded[:, : flat.shape[1]] = flat
    initialiser.CopyFrom(_code_tensor(f"{name}.codes", padded.reshape(rows * groups, length), grid.bits))
    steps: list[_Step] = [("DequantizeLinear", _coded(graph, name, grid), {"axis": 0})]
    if grid.group is not None:
        steps.append(("Reshape", [_constant(graph, f"{name}.rows", [rows, groups * length])], {}))
    if padded.shape[1] > flat.shape[1]:
        ends = {"from": [0], "to": [flat.shape[1]], "axes": [1]}
        steps.append(("Slice", [_constant(graph, f"{name}.{tag}", value) for tag, value in ends.items()], {}))
    return steps


def _put_steps(graph: Any, name: str, steps: list[_Step]) -> None:
    """Operations one behind the other, in front of all others; the last gives ``name``."""
    onnx = optional("onnx")
    value, nodes = "", []
    for number, (kind, inputs, attributes) in enumerate(steps):
        output = name if number == len(steps) - 1 else f"{name}.step{number}"
        taken = inputs if number == 0 else [value, *inputs]
        nodes.append(onnx.helper.make_node(kind, taken, [output], name=f"{name}.{kind.lower()}{number}", **attributes))
        value = output
    for node in reversed(nodes):
        graph.node.insert(0, node)


def _constant(graph: Any, name: str, value: list[int]) -> str:
    graph.initializer.append(optional("onnx").numpy_helper.from_array(np.array(value, dtype=np.int64), name))
    return name


def _coded(graph: Any, name: str, grid: Quantized) -> list[str]:
    return [f"{name}.codes", *_scales(graph, name, grid)]


def _scales(graph: Any, name: str, grid: Quantized) -> list[str]:
    """Scales, and zero points where there are any, as initialisers."""
    onnx = optional("onnx")
    graph.initializer.append(onnx.numpy_helper.from_array(grid.scale.numpy().reshape(-1), f"{name}.scale"))
    if grid.zero is None:
        return [f"{name}.scale"]
    graph.initializer.append(_code_tensor(f"{name}.zero", grid.zero.numpy().reshape(-1), grid.bits))
    return [f"{name}.scale", f"{name}.zero"]


def _code_tensor(name: str, codes: np.ndarray, bits: int) -> Any:
    """int8, or INT4 with two codes in a byte, the first in the lower half."""
    onnx = optional("onnx")
    if bits > _INT4_BITS:
        return onnx.numpy_helper.from_array(codes.astype(np.int8), name)
    nibbles = codes.reshape(-1).astype(np.uint8) & 0xF
    if len(nibbles) % 2:
        nibbles = np.append(nibbles, np.uint8(0))
    packed = (nibbles[0::2] | (nibbles[1::2] << 4)).astype(np.uint8)
    return onnx.helper.make_tensor(name, onnx.TensorProto.INT4, codes.shape, packed.tobytes(), raw=True)


# ---- running ---------------------------------------------------------------------------------------------


def _some_input(entry: Any, batch: int) -> np.ndarray:
    """Random numbers, the token 0, or a mask that leaves nothing out."""
    free = (batch, *[_LENGTH] * len(entry.shape))
    shape = tuple(extent if isinstance(extent, int) else free[place] for place, extent in enumerate(entry.shape))
    if entry.type == "tensor(float)" and not is_mask(entry.name):
        return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    kind = entry.type.removeprefix("tensor(").removesuffix(")")
    return np.full(shape, is_mask(entry.name), dtype={"float": "float32"}.get(kind, kind))


class Latency(NamedTuple):
    """Milliseconds of one run of a batch: median, lower and upper quartile."""

    median: float
    low: float
    high: float


def onnx_latency(path: str | Path, batch: int = 1, threads: int = 1, repeats: int = 50) -> Latency:
    """How long ONNX Runtime takes for one batch, over repeats after a warm-up.

    Args:
        path: an ONNX file; the first dimension of its inputs is the batch. Sequences whose length is free have 16 positions.
        batch: samples a run.
        threads: threads of the runtime.
        repeats: timed runs.

    Raises:
        ValueError: when ``batch`` or ``repeats`` is not positive.
    """
    batch, threads, repeats = (
        whole_number(name, value, 1) for name, value in (("batch", batch), ("threads", threads), ("repeats", repeats))
    )
    session = onnx_session(path, threads)
    feed = {entry.name: _some_input(entry, batch) for entry in session.get_inputs()}
    for _ in range(max(3, repeats // 10)):
        session.run(None, feed)
    taken = np.empty(repeats)
    for i in range(repeats):
        began = time.perf_counter()
        session.run(None, feed)
        taken[i] = time.perf_counter() - began
    low, median, high = np.percentile(1000 * taken, [25, 50, 75]).tolist()
    return Latency(median, low, high)
