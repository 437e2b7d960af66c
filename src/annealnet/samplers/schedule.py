"""How long a sampler works: a number of sweeps, a time limit, or both; and which temperature comes next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

__all__ = ["REFRESH", "Clock", "Progress", "beta_chunks"]

#: Told the share of the work that is done, 0 … 1.
Progress = Callable[[float], None]
#: Sweeps after which float32 sums are computed anew; no chunk reaches across it, so that chunks do not change an answer.
REFRESH = 512
#: Seconds between two looks at the clock, and the share of a time limit it may take.
_CHUNK_SECONDS, _CHUNK_SHARE = 0.1, 0.01


@dataclass
class Clock:
    """A time limit in seconds, running from its making; None never ends."""

    limit: float | None
    began: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        if self.limit is not None and not 0 < self.limit < np.inf:
            raise ValueError(f"time_limit={self.limit!r} must be a number of seconds above 0, or None")

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.began

    @property
    def share(self) -> float:
        """Elapsed share of the limit; 0 without one."""
        return 0.0 if self.limit is None else self.elapsed / self.limit

    @property
    def passed(self) -> bool:
        """Whether the limit is reached."""
        return self.share >= 1.0

    @property
    def chunk_seconds(self) -> float:
        """How long to work between two looks at the clock."""
        return _CHUNK_SECONDS if self.limit is None else min(_CHUNK_SECONDS, _CHUNK_SHARE * self.limit)


def beta_chunks(
    hot: float, cold: float, sweeps: int | None, clock: Clock, progress: Progress | None = None
) -> Iterator[np.ndarray]:
    """The geometric schedule, in pieces between which the clock is looked at and progress is told.

    With ``sweeps`` the schedule has that many and is cut off when the clock has passed. Without, it follows the clock: the
    temperature of a sweep is that of the share of the time limit that is gone.

    Yields:
        Inverse temperatures float64 ``(k,)`` of the next sweeps; the consumer runs them before it asks for more.

    Example:
        >>> np.concatenate(list(beta_chunks(1.0, 4.0, 3, Clock(None)))).round(6).tolist()
        [1.0, 2.0, 4.0]
    """
    if sweeps is None and clock.limit is None:
        raise ValueError("num_sweeps=None needs a time_limit: give one of them")
    fixed = None if sweeps is None else np.geomspace(hot, cold, sweeps)
    done, size, seconds, reached = 0, 1, 0.0, 0.0
    while not clock.passed and (fixed is None or done < len(fixed)):
        size = min(size, REFRESH - done % REFRESH)
        began = time.perf_counter()
        if fixed is not None:
            chunk = fixed[done : done + size]
        else:
            assert clock.limit is not None
            ahead = min(1.0, max(reached, clock.share + size * seconds / clock.limit))
            chunk = hot * (cold / hot) ** np.linspace(reached, ahead, size)
            reached = ahead
        yield chunk
        seconds = max(1e-9, (time.perf_counter() - began) / len(chunk))
        done += len(chunk)
        if progress is not None:
            progress(min(1.0, clock.share) if fixed is None else done / len(fixed))
        size = int(np.clip(clock.chunk_seconds / seconds, 1, 4 * len(chunk)))
        if clock.limit is not None:
            size = int(np.clip((clock.limit - clock.elapsed) / seconds, 1, size))
