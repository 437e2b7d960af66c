"""Loading a dense network's weights, with errors that say what does not fit."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

__all__ = ["load_weights"]


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Loads a safetensors state dict into a network.

    Counters of batch norms (``num_batches_tracked``) may be missing: they do not matter once training is over.

    Raises:
        ValueError: when the file is missing or damaged, or its tensors do not fit: names the tensor, found and expected.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"weights={str(path)!r} does not exist: give a .safetensors file")
    try:
        found = load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"weights={str(path)!r} is not a complete safetensors file ({error}): copy it again") from error
    expected = network.state_dict()
    for name, value in expected.items():
        if name in found and found[name].shape != value.shape:
            raise ValueError(
                f"weights: {name!r} has shape {tuple(found[name].shape)} in {path.name}, the network expects "
                f"{tuple(value.shape)}: give the weights of this architecture"
            )
    missing = [name for name in expected if name not in found and not name.endswith("num_batches_tracked")]
    if missing:
        raise ValueError(
            f"weights: {path.name} lacks {missing[0]!r} ({len(missing)} missing): give the weights of this architecture"
        )
    foreign = [name for name in found if name not in expected]
    if foreign:
        raise ValueError(
            f"weights: {path.name} holds {foreign[0]!r}, which the network lacks: give the weights of this architecture"
        )
    network.load_state_dict(found, strict=False)
