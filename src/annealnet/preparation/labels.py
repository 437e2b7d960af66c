"""Class numbers and the user's labels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annealnet.parts import Parts

__all__ = ["Labels"]

#: Classes of a network of ours; more is a damaged file.
_MOST = 2**13
#: dtypes that labels have in a file.
_KINDS = re.compile(r"[<>]?[iuf][248]|[iub]1|[<>]?U\d{1,9}|O")


@dataclass(frozen=True, eq=False)
class Labels:
    """The user's labels; class numbers are their places.

    Attributes:
        classes: sorted and distinct, ``(classes,)``: numbers, text or truth values.

    Example:
        >>> labels = Labels(np.array(["cat", "dog"]))
        >>> labels.encode(["dog", "cat"]).tolist(), labels.decode(np.array([[0.1, 0.3]])).tolist()
        ([1, 0], ['dog'])
    """

    classes: NDArray[Any]

    def encode(self, y: Any) -> NDArray[np.int64]:
        """Class numbers ``(N,)``.

        Raises:
            ValueError: a label that is none of the classes.
        """
        labels = np.asarray(y)
        places = np.searchsorted(self.classes, labels).clip(0, len(self.classes) - 1)
        strange = self.classes[places] != labels
        if strange.any():
            raise ValueError(
                f"y holds {labels[strange].tolist()[0]!r}, which is none of the classes {self.classes.tolist()}"
            )
        return np.asarray(places, dtype=np.int64)

    def decode(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Labels of the first of the largest scores; scores ``(N, classes)``, or with two classes ``(N,)`` above 0."""
        codes = (scores > 0).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)
        return np.asarray(self.classes[codes])

    def to_parts(self) -> Parts:
        """A number alone stands for 0 … n − 1, as most labels are.

        Raises:
            ValueError: labels that are no numbers, text or truth values, or too many.
        """
        kind, values = self.classes.dtype, self.classes.tolist()
        if len(values) > _MOST:
            raise ValueError(f"classes are {len(values)}: a file holds up to {_MOST}")
        if kind.kind not in "biufUO" or (kind.kind == "O" and not all(type(v) in (str, int, float, bool) for v in values)):
            raise ValueError(f"classes are {kind} such as {values[0]!r}: a file holds numbers, text and truth values only")
        if kind == np.int64 and values == list(range(len(values))):
            return Parts(facts={"classes": len(values)})
        return Parts(facts={"classes": values, "labels": kind.str.lstrip("<|")})

    @classmethod
    def from_parts(cls, parts: Parts) -> Labels:
        """What :meth:`to_parts` gave.

        Raises:
            ValueError: something else.
        """
        values = parts.fact("classes")
        if type(values) is int:
            return cls(np.arange(parts.whole("classes", 2, _MOST)))
        kind = parts.fact("labels")
        if type(values) is not list or not 2 <= len(values) <= _MOST:
            raise parts.wrong("classes are no list of labels")
        if (
            not all(type(v) in (str, int, float, bool) for v in values)
            or type(kind) is not str
            or not _KINDS.fullmatch(kind)
        ):
            raise parts.wrong("classes hold something else than numbers, text and truth values")
        text = "U" in kind
        if kind != "O" and any((type(v) is str) != text for v in values):
            raise parts.wrong(f"classes are not of kind {kind!r}")
        try:
            # text gets the length that the labels need, not what a file claims
            classes = np.array(values) if text else np.array(values, dtype=kind)
        except (ValueError, TypeError, OverflowError) as error:
            raise parts.wrong(f"classes are not of kind {kind!r}") from error
        if classes.tolist() != values:
            raise parts.wrong(f"classes are not of kind {kind!r}")
        return cls(classes)
