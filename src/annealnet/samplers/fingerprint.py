"""What makes two runs the same run, the sampler's part of it: one description of any sampler with all that it wraps.

Caches and checkpoints ask here, and nobody else decides. The rules, in the order in which they are tried:

* plain values, sequences, maps and arrays are themselves (long ones by their SHA-256);
* an object whose class has ``fingerprint_state()`` is its class and what that method returns: what its answers depend on,
  and nothing else (retries, worker processes, embeddings found so far do not change an answer);
* a device behind a solver is the solver's name and version, and its working graph;
* an OpenJij sampler is its default parameters (the others are left over from its last call);
* functions and classes that were installed (Python's own, packages, this one) are their names; all others, of a session, a
  script or a user's module, are their code, with closures, defaults, bases and bodies, and **what that code reads**: every
  global that it names, nested code and functions, classes and modules of the user's in turn, each once;
* any other object is its class and what pickling keeps of it, private attributes included: frozen dataclasses by their
  fields, composites by their children and settings. Values that follow from others (``cached_property``, dimod's memo of a
  graph) and locks and threads, which carry no setting, are left out;
* what cannot even be pickled is like nothing else, not even like itself the next time: its runs are never taken for one
  another, which costs work and no truth. Give its class a ``fingerprint_state()``.

So are samplers that change while they sample (that count their calls, say): each state is another sampler.
"""

from __future__ import annotations

import copyreg
import dis
import hashlib
import inspect
import json
import math
import sys
import threading
import types
import uuid
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
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

#: Where installed packages lie, whatever the machine.
_INSTALLED = frozenset({"site-packages", "dist-packages"})
#: Installed wherever they lie: a version says what they do.
_LIBRARIES = frozenset({"annealnet", "dimod", "numpy", "torch"})
#: Holds the types that Cython's compiled modules share, and is no file.
_CYTHON = "_cython_"
_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")
_CACHED = type(lru_cache(maxsize=None)(len))


@dataclass(frozen=True)
class _Trail:
    """Where a description stands.

    Attributes:
        above: objects above the one that is described, so that circles end.
        numbers, code: functions and classes met so far, in that order. Each is described once, after all else, so that
            neither circles nor the many ways from one function to another make work.
    """

    above: tuple[int, ...] = ()
    numbers: dict[int, int] = field(default_factory=dict)
    code: list[Any] = field(default_factory=list)

    def below(self, value: object) -> _Trail:
        return _Trail((*self.above, id(value)), self.numbers, self.code)

    def number(self, thing: object) -> int:
        if id(thing) not in self.numbers:
            self.numbers[id(thing)] = len(self.code)
            self.code.append(thing)  # kept alive too: its id stays its own
        return self.numbers[id(thing)]


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
    trail = _Trail()
    found, bodies = _described(value, trail), list[Any]()
    while len(bodies) < len(trail.code):
        thing = trail.code[len(bodies)]
        bodies.append(_class_body(thing, trail) if isinstance(thing, type) else _function_body(thing, trail))
    return {"value": found, "code": _sequence(bodies)} if bodies else found


