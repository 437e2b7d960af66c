"""Whether a kind of layer is whole: checks on a small network that holds such a layer, for our kinds and users' own.

A check is a function of a network and random inputs; it raises :class:`annealnet.testing.Failed` in words.
:func:`kind_conformance` runs all of them. Put the layer between two others, so that its inputs and outputs may go.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.compression.files.loading import load_compressed
from annealnet.compression.files.on_grid import put_on_grid
from annealnet.compression.files.onnx_export import export_onnx
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.saving import save_compressed
from annealnet.compression.files.sizes import file_bytes
from annealnet.compression.network.graph import trace
from annealnet.compression.network.kinds import bias_of, layer_at, weight_of
from annealnet.compression.network.norms import fold_batch_norms
from annealnet.compression.network.rows import layer_rows, rows_times_weight, weight_matrix
from annealnet.compression.network.structure import Layer, NetworkGraph
from annealnet.compression.network.surgery import mask, remove
from annealnet.compression.rounding import NearestRounding
from annealnet.compression.rounding.grids import Quantized
from annealnet.exporting import onnx_session
from annealnet.testing import Failed, Finding, NotApplicable
from annealnet.testing.findings import findings

__all__ = ["KIND_CHECKS", "kind_conformance"]

#: Rows asked for where all positions are wanted, and where some are to be drawn.
_ALL, _FEW = 10**9, 3
_SHARES = (0.3, 0.7, 1.0)
_TOLERANCE = 1e-4


def masked_equals_narrowed(network: nn.Module, x: Tensor) -> None:
    """Without its channels the network computes what it computes when nobody reads them, batch norms folded or not."""
    graph = _traced(network, x)
    for number, share in enumerate(_SHARES):
        keep = _some(graph, share, number)
        for form in (network, fold_batch_norms(network, graph)):
            _compare(mask(form, graph, keep)(x), remove(form, graph, keep)(x), "masked and narrowed network differ")


def rows_times_weights_are_the_output(network: nn.Module, x: Tensor) -> None:
    """On all positions, in their order, a layer's rows times its weights plus its bias are its output."""
    graph = _traced(network, x)
    for layer in graph.layers:
        module, (given, answer) = network.get_submodule(layer.name), _seen(network, layer, x)
        product = _product(module, given, _ALL)
        bias = bias_of(module)
        found = product if bias is None else product + bias
        wanted = answer.movedim(layer.axis, -1).reshape(-1, len(layer.out_units))
        _compare(wanted, found, f"layer {layer.name!r}: rows times weights are not its output")


def narrowed_rows_are_those_of_the_dense(network: nn.Module, x: Tensor) -> None:
    """Drawn rows repeat with their seed, and the narrowed layer's are at the same positions."""
    graph = _traced(network, x)
    keep = _some(graph, 0.5, 7)
    masked, small = mask(network, graph, keep), remove(network, graph, keep)
    for layer in graph.layers:
        (dense_input, _), (small_input, _) = _seen(masked, layer, x), _seen(small, layer, x)
        dense = _product(layer_at(masked, layer.name), dense_input, _FEW)
        _compare(
            dense,
            _product(layer_at(masked, layer.name), dense_input, _FEW),
            f"layer {layer.name!r}: a seed's rows differ",
        )
        kept = torch.from_numpy(graph.keep_for(layer, keep)[0])
        narrow = _product(layer_at(small, layer.name), small_input, _FEW)
        _compare(dense[:, kept], narrow, f"layer {layer.name!r}: narrowed, it reads other rows")


def stored_network_is_read_back(network: nn.Module, x: Tensor) -> None:
    """Files have the bytes foretold, and a fresh network with other weights reads back the same tensors."""
    graph = _traced(network, x)
    plan, small, grids = _on_grids(network, graph, x)
    fresh = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.add_(1.0)
    with tempfile.TemporaryDirectory() as folder:
        place = save_compressed(folder, plan, small, grids)
        written = sum(path.stat().st_size for path in Path(folder).iterdir())
        loaded = load_compressed(place, fresh).state_dict()
    if written != (foretold := file_bytes(graph, network, plan)):
        raise Failed(f"{written} bytes written, {foretold} foretold")
    for name, tensor in small.state_dict().items():
        if name not in loaded or not torch.equal(loaded[name], tensor):
            raise Failed(f"{name!r} is not read back as it was written")


