"""What was decided: the channels kept in every group and the width of every layer, as a value and as JSON."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from annealnet.compression.network.signature import Sample, Signature
from annealnet.compression.network.structure import NetworkGraph
from annealnet.compression.network.ways import Way
from annealnet.compression.rounding.grids import MAX_BITS, MIN_BITS, Grid

__all__ = ["PLAN_VERSION", "CompressionPlan"]

#: 2: codes of all layers lie bit after bit, scales and biases are float16 under an exponent per layer; one input.
#: 3: the same for networks that take several inputs, or inputs by name, or are told something beside.
PLAN_VERSION, NAMED_VERSION = 2, 3
#: Most that is believed of a file: bytes of plan.json, elements and dimensions of one sample, weights that share a scale.
MAX_PLAN_BYTES, MAX_INPUT, MAX_DIMENSIONS, MAX_GROUP = 2**21, 2**31, 8, 2**31
#: Inputs and settings, letters of a name or a word among them, size of a number.
MAX_INPUTS, MAX_LETTERS, MAX_NUMBER = 64, 200, 2**53
_DTYPES = frozenset(("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"))
_KEYS = ("version", "input", "dtype", "bits", "kept")
_NAMED_KEYS = ("version", "inputs", "bits", "kept")
_MASK = re.compile(r"([1-9][0-9]{0,8}):([0-9a-f]+)", re.ASCII)


@dataclass(frozen=True)
class CompressionPlan:
    """Channels kept per group, bits per layer.

    Attributes:
        kept: per dependency group one bool per unit, True where it stays; at least one does.
        bits: width 1 … 8 per layer.
        inputs: how the network is called, so that a fresh dense one can be traced.
        group: weights of an output channel that share a scale, or None for all of them.
        symmetric: whether zero points are 0.
        way: how the network was opened, so that it is opened so again.
        sizes: numbers that modules keep and that fall when channels go, as ``"module.attribute of layer"``.

    Raises:
        ValueError: when a group is left without channels, or a field does not hold what it should.

    Example:
        >>> plan = CompressionPlan({"conv": (True, False, True)}, {"conv": 4, "fc": 8}, Signature.single(3, 8, 8))
        >>> print(plan.to_json())
        {"version":2,"input":[3,8,8],"dtype":"float32","bits":{"conv":4,"fc":8},"kept":{"conv":"3:5"}}
        >>> CompressionPlan.from_json(plan.to_json()) == plan
        True
    """

    kept: Mapping[str, tuple[bool, ...]]
    bits: Mapping[str, int]
    inputs: Signature = field(default_factory=Signature.single)
    group: int | None = None
    symmetric: bool = True
    way: Way = Way.SYMBOLIC
    sizes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, units in self.kept.items():
            if not any(units):
                raise ValueError(f"kept[{name!r}] keeps no channel: leave at least one")
        for name, bits in self.bits.items():
            if not _whole(bits, MIN_BITS, MAX_BITS):
                raise ValueError(f"bits[{name!r}]={bits!r} is not a width: give an integer from {MIN_BITS} to {MAX_BITS}")
        _check_inputs(self.inputs)
        if self.group is not None and not _whole(self.group, 1, MAX_GROUP):
            raise ValueError(f"group={_short(self.group)} must be a positive integer, or not be there")
        if not isinstance(self.symmetric, bool):
            raise ValueError(f"symmetric={_short(self.symmetric)} must be true or false")
        if self.way not in list(Way):
            raise ValueError(f"way={_short(self.way)} is none of {', '.join(Way)}")
        object.__setattr__(self, "way", Way(self.way))
        if not all(isinstance(size, str) for size in self.sizes):
            raise ValueError(f"sizes={_short(self.sizes)} must be names")

    def grid(self, layer: str) -> Grid:
        """The grid of a layer's weights."""
        return Grid(self.bits[layer], self.group, self.symmetric)

    # ---- against a network -------------------------------------------------------------------------------

    @classmethod
    def of(
        cls,
        graph: NetworkGraph,
        keep: np.ndarray,
        bits: Mapping[str, int],
        grid: Grid | None = None,
    ) -> CompressionPlan:
        """The plan of ``keep`` bool ``(num_units,)`` and a width for every layer of ``graph``; ``grid`` says how scales are
        shared.
        """
        keep = graph.checked_keep(keep)
        plan = cls(
            kept={group.name: tuple(bool(keep[unit]) for unit in group.units) for group in graph.groups},
            bits={layer.name: int(bits[layer.name]) for layer in graph.layers if layer.name in bits},
            inputs=graph.signature,
            group=None if grid is None or grid.group is None else int(grid.group),
            symmetric=grid is None or grid.symmetric,
            way=graph.way,
            sizes=tuple(map(str, graph.sizes)),
        )
        plan.check(graph)
        return plan

    def check(self, graph: NetworkGraph) -> None:
        """Raises a ValueError unless the plan is one of this network."""
        _check_names("kept", "group", self.kept, {group.name for group in graph.groups})
        _check_names("bits", "layer", self.bits, {layer.name for layer in graph.layers})
        for group in graph.groups:
            if len(self.kept[group.name]) != len(group.units):
                raise ValueError(
                    f"kept[{group.name!r}] has {len(self.kept[group.name])} units, the network's group "
                    f"{len(group.units)}: the plan was made for another network"
                )

    def keep(self, graph: NetworkGraph) -> np.ndarray:
        """Bool ``(num_units,)``: True where a unit stays.

        Raises:
            ValueError: when the plan is not one of this network.
        """
        self.check(graph)
        kept = np.ones(graph.num_units, dtype=bool)
        for group in graph.groups:
            kept[list(group.units)] = self.kept[group.name]
        return kept

    # ---- JSON --------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Canonical JSON; its length is the same for every plan of one network."""
        return json.dumps(
            {
                **_inputs_to_json(self.inputs),
                **({} if self.group is None else {"group": self.group}),
                **({} if self.symmetric else {"symmetric": False}),
                **({} if self.way is type(self).way else {"way": self.way}),
                **({"sizes": list(self.sizes)} if self.sizes else {}),
                "bits": dict(self.bits),
                "kept": {name: _to_hex(units) for name, units in self.kept.items()},
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str, source: str = "plan") -> CompressionPlan:
        """Reads :meth:`to_json`'s text; ``source`` names it in errors.

        Raises:
            ValueError: when the text is truncated, or is not a plan.
        """
        try:
            found = _object(json.loads(text, object_pairs_hook=_unique), source)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(
                f"{source} is not whole JSON ({error}): the file is truncated or damaged, save the plan again"
            ) from error
        except ValueError as error:
            raise ValueError(f"{source} is not a valid plan: {error}") from error
        named = _whole(found.get("version"), NAMED_VERSION, NAMED_VERSION)
        keys = _NAMED_KEYS if named else _KEYS
        if "version" in found and not named and not _whole(found["version"], PLAN_VERSION, PLAN_VERSION):
            raise ValueError(
                f"{source} has version {_short(found['version'])}: this annealnet reads versions {PLAN_VERSION} and "
                f"{NAMED_VERSION}"
            )
        missing = [key for key in keys if key not in found]
        if missing:
            raise ValueError(f"{source} has no {missing[0]!r}: it is not a compression plan, save the plan again")
        beside = ("group", "symmetric", "way", "sizes", *(("settings", "output") if named else ()))
        unknown = [key for key in found if key not in (*keys, *beside)]
        if unknown:
            raise ValueError(f"{source} holds {_short(unknown[0])}, which no plan has: save the plan again")
        try:
            return cls(
                kept={name: _from_hex(units) for name, units in _object(found["kept"], "kept").items()},
                bits=_object(found["bits"], "bits"),
                inputs=_inputs_from_json(found),
                group=found.get("group"),
                symmetric=found.get("symmetric", True),
                way=found.get("way", cls.way),
                sizes=tuple(_list(found.get("sizes", []), "sizes")),
            )
        except ValueError as error:
            raise ValueError(f"{source} is not a valid plan: {error}") from error

    @classmethod
    def load(cls, path: str | Path) -> CompressionPlan:
        """Reads a ``plan.json``.

        Raises:
            ValueError: when it cannot be read, or is not a plan.
        """
        source = Path(path)
        try:
            size = source.stat().st_size
            if size > MAX_PLAN_BYTES:
                raise ValueError(f"{source} has {size} bytes, more than any plan: give the plan.json that save() wrote")
            text = source.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{source} cannot be read as UTF-8 text ({error}): copy or save it again") from error
        return cls.from_json(text, str(source))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the JSON, hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def __hash__(self) -> int:
        return int(self.hash[:15], 16)

    def __str__(self) -> str:
        total = sum(len(units) for units in self.kept.values())
        left = sum(sum(units) for units in self.kept.values())
        lines = [f"plan {self.hash[:12]}: {left} of {total} channel units kept"]
        lines += [f"  {name}: {sum(units)} of {len(units)} units" for name, units in self.kept.items()]
        lines += [f"  {name}: {bits} bit" for name, bits in self.bits.items()]
        return "\n".join(lines)


def _check_inputs(inputs: Signature) -> None:
    """Refuses inputs that nobody has."""
    if len(inputs.samples) + len(inputs.settings) > MAX_INPUTS:
        raise ValueError(f"inputs names more than {MAX_INPUTS} inputs and settings: no network takes so many")
    for name, sample in inputs.named_samples.items():
        what = "input" if inputs.is_single else f"inputs[{_short(name)}]"
        if len(sample.shape) > MAX_DIMENSIONS or not all(_whole(extent, 1, MAX_INPUT) for extent in sample.shape):
            raise ValueError(f"{what}={_short(sample.shape)} is no shape: give at most {MAX_DIMENSIONS} positive integers")
        if sample.dtype not in _DTYPES:
            raise ValueError(f"dtype={_short(sample.dtype)} is not one of inputs: give {', '.join(sorted(_DTYPES))}")
    if inputs.num_elements > MAX_INPUT:
        shapes = tuple(sample.shape for sample in inputs.samples)
        said = shapes[0] if inputs.is_single else shapes
        raise ValueError(f"input={_short(said)} has more than {MAX_INPUT} elements: no sample is that large")
    for name, value in (*inputs.settings.items(), *((name, 0) for name in inputs.kwargs), ("output", inputs.output)):
        number = isinstance(value, int | float) and not (math.isfinite(value) and abs(value) <= MAX_NUMBER)
        if len(name) > MAX_LETTERS or number or (isinstance(value, str) and len(value) > MAX_LETTERS):
            raise ValueError(f"{_short(name)}={_short(value)} is longer than any name, word or number of a network's inputs")


def _inputs_to_json(inputs: Signature) -> dict[str, Any]:
    """How the network is called: shape and dtype where it takes one tensor; else ``[dtype, *shape]`` by name or place."""
    if inputs.is_single:
        (sample,) = inputs.args
        return {"version": PLAN_VERSION, "input": list(sample.shape), "dtype": sample.dtype}
    return {
        "version": NAMED_VERSION,
        "inputs": {name: [sample.dtype, *sample.shape] for name, sample in inputs.named_samples.items()},
        **({"settings": dict(inputs.settings)} if inputs.settings else {}),
        **({} if inputs.output is None else {"output": inputs.output}),
    }


def _inputs_from_json(found: Mapping[str, Any]) -> Signature:
    if "inputs" not in found:
        return Signature.single(*_list(found["input"], "input"), dtype=str(found["dtype"]))
    samples = {name: _sample(entry, name) for name, entry in _object(found["inputs"], "inputs").items()}
    count = next((place for place, name in enumerate(samples) if name != str(place)), len(samples))
    output = found.get("output")
    if not (output is None or isinstance(output, str) or type(output) is int):
        raise ValueError(f"output={_short(output)} is neither a name nor a number")
    return Signature(
        tuple(samples[str(place)] for place in range(count)),
        {name: sample for place, (name, sample) in enumerate(samples.items()) if place >= count},
        _object(found.get("settings", {}), "settings"),
        output,
    )


def _sample(entry: Any, name: str) -> Sample:
    parts = _list(entry, f"inputs[{_short(name)}]")
    if not parts:
        raise ValueError(f"inputs[{_short(name)}] does not say what it is: [dtype, *shape]")
    return Sample(str(parts[0]), tuple(parts[1:]))


def _check_names(argument: str, what: str, found: Mapping[str, Any], expected: set[str]) -> None:
    unknown = sorted(set(found) - expected)
    if unknown:
        raise ValueError(f"{argument} names {what} {unknown[0]!r}, which the network has not: the plan was made for another")
    missing = sorted(expected - set(found))
    if missing:
        raise ValueError(f"{argument} does not name {what} {missing[0]!r} of the network: the plan was made for another")


def _object(found: Any, source: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError(f"{source} holds {type(found).__name__} where an object belongs: save the plan again")
    return found


def _list(found: Any, source: str) -> list[Any]:
    if not isinstance(found, list):
        raise ValueError(f"{source} holds {type(found).__name__} where a list belongs: save the plan again")
    return found


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, no name twice: which of the two counts would be a matter of the reader."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{_short(name)} is there twice")
        found[name] = value
    return found


def _whole(value: Any, low: int, high: int) -> bool:
    """Whether a value is a whole number within bounds; True and 4.0 are none."""
    return type(value) is int and low <= value <= high


def _short(value: Any) -> str:
    """A value in an error, however long it is."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _to_hex(units: tuple[bool, ...]) -> str:
    """``count:bitmask``, first unit the lowest bit, the mask as wide for every choice."""
    bits = "".join("1" if kept else "0" for kept in reversed(units))
    return f"{len(units)}:{int(bits, 2):0{-(-len(units) // 4)}x}"


def _from_hex(text: Any) -> tuple[bool, ...]:
    found = _MASK.fullmatch(text) if isinstance(text, str) else None
    if found is None or len(found[2]) != -(-int(found[1]) // 4):
        raise ValueError(f"{_short(text)} is not a channel mask (count:hex)")
    count, number = int(found[1]), int(found[2], 16)
    if number >> count:
        raise ValueError(f"{_short(text)} has more bits than channels")
    return tuple(bit == "1" for bit in reversed(f"{number:0{count}b}"))
