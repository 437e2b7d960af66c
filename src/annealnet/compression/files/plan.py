"""What was decided: the channels kept in every group and the width of every layer, as a value and as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from annealnet.compression.network.structure import NetworkGraph
from annealnet.compression.rounding.grids import MAX_BITS, MIN_BITS, Grid

__all__ = ["PLAN_VERSION", "CompressionPlan"]

PLAN_VERSION = 1


@dataclass(frozen=True)
class CompressionPlan:
    """Channels kept per group, bits per layer.

    Attributes:
        kept: per dependency group one bool per unit, True where it stays; at least one does.
        bits: width 1 … 8 per layer.
        input_shape: one sample's shape, so that a fresh dense network can be traced.
        input_dtype: the samples' dtype.
        version: of the format.
        group: weights of an output channel that share a scale, or None for all of them.
        symmetric: whether zero points are 0.

    Raises:
        ValueError: when a group is left without channels or a width is out of range.

    Example:
        >>> plan = CompressionPlan({"conv": (True, False, True)}, {"conv": 4, "fc": 8}, input_shape=(3, 8, 8))
        >>> print(plan.to_json())
        {"version":1,"input":[3,8,8],"dtype":"float32","bits":{"conv":4,"fc":8},"kept":{"conv":"3:5"}}
        >>> CompressionPlan.from_json(plan.to_json()) == plan
        True
    """

    kept: Mapping[str, tuple[bool, ...]]
    bits: Mapping[str, int]
    input_shape: tuple[int, ...] = ()
    input_dtype: str = "float32"
    version: int = PLAN_VERSION
    group: int | None = None
    symmetric: bool = True

    def __post_init__(self) -> None:
        for name, units in self.kept.items():
            if not any(units):
                raise ValueError(f"kept[{name!r}] keeps no channel: leave at least one")
        for name, bits in self.bits.items():
            if bits not in range(MIN_BITS, MAX_BITS + 1):
                raise ValueError(f"bits[{name!r}]={bits!r} is not a width: give an integer from {MIN_BITS} to {MAX_BITS}")

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
        input_shape: tuple[int, ...] | None = None,
        grid: Grid | None = None,
    ) -> CompressionPlan:
        """The plan of ``keep`` bool ``(num_units,)`` and a width for every layer of ``graph``; ``grid`` says how scales are
        shared.
        """
        keep = graph.checked_keep(keep)
        plan = cls(
            kept={group.name: tuple(bool(keep[unit]) for unit in group.units) for group in graph.groups},
            bits={layer.name: int(bits[layer.name]) for layer in graph.layers if layer.name in bits},
            input_shape=graph.input_shape if input_shape is None else tuple(input_shape),
            input_dtype=graph.input_dtype,
            group=None if grid is None else grid.group,
            symmetric=grid is None or grid.symmetric,
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
                "version": self.version,
                "input": list(self.input_shape),
                "dtype": self.input_dtype,
                **({} if self.group is None else {"group": self.group}),
                **({} if self.symmetric else {"symmetric": False}),
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
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{source} is not whole JSON ({error}): the file is truncated or damaged, save the plan again"
            ) from error
        missing = [key for key in ("version", "input", "dtype", "bits", "kept") if key not in _object(found, source)]
        if missing:
            raise ValueError(f"{source} has no {missing[0]!r}: it is not a compression plan, save the plan again")
        if found["version"] != PLAN_VERSION:
            raise ValueError(f"{source} has version {found['version']!r}: this annealnet reads version {PLAN_VERSION}")
        try:
            return cls(
                kept={name: _from_hex(units) for name, units in _object(found["kept"], source).items()},
                bits=_object(found["bits"], source),
                input_shape=tuple(int(extent) for extent in found["input"]),
                group=found.get("group"),
                symmetric=bool(found.get("symmetric", True)),
                input_dtype=str(found["dtype"]),
            )
        except (ValueError, TypeError) as error:
            raise ValueError(f"{source} is not a valid plan: {error}") from error

    @classmethod
    def load(cls, path: str | Path) -> CompressionPlan:
        """Reads a ``plan.json``."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"), str(path))

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


def _check_names(field: str, what: str, found: Mapping[str, Any], expected: set[str]) -> None:
    unknown = sorted(set(found) - expected)
    if unknown:
        raise ValueError(f"{field} names {what} {unknown[0]!r}, which the network has not: the plan was made for another")
    missing = sorted(expected - set(found))
    if missing:
        raise ValueError(f"{field} does not name {what} {missing[0]!r} of the network: the plan was made for another")


def _object(found: Any, source: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError(f"{source} holds {type(found).__name__} where an object belongs: save the plan again")
    return found


def _to_hex(units: tuple[bool, ...]) -> str:
    """``count:bitmask``, first unit the lowest bit, the mask as wide for every choice."""
    number = sum(1 << i for i, kept in enumerate(units) if kept)
    return f"{len(units)}:{number:0{-(-len(units) // 4)}x}"


def _from_hex(text: Any) -> tuple[bool, ...]:
    count, colon, digits = str(text).partition(":")
    if not colon or not count.isdigit() or len(digits) != -(-int(count) // 4):
        raise ValueError(f"{text!r} is not a channel mask (count:hex)")
    number = int(digits, 16)
    if number >> int(count):
        raise ValueError(f"{text!r} has more bits than channels")
    return tuple(bool(number >> i & 1) for i in range(int(count)))
