"""More samples than a machine has bits for: one energy after another, tied together through the weights' linear terms.

Both loops take any formulation and any dimod sampler, and judge networks by their true errors on *all* samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dimod
import numpy as np
from numpy.typing import NDArray

from annealnet.binary.formulation.training_energy import Formulation, TrainingEnergy
from annealnet.binary.network.architecture import Architecture, Codes
from annealnet.binary.network.signs import BinaryNetwork
from annealnet.interruption import Interruption
from annealnet.samplers import sample_energy
from annealnet.samplers.seeds import Purpose, derived_seed, stream
from annealnet.whole_numbers import whole_number

__all__ = ["Round", "best_of", "dropout_rounds", "vote_over_batches"]


@dataclass(frozen=True, eq=False)
class Round:
    """What one call of the sampler gave.

    Attributes:
        network: the best of its samples on the samples of the call.
        errors: of that network on them.
        energy: least energy of a sample.
        feasible: share of samples that keep every constraint.
    """

    network: BinaryNetwork
    errors: int
    energy: float
    feasible: float


def best_of(
    training: TrainingEnergy, sampler: dimod.Sampler, x: NDArray[np.int8], y: NDArray[Any], seed: int, **parameters: Any
) -> Round:
    """Samples a training energy and ranks the networks of all samples by their true errors.

    Args:
        training: the energy of samples ``x``, ``y`` (which may be another set for ranking).
        sampler: any dimod sampler; ours get the energy's structure.
        seed: passed on where the sampler takes one.
        parameters: passed on, such as ``num_reads``.
    """
    answer = sample_energy(sampler, training.energy, seed=seed, **parameters)
    states = _states(answer, training.energy.num_variables)
    distinct = np.unique(states[:, : training.num_free], axis=0, return_index=True)[1]
    networks = training.decode(states[np.sort(distinct)])
    errors = [network.errors(x, y) for network in networks]
    best = int(np.argmin(errors))
    feasible = float(training.feasible(states).mean())
    return Round(networks[best], errors[best], float(answer.record.energy.min()), feasible)


def _states(answer: dimod.SampleSet, bits: int) -> NDArray[np.uint8]:
    order = [answer.variables.index(v) for v in range(bits)]
    return np.asarray(answer.record.sample[:, order], dtype=np.uint8)


def vote_over_batches(
    formulation: Formulation, sampler: dimod.Sampler, shape: Architecture, codes: Codes, x: NDArray[np.int8],
    y: NDArray[Any], seed: int, *, batch_size: int = 8, rounds: int = 20, pull: float = 0.5,
    say: Callable[[Round], None] = lambda _: None, **parameters: Any,
) -> BinaryNetwork:  # fmt: skip
    """Trains over a data set in batches of a chip's size: earlier batches vote through linear terms.

    Batch t minimises E_t(w, aux) − pull · Σ_i v̄_i w_i with w = ±1, where v̄ is the mean over earlier batches' networks, each
    weighted by its accuracy on its batch (the paper's linear «online» term; the weighting is our reconstruction). After each
    batch the network found and the signs of the votes are judged on all samples; the best network seen is given. Ctrl-C
    ends it with the best of the batches already paid for, and a warning.

    Args:
        formulation: the energy of a batch.
        sampler: any dimod sampler.
        shape, codes: the network.
        x, y: all samples, ``(N, n_0)`` of ±1 and class numbers.
        seed: of batches and sampler.
        batch_size: samples per energy.
        rounds: batches.
        pull: strength of the votes, in errors per weight.
        say: told each batch's result.
        parameters: for the sampler.

    Example:
        >>> from annealnet.binary import single_output
        >>> from annealnet.binary.formulation import Lean
        >>> from annealnet.samplers import AnnealingSampler
        >>> x = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], dtype=np.int8)
        >>> y = (x.sum(axis=1) > 0).astype(int)  # majority: one neuron learns it
        >>> network = vote_over_batches(Lean(), AnnealingSampler(), Architecture((3, 1)), single_output(), x, y, 0,
        ...                             batch_size=4, rounds=3, num_reads=8)
        >>> network.errors(x, y)
        0
    """
    _check_rounds(batch_size, rounds, len(x))
    rng = stream(seed, Purpose.ORDER)
    votes = np.zeros(shape.num_weights + shape.num_biases)
    best: tuple[int, BinaryNetwork] | None = None
    queue = np.empty(0, dtype=np.int64)
    with Interruption().kept("training over batches", lambda: best is not None):
        for number in range(rounds):
            if len(queue) < batch_size:
                queue = rng.permutation(len(x))  # no sample twice in a batch
            chosen, queue = queue[:batch_size], queue[batch_size:]
            mean = votes / max(1, number)
            # −pull · v̄ (2q − 1) over bits q: the constant is left out, so that energies stay errors
            training = formulation.energy(shape, codes, x[chosen], y[chosen], fields=-2 * pull * mean)
            own = derived_seed(seed, Purpose.BATCHES, number)
            found = best_of(training, sampler, x[chosen], y[chosen], own, **parameters)
            votes += _free_signs(found.network) * (1 - found.errors / len(chosen))
            voted = training.decode((votes > 0).astype(np.uint8))[0]
            for network in (found.network, voted):
                errors = network.errors(x, y)
                if best is None or errors < best[0]:
                    best = errors, network
            say(found)
    assert best is not None
    return best[1]


def dropout_rounds(
    formulation: Formulation, sampler: dimod.Sampler, shape: Architecture, codes: Codes, x: NDArray[np.int8],
    y: NDArray[Any], seed: int, *, rounds: int = 10, share: float = 0.5, hold: float = 2.0, **parameters: Any,
) -> BinaryNetwork:  # fmt: skip
    """Solves the same samples again and again, each time with a random part of the weights free and the rest held.

    A held weight gets the linear term −hold · w_old · w; free ones none. The best network so far is what is held. Villumsen
    & Sugita 2026 iterate on linear terms like dropout; this form of it is our reconstruction.

    Args:
        rounds: calls of the sampler.
        share: of the weights that are free in a round.
        hold: strength, in errors per weight.
        formulation, sampler, shape, codes, x, y, seed, parameters: as for :func:`vote_over_batches`.
    """
    _check_rounds(len(x), rounds, len(x))
    if not 0 < share <= 1:
        raise ValueError(f"share={share} must be above 0 and at most 1: the part of the weights that is free")
    rng, own = stream(seed, Purpose.FREED), [derived_seed(seed, Purpose.ROUNDS, number) for number in range(rounds)]
    best = best_of(formulation.energy(shape, codes, x, y), sampler, x, y, own[0], **parameters)
    with Interruption().kept("training in rounds"):
        for number in range(1, rounds):
            held = _free_signs(best.network)
            fields = np.where(rng.random(len(held)) < share, 0.0, -2 * hold * held)
            training = formulation.energy(shape, codes, x, y, fields=fields)
            found = best_of(training, sampler, x, y, own[number], **parameters)
            best = min(best, found, key=lambda one: one.errors)
    return best.network


def _free_signs(network: BinaryNetwork) -> NDArray[np.float64]:
    """Weights, and biases where there are any, in the order of an energy's free bits."""
    return np.concatenate([network.flat_weights, *network.biases]).astype(np.float64)


def _check_rounds(batch_size: int, rounds: int, samples: int) -> None:
    whole_number("batch_size", batch_size, 1, samples)
    whole_number("rounds", rounds, 1)
