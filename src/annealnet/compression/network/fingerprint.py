"""What makes two runs the same run: the network's operations and weights, data, settings, the sampler, the device.

Checkpoints and settled layers ask here, and nobody else decides. A network is

* the operations of its traced forward, with their arguments (where it can be traced);
* every module: its class, its attributes (stride, eps, negative_slope, …) and its hooks, but not what evaluation does not
  read (``training``, dropout's p);
* the code of every class that is not torch's own, and of the functions and plain values that this code names, so that a
  forward that was edited, or cannot be traced, is another network;
* every parameter and buffer: dtype, shape, kind of device, values, and which of them are one tensor;
* the versions of torch and of this package.

Everything else (settings, roundings, formulations, samplers with all they wrap, attributes that are objects) is described
by :func:`annealnet.samplers.describe`: named functions by their names, lambdas and functions of a session by their code.
What that cannot describe is like nothing else, so its runs are never resumed: that costs work, and no truth.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib import metadata
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, fx, nn

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
    classes = {base for _, module in modules for base in type(module).__mro__ if not _is_library(base)}
    return {
        "code": sorted((_class_code(cls) for cls in classes), key=json.dumps),
        "modules": [[name, _module(module)] for name, module in modules],
        "operations": _operations(model),
        "tensors": list(_tensors(model)),
        "versions": [torch.__version__, metadata.version("annealnet")],
    }


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


def _is_library(thing: Any) -> bool:
    """Whether its version says what it does."""
    return (thing.__module__ or "").partition(".")[0] in ("builtins", "torch", "numpy", "annealnet")


def _class_code(cls: type) -> Any:
    functions = {name: _inside(item) for name, item in vars(cls).items()}
    seen: set[int] = set()
    bodies = {name: _function_code(item, seen) for name, item in functions.items() if isinstance(item, FunctionType)}
    plain = {name: item for name, item in vars(cls).items() if type(item) in (bool, int, float, str, tuple)}
    return [f"{cls.__module__}.{cls.__qualname__}", bodies, describe(plain)]


def _inside(item: Any) -> Any:
    """The function in a method or a property of a class."""
    return getattr(item, "__func__", getattr(item, "fget", item))


def _function_code(function: FunctionType, seen: set[int]) -> list[Any]:
    """Its code, defaults and closure, and what its code names: functions by their code in turn, plain values."""
    if id(function) in seen:
        return []
    seen.add(id(function))
    beside = {name: function.__globals__.get(name) for name in sorted(_names(function.__code__))}
    cells = [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
    named: list[Any] = []
    for name, item in [*beside.items(), *enumerate(cells)]:
        if isinstance(item, FunctionType) and not _is_library(item):
            named.append([name, _function_code(item, seen)])
        elif type(item) in (bool, int, float, str):
            named.append([name, describe(item)])
    return [_code(function.__code__), describe((function.__defaults__, function.__kwdefaults__)), named]


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _names(code: CodeType) -> set[str]:
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)


def _code(code: CodeType) -> list[Any]:
    """Instructions, names and constants; not the lines they stand on. Sets of constants have no order."""
    constants = [
        _code(item) if isinstance(item, CodeType) else repr(sorted(map(repr, item)) if isinstance(item, frozenset) else item)
        for item in code.co_consts
    ]
    return [hashlib.sha256(code.co_code).hexdigest(), [*code.co_names, *code.co_varnames, *code.co_freevars], constants]


def _operations(model: nn.Module) -> list[Any]:
    """The traced forward: kind, target and arguments of every operation; where nothing can be traced, the code says all."""
    try:
        traced, opaque = symbolic_trace(model)
    except ValueError:
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
