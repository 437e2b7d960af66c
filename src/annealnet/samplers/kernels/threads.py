"""How many threads a piece of work gets: one where it is small.

Starting threads and waiting for the last of them takes microseconds on a free machine. Where other work keeps the cores it
takes milliseconds, however little there is to do: a thread without a core waits for its turn (about 12 ms measured on two
busy cores), and all others wait for it. Kernels give the same numbers on any number of threads, so that the choice changes
nothing but the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numba

__all__ = ["WORTH", "Pace", "threads_for"]

#: Steps from which threads pay even where cores are busy; a step is about a nanosecond of work: a proposal that is refused,
#: some numbers of a row that are mended.
WORTH = 5_000_000
#: Steps below which threads do not pay even on a free machine.
_NEVER = 50_000
#: Calls on one thread before many are tried. The last of them is the first that counts: those before may load kernels.
_LOADING = 2
#: Calls after which the number of threads that was slower is tried again, and weight of the last call in a mean.
_AGAIN, _LAST = 128, 0.25


@contextmanager
def _limited(threads: int) -> Iterator[None]:
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, before))
    try:
        yield
    finally:
        numba.set_num_threads(before)


@contextmanager
def threads_for(steps: float) -> Iterator[None]:
    """Kernels that are called inside run on one thread below :data:`WORTH` steps, else on as many as numba has.

    Example:
        >>> with threads_for(1000):
        ...     print(numba.get_num_threads())
        1
    """
    with _limited(1 if steps < WORTH else numba.get_num_threads()):
        yield


class Pace:
    """Finds out whether threads pay for work of middle size that comes many times: tries both, goes on with the faster.

    Whether they do depends on what else runs, which no threshold knows.

    Example:
        >>> pace = Pace()
        >>> with pace.threads_for(1000):
        ...     print(numba.get_num_threads())
        1
    """

    def __init__(self) -> None:
        self._seconds: dict[bool, float] = {}
        self._calls = 0

    @contextmanager
    def threads_for(self, steps: float) -> Iterator[None]:
        """Kernels that are called inside run on one thread or on as many as numba has."""
        if not _NEVER <= steps < WORTH:
            with threads_for(steps):
                yield
            return
        many = self._choice()
        began = time.perf_counter()
        with _limited(numba.get_num_threads() if many else 1):
            yield
        taken = (time.perf_counter() - began) / steps
        known = self._seconds.get(many, taken)
        self._seconds[many] = known + _LAST * (taken - known)

    def _choice(self) -> bool:
        """Whether the next call runs on many threads."""
        self._calls += 1
        if self._calls <= _LOADING:
            self._seconds.clear()
            return False
        if len(self._seconds) < 2:
            return False in self._seconds
        faster = self._seconds[True] < self._seconds[False]
        return not faster if self._calls % _AGAIN == 0 else faster
