"""Bytes of a compressed network and of the dense one, before anything is written:

    bytes = plan.json + header + ⌈Σ_layers bits / 8⌉ + rest

Bits are those of a :class:`.StoredLayer`; the rest is what no layer owns (:mod:`.rest`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.rest import rest, rest_name
from annealnet.compression.files.safetensors_layout import TensorSpec, dtype_name, header_bytes, safetensors_bytes
from annealnet.compression.files.stored_layer import StoredLayer, stored_specs
from annealnet.compression.network.structure import NetworkGraph, slots_kept
from annealnet.compression.network.ties import distinct_state
from annealnet.compression.rounding.grids import MAX_BITS, Grid

__all__ = ["dense_bytes", "file_bytes", "file_specs", "fixed_bytes", "leaving_bytes", "stored_layers"]


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
    """Bytes that :func:`~.saving.save_compressed` will write for a plan, both files together, exactly.

    Args:
        graph: of the dense network.
        model: the dense network, batch norms folded or not.
        plan: channels kept and widths.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from annealnet.compression.files.on_grid import put_on_grid
        >>> from annealnet.compression.files.saving import save_compressed
        >>> from annealnet.compression.network.graph import trace
        >>> from annealnet.compression.network.surgery import remove
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
    specs = file_specs(graph, model, plan)
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
    specs = file_specs(graph, model, plan)
    beside = sum(spec.num_bytes for name, spec in specs.items() if name.startswith("rest."))
    return len(plan.to_json().encode()) + header_bytes(specs) + beside


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
    for name, tensor in rest(model, [layer.name for layer in graph.layers]).items():
        units = _slots(graph, name, tensor)
        if units is not None:
            np.add.at(leaving, units, tensor.element_size() * (tensor.numel() // len(units)))
    return tuple(leaving[:-1].tolist())


def _slots(graph: NetworkGraph, name: str, tensor: Tensor) -> np.ndarray | None:
    """The units along the dimension in which a tensor outside the layers loses entries; None where it does not."""
    norms = {norm.name: norm.units for norm in graph.norms if norm.folded_into is None}
    beside = {one.name: one.units for one in graph.beside}
    return beside.get(name, norms.get(name.rpartition(".")[0]) if tensor.ndim else None)


def stored_layers(graph: NetworkGraph, plan: CompressionPlan) -> dict[str, StoredLayer]:
    """What the file holds of each layer, in the plan's order."""
    keep = plan.keep(graph)
    return {name: StoredLayer.of(graph, graph.layer(name), keep, plan.grid(name)) for name in plan.bits}


def file_specs(graph: NetworkGraph, model: nn.Module, plan: CompressionPlan) -> dict[str, TensorSpec]:
    """The tensors of the file for a choice of channels and widths."""
    keep = plan.keep(graph)
    specs = stored_specs(stored_layers(graph, plan).values())
    folded = tuple(f"{norm.name}." for norm in graph.norms if norm.folded_into is not None)
    sizes: dict[str, int] = {}
    for name, tensor in rest(model, [layer.name for layer in graph.layers]).items():
        if not name.startswith(folded):
            units = _slots(graph, name, tensor)
            size = tensor.numel() if units is None else tensor.numel() // len(units) * int(slots_kept(units, keep).sum())
            sizes[rest_name(tensor)] = sizes.get(rest_name(tensor), 0) + size
    return specs | {name: TensorSpec(name.removeprefix("rest."), (size,)) for name, size in sizes.items()}