def _described(value: Any, trail: _Trail) -> Any:
    if type(value) in (type(None), bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        return _described(value.item(), trail)
    if type(value) is bytes:
        return {"bytes": hashlib.sha256(value).hexdigest()}
    if id(value) in trail.above:
        return {"again": len(trail.above) - trail.above.index(id(value))}
    trail = trail.below(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcSU":
        return _array(value)
    if type(value).__module__ == "torch" and hasattr(value, "detach"):
        return {"tensor": str(value.dtype), **_array(value.detach().cpu().double().numpy())}
    if type(value) in (list, tuple):
        return _sequence([_described(item, trail) for item in value])
    if type(value) in (set, frozenset):
        return {"set": _sequence([_described(item, trail) for item in sorted(value, key=_order)])}
    if type(value) is dict:
        return _map(value, trail)
    if isinstance(value, type):
        return {"type": _class(value, trail)}
    if isinstance(value, types.ModuleType):
        return {"module": value.__name__}
    if isinstance(value, _CACHED):
        return {"cached": _described(value.__wrapped__, trail)}
    compiled = inspect.getattr_static(value, "py_func", None)  # numba's, whose pickles differ from process to process
    if isinstance(compiled, types.FunctionType):
        return {"compiled": _described(compiled, trail)}
    return _function(value, trail) if isinstance(value, _FUNCTIONS) else _object(value, trail)


def _text(described: Any) -> str:
    return json.dumps(described, sort_keys=True)


def _order(item: Any) -> str:
    """What items of sets and keys are sorted by: the same in every process, and whatever was described before."""
    return _text(_described(item, _Trail()))


def _array(values: np.ndarray) -> dict[str, Any]:
    digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    return {"array": values.dtype.str, "shape": list(values.shape), "sha256": digest}


def _sequence(described: list[Any]) -> Any:
    if len(described) <= _LONG:
        return described
    return {"length": len(described), "sha256": hashlib.sha256(_text(described).encode()).hexdigest()}


def _map(pairs: dict[Any, Any], trail: _Trail) -> dict[str, Any]:
    """Whatever the keys are, and in whatever order they came."""
    ordered = sorted(pairs, key=_order)
    return {"map": _sequence([[_described(key, trail), _described(pairs[key], trail)] for key in ordered])}


def _installed(module: str | None) -> bool:
    """Whether a version says what the module does: Python's own, an installed package, this one."""
    if module in (None, "__main__"):  # typed in, or a script
        return False
    top = module.partition(".")[0]
    if top in _LIBRARIES or top in sys.stdlib_module_names or top.startswith(_CYTHON):
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and not _INSTALLED.isdisjoint(Path(file).parts)


def _by_name(thing: Any) -> bool:
    """Whether its name says what it is: it was installed, and not made on the way."""
    return _installed(thing.__module__) and "<" not in thing.__qualname__


def _class(cls: type, trail: _Trail) -> Any:
    name = f"{cls.__module__}.{cls.__qualname__}"
    return name if _by_name(cls) else {"name": name, "at": trail.number(cls)}


def _class_body(cls: type, trail: _Trail) -> dict[str, Any]:
    body = {key: _unwrapped(item) for key, item in vars(cls).items()}
    own = {key: item for key, item in body.items() if isinstance(item, types.FunctionType) or not key.startswith(_HIDDEN)}
    kept = {key: item for key, item in own.items() if not isinstance(item, types.MemberDescriptorType)}
    return {"bases": [_class(base, trail) for base in cls.__bases__], "body": _map(kept, trail)}


def _unwrapped(item: Any) -> Any:
    """The function in a method, a property or a cached property of a class."""
    for name in ("__func__", "fget", "func"):
        if isinstance(item, classmethod | staticmethod | property | cached_property) and hasattr(item, name):
            return getattr(item, name)
    return item


def _function(function: Any, trail: _Trail) -> dict[str, Any]:
    if isinstance(function, partial):
        parts = (function.func, function.args, function.keywords)
        return {"partial": [_described(part, trail) for part in parts]}
    if isinstance(function, types.MethodType):
        return {"method": function.__name__, "of": _described(function.__self__, trail)}
    name = f"{function.__module__}.{function.__qualname__}"
    if isinstance(function, types.BuiltinFunctionType):
        owner = function.__self__
        bound = {} if owner is None or isinstance(owner, types.ModuleType) else {"of": _described(owner, trail)}
        return {"function": name, **bound}
    if _by_name(function):
        return {"function": name}
    return {"function": name, "code": _code(function.__code__), "at": trail.number(function)}


def _function_body(function: Any, trail: _Trail) -> dict[str, Any]:
    """All that its code has from outside: what was installed reads what was installed with it."""
    beside = (function.__defaults__, function.__kwdefaults__, vars(function))
    reads = [] if _installed(function.__module__) else [[*pair] for pair in _reads(function, trail)]
    return {
        "closure": [_cell(cell, trail) for cell in function.__closure__ or ()],
        "beside": [_described(part, trail) for part in beside],
        "reads": reads,
    }


def _reads(function: Any, trail: _Trail) -> Iterator[tuple[str, Any]]:
    """The globals that its code names; names that are none are Python's own."""
    codes = list(_nested(function.__code__))
    steps = {step.argval for code in codes for step in dis.get_instructions(code) if step.opname in _GLOBAL}
    names = {name for code in codes for name in code.co_names}
    for name in sorted(steps & function.__globals__.keys()):
        yield name, _read(function.__globals__[name], names, trail)


def _read(value: Any, names: set[str], trail: _Trail) -> Any:
    """A global; a user's module is what the code names of it."""
    if not isinstance(value, types.ModuleType) or _installed(value.__name__) or id(value) in trail.above:
        return _described(value, trail)
    held = vars(value)
    of = [[name, _read(held[name], names, trail.below(value))] for name in sorted(names & held.keys())]
    return {"module": value.__name__, "reads": of}


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)


def _cell(cell: types.CellType, trail: _Trail) -> Any:
    try:
        return _described(cell.cell_contents, trail)
    except ValueError:  # not yet filled
        return {"empty": True}


def _code(code: types.CodeType) -> str:
    """Instructions, names and constants; not the lines they stand on."""
    digest = hashlib.sha256(code.co_code)
    digest.update(repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    digest.update(_constant(code.co_consts).encode())
    return digest.hexdigest()


def _constant(item: Any) -> str:
    """A constant of a code; sets have no order."""
    if isinstance(item, types.CodeType):
        return _code(item)
    if isinstance(item, tuple | frozenset):
        inner = [_constant(part) for part in item]
        return f"{type(item).__name__}({', '.join(inner if isinstance(item, tuple) else sorted(inner))})"
    return repr(item)


def _object(value: Any, trail: _Trail) -> dict[str, Any]:
    cls = type(value)
    found: dict[str, Any] = {"class": _class(cls, trail)}
    if isinstance(value, _BARE):
        return found
    if hasattr(cls, "fingerprint_state"):
        return {**found, "state": _described(value.fingerprint_state(), trail)}
    solver = getattr(value, "solver", None) if isinstance(value, dimod.Sampler) else None
    if hasattr(solver, "properties") and hasattr(solver, "name"):
        return {**found, **_device(value, solver, trail)}
    if cls.__module__.startswith("openjij.") and hasattr(value, "_default_params"):
        return {**found, "state": _described(value._default_params, trail)}
    try:
        reduced = copyreg.dispatch_table[cls](value) if cls in copyreg.dispatch_table else value.__reduce_ex__(4)
    except Exception:  # whatever stands in the way of pickling
        return {**found, "opaque": uuid.uuid4().hex}
    return {**found, **_reduced(cls, reduced, trail)}


def _device(sampler: Any, solver: Any, trail: _Trail) -> dict[str, Any]:
    """Name and version of the solver, and the graph where it has one."""
    graph = [sampler.nodelist, sampler.edgelist] if isinstance(sampler, dimod.Structured) else []
    return {
        "solver": solver.name, "version": _described(getattr(solver, "version", None), trail),
        "graph": [_described(list(part), trail) for part in graph],
    }  # fmt: skip


def _reduced(cls: type, reduced: Any, trail: _Trail) -> dict[str, Any]:
    """What pickling keeps: how to make it, its state, and what it holds as a list or a map."""
    if isinstance(reduced, str):
        return {"global": reduced}
    make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    found: dict[str, Any] = {}
    if make in _NEW:
        arguments = arguments[1:]
    else:
        found["made by"] = _described(make, trail)
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):  # attributes and slots
        state = {**(state[0] or {}), **state[1]}
    if isinstance(state, dict):
        derived = {name for name in state if isinstance(getattr(cls, str(name), None), cached_property)}
        state = {name: item for name, item in state.items() if name not in derived | _MEMOS}
    if arguments:
        found["arguments"] = _described(tuple(arguments), trail)
    if state is not None:
        found["state"] = _described(state, trail)
    for name, held in (("items", items), ("pairs", pairs)):
        if held is not None:
            found[name] = _sequence([_described(item, trail) for item in held])
    return found
