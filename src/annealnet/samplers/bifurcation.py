"""Simulated bifurcation on torch: all reads in one matrix product, on the CPU or a GPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import dimod
import numpy as np

from annealnet.energy import ConstrainedEnergy, Energy
from annealnet.samplers.annealing import default_beta_range
from annealnet.samplers.compiled import CompiledEnergy
from annealnet.samplers.native import NativeSampler, Task
from annealnet.samplers.replicas import place
from annealnet.samplers.schedule import Clock, Progress, beta_chunks

if TYPE_CHECKING:
    import torch

    Product = Callable[[torch.Tensor], torch.Tensor]

__all__ = ["BifurcationSampler"]

_STEP = 0.5
#: Share of a time limit for the oscillators.
_OSCILLATING = 0.9
#: Sweeps of the reheat after it, and the temperature it starts from, in units of the last one.
_POLISH, _REHEAT = 50, 14.0
#: Proposals per read of the reheat where bits are few: needles in a haystack are found by looking, not by oscillating.
_POLISH_PROPOSALS = 20_000


class BifurcationSampler(NativeSampler):
    """Ballistic and discrete simulated bifurcation (Goto et al. 2021, equations 2 to 5), then a short reheat and a descent.

    With spins s = 2x − 1 an energy is ½ sᵀAs + h·s. Positions p and momenta m of n + 1 oscillators (the last one carries
    h) follow

        m ← m − Δ [(1 − a(t)) p + c (A' f(p))],   p ← p + Δ m,   walls at p = ±1

    with a(t) from 0 to 1, c = ½ / rms row norm of A', and f(p) = p (ballistic) or sign p (discrete). Products use the form
    of the energy: a matrix, neighbour lists, or factors.

    Example:
        >>> from annealnet.energy import DenseEnergy
        >>> energy = DenseEnergy(np.array([[0.0, 2.0], [0.0, 0.0]]), np.array([-1.0, -1.5]))
        >>> float(BifurcationSampler().sample_energy(energy, seed=0).first.energy)
        -1.5
    """

    def __init__(self) -> None:
        super().__init__(
            ("num_reads", "num_sweeps", "mode", "device", "seed", "time_limit", "progress"),
            "simulated bifurcation on torch, CPU or GPU; large dense energies, many reads",
        )

    def sample_energy(  # type: ignore[override]  # the parameters by name
        self,
        energy: Energy | ConstrainedEnergy,
        *,
        num_reads: int = 64,
        num_sweeps: int | None = None,
        mode: Literal["discrete", "ballistic"] = "discrete",
        device: str | None = None,
        seed: int | None = None,
        time_limit: float | None = None,
        progress: Progress | None = None,
    ) -> dimod.SampleSet:
        """Samples an energy without constraints.

        Args:
            energy: any form without constraints.
            num_reads: oscillator networks side by side.
            num_sweeps: time steps; None is 1 000, or as many as fit into the time limit.
            mode: "discrete" (better optima) or "ballistic" (faster to a good one).
            device: a torch device; None is CUDA where there is one, else the CPU.
            seed: None draws one. The same seed repeats on the same device and number of threads (float32 products are not
                associative).
            time_limit: seconds.
            progress: told the share of the work done.

        Raises:
            ValueError: when a parameter is out of range or the energy has constraints.
        """
        if mode not in ("discrete", "ballistic"):
            raise ValueError(f"mode={mode!r} must be 'discrete' or 'ballistic'")
        if num_sweeps is None and time_limit is None:
            num_sweeps = 1000
        task = Task.of(energy, num_reads, seed, time_limit, None, num_sweeps)
        if task.constraints:
            raise ValueError("energy has constraints, bifurcation leaves them: take AnnealingSampler, or energy.to_bqm()")
        import torch

        place_of = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        states, steps = _bifurcate(task, place_of, num_sweeps, mode == "discrete", progress)
        return task.answer(type(self).__name__, _polished(task, states), num_sweeps=steps, device=str(place_of))


def _polished(task: Task, states: np.ndarray) -> np.ndarray:
    """Each read descended, and descended again after a short reheat; the lower of the two."""
    replicas = place(task.compiled, (), states, task.stream)
    replicas.descend()
    plain = replicas.states()
    hot, cold = default_beta_range(task.compiled)
    for betas in beta_chunks(max(hot, cold / _REHEAT), cold, max(_POLISH, _POLISH_PROPOSALS // len(states[0])), task.clock):
        replicas.sweep(betas)
    replicas.descend()
    reheated = replicas.states()
    better = np.atleast_1d(task.plain.energy(reheated)) < np.atleast_1d(task.plain.energy(plain))
    return np.where(better[:, None], reheated, plain)


def _bifurcate(
    task: Task, device: torch.device, num_sweeps: int | None, discrete: bool, progress: Progress | None
) -> tuple[np.ndarray, int]:
    """Bits int8 ``(reads, n)`` and the number of steps."""
    import torch

    product, field, norm = _spin_form(task.compiled, device)
    n = task.plain.num_variables
    start = np.random.default_rng(task.seed).uniform(-0.1, 0.1, (2, n + 1, task.reads))
    positions, momenta = torch.tensor(start, dtype=torch.float32, device=device)
    strength = 0.5 / norm if norm > 0 else 0.0
    steps = 0
    limit = task.clock.limit
    clock = Clock(None if limit is None else _OSCILLATING * limit, task.clock.began)
    with torch.inference_mode():
        for share in _shares(num_sweeps, clock):
            drive = torch.sign(positions) if discrete else positions
            force = product(drive[:n]) + field[:, None] * drive[n]
            pull = torch.cat([force, (field[:, None] * drive[:n]).sum(dim=0, keepdim=True)])
            momenta -= _STEP * ((1.0 - share) * positions + strength * pull)
            positions += _STEP * momenta
            momenta[positions.abs() > 1.0] = 0.0
            positions.clamp_(-1.0, 1.0)
            steps += 1
            if progress is not None:
                progress(share)
        bits = (positions[:n] * torch.where(positions[n] < 0, -1.0, 1.0) > 0).T.to(torch.int8)
    return np.ascontiguousarray(bits.cpu().numpy()), steps


def _shares(num_sweeps: int | None, clock: Clock) -> Iterator[float]:
    """a(t) of each step, 0 … 1."""
    step = 0
    while not clock.passed and (num_sweeps is None or step < num_sweeps):
        yield clock.share if num_sweeps is None else (step + 1) / num_sweeps
        step += 1


def _spin_form(compiled: CompiledEnergy, device: torch.device) -> tuple[Product, torch.Tensor, float]:
    """s ↦ As for ``(n, reads)``, h float32 ``(n,)``, and the root mean square row norm of (A, h)."""
    import torch

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=torch.float32, device=device)

    squares = np.zeros(len(compiled.linear))
    field = 0.5 * compiled.linear
    parts: list[Product] = []
    if compiled.dense is not None:
        matrix = tensor(compiled.dense) / 4
        parts.append(lambda s: matrix @ s)
        field = field + 0.25 * compiled.dense.sum(axis=1, dtype=np.float64)
        squares += np.einsum("ij,ij->i", compiled.dense, compiled.dense, dtype=np.float64) / 16
    elif compiled.couplings.nnz:
        rows = compiled.couplings
        with warnings.catch_warnings():  # torch says that its CSR tensors are in beta; only their product is used here
            warnings.simplefilter("ignore", UserWarning)
            lists = torch.sparse_csr_tensor(
                torch.tensor(rows.indptr, dtype=torch.int64), torch.tensor(rows.indices, dtype=torch.int64),
                torch.tensor(rows.data / 4, dtype=torch.float32), size=rows.shape, check_invariants=False,
            ).to(device)  # fmt: skip
        parts.append(lambda s: lists @ s)
        field = field + 0.25 * np.asarray(rows.sum(axis=1)).ravel()
        squares += np.asarray(rows.multiply(rows).sum(axis=1)).ravel() / 16
    if compiled.factors.nnz:
        factors = tensor(compiled.factors.toarray())  # (R, n): as many numbers as the energy's own rows when they are filled
        half, entries = tensor(0.5 * compiled.weights)[:, None], compiled.factors.multiply(compiled.factors)
        diagonal = tensor(0.5 * np.asarray(entries.T @ compiled.weights))[:, None]
        parts.append(lambda s: factors.T @ (half * (factors @ s)) - diagonal * s)
        middle = compiled.shifts + 0.5 * np.asarray(compiled.factors.sum(axis=1)).ravel()
        field = field + np.asarray(compiled.factors.T @ (compiled.weights * middle)).ravel()
        totals = np.asarray(entries.sum(axis=1)).ravel()
        squares += np.asarray(entries.T @ (0.25 * compiled.weights**2 * totals)).ravel()
    norm = float(np.sqrt(np.mean(squares + field**2)))

    def product(s: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(s)
        for part in parts:
            total += part(s)
        return total

    return product, tensor(field), norm
