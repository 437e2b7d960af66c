"""What makes two runs the same run: the network's operations and weights, data, settings, the sampler, the device.

Checkpoints and settled layers ask here, and nobody else decides. A network is

* the operations of its traced forward, with their arguments (where it can be traced);
* every module: its class, its attributes (stride, eps, negative_slope, …) and its hooks, but not what evaluation does not
  read (``training``, dropout's p);
* its classes: those of installed packages by name, the user's by their code and what that code reads, so that a forward
  that was edited, or cannot be traced, is another network;
* every parameter and buffer: dtype, shape, kind of device, values, and which of them are one tensor;
* the versions of torch, of this package and of the others that its modules come from.

Everything else (settings, roundings, formulations, samplers with all they wrap, attributes that are objects) is described
by :func:`annealnet.samplers.describe`, which also says what a function and a class are.
What that cannot describe is like nothing else, so its runs are never resumed: that costs work, and no truth.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, fx, nn

from annealnet.compression.network.precision import copied
from annealnet.compression.network.tracing import symbolic_trace
from annealnet.samplers import describe

__all__ = ["describe_network", "run_fingerprint"]

#: Attributes that every module has: its parameters, buffers, hooks and children are described on their own.
_COMMON = frozenset(vars(nn.Module()))
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")


def run_fingerprint(model: nn.Module, data: object, *settings: object) -> str:
    """SHA-256 that is equal for two runs, in one process or in two, only if all they depend on is.

    Args:
        model: the network; it is neither changed nor run.
        data: what it is calibrated on: tensors, dataclasses, maps and sequences of them.
        settings: whatever else the result depends on: budgets, roundings, the sampler, seeds.

    Example:
        >>> relu, tanh = nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Sequential(nn.Linear(2, 2), nn.Tanh())
        >>> _ = tanh.load_state_dict(relu.state_dict())
        >>> x = torch.zeros(1, 2)
        >>> run_fingerprint(relu, x, 1) == run_fingerprint(relu, x, 1)
        True
        >>> run_fingerprint(relu, x, 1) in (run_fingerprint(relu, x, 2), run_fingerprint(tanh, x, 1))
        False
    """
    whole = [describe_network(model), _content(data), describe(settings)]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, allow_nan=False).encode()).hexdigest()


def describe_network(model: nn.Module) -> dict[str, Any]:
    """JSON values that tell a network from every other, see the module for what counts.

    Example:
        >>> sorted(describe_network(nn.ReLU()))
        ['code', 'modules', 'operations', 'tensors', 'versions']
    """
    modules = list(model.named_modules(remove_duplicate=False))
    # the class of a traced module is made on the way; its operations say all
    classes = list(dict.fromkeys(type(module) for _, module in modules if not isinstance(module, fx.GraphModule)))
    return {
        "code": describe(classes),
        "modules": [[name, _module(module)] for name, module in modules],
        "operations": _operations(model),
        "tensors": list(_tensors(model)),
        "versions": [metadata.version("annealnet"), *_versions(classes)],
    }


def _versions(classes: list[type]) -> list[list[Any]]:
    """Of torch and of every other package that the modules come from."""
    tops = {base.__module__.partition(".")[0] for cls in classes for base in cls.__mro__} | {"torch"}
    known = {top: getattr(sys.modules.get(top), "__version__", None) for top in tops}
    return sorted([top, str(version)] for top, version in known.items() if version is not None)


def _tensors(model: nn.Module) -> Iterator[list[Any]]:
    """Every parameter and buffer by all its names; the second name of a tensor points to its first."""
    first: dict[int, str] = {}
    for kind in (model.named_parameters, model.named_buffers):
        for name, tensor in kind(remove_duplicate=False):
            known = first.setdefault(id(tensor), name)
            yield [name, known] if known != name else [name, _values(tensor), tensor.device.type]


def _values(tensor: Tensor) -> dict[str, Any]:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    content = hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()
    return {"tensor": str(tensor.dtype), "shape": list(tensor.shape), "sha256": content}


def _content(data: object) -> Any:
    """Data: tensors by their bytes, wherever they lie in dataclasses, maps and sequences."""
    if isinstance(data, Tensor):
        return _values(data)
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        return {field.name: _content(getattr(data, field.name)) for field in dataclasses.fields(data)}
    if isinstance(data, Mapping):
        return {"map": [[describe(key), _content(value)] for key, value in data.items()]}
    if isinstance(data, tuple | list):
        return [_content(value) for value in data]
    return describe(data)


def _module(module: nn.Module) -> dict[str, Any]:
    """Class, attributes and hooks."""
    cls = type(module)
    found: dict[str, Any] = {"class": f"{cls.__module__}.{cls.__qualname__}"}
    if isinstance(module, fx.GraphModule):  # its class is made on the way; the operations say all
        return found
    own = {name: value for name, value in vars(module).items() if name not in _COMMON}
    if isinstance(module, nn.modules.dropout._DropoutNd):
        own = {}
    found["attributes"] = {name: _content(value) for name, value in sorted(own.items())}
    found["hooks"] = [describe(list(getattr(module, kind).values())) for kind in _HOOKS]
    return found


def _operations(model: nn.Module) -> list[Any]:
    """The traced forward: kind, target and arguments of every operation; where nothing can be traced, the code says all."""
    try:
        traced, opaque = symbolic_trace(copied(model))  # a forward may keep what it was called with
    except (ValueError, TypeError):  # no copy can be made of it, or no trace
        return ["not traced"]
    number = {node: place for place, node in enumerate(traced.graph.nodes)}
    steps = [
        [node.op, _target(node.target), _argument(node.args, number), _argument(node.kwargs, number)]
        for node in traced.graph.nodes
    ]
    return [steps, sorted(opaque)]


def _target(target: Any) -> Any:
    return target if isinstance(target, str) else describe(target)


def _argument(value: Any, number: Mapping[fx.Node, int]) -> Any:
    if isinstance(value, fx.Node):
        return {"node": number[value]}
    if isinstance(value, Mapping):
        return {"map": [[str(key), _argument(item, number)] for key, item in value.items()]}
    if isinstance(value, tuple | list):
        return [_argument(item, number) for item in value]
    if isinstance(value, slice):
        return {"slice": _argument((value.start, value.stop, value.step), number)}
    if isinstance(value, torch.dtype | torch.device | ModuleType):
        return str(value)
    return describe(value)
