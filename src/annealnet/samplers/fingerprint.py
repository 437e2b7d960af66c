"""What makes two runs the same run, the sampler's part of it: one description of any sampler with all that it wraps.

Caches and checkpoints ask here, and nobody else decides. The rules, in the order in which they are tried:

* plain values, sequences, maps and arrays are themselves (long ones by their SHA-256);
* an object whose class has ``fingerprint_state()`` is its class and what that method returns: what its answers depend on,
  and nothing else (retries, worker processes, embeddings found so far do not change an answer);
* a device behind a solver is the solver's name and version, and its working graph;
* an OpenJij sampler is its default parameters (the others are left over from its last call);
* functions and classes of modules that can be imported are their names; those of a session (lambdas, ``<locals>``,
  ``__main__``) are their code, closures and defaults;
* any other object is its class and what pickling keeps of it, private attributes included: frozen dataclasses by their
  fields, composites by their children and settings. Values that follow from others (``cached_property``, dimod's memo of a
  graph) and locks and threads, which carry no setting, are left out;
* what cannot even be pickled is like nothing else, not even like itself the next time: its runs are never taken for one
  another, which costs work and no truth. Give its class a ``fingerprint_state()``.

So are samplers that change while they sample (that count their calls, say): each state is another sampler.
"""

from __future__ import annotations

import copyreg
import hashlib
import json
import math
import threading
import types
import uuid
from concurrent.futures import Executor
from functools import cached_property, partial
from typing import Any

import dimod
import numpy as np

__all__ = ["describe", "sampler_fingerprint"]

#: Elements from which a sequence is kept as its hash.
_LONG = 64
#: Memos that dimod writes onto samplers: they follow from the graph.
_MEMOS = frozenset({"_adjacency"})
#: What Python writes into the body of a class.
_HIDDEN = ("__", "_abc_impl")
#: What carries no setting.
_BARE = (type(threading.Lock()), type(threading.RLock()), threading.Thread, threading.local, Executor, threading.Event)
_FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, partial)
_NEW = (copyreg.__newobj__, copyreg.__newobj_ex__)  # type: ignore[attr-defined]  # undocumented, and what pickle goes by

#: Objects above the one that is described, so that circles end.
_Above = tuple[int, ...]


