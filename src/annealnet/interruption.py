"""Ctrl-C while something is trained: what was found so far is kept, a warning says so, and the rest is done in haste."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Interruption"]


class Interruption:
    """One for each training; hand it to all of its loops.

    Attributes:
        happened: whether Ctrl-C has ended one of them.

    Example:
        >>> stop, best = Interruption(), 0
        >>> with warnings.catch_warnings(record=True), stop.kept("the count"):
        ...     for best in range(100):
        ...         if best == 3:
        ...             raise KeyboardInterrupt
        >>> best, stop.happened
        (3, True)
    """

    def __init__(self) -> None:
        self.happened = False

    @contextmanager
    def kept(self, what: str, worth: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """Ends the block at Ctrl-C; the loop's own variables hold what it had.

        Args:
            what: is interrupted, for the warning.
            worth: whether there is something to keep by now; if not, and at a second Ctrl-C, KeyboardInterrupt goes on.
        """
        try:
            yield
        except KeyboardInterrupt:
            if self.happened or not worth():
                raise
            self.happened = True
            warnings.warn(f"{what} was interrupted: the best so far is kept", RuntimeWarning, stacklevel=4)
