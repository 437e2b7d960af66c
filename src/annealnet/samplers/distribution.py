"""Work in pieces, on the cores of one machine or on a cluster: anything that joblib runs, Ray and Dask among it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeVar

import dimod

from annealnet.energy import ConstrainedEnergy, Energy
from annealnet.samplers.answers import lowest_first
from annealnet.samplers.composites import split_reads
from annealnet.samplers.external import sample_energy
from annealnet.samplers.native import NativeSampler
from annealnet.samplers.seeds import checked_seed
from annealnet.whole_numbers import whole_attributes, whole_number

__all__ = ["DistributedSampler", "Workers"]

Piece = TypeVar("Piece")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Workers:
    """Where pieces of work run.

    A piece that was lost with its worker is run again, on whoever is left; finished pieces are kept. Pieces do not know
    where they run, so that the answer is the same on any number of workers.

    Attributes:
        backend: of joblib: «sequential», «threading», «loky» (processes of this machine), «ray», «dask».
        jobs: workers; −1 takes all there are.
        address: of a Ray cluster (`ray start --head` prints it); None starts one on this machine.
        attempts: rounds at most in which lost pieces are run again.

    Raises:
        ValueError: when a value is out of range, or the backend's package is not installed.

    Example:
        >>> Workers("sequential").run(abs, [-1, 2, -3])
        [1, 2, 3]
    """

    backend: str = "loky"
    jobs: int = -1
    address: str | None = None
    attempts: int = 5

    def __post_init__(self) -> None:
        if self.jobs != -1:  # all workers
            whole_attributes(self, 1, "jobs")
        whole_attributes(self, 1, "attempts")
        if self.address is not None and self.backend != "ray":
            raise ValueError(f"address={self.address!r} is for backend='ray', not {self.backend!r}")
        if self.backend == "ray" and find_spec("ray") is None:
            raise ValueError("backend='ray' needs Ray: pip install 'annealnet[cluster]'")

    @property
    def count(self) -> int:
        """Workers at hand."""
        import joblib

        self._connect()
        with joblib.parallel_config(backend=self.backend):
            return int(joblib.effective_n_jobs(self.jobs))

    def run(self, function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> list[Result]:
        """``function`` of every piece, in their order; both must be picklable.

        Raises:
            Exception: what ``function`` raised; the other pieces of the round are finished first.
            RuntimeError: when workers keep dying: says how many pieces are left.
        """
        import joblib

        self._connect()
        done: dict[int, Result] = {}
        cause: BaseException | None = None
        for _ in range(self.attempts):
            left = [i for i in range(len(pieces)) if i not in done]
            if not left:
                break
            failures = []
            with joblib.parallel_config(backend=self.backend, n_jobs=self.jobs, **self._survival()):
                backend, _ = joblib.parallel.get_active_backend()
                # what was finished before a worker died is kept where the backend hands results over one by one
                streams = bool(getattr(backend, "supports_return_generator", False))
                run = joblib.Parallel(return_as="generator_unordered" if streams else "list", batch_size=1)
                try:
                    for i, result, error in run(joblib.delayed(_numbered)(function, i, pieces[i]) for i in left):
                        if error is None:
                            done[i] = result
                        else:
                            failures.append((i, error))
                except Exception as error:  # the backend's own: a worker is gone
                    cause = error
            if failures:
                raise min(failures, key=lambda pair: pair[0])[1]
        if len(done) < len(pieces):
            raise RuntimeError(
                f"{len(pieces) - len(done)} of {len(pieces)} pieces were lost with their workers {self.attempts} times: "
                "give the workers more memory, or jobs=1"
            ) from cause
        return [done[i] for i in range(len(pieces))]

    def _connect(self) -> None:
        if self.backend != "ray":
            return
        import ray
        from ray.util.joblib import register_ray

        if not ray.is_initialized():
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone unless the user wants it
            ray.init(address=self.address, log_to_driver=False, include_dashboard=False)
        register_ray()

    def _survival(self) -> dict[str, Any]:
        """Ray brings a dead worker back itself, with the piece it had."""
        return {"ray_remote_args": {"max_restarts": -1, "max_task_retries": -1}} if self.backend == "ray" else {}


def _numbered(function: Callable[[Piece], Result], number: int, piece: Piece) -> tuple[int, Result | None, Exception | None]:
    """An error of the work itself comes back as a value, so that it is not taken for a worker's death."""
    try:
        return number, function(piece), None
    except Exception as error:
        return number, None, error


