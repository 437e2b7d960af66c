"""Samplers around samplers: never pay twice for a sample, never lose one to a dropped connection."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dimod
import numpy as np

from annealnet.samplers.fingerprint import sampler_fingerprint
from annealnet.samplers.seeds import Purpose, derived_seed
from annealnet.whole_numbers import whole_number

__all__ = ["CacheComposite", "RetryComposite", "split_reads", "transient_errors"]


class _Composite(dimod.ComposedSampler):
    """Parameters and properties of the child."""

    children: Any = None
    parameters: Any = None
    properties: Any = None

    def __init__(self, child: dimod.Sampler) -> None:
        self.children = [child]
        self.parameters = dict(child.parameters or {})
        self.properties = {"child_properties": dict(child.properties or {})}


class CacheComposite(_Composite):
    """Keeps every answer in a SQLite file, under the energy, the parameters and the sampler that it was asked from.

    The key is a SHA-256 of the variables' labels, their biases, the offset, the vartype, the parameters and the child with
    all that it wraps (:func:`.describe`), so the same energy with more reads, or on another device, is asked anew. Answers
    to calls without a seed are kept too: what was paid for is used.

    An answer with fewer reads than were asked for is handed on, but is never served as a whole one. Where it was cut short
    by an error (``info["failed"]`` of :class:`RetryComposite`) and no seed asks for a certain whole, its reads are kept and
    the next call asks for the missing ones alone; other short answers are not kept.

    Args:
        child: any dimod sampler.
        path: the file; made when it is not there. Several processes may share it.

    Example:
        >>> import tempfile
        >>> from annealnet.samplers import AnnealingSampler
        >>> cached = CacheComposite(AnnealingSampler(), Path(tempfile.mkdtemp()) / "answers.sqlite")
        >>> bqm = dimod.BinaryQuadraticModel({0: -1.0}, {}, 0.0, "BINARY")
        >>> [cached.sample(bqm, seed=1).info["cached"] for _ in range(2)]
        [False, True]
    """

    def __init__(self, child: dimod.Sampler, path: str | Path) -> None:
        super().__init__(child)
        self.path = Path(path)
        with self._open() as table:
            table.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")

    def fingerprint_state(self) -> dict[str, Any]:
        """What the answers depend on, see :mod:`.fingerprint`: not on the file."""
        return {"child": self.child}

    def sample(self, bqm: dimod.BinaryQuadraticModel, **parameters: Any) -> dimod.SampleSet:
        """The kept answer, or the child's, which is kept; ``info["cached"]`` tells which (of some reads, where the child
        was asked for the missing ones: False).
        """
        key = self._key(bqm, parameters)
        kept = self._kept(key)
        missing = None if kept is None else _missing(kept, parameters)
        if kept is not None and not missing:
            kept.info["cached"] = True
            return kept
        asked = _last_reads(parameters, missing) if missing else parameters
        answer = self.child.sample(bqm, **asked)
        answer.resolve()
        if kept is not None:
            told = answer.info
            answer = dimod.concatenate([kept, answer])
            answer.info.update(told)
        answer.info["cached"] = False
        if not _missing(answer, parameters) or (answer.info.get("failed") and parameters.get("seed") is None):
            self._keep(key, answer)
        return answer

    def _kept(self, key: str) -> dimod.SampleSet | None:
        with self._open() as table:
            row = table.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else dimod.SampleSet.from_serializable(json.loads(row[0]))

    def _keep(self, key: str, answer: dimod.SampleSet) -> None:
        text = json.dumps(answer.to_serializable(), default=_plain)
        with self._open() as table:
            table.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, text))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as connection, connection:
                yield connection
        except sqlite3.DatabaseError as error:
            raise ValueError(f"path={str(self.path)!r} is no cache of answers ({error}): name another file") from error

    def _key(self, bqm: dimod.BinaryQuadraticModel, parameters: dict[str, Any]) -> str:
        labels = sorted(bqm.variables, key=repr)
        place = {label: i for i, label in enumerate(labels)}
        digest = hashlib.sha256()
        digest.update(repr((bqm.vartype.name, labels, float(bqm.offset))).encode())
        digest.update(np.array([bqm.get_linear(label) for label in labels], dtype=np.float64).tobytes())
        pairs = sorted((*sorted((place[u], place[v])), float(bias)) for u, v, bias in bqm.iter_quadratic())
        digest.update(np.array(pairs, dtype=np.float64).tobytes())
        digest.update(sampler_fingerprint([self.child, parameters]).encode())
        return digest.hexdigest()


def _missing(answer: dimod.SampleSet, parameters: dict[str, Any]) -> int:
    """Reads that were asked for and are not there."""
    return max(0, int(parameters.get("num_reads") or 0) - int(answer.record.num_occurrences.sum()))


def _plain(value: Any) -> Any:
    """JSON for NumPy values and, as text, for anything else."""
    if isinstance(value, np.generic):
        return value.item()
    return value.tolist() if isinstance(value, np.ndarray) else repr(value)


def transient_errors() -> tuple[type[BaseException], ...]:
    """Errors after which asking again makes sense: time-outs, dropped connections, a solver that is off for a moment."""
    errors: tuple[type[BaseException], ...] = (TimeoutError, ConnectionError)
    try:
        from dwave.cloud import exceptions
    except ImportError:
        return errors
    return (*errors, exceptions.Timeout, exceptions.RequestTimeout, exceptions.PollingTimeout, exceptions.SolverOfflineError)


class RetryComposite(_Composite):
    """Asks again after a transient error, waiting longer each time, and keeps what was finished before.

    Args:
        child: any dimod sampler.
        attempts: calls at most for one piece of the reads.
        wait: seconds before the second attempt; doubled for each further one.
        reads_per_call: ``num_reads`` is asked for in pieces of at most so many, so that finished ones survive; None asks
            at once.
        transient: errors after which it asks again; None takes :func:`transient_errors`.
        sleep: how to wait.

    Example:
        >>> from annealnet.samplers import AnnealingSampler
        >>> bqm = dimod.BinaryQuadraticModel({0: -1.0}, {}, 0.0, "BINARY")
        >>> len(RetryComposite(AnnealingSampler(), reads_per_call=4).sample(bqm, num_reads=10))
        10
    """

    def __init__(
        self,
        child: dimod.Sampler,
        *,
        attempts: int = 5,
        wait: float = 1.0,
        reads_per_call: int | None = None,
        transient: tuple[type[BaseException], ...] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(child)
        self.attempts, self.wait = whole_number("attempts", attempts, 1), wait
        self.reads_per_call = None if reads_per_call is None else whole_number("reads_per_call", reads_per_call, 1)
        self.transient = transient_errors() if transient is None else transient
        self._sleep = sleep

    def fingerprint_state(self) -> dict[str, Any]:
        """What the answers depend on, see :mod:`.fingerprint`: not on how often and how patiently it asks."""
        return {"child": self.child, "reads_per_call": self.reads_per_call}

    def sample(self, bqm: dimod.BinaryQuadraticModel, **parameters: Any) -> dimod.SampleSet:
        """The child's answer; ``info["attempts"]`` counts calls, ``info["failed"]`` says why reads are missing.

        Raises:
            Exception: the child's own, when nothing was finished.
        """
        pieces: list[dimod.SampleSet] = []
        calls = 0
        failed: str | None = None
        for piece in split_reads(parameters, self.reads_per_call):
            try:
                answer, tries = self._persist(bqm, piece)
            except Exception as error:  # whatever it is: finished samples are worth more than its traceback
                if not pieces:
                    raise
                failed = f"{type(error).__name__}: {error}"
                break
            pieces.append(answer)
            calls += tries
        joined = pieces[0] if len(pieces) == 1 else dimod.concatenate(pieces)
        joined.info.update({**pieces[0].info, "attempts": calls, "failed": failed})
        return joined

    def _persist(self, bqm: dimod.BinaryQuadraticModel, parameters: dict[str, Any]) -> tuple[dimod.SampleSet, int]:
        for attempt in range(1, self.attempts + 1):
            try:
                answer = self.child.sample(bqm, **parameters)
                answer.resolve()  # a remote answer fails here, not when it is read
            except self.transient:
                if attempt == self.attempts:
                    raise
                self._sleep(self.wait * 2 ** (attempt - 1))
            else:
                return answer, attempt
        raise AssertionError("attempts is at least 1")


def split_reads(parameters: dict[str, Any], size: int | None) -> list[dict[str, Any]]:
    """A request for ``num_reads`` in pieces of at most ``size``, each with a seed of its own that follows from the whole's.

    ``initial_states`` with one state for each read, an array or what :func:`dimod.as_samples` takes, go with their reads;
    any other number of states goes with every piece as it is.

    Example:
        >>> [piece["num_reads"] for piece in split_reads({"num_reads": 5, "seed": 1}, 2)]
        [2, 2, 1]
        >>> [piece["initial_states"].tolist() for piece in split_reads({"num_reads": 2, "initial_states": [[0], [1]]}, 1)]
        [[[0]], [[1]]]
    """
    reads = parameters.get("num_reads")
    if reads is None or size is None or reads <= size:
        return [parameters]
    pieces = []
    for number, first in enumerate(range(0, reads, size)):
        last = min(first + size, reads)
        piece = {**parameters, "num_reads": last - first}
        if piece.get("seed") is not None:
            piece["seed"] = derived_seed(piece["seed"], Purpose.PIECES, number)
        if piece.get("initial_states") is not None:
            piece["initial_states"] = _states_of(piece["initial_states"], reads, first, last)
        pieces.append(piece)
    return pieces


def _last_reads(parameters: dict[str, Any], missing: int) -> dict[str, Any]:
    """The request for the last reads of a whole one, with their states."""
    asked = {**parameters, "num_reads": missing}
    if asked.get("initial_states") is not None:
        reads = int(parameters["num_reads"])
        asked["initial_states"] = _states_of(asked["initial_states"], reads, reads - missing, reads)
    return asked


def _states_of(given: Any, reads: int, first: int, last: int) -> Any:
    """The states of some of the reads."""
    if isinstance(given, list | np.ndarray) and np.ndim(given) == 2:
        return np.asarray(given)[first:last] if len(given) == reads else given
    states, labels = dimod.as_samples(given)
    return (states[first:last], labels) if len(states) == reads else given
