"""Training in weight space: the annealer's moves are the network's own weights, no auxiliary bit in between.

A penalty formulation spends most of its bits on repeating what the weights imply; here a state *is* a network, every
state is feasible, and the energy is the true loss on all samples. What is minimised is the cross-entropy of
softmax(scale · scores), or the number of errors. :mod:`annealnet.binary.search.kernels` says what a move costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from annealnet.binary.network.architecture import Architecture, Codes, default_scale
from annealnet.binary.network.signs import BinaryNetwork
from annealnet.binary.search.flat import Flat, State, flatten, new_state
from annealnet.interruption import Interruption
from annealnet.whole_numbers import whole_attributes

__all__ = ["NativeTraining", "Trained"]

#: Inverse temperatures per nat of total loss at the reference number of samples, found on the digits.
_HOT, _COLD, _REFERENCE = 0.3, 30.0, 1437
#: The same per error: one error more is taken with probability e^−β.
_HOT_ERRORS, _COLD_ERRORS = 0.7, 12.0
_CHUNK_SECONDS = 0.2


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training found.

    Attributes:
        network: of the least loss.
        loss: cross-entropy in nats, or errors, summed over the training samples.
        errors: training samples answered wrongly.
        others: the other reads' networks, best first (for voting).
        proposals: weight flips proposed in all.
        seconds: without compilation of the first call.
        complete: False if it was interrupted or ran out of time.
    """

    network: BinaryNetwork
    loss: float
    errors: int
    others: tuple[BinaryNetwork, ...]
    proposals: int
    seconds: float
    complete: bool