class DistributedSampler(NativeSampler, dimod.Composite):
    """Runs the reads of a sampler in pieces, on many workers.

    The pieces and their seeds depend on ``num_reads`` and ``seed`` only: one worker and a hundred give the same reads. A
    ``time_limit`` is for all pieces together.

    Args:
        child: any dimod sampler that can be pickled.
        workers: where the pieces run.
        reads_per_piece: reads of one piece; our annealers run sixteen side by side.

    Raises:
        ValueError: when ``reads_per_piece`` is not at least 1.

    Example:
        >>> from annealnet.samplers import AnnealingSampler
        >>> bqm = dimod.BinaryQuadraticModel({0: -1.0}, {}, 0.0, "BINARY")
        >>> spread = DistributedSampler(AnnealingSampler(), Workers("sequential"), reads_per_piece=4)
        >>> answer = spread.sample(bqm, num_reads=10, seed=0)
        >>> len(answer), answer.info["pieces"]
        (10, 3)
    """

    children: Any = None

    def __init__(self, child: dimod.Sampler, workers: Workers, reads_per_piece: int = 16) -> None:
        reads_per_piece = whole_number("reads_per_piece", reads_per_piece, 1)
        super().__init__([name for name in child.parameters or {} if name not in _ALONE], "reads in pieces, on many workers")
        self.children = [child]
        self.properties["child_properties"] = dict(child.properties or {})
        self.workers, self.reads_per_piece = workers, reads_per_piece

    @property
    def keeps_constraints(self) -> bool:  # type: ignore[override]
        """As the child."""
        return bool(getattr(self.child, "keeps_constraints", False))

    def fingerprint_state(self) -> dict[str, Any]:
        """What the answers depend on, see :mod:`.fingerprint`: not on the workers."""
        return {"child": self.child, "reads_per_piece": self.reads_per_piece}

    def sample_energy(self, energy: Energy | ConstrainedEnergy, **parameters: Any) -> dimod.SampleSet:
        """Samples an energy; parameters of the child, ``num_reads`` among them.

        Returns:
            All reads, lowest first; ``info`` of the piece with the least energy, and ``info["pieces"]``.
        """
        refused = sorted(set(parameters) - set(self.parameters))
        if refused:
            raise ValueError(f"{refused[0]!r} is no parameter here: there are {', '.join(self.parameters)}")
        parameters = {"num_reads": 10, **parameters}
        if parameters.get("seed", 0) is None:
            parameters["seed"] = checked_seed(None)
        pieces = split_reads(parameters, self.reads_per_piece)
        if parameters.get("time_limit") is not None:
            rounds = -(-len(pieces) // self.workers.count)
            pieces = [{**piece, "time_limit": parameters["time_limit"] / rounds} for piece in pieces]
        answers = self.workers.run(_Work(self.child, energy), pieces)
        joined = dimod.concatenate(answers) if len(answers) > 1 else answers[0]
        joined = lowest_first(joined)
        best = min(answers, key=lambda answer: float(answer.first.energy))
        joined.info.update({**best.info, "pieces": len(pieces)})
        return joined


#: A parameter that makes no sense for a piece: a function that cannot travel.
_ALONE = ("progress",)


@dataclass(frozen=True)
class _Work:
    child: dimod.Sampler
    energy: Energy | ConstrainedEnergy

    def __call__(self, parameters: dict[str, Any]) -> dimod.SampleSet:
        return sample_energy(self.child, self.energy, **parameters)
