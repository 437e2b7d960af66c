"""Layers that are rounded already: kept on disk one by one, so that an interrupted run goes on at the next one."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from annealnet.compression.network.kinds import bias_of, weight_of
from annealnet.compression.rounding import lower_bounds, settled_lattices
from annealnet.compression.rounding.grids import Quantized, dequantize
from annealnet.energy import Certificate
from annealnet.files import checkpoint_folder, replacing

__all__ = ["Rounded", "SettledLayers"]

#: Inputs of a layer up to which its least eigenvalue is computed for the lower bound; above, the bound is 0.
_BOUNDED = 1200


@dataclass(frozen=True, eq=False)
class Rounded:
    """A rounding problem and its answer.

    Attributes:
        grid: the grid values, on the scales they were rounded for.
        wanted: the weights that were rounded, shape of the weight.
        gram: ``(groups, fan_in, fan_in)``; None where it was rounded by value: errors are then those of the weights.
    """

    grid: Quantized
    wanted: Tensor
    gram: Tensor | None


class SettledLayers:
    """Grid values, biases and errors of finished layers.

    Args:
        folder: one file per layer; made when it is missing. None keeps nothing.
        run: fingerprint of the run; layers of another run are not taken, nor those whose file was cut off or damaged.
        rounding: who rounds, for the certificate.

    Raises:
        ValueError: when the folder is a file, or cannot be made.

    Example:
        >>> import tempfile
        >>> layer = nn.Linear(2, 1)
        >>> grid = Quantized(torch.ones(1, 2, dtype=torch.int8), torch.tensor([0.5]), bits=2)
        >>> kept = SettledLayers(Path(tempfile.mkdtemp()), "a", "NearestRounding")
        >>> kept.keep("fc", layer, grid, Rounded(grid, torch.ones(1, 2), torch.eye(2)[None]))
        >>> again = SettledLayers(kept.folder, "a", "NearestRounding")
        >>> again.fetch("fc", layer).codes.tolist(), layer.weight.tolist(), again.error
        ([[1, 1]], [[0.5, 0.5]], 0.5)
    """

    def __init__(self, folder: str | Path | None, run: str, rounding: str) -> None:
        self.folder, self._run, self._rounding = checkpoint_folder(folder), run, rounding
        self._began = time.perf_counter()
        self.error = 0.0
        self.bound = 0.0

    def keep(self, name: str, module: nn.Module, grid: Quantized, rounded: Rounded) -> None:
        """Notes and writes a layer that is finished.

        Args:
            name: of the layer.
            module: with its final bias.
            grid: its grid values as they are used, scales re-fitted to the outputs.
            rounded: what was rounded, and on which scales.
        """
        error = bound = 0.0
        if rounded.gram is None:  # nearest: nothing on these scales is nearer
            error = bound = float(((rounded.wanted - dequantize(rounded.grid)).double() ** 2).sum())
        else:
            for codes, lattice in settled_lattices(rounded.wanted, rounded.grid, rounded.gram):
                own = float(lattice.errors(codes).sum())
                error += own
                if lattice.weights.shape[1] <= _BOUNDED:
                    bound += min(own, float(lower_bounds(lattice).sum()))
        self.error += error
        self.bound += bound
        if self.folder is None:
            return
        tensors = {"codes": grid.codes.contiguous(), "scale": grid.scale.contiguous()}
        if grid.zero is not None:
            tensors["zero"] = grid.zero.contiguous()
        bias = bias_of(module)
        if bias is not None:
            tensors["bias"] = bias.detach().contiguous()
        told = {
            "run": self._run, "bits": str(grid.bits), "group": str(grid.group or ""),
            "error": repr(error), "bound": repr(bound),
        }  # fmt: skip
        told["sha256"] = _hash(tensors, told)
        with replacing(self._place(name)) as draft:
            save_file(tensors, str(draft), metadata=told)

    @torch.no_grad()
    def fetch(self, name: str, module: nn.Module) -> Quantized | None:
        """A layer that was finished before: puts it into the module and returns its grid values; None if there is none."""
        found, told = self._read(name)
        if told.get("run") != self._run:
            return None
        grid = Quantized(
            found["codes"],
            found["scale"],
            int(told["bits"]),
            found.get("zero"),
            int(told["group"]) if told["group"] else None,
        )
        weight_of(module).copy_(dequantize(grid))
        bias = bias_of(module)
        if bias is not None:
            bias.copy_(found["bias"])
        self.error += float(told["error"])
        self.bound += float(told["bound"])
        return grid

    def certificate(self, seed: int) -> Certificate:
        """Sum of all layers' errors, and a lower bound on it (on the inputs and scales the layers were rounded with)."""
        proven = self.error - self.bound <= 1e-9 * max(1e-30, self.error)
        seconds = time.perf_counter() - self._began
        return Certificate(self.error, self.bound, proven, self._rounding, seed, 1, seconds)

    def _read(self, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Tensors and what is told of them; nothing where there is no file, or it is not as it was written."""
        if self.folder is None or not self._place(name).is_file():
            return {}, {}
        try:
            with safe_open(str(self._place(name)), framework="pt") as file:
                told = dict(file.metadata() or {})
                found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a dict
        except (SafetensorError, OSError, ValueError):
            return {}, {}
        return (found, told) if told.pop("sha256", None) == _hash(found, told) else ({}, {})

    def _place(self, name: str) -> Path:
        assert self.folder is not None
        # layer names may hold anything; the file's name must not
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.safetensors"


def _hash(tensors: dict[str, Tensor], told: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