@dataclass(frozen=True)
class NativeTraining:
    """Annealing or replica exchange over weights.

    Args:
        sweeps: visits of every weight, per read.
        reads: independent networks (anneal) or temperatures (exchange), over threads.
        loss: ``cross_entropy`` or ``errors``.
        schedule: ``anneal`` cools every read from hot to cold; ``exchange`` holds each at its temperature and swaps
            neighbours (replica exchange, Hukushima & Nemoto 1996).
        scale: of the scores in the cross-entropy; None takes :func:`annealnet.binary.default_scale`.
        hot, cold: inverse temperatures per nat (or per error); None takes values found on the digits, per nat in proportion
            to 1/√N.
        batch_size: samples per sweep, drawn anew each time; None takes all. Batches of n count N/n times.
        time_limit: seconds, or None.

    Raises:
        ValueError: for numbers outside their range.

    Example:
        >>> from annealnet.binary import Architecture, single_output
        >>> x = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], dtype=np.int8)
        >>> found = NativeTraining(sweeps=50, loss="errors").train(
        ...     Architecture((2, 2, 1), bias=True), single_output(), x, np.array([0, 1, 1, 1]), seed=0)
        >>> found.errors
        0
    """

    sweeps: int = 1000
    reads: int = 2
    loss: Literal["cross_entropy", "errors"] = "cross_entropy"
    schedule: Literal["anneal", "exchange"] = "anneal"
    scale: float | None = None
    hot: float | None = None
    cold: float | None = None
    batch_size: int | None = None
    time_limit: float | None = None

    def __post_init__(self) -> None:
        whole_attributes(self, 1, "sweeps", "reads", "batch_size")
        if self.loss not in ("cross_entropy", "errors"):
            raise ValueError(f"loss={self.loss!r} is not known: there are cross_entropy and errors")
        if self.schedule not in ("anneal", "exchange"):
            raise ValueError(f"schedule={self.schedule!r} is not known: there are anneal and exchange")
        for name in ("scale", "hot", "cold", "time_limit"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value!r} must be above 0")

    def train(
        self,
        shape: Architecture,
        codes: Codes,
        x: NDArray[np.int8],
        y: NDArray[Any],
        seed: int,
        *,
        start: BinaryNetwork | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Trained:
        """Trains a network on inputs ``(N, n_0)`` int8 and class numbers ``(N,)``.

        Args:
            shape: architecture.
            codes: int8 ``(classes, n_L)``.
            x, y: training data.
            seed: of starts and moves; the answer does not depend on the number of threads.
            start: every read starts there instead of at random weights.
            progress: told the share that is done, between 0 and 1.

        Raises:
            ValueError: data that do not fit the architecture or whose sums leave int16.
        """
        _check(shape, codes, x, y)
        # contiguous and writeable: kernels would be compiled anew for read-only arrays
        columns, classes = np.require(x.T, np.int8, ["C", "W"]), np.require(y, np.int64, ["C", "W"])
        return _Run(self, shape, codes, columns, classes, seed, start).go(progress)

    def temperatures(self, samples: int) -> tuple[float, float]:
        """Hot and cold inverse temperature for a total over ``samples``."""
        if self.loss == "errors":
            hot, cold = _HOT_ERRORS, _COLD_ERRORS
        else:
            share = (_REFERENCE / samples) ** 0.5
            hot, cold = _HOT * share, _COLD * share
        return self.hot or hot, self.cold or cold


def _check(shape: Architecture, codes: Codes, x: NDArray[np.int8], y: NDArray[Any]) -> None:
    if x.ndim != 2 or x.dtype != np.int8 or x.shape[1] != shape.sizes[0]:
        raise ValueError(f"x is {x.dtype} of shape {x.shape}: give int8 of shape (samples, {shape.sizes[0]})")
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(f"x has {len(x)} samples and y {len(y)}: give one label per sample, and at least one sample")
    if codes.shape[1] != shape.sizes[-1]:
        raise ValueError(f"codes have {codes.shape[1]} columns, the network has {shape.sizes[-1]} outputs")
    if np.min(y) < 0 or np.max(y) >= len(codes):
        raise ValueError(f"y has class numbers {np.min(y)} to {np.max(y)}: give 0 to {len(codes) - 1}")
    largest = int(np.abs(x.astype(np.int64)).sum(axis=1).max()) + max(shape.fan_in(m) for m in range(1, shape.depth + 1))
    if largest + 8 * _bias_step(shape, x) > 32_767:
        raise ValueError(f"x: the inputs of one sample sum to {largest}, beyond 16 bits: give smaller whole numbers")


def _bias_step(shape: Architecture, x: NDArray[np.int8]) -> int:
    """Largest bias change proposed: half the largest input, at least 2."""
    return max(2, int(np.abs(x.astype(np.int64)).max()) // 2) if shape.bias else 0


class _Run:
    """One training: state, temperatures, interruptions."""

    def __init__(
        self, asked: NativeTraining, shape: Architecture, codes: Codes, x: NDArray[np.int8], y: NDArray[np.int64], seed: int,
        start: BinaryNetwork | None,
    ) -> None:  # fmt: skip
        from annealnet.samplers.kernels.random import streams

        self.asked, self.shape, self.codes, self.x, self.y = asked, shape, codes, x, y
        self.flat: Flat = flatten(shape, codes)
        self.rng = np.random.default_rng(seed)
        reads = asked.reads
        if start is None:
            w = self.rng.choice(np.array([-1, 1], dtype=np.int8), (reads, shape.num_weights))
            b = np.zeros((reads, self.flat.signs), dtype=np.int16)
        else:
            w, b = np.tile(start.flat_weights, (reads, 1)), np.tile(start.flat_biases, (reads, 1))
        self.random = streams(np.uint64(seed), reads)
        self.state: State = new_state(self.flat, w, b, x.shape[1], self.random)
        self.scale = 0.0
        if asked.loss == "cross_entropy":
            square = float(np.mean(np.square(x, dtype=np.float32)))
            self.scale = float(asked.scale or default_scale(shape, codes, square))
        self.bias_step = _bias_step(shape, x)
        hot, cold = asked.temperatures(x.shape[1])
        self.ladder = np.geomspace(hot, cold, reads) if asked.schedule == "exchange" else np.array([hot, cold])
        self.swept = 0

    def go(self, progress: Callable[[float], None] | None) -> Trained:
        from annealnet.binary.search.kernels import rebuild_all

        rebuild_all(self.flat, self.x, self.state)
        began, complete = time.perf_counter(), True
        chunk, stop = 1, Interruption()
        with stop.kept("training"):
            while self.swept < self.asked.sweeps:
                if self.asked.time_limit is not None and time.perf_counter() - began > self.asked.time_limit:
                    complete = False
                    break
                before = time.perf_counter()
                count = min(chunk, self.asked.sweeps - self.swept)
                self._chunk(count)
                spent = time.perf_counter() - before
                if self.asked.schedule == "anneal" and self.asked.batch_size is None:
                    chunk = max(1, min(2 * chunk, int(count * _CHUNK_SECONDS / max(spent, 1e-9))))
                if progress is not None:
                    progress(self.swept / self.asked.sweeps)
        return self._found(time.perf_counter() - began, complete and not stop.happened)

    def _chunk(self, count: int) -> None:
        """Some sweeps of every read; temperatures depend on the sweep's number alone."""
        from annealnet.binary.search.kernels import anneal

        asked, reads = self.asked, self.asked.reads
        if asked.schedule == "exchange":
            betas = np.repeat(self.ladder[:, None], count, axis=1)
        else:
            share = np.arange(self.swept, self.swept + count) / max(1, asked.sweeps - 1)
            betas = np.tile(self.ladder[0] * (self.ladder[1] / self.ladder[0]) ** share, (reads, 1))
        if asked.batch_size is None or asked.batch_size >= self.x.shape[1]:
            anneal(self.flat, self.x, self.y, self.scale, betas, self.bias_step, self.state)
        else:
            self._batch(betas)
        self.swept += count
        if asked.schedule == "exchange":
            self._exchange()

    def _batch(self, betas: NDArray[np.float64]) -> None:
        """The same on samples drawn anew; the best network is judged on all samples, now and then and at the end."""
        from annealnet.binary.search.kernels import anneal, rebuild_all

        assert self.asked.batch_size is not None
        samples = self.x.shape[1]
        chosen = self.rng.permutation(samples)[: self.asked.batch_size]
        x, y = np.ascontiguousarray(self.x[:, chosen]), self.y[chosen]
        part = new_state(self.flat, self.state.w, self.state.b, len(chosen), self.state.random)
        rebuild_all(self.flat, x, part)
        anneal(self.flat, x, y, self.scale, betas * (samples / len(chosen)), self.bias_step, part)
        self.state.w[:], self.state.b[:], self.state.random[:] = part.w, part.b, part.random
        if self.swept % 25 == 0 or self.swept + betas.shape[1] >= self.asked.sweeps:
            self._judge()

    def _judge(self) -> None:
        from annealnet.binary.search.kernels import rebuild_all
        from annealnet.binary.search.losses import total_loss

        rebuild_all(self.flat, self.x, self.state)
        for r in range(self.asked.reads):
            loss = self.state.loss[r]
            loss[0] = total_loss(self.state.t[r], self.y, self.scale)
            if loss[0] < loss[1]:
                loss[1] = loss[0]
                self.state.best_w[r], self.state.best_b[r] = self.state.w[r], self.state.b[r]

    def _exchange(self) -> None:
        """Neighbouring temperatures swap with probability min(1, e^{Δβ ΔL}); temperatures move, states stay."""
        order = np.argsort(self.ladder)
        for k in range(self.swept % 2, len(order) - 1, 2):
            i, j = order[k], order[k + 1]
            gain = (self.ladder[j] - self.ladder[i]) * (self.state.loss[j, 0] - self.state.loss[i, 0])
            if gain >= 0 or self.rng.random() < np.exp(gain):
                self.ladder[i], self.ladder[j] = self.ladder[j], self.ladder[i]

    def _found(self, seconds: float, complete: bool) -> Trained:
        if not np.isfinite(self.state.loss[:, 1]).all():  # stopped before the first judgement
            self._judge()
        order = np.argsort(self.state.loss[:, 1], kind="stable")
        networks = [self._network(int(r)) for r in order]
        best = networks[0]
        errors = best.errors(self.x.T, self.y)
        proposals = self.swept * self.asked.reads * self.shape.num_weights
        return Trained(best, float(self.state.loss[order[0], 1]), errors, tuple(networks[1:]), proposals, seconds, complete)

    def _network(self, r: int) -> BinaryNetwork:
        return BinaryNetwork.from_flat(self.shape, self.codes, self.state.best_w[r].copy(), self.state.best_b[r].copy())