def onnx_runtime_agrees(network: nn.Module, x: Tensor) -> None:
    """ONNX Runtime gives the compressed network's answers, on a batch of another size than the example's."""
    if any(find_spec(name) is None for name in ("onnx", "onnxruntime", "onnxscript")):
        raise NotApplicable("the onnx extra is not installed")
    graph = _traced(network, x)
    _, small, grids = _on_grids(network, graph, x)
    with tempfile.TemporaryDirectory() as folder:
        path = export_onnx(small, grids, Path(folder) / "net.onnx", x[:1])
        batch = torch.cat([x, x[:1]])
        (answer,) = onnx_session(path).run(None, {"input": batch.numpy()})
    _compare(small(batch), torch.from_numpy(answer), "ONNX Runtime answers otherwise")


Check = Callable[[nn.Module, Tensor], None]
#: Every check by name.
KIND_CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        masked_equals_narrowed,
        rows_times_weights_are_the_output,
        narrowed_rows_are_those_of_the_dense,
        stored_network_is_read_back,
        onnx_runtime_agrees,
    )
}


def kind_conformance(network: nn.Module, x: Tensor, leave_out: tuple[str, ...] = ()) -> list[Finding]:
    """Runs every check on a network.

    Args:
        network: holds the layer, between two others; run in evaluation mode, not changed.
        x: random inputs ``(samples, ...)``, a few of them.
        leave_out: names of checks that are not run.

    Returns:
        One finding per check; a check that ends in an unexpected error has failed.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> told = kind_conformance(net, torch.randn(5, 3), leave_out=("onnx_runtime_agrees",))
        >>> [finding.check for finding in told if not finding.passed]
        []
    """
    still = copy.deepcopy(network).eval().requires_grad_(False)
    with torch.no_grad():
        return findings(KIND_CHECKS, leave_out, lambda check: check(still, x))


def _traced(network: nn.Module, x: Tensor) -> NetworkGraph:
    graph = trace(network, x)
    if not graph.num_units:
        raise Failed(f"no channel of the network may go: {'; '.join(map(str, graph.pinned))}")
    return graph


def _some(graph: NetworkGraph, share: float, seed: int) -> np.ndarray:
    """A share of the units goes; one of every group stays."""
    rng = np.random.default_rng(seed)
    keep = rng.random(graph.num_units) > share
    for group in graph.groups:
        keep[rng.choice(group.units)] = True
    return keep


def _seen(network: nn.Module, layer: Layer, x: Tensor) -> tuple[Tensor, Tensor]:
    """A layer's input and output in a run of the network."""
    caught: list[tuple[Tensor, Tensor]] = []
    hook = network.get_submodule(layer.name).register_forward_hook(
        lambda module, given, answer: caught.append((given[0].clone(), answer.clone()))
    )
    try:
        network(x)
    finally:
        hook.remove()
    return caught[0]


def _product(module: nn.Module, given: Tensor, max_rows: int) -> Tensor:
    rows = layer_rows(module, given, seed=11, max_rows=max_rows)
    return rows_times_weight(rows, weight_matrix(module, weight_of(module)))


def _on_grids(network: nn.Module, graph: NetworkGraph, x: Tensor) -> tuple[CompressionPlan, nn.Module, dict[str, Quantized]]:
    """The network without half of its units, on grids of changing widths."""
    keep = _some(graph, 0.5, 3)
    bits = {layer.name: 2 + number % 7 for number, layer in enumerate(graph.layers)}
    plan = CompressionPlan.of(graph, keep, bits)
    small = remove(fold_batch_norms(network, graph), graph, keep)
    grids = {name: NearestRounding()(weight_of(layer_at(small, name)), width) for name, width in bits.items()}
    return plan, put_on_grid(small, grids), grids


def _compare(wanted: Tensor, found: Tensor, words: str) -> None:
    if wanted.shape != found.shape:
        raise Failed(f"{words}: {tuple(wanted.shape)} against {tuple(found.shape)}")
    error = float((wanted - found).abs().max()) / max(1.0, float(wanted.abs().max()))
    if not error < _TOLERANCE:
        raise Failed(f"{words}: by {error:.2g} of the largest value")
