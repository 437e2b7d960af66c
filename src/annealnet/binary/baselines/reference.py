"""The exact answer that energies are measured against: hard constraints through CP-SAT (the paper used Gurobi)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annealnet.binary.formulation.training_energy import check_samples, output_targets
from annealnet.binary.network.architecture import Architecture, Codes, check_codes
from annealnet.binary.network.signs import BinaryNetwork
from annealnet.energy import Certificate

__all__ = ["Reference", "least_errors"]


@dataclass(frozen=True, eq=False)
class Reference:
    """A network of (proven) least training errors.

    Attributes:
        network: found; None if none was found in time.
        errors: output errors summed over samples (samples answered wrongly, for one output); None without a network.
        bound: no network has fewer.
        proven: errors equal the bound.
        seconds: of the solver.
        seed: of the solver.
    """

    network: BinaryNetwork | None
    errors: int | None
    bound: int
    proven: bool
    seconds: float
    seed: int

    @property
    def gap(self) -> int | None:
        """errors − bound."""
        return None if self.errors is None else self.errors - self.bound

    @property
    def certificate(self) -> Certificate:
        """The same as a certificate of the energy «number of errors»."""
        energy = float("inf") if self.errors is None else float(self.errors)
        return Certificate(energy, float(self.bound), self.proven, "CP-SAT", self.seed, 1, self.seconds)


def least_errors(
    shape: Architecture, codes: Codes, x: NDArray[np.int8], y: NDArray[Any], *, time_limit: float = 60.0, workers: int = 2,
    seed: int = 0,
) -> Reference:  # fmt: skip
    """The network of least output errors on samples ``x`` ``(K, n_0)`` ±1, ``y`` ``(K,)``.

    Booleans for weights, products and signs; every product is an exclusive-nor, every sign two implications,
    o → Σ p ≥ ⌊n/2⌋ + 1 and ¬o → Σ p ≤ ⌊n/2⌋. Minimised: outputs that miss their target (each output counts, so that for one
    output these are the samples answered wrongly).

    Args:
        shape: architecture, without biases.
        codes: int8 ``(classes, n_L)``.
        x, y: the samples.
        time_limit: seconds; after it the best network and the bound are given.
        workers: threads of the solver.
        seed: of the solver.

    Raises:
        ValueError: inputs that are not ±1, biases, wrong shapes.
        ImportError: without OR-Tools (``annealnet[exact]``).

    Example:
        >>> from annealnet.binary import single_output
        >>> x = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], dtype=np.int8)
        >>> least_errors(Architecture((2, 1)), single_output(), x, np.array([0, 1, 1, 0])).errors  # XOR, one neuron
        1
    """
    try:
        from ortools.sat.python import cp_model
    except ImportError as error:
        raise ImportError("the exact reference needs OR-Tools: pip install annealnet[exact]") from error
    if shape.bias:
        raise ValueError("shape has biases: the exact reference knows none, give Architecture(…, bias=False)")
    check_codes(codes, shape.sizes[-1])
    check_samples(shape, codes, x, y)
    model = cp_model.CpModel()
    weights = [
        [[model.new_bool_var(f"w{m},{j},{i}") for i in range(columns)] for j in range(rows)]
        for m, (rows, columns) in enumerate(shape.weight_shapes(), start=1)
    ]
    outputs: dict[tuple[int, ...], list[Any]] = {}
    wrong = []
    for inputs, target in zip(x.tolist(), output_targets(codes, y).tolist(), strict=True):
        key = tuple(inputs)  # equal inputs pass the network once
        if key not in outputs:
            outputs[key] = _pass(model, shape, weights, inputs)
        wrong += [1 - o if t > 0 else o for o, t in zip(outputs[key], target, strict=True)]
    model.minimize(sum(wrong))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = time_limit
    solver.parameters.num_workers = workers
    solver.parameters.random_seed = seed
    status = solver.solve(model)
    bound = max(0, int(np.ceil(solver.best_objective_bound - 1e-6)))
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Reference(None, None, bound, False, solver.wall_time, seed)
    flat = np.array([2 * solver.value(w) - 1 for layer in weights for row in layer for w in row], dtype=np.int8)
    network = BinaryNetwork.from_flat(shape, codes, flat)
    return Reference(network, round(solver.objective_value), bound, status == cp_model.OPTIMAL, solver.wall_time, seed)


def _pass(model: Any, shape: Architecture, weights: list[list[list[Any]]], inputs: list[int]) -> list[Any]:
    """Output variables of one sample."""
    layers: list[list[Any]] = [inputs]
    for m in range(1, shape.depth + 1):
        signs = []
        for row in weights[m - 1]:
            products, i = [], 0
            for k in shape.sources(m):
                for f in layers[k]:
                    w = row[i]
                    i += 1
                    if k == 0:
                        products.append(w if f > 0 else 1 - w)
                    else:
                        p = model.new_bool_var("")
                        model.add_bool_xor([w, f, p])  # an odd number is true: p = XNOR(w, f)
                        products.append(p)
            o, half = model.new_bool_var(""), len(products) // 2
            model.add(sum(products) >= half + 1).only_enforce_if(o)
            model.add(sum(products) <= half).only_enforce_if(o.negated())
            signs.append(o)
        layers.append(signs)
    return layers[-1]
