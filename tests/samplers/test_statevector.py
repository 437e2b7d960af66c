"""Kernels of quantum states against matrices written out; interpreted, with tiles and strips of a few qubits."""

from __future__ import annotations

import functools
import math

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.samplers.kernels import statevector
from annealnet.samplers.kernels.statevector import (
    all_energies,
    diagonal_overlap,
    evolve_layers,
    mixer_overlap,
    transverse_product,
    turn_and_mix,
)

FLIP = np.array([[0.0, 1.0], [1.0, 0.0]])


@pytest.fixture
def small(monkeypatch) -> None:
    """Few qubits reach the strips; compiled kernels keep their sizes, and must be as right with them."""
    for name, size in (("_TILE", 3), ("_STRIP", 2), ("_WIDTH", 4)):
        monkeypatch.setattr(statevector, name, size)


def every_state(n: int) -> np.ndarray:
    return (np.arange(1 << n)[:, None] >> np.arange(n)) & 1


def on_qubit(matrix: np.ndarray, qubit: int, n: int) -> np.ndarray:
    """A 2 × 2 matrix on one of n qubits, qubit 0 being the lowest bit."""
    return np.kron(np.kron(np.eye(1 << (n - 1 - qubit)), matrix), np.eye(1 << qubit))


def mixed(psi: np.ndarray, phi: float, n: int) -> np.ndarray:
    one = np.cos(phi) * np.eye(2) + 1j * np.sin(phi) * FLIP
    return functools.reduce(lambda state, qubit: on_qubit(one, qubit, n) @ state, range(n), psi)


def random_state(n: int, seed: int) -> np.ndarray:
    state = np.random.default_rng(seed).normal(size=(2, 1 << n))
    return state / np.sqrt((state**2).sum())


def amplitudes(state: np.ndarray) -> np.ndarray:
    return state[0] + 1j * state[1]


@settings(max_examples=10)
@given(st.integers(1, 7), st.integers(0, 999))
def test_energies_by_doubling_are_the_polynomial(n, seed):
    rng = np.random.default_rng(seed)
    upper, linear = np.triu(rng.normal(size=(n, n)), 1), rng.normal(size=n)
    x = every_state(n)
    wanted = 0.75 + x @ linear + np.einsum("si,ij,sj->s", x, upper, x)
    assert all_energies(upper + upper.T, linear, 0.75) == pytest.approx(wanted, abs=1e-12)


def test_sines_are_those_of_the_library_to_the_last_digits():
    for turns in np.linspace(-1.5, 1.5, 241):
        s, c = statevector._sine_cosine(float(turns))
        assert abs(s - math.sin(2 * math.pi * turns)) < 2e-15
        assert abs(c - math.cos(2 * math.pi * turns)) < 2e-15


@pytest.mark.parametrize("work", [statevector._layer, statevector._layer_parallel])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7])
def test_a_layer_turns_every_phase_and_mixes_every_qubit(n, work, small):
    energies = np.random.default_rng(n).normal(size=1 << n)
    for theta, phi in ((0.7, 0.4), (0.0, -0.9), (-1.3, 0.0), (0.0, 0.0)):
        state = random_state(n, n)
        wanted = mixed(np.exp(-1j * theta * energies) * amplitudes(state), phi, n)
        work(state, energies, theta / (2 * math.pi), math.cos(phi), math.sin(phi))
        assert np.abs(amplitudes(state) - wanted).max() < 1e-14


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("bits", [1, 2, 3])
def test_neighbouring_qubits_are_mixed_from_any_stride_on(stride, bits):
    n = 5
    state = random_state(n, bits)
    first = stride.bit_length() - 1
    one = np.cos(0.3) * np.eye(2) + 1j * np.sin(0.3) * FLIP
    wanted = amplitudes(state)
    for qubit in range(first, first + bits):
        wanted = on_qubit(one, qubit, n) @ wanted
    statevector._mix(state[0], state[1], stride, bits, math.cos(0.3), math.sin(0.3))
    assert np.abs(amplitudes(state) - wanted).max() < 1e-14


def test_layers_follow_one_another(small):
    n, energies = 4, np.random.default_rng(0).normal(size=16)
    state = random_state(n, 0)
    wanted = amplitudes(state)
    thetas, phis = np.array([0.3, -0.8]), np.array([0.9, 0.2])
    for theta, phi in zip(thetas, phis, strict=True):
        wanted = mixed(np.exp(-1j * theta * energies) * wanted, phi, n)
    evolve_layers(state, energies, thetas, phis)
    assert np.abs(amplitudes(state) - wanted).max() < 1e-14


def test_threads_share_the_work_from_thirteen_qubits_on(monkeypatch):
    asked = []
    monkeypatch.setattr(statevector, "_layer", lambda *_: asked.append("one"))
    monkeypatch.setattr(statevector, "_layer_parallel", lambda *_: asked.append("all"))
    for threads, n in ((2, 12), (2, 13), (1, 13)):
        monkeypatch.setattr(numba, "get_num_threads", lambda threads=threads: threads)
        turn_and_mix(np.zeros((2, 1 << n)), np.zeros(1 << n), 0.1, 0.2)
    assert asked == ["one", "all", "one"]


@pytest.mark.parametrize("n", [1, 4, 13])
def test_overlaps_are_those_of_the_matrices(n):
    left, right = random_state(n, 1), random_state(n, 2)
    energies = np.random.default_rng(3).normal(size=1 << n)
    a, b = amplitudes(left), amplitudes(right)
    exact = np.vdot(a, energies * b)
    assert diagonal_overlap(left, right, energies) == pytest.approx((exact.real, exact.imag), abs=1e-13)
    flipped = sum(b[np.arange(1 << n) ^ (1 << qubit)] for qubit in range(n))
    assert mixer_overlap(left, right) == pytest.approx(np.vdot(a, flipped).imag, abs=1e-12)


@pytest.mark.parametrize("n", [1, 5, 13])
def test_the_hamiltonian_times_a_vector_is_the_matrix_times_it(n):
    rng = np.random.default_rng(n)
    vector, energies, out = rng.normal(size=1 << n), rng.normal(size=1 << n), np.empty(1 << n)
    transverse_product(vector, energies, 0.7, 0.4, out)
    flipped = sum(vector[np.arange(1 << n) ^ (1 << qubit)] for qubit in range(n))
    assert out == pytest.approx(0.4 * energies * vector - 0.7 * flipped, abs=1e-13)
