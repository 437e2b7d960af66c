"""The energies of a mask. The readout is linear in the mask, so the squared loss over all samples is an exact QUBO.

E(m) = 1/S Σ_{s,d} (γ Σ_i A_si W_di m_i − Y_sd)² (our reconstruction of Whitaker 2022's global selection), with A the
features and Y the ±1 targets, both centred (which is a free intercept per class). No penalty is needed, and the data enter
only through the Gram matrix G = AᵀA / S and C = AᵀY / S.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from annealnet.energy import Cardinality, ConstrainedEnergy, DenseEnergy, SharedGramEnergy

__all__ = ["ReadoutProblem", "class_targets", "ensemble_energy", "kept_count", "with_count"]


def class_targets(codes: np.ndarray, classes: int) -> np.ndarray:
    """+1 for a sample's class and −1 for the others, float32 ``(samples, classes)``.

    Example:
        >>> class_targets(np.array([1, 0]), 2).tolist()
        [[-1.0, 1.0], [1.0, -1.0]]
    """
    return np.where(np.arange(classes) == np.asarray(codes)[:, None], np.float32(1.0), np.float32(-1.0))


@dataclass(frozen=True, eq=False)
class ReadoutProblem:
    """Everything that the choice of a readout's mask needs to know of the data.

    Attributes:
        gram: G, float32 ``(H, H)``, with the regularisers on it.
        cross: C, float32 ``(H, D)``.
        feature_mean: float64 ``(H,)``.
        target_mean: float64 ``(D,)``.
        target_square: 1/S Σ Y², centred.
    """

    gram: np.ndarray
    cross: np.ndarray
    feature_mean: np.ndarray
    target_mean: np.ndarray
    target_square: float

    @classmethod
    def of(cls, features: np.ndarray, targets: np.ndarray, ridge: float = 0.01, balance: float = 0.0) -> ReadoutProblem:
        """Centres and multiplies.

        Args:
            features: A ``(S, H)``.
            targets: Y ``(S, D)``.
            ridge: added to the Gram's diagonal, in units of its mean: prefers small readouts.
            balance: adds balance · (Σ_i W_di m_i)² / H in the same unit: as much positive as negative weight per class.

        Raises:
            ValueError: when a regulariser is negative or a number is not finite.
        """
        for name, value in (("ridge", ridge), ("balance", balance)):
            if not 0 <= value < np.inf:
                raise ValueError(f"{name}={value!r} must be 0 or more")
        samples, width = features.shape
        feature_mean = features.mean(axis=0, dtype=np.float64)
        target_mean = targets.mean(axis=0, dtype=np.float64)
        a = features - feature_mean.astype(np.float32)
        y = targets - target_mean.astype(np.float32)
        gram = (a.T @ a) / np.float32(samples)
        unit = float(np.trace(gram)) / width
        if balance:
            gram += np.float32(balance * unit / width)
        gram[np.arange(width), np.arange(width)] += np.float32(ridge * unit)
        return cls(
            gram,
            (a.T @ y) / np.float32(samples),
            feature_mean,
            target_mean,
            float((y.astype(np.float64) ** 2).sum() / samples),
        )

    def weight_energy(self, weights: np.ndarray, gain: float) -> SharedGramEnergy:
        """Masks of the readout's weights: D rows of H bits, which share the Gram matrix and do not see each other.

        Global and neuron-wise selection are the same here: the squared loss of a linear readout is a sum over outputs.

        Args:
            weights: W ``(D, H)``.
            gain: γ.
        """
        signs = gain * np.asarray(weights, dtype=np.float64)
        return SharedGramEnergy(self.gram, signs, -2 * signs * self.cross.T, self.target_square)

    def of_neurons(self, weights: np.ndarray) -> ReadoutProblem:
        """The same data as a problem of one output whose weights are all 1: its readout's mask is a mask of the neurons.

        G becomes G ∘ WᵀW and C becomes Σ_d W_d ∘ C_d; targets are those of all outputs together.
        """
        w = np.asarray(weights, dtype=np.float32)
        cross = (w * self.cross.T).sum(axis=0)[:, None]
        return replace(self, gram=self.gram * (w.T @ w), cross=cross)

    def neuron_energy(self, weights: np.ndarray, gain: float) -> SharedGramEnergy:
        """Masks of the neurons: one row of H bits, with couplings γ² G ∘ WᵀW."""
        return self.of_neurons(weights).weight_energy(np.ones((1, len(self.gram))), gain)

    def typical_weight(self, steps: int = 15) -> float:
        """Mean size of the best real weights, nearly: conjugate gradients on G V = C, a few steps."""
        found = np.zeros_like(self.cross)
        rest = self.cross.copy()
        along, size = rest.copy(), (rest**2).sum(axis=0)
        for _ in range(steps):
            product = self.gram @ along
            step = size / np.maximum((along * product).sum(axis=0), 1e-30)
            found += step * along
            rest -= step * product
            now = (rest**2).sum(axis=0)
            along = rest + now / np.maximum(size, 1e-30) * along
            size = now
        return max(float(np.abs(found).mean()), 1e-12)

    def best_gain(self, masked: np.ndarray) -> float:
        """γ of least energy for a masked readout W ∘ M ``(D, H)``: Σ u·C / Σ uᵀGu."""
        u = np.asarray(masked, dtype=np.float32)
        size = float(((u @ self.gram) * u).sum())
        return float((u * self.cross.T).sum()) / size if size > 0 else 0.0

    def intercept(self, readout: np.ndarray) -> np.ndarray:
        """What centring left out, float32 ``(D,)``, for final weights ``(D, H)``."""
        return np.asarray(self.target_mean - readout @ self.feature_mean, dtype=np.float32)

    def ridge_readout(self) -> np.ndarray:
        """The best real weights on the same features, float64 ``(D, H)``: the baseline without a mask."""
        return np.asarray(np.linalg.solve(self.gram.astype(np.float64), self.cross.astype(np.float64)).T)


def ensemble_energy(outputs: np.ndarray, targets: np.ndarray, gain: float, ridge: float = 0.0) -> DenseEnergy:
    """Masks of an ensemble's members: E(m) = 1/S Σ_{s,d} (γ Σ_k P_skd m_k − Y_sd)² + ridge · Σ_k m_k.

    Args:
        outputs: P ``(S, members, D)``, scores of every member.
        targets: Y ``(S, D)``.
        gain: γ.
        ridge: price of a member.

    Example:
        >>> outputs = np.array([[[1.0], [-1.0]]])  # one sample, two members, one output
        >>> energy = ensemble_energy(outputs, np.array([[1.0]]), 1.0)
        >>> energy.energy(np.array([[1, 0], [1, 1]])).tolist()
        [0.0, 1.0]
    """
    samples, members, _ = outputs.shape
    flat = gain * outputs.transpose(1, 0, 2).reshape(members, -1)
    y = targets.reshape(-1)
    return DenseEnergy(flat @ flat.T / samples, ridge - 2 * flat @ y / samples, float(y @ y) / samples)


def kept_count(kept: float | int | None, bits: int) -> int | None:
    """How many bits of a row are to be 1: a share (a float in 0 … 1) or a number (an int) in bits; None leaves it open.

    Raises:
        ValueError: when it is negative or more than there are.

    Example:
        >>> kept_count(0.25, 8), kept_count(3, 8), kept_count(None, 8)
        (2, 3, None)
    """
    if kept is None:
        return None
    whole = isinstance(kept, int | np.integer) and not isinstance(kept, bool)
    count = int(kept) if whole else round(float(kept) * bits)
    if not 0 < count <= bits or (not whole and not 0 < float(kept) <= 1):
        raise ValueError(f"kept={kept!r} of {bits} bits: give a share between 0 and 1, or a number from 1 to {bits}")
    return count


def with_count(
    energy: SharedGramEnergy | DenseEnergy, count: int | None
) -> SharedGramEnergy | DenseEnergy | ConstrainedEnergy:
    """The same energy with exactly ``count`` ones in every row, or as it is."""
    if count is None:
        return energy
    rows, width = energy.shape if isinstance(energy, SharedGramEnergy) else (1, energy.num_variables)
    return ConstrainedEnergy(energy, [Cardinality(range(r * width, (r + 1) * width), count) for r in range(rows)])