def sampler_fingerprint(sampler: object) -> str:
    """SHA-256 of :func:`describe`, in hexadecimal.

    Example:
        >>> from annealnet.samplers import AnnealingSampler, RetryComposite, TabuSampler
        >>> retrying = RetryComposite(AnnealingSampler())
        >>> sampler_fingerprint(retrying) == sampler_fingerprint(RetryComposite(AnnealingSampler(), attempts=9))
        True
        >>> sampler_fingerprint(retrying) == sampler_fingerprint(RetryComposite(TabuSampler()))
        False
    """
    text = json.dumps(describe(sampler), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def describe(value: object) -> Any:
    """JSON values that tell a sampler (or a parameter of one) from every other; see the module for the rules.

    Args:
        value: a dimod sampler with all it wraps, a layered sampler, or any value that one is called with.

    Example:
        >>> from annealnet.samplers import AnnealingSampler
        >>> describe(AnnealingSampler())
        {'class': 'annealnet.samplers.annealing.AnnealingSampler', 'state': {'map': []}}
    """
    return _described(value, ())


def _described(value: Any, above: _Above) -> Any:
    if type(value) in (type(None), bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        return _described(value.item(), above)
    if type(value) is bytes:
        return {"bytes": hashlib.sha256(value).hexdigest()}
    if id(value) in above:
        return {"again": len(above) - above.index(id(value))}
    above = (*above, id(value))
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcSU":
        return _array(value)
    if type(value).__module__ == "torch" and hasattr(value, "detach"):
        return {"tensor": str(value.dtype), **_array(value.detach().cpu().double().numpy())}
    if type(value) in (list, tuple):
        return _sequence([_described(item, above) for item in value])
    if type(value) in (set, frozenset):
        return {"set": _sequence(sorted((_described(item, above) for item in value), key=_text))}
    if type(value) is dict:
        return _map(value, above)
    if isinstance(value, type):
        return {"type": _class(value, above)}
    if isinstance(value, types.ModuleType):
        return {"module": value.__name__}
    return _function(value, above) if isinstance(value, _FUNCTIONS) else _object(value, above)


def _text(described: Any) -> str:
    return json.dumps(described, sort_keys=True)


def _array(values: np.ndarray) -> dict[str, Any]:
    digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    return {"array": values.dtype.str, "shape": list(values.shape), "sha256": digest}


def _sequence(described: list[Any]) -> Any:
    if len(described) <= _LONG:
        return described
    return {"length": len(described), "sha256": hashlib.sha256(_text(described).encode()).hexdigest()}


def _map(pairs: dict[Any, Any], above: _Above) -> dict[str, Any]:
    """Whatever the keys are, and in whatever order they came."""
    found = [[_described(key, above), _described(item, above)] for key, item in pairs.items()]
    return {"map": _sequence(sorted(found, key=lambda pair: _text(pair[0])))}


def _of_a_session(thing: Any) -> bool:
    """Whether its name does not say what it is: it was made on the way, or typed in."""
    return thing.__module__ in (None, "__main__") or "<" in thing.__qualname__


def _class(cls: type, above: _Above) -> Any:
    name = f"{cls.__module__}.{cls.__qualname__}"
    if not _of_a_session(cls):
        return name
    body = {key: _unwrapped(item) for key, item in vars(cls).items()}
    own = {key: item for key, item in body.items() if isinstance(item, types.FunctionType) or not key.startswith(_HIDDEN)}
    kept = {key: item for key, item in own.items() if not isinstance(item, types.MemberDescriptorType)}
    return {"name": name, "bases": [_class(base, above) for base in cls.__bases__], "body": _map(kept, (*above, id(cls)))}


def _unwrapped(item: Any) -> Any:
    """The function in a method, a property or a cached property of a class."""
    for name in ("__func__", "fget", "func"):
        if isinstance(item, classmethod | staticmethod | property | cached_property) and hasattr(item, name):
            return getattr(item, name)
    return item


def _function(function: Any, above: _Above) -> dict[str, Any]:
    if isinstance(function, partial):
        parts = (function.func, function.args, function.keywords)
        return {"partial": [_described(part, above) for part in parts]}
    if isinstance(function, types.MethodType):
        return {"method": function.__name__, "of": _described(function.__self__, above)}
    name = f"{function.__module__}.{function.__qualname__}"
    if isinstance(function, types.BuiltinFunctionType):
        owner = function.__self__
        bound = {} if owner is None or isinstance(owner, types.ModuleType) else {"of": _described(owner, above)}
        return {"function": name, **bound}
    if not _of_a_session(function):
        return {"function": name}
    cells = [_cell(cell, above) for cell in function.__closure__ or ()]
    beside = [_described(part, above) for part in (function.__defaults__, function.__kwdefaults__)]
    return {"function": name, "code": _code(function.__code__), "closure": cells, "defaults": beside}


def _cell(cell: types.CellType, above: _Above) -> Any:
    try:
        return _described(cell.cell_contents, above)
    except ValueError:  # not yet filled
        return {"empty": True}


def _code(code: types.CodeType) -> str:
    digest = hashlib.sha256(code.co_code)
    digest.update(repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    for constant in code.co_consts:
        digest.update((_code(constant) if isinstance(constant, types.CodeType) else repr(constant)).encode())
    return digest.hexdigest()


def _object(value: Any, above: _Above) -> dict[str, Any]:
    cls = type(value)
    found: dict[str, Any] = {"class": _class(cls, above)}
    if isinstance(value, _BARE):
        return found
    if hasattr(cls, "fingerprint_state"):
        return {**found, "state": _described(value.fingerprint_state(), above)}
    solver = getattr(value, "solver", None) if isinstance(value, dimod.Sampler) else None
    if hasattr(solver, "properties") and hasattr(solver, "name"):
        return {**found, **_device(value, solver, above)}
    if cls.__module__.startswith("openjij.") and hasattr(value, "_default_params"):
        return {**found, "state": _described(value._default_params, above)}
    try:
        reduced = copyreg.dispatch_table[cls](value) if cls in copyreg.dispatch_table else value.__reduce_ex__(4)
    except Exception:  # whatever stands in the way of pickling
        return {**found, "opaque": uuid.uuid4().hex}
    return {**found, **_reduced(cls, reduced, above)}


def _device(sampler: Any, solver: Any, above: _Above) -> dict[str, Any]:
    """Name and version of the solver, and the graph where it has one."""
    graph = [sampler.nodelist, sampler.edgelist] if isinstance(sampler, dimod.Structured) else []
    return {
        "solver": solver.name, "version": _described(getattr(solver, "version", None), above),
        "graph": [_described(list(part), above) for part in graph],
    }  # fmt: skip


def _reduced(cls: type, reduced: Any, above: _Above) -> dict[str, Any]:
    """What pickling keeps: how to make it, its state, and what it holds as a list or a map."""
    if isinstance(reduced, str):
        return {"global": reduced}
    make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    found: dict[str, Any] = {}
    if make in _NEW:
        arguments = arguments[1:]
    else:
        found["made by"] = _described(make, above)
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):  # attributes and slots
        state = {**(state[0] or {}), **state[1]}
    if isinstance(state, dict):
        derived = {name for name in state if isinstance(getattr(cls, str(name), None), cached_property)}
        state = {name: item for name, item in state.items() if name not in derived | _MEMOS}
    if arguments:
        found["arguments"] = _described(tuple(arguments), above)
    if state is not None:
        found["state"] = _described(state, above)
    for name, held in (("items", items), ("pairs", pairs)):
        if held is not None:
            found[name] = _sequence([_described(item, above) for item in held])
    return found
