"""Checks for formulations: the structured energy and the plain QUBO of ``to_bqm()`` are two faces of one problem."""

from __future__ import annotations

import numpy as np

from annealnet.energy import ConstrainedEnergy, Energy, from_bqm, lower_bound
from annealnet.samplers.kernels.statevector import all_energies
from annealnet.testing.findings import Check, Failed, Finding, NotApplicable, findings

__all__ = ["FORMULATION_CHECKS", "formulation_conformance"]

#: Bits, auxiliary ones included, up to which every state is looked at.
_ENUMERATED = 20
#: States that are drawn where there are more.
_DRAWN = 200

Formulated = Energy | ConstrainedEnergy


def _states(bits: int) -> np.ndarray:
    """Every state where there are few bits (the first one changing fastest), else some that are drawn."""
    if bits <= _ENUMERATED:
        return ((np.arange(1 << bits)[:, None] >> np.arange(bits)) & 1).astype(np.int8)
    return np.random.default_rng(0).integers(0, 2, (_DRAWN, bits), dtype=np.int8)


def _close(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Elementwise, within a millionth of the largest."""
    return np.asarray(np.abs(one - two) <= 1e-6 * max(1e-300, float(np.abs(np.concatenate([one, two])).max())))


def _plain(energy: Formulated) -> Energy:
    return energy.energy_part if isinstance(energy, ConstrainedEnergy) else energy


def _least_over_auxiliaries(energy: Formulated) -> np.ndarray:
    """The QUBO's energy of every state of the own bits, auxiliary ones set as best they can: float64 ``(2ⁿ,)``."""
    n, bqm = energy.num_variables, energy.to_bqm()
    if bqm.num_variables > _ENUMERATED:
        raise NotApplicable(f"the QUBO has {bqm.num_variables} bits: {_ENUMERATED} are enumerated")
    if missing := set(range(n)) - set(bqm.variables):
        raise Failed(f"the QUBO has no variable {min(missing)}: the own bits must be 0 … {n - 1}")
    plain, labels = from_bqm(bqm)
    place = {label: i for i, label in enumerate(labels)}
    order = [place[i] for i in range(n)] + [place[label] for label in labels if label not in set(range(n))]
    linear, offset = plain.expanded_linear()
    couplings = np.ascontiguousarray(plain.couplings().toarray()[np.ix_(order, order)])
    values = all_energies(couplings, np.ascontiguousarray(linear[order], dtype=np.float64), float(offset))
    return np.asarray(values.reshape(-1, 1 << n).min(axis=0))


def both_faces_have_the_same_energy(energy: Formulated) -> None:
    """The structured energy of a state is that of its QUBO, in bits and in spins; of all states to 20 bits, else of some."""
    plain, n = _plain(energy), energy.num_variables
    states = _states(n)
    own = np.atleast_1d(plain.energy(states))
    for vartype, shown in (("BINARY", states), ("SPIN", 2 * states - 1)):
        other = plain.to_bqm(vartype).energies((shown, list(range(n))))
        wrong = np.flatnonzero(~_close(own, other))
        if len(wrong):
            at = wrong[0]
            raise Failed(f"{vartype}: state {states[at].tolist()} has energy {own[at]}, its QUBO {other[at]}")


def flips_cost_what_they_change(energy: Formulated) -> None:
    """``flip_deltas`` are the differences of the energies of states one flip apart."""
    plain, n = _plain(energy), energy.num_variables
    for x in np.random.default_rng(1).integers(0, 2, (5, n), dtype=np.int8):
        flipped = np.repeat(x[None], n, axis=0)
        flipped[np.arange(n), np.arange(n)] ^= 1
        change = np.atleast_1d(plain.energy(flipped)) - float(plain.energy(x))
        wrong = np.flatnonzero(~_close(plain.flip_deltas(x) + float(plain.energy(x)), change + float(plain.energy(x))))
        if len(wrong):
            raise Failed(f"flip_deltas say {plain.flip_deltas(x)[wrong[0]]} for bit {wrong[0]}, the energy changes by "
                         f"{change[wrong[0]]}")  # fmt: skip


def bounds_hold(energy: Formulated) -> None:
    """No state is below ``lower_bound``."""
    least, bound = float(np.min(_plain(energy).energy(_states(energy.num_variables)))), lower_bound(energy)
    if bound > least + 1e-6 * max(abs(bound), abs(least)):
        raise Failed(f"lower_bound says {bound}, a state has {least}")


def feasible_states_keep_their_energy(energy: Formulated) -> None:
    """With auxiliary bits set as best they can, the QUBO gives a feasible state its energy, and any other more than all of
    them.
    """
    penalised, n = _least_over_auxiliaries(energy), energy.num_variables
    states = _states(n)
    own = np.atleast_1d(_plain(energy).energy(states))
    good = energy.feasible(states) if isinstance(energy, ConstrainedEnergy) else np.ones(len(states), dtype=bool)
    wrong = np.flatnonzero(good & ~_close(own, np.where(good, penalised, own)))
    if len(wrong):
        at = wrong[0]
        raise Failed(f"feasible state {states[at].tolist()} has energy {own[at]}, its QUBO {penalised[at]} at best")
    if good.any() and not good.all() and penalised[~good].min() <= own[good].max():
        at = np.flatnonzero(~good)[penalised[~good].argmin()]
        most = own[good].max()
        raise Failed(f"state {states[at].tolist()} breaks a constraint for {penalised[at]}, feasible ones cost up to {most}")


def both_faces_have_the_same_ground_states(energy: Formulated) -> None:
    """The lowest feasible states are the own bits of the QUBO's lowest states."""
    penalised, n = _least_over_auxiliaries(energy), energy.num_variables
    states = _states(n)
    own = np.atleast_1d(_plain(energy).energy(states)).astype(float)
    if isinstance(energy, ConstrainedEnergy):
        own[~energy.feasible(states)] = np.inf
    if not np.isfinite(own).any():
        raise NotApplicable("no state is feasible")
    width = 1e-6 * max(1e-300, float(np.abs(own[np.isfinite(own)]).max()))
    one, two = np.flatnonzero(own <= own.min() + width), np.flatnonzero(penalised <= penalised.min() + width)
    if not np.array_equal(one, two):
        raise Failed(f"lowest feasible states {states[one[:3]].tolist()}, lowest of the QUBO {states[two[:3]].tolist()}")


#: Every check of a formulation by name.
FORMULATION_CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        both_faces_have_the_same_energy,
        flips_cost_what_they_change,
        bounds_hold,
        feasible_states_keep_their_energy,
        both_faces_have_the_same_ground_states,
    )
}


def formulation_conformance(energy: Formulated, leave_out: tuple[str, ...] = ()) -> list[Finding]:
    """Runs every check on the energy of a small case.

    Args:
        energy: with or without constraints.
        leave_out: names of checks that are not run.

    Returns:
        One finding per check.

    Example:
        >>> from annealnet.energy import DenseEnergy, OneHot
        >>> model = ConstrainedEnergy(DenseEnergy(np.eye(3), np.array([-1.0, -2.0, 0.5])), [OneHot([0, 1])])
        >>> [finding.passed for finding in formulation_conformance(model)]
        [True, True, True, True, True]
    """
    return findings(FORMULATION_CHECKS, leave_out, lambda check: check(energy))
