"""How a network is called: what one sample of each tensor is, by position or by name, and what is given beside."""

from __future__ import annotations

import keyword
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Sample", "Setting", "Signature", "check_names"]

#: What a call may be given beside tensors: it is written into ``plan.json``.
Setting = bool | int | float | str | None


class Sample(NamedTuple):
    """One sample of a tensor: the name of its dtype, its shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """How a network is called: what one sample of each tensor is, what is given beside, which answer counts.

    Attributes:
        args: tensors given by position.
        kwargs: tensors given by name.
        settings: what every call is given beside.
        output: name or number of the answer that counts; None finds it.

    Raises:
        ValueError: when a name cannot be a parameter's, or a setting is no plain value.

    Example:
        >>> called = Signature.single(3, 8, 8)
        >>> called.args, called.num_elements
        ((Sample(dtype='float32', shape=(3, 8, 8)),), 192)
    """

    args: tuple[Sample, ...] = ()
    kwargs: Mapping[str, Sample] = field(default_factory=dict)
    settings: Mapping[str, Setting] = field(default_factory=dict)
    output: str | int | None = None

    def __post_init__(self) -> None:
        check_names(self.kwargs, self.settings)

    @classmethod
    def single(cls, *shape: int, dtype: str = "float32") -> Signature:
        """One tensor given by position."""
        return cls((Sample(dtype, shape),))

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Of all tensors."""
        return tuple(self.named_samples.values())

    @property
    def named_samples(self) -> dict[str, Sample]:
        """Of all tensors by name; those given by position are called by their number."""
        return {str(place): sample for place, sample in enumerate(self.args)} | dict(self.kwargs)

    @property
    def is_single(self) -> bool:
        """Whether it is one tensor by position, and nothing else is to be said."""
        return len(self.args) == 1 and not self.kwargs and not self.settings and self.output is None

    @property
    def num_elements(self) -> int:
        """Of one sample, all tensors together."""
        return sum(math.prod(sample.shape) for sample in self.samples)


def check_names(kwargs: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raises a ValueError when a name cannot be a parameter's, or a setting is no plain value."""
    for name in (*kwargs, *settings):
        # names become code when a network is traced
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise ValueError(f"data: {_short(name)} cannot be the name of an input: give names of the forward's parameters")
    twice = [name for name in kwargs if name in settings]
    if twice:
        raise ValueError(f"data: {twice[0]!r} is a tensor and a setting at once: give one of them")
    for name, value in settings.items():
        if not (value is None or isinstance(value, bool | int | float | str)):
            raise ValueError(
                f"data: {name!r} is {type(value).__name__}: give a tensor, a number, a word, True, False or None"
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
