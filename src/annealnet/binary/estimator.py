"""The scikit-learn estimator: features in, a network of ±1 weights out."""

from __future__ import annotations

from typing import Any, Literal

import dimod
import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from annealnet.binary.deploy import DeployedBinary
from annealnet.binary.formulation import FORMULATIONS
from annealnet.binary.network.architecture import Architecture, Codes, one_per_class, random_codes, single_output
from annealnet.binary.search.native import NativeTraining
from annealnet.binary.search.rounds import vote_over_batches
from annealnet.estimators import NetworkClassifier, all_or_nothing, layer_sizes
from annealnet.preparation import Labels, Preparation, Scaling, coding_of
from annealnet.samplers.seeds import Purpose, derived_seed
from annealnet.whole_numbers import whole_number

__all__ = ["BinaryNetworkClassifier"]

#: More auxiliary bits than this and a sampler that knows nothing of networks is lost.
_MOST_BITS = 20_000


def _most_variables(sampler: dimod.Sampler | None) -> float:
    """Bits that a sampler says it takes: a hybrid solver's property, or a device's qubits.

    What stands below a composite is not asked: some of them split what their child cannot take.
    """
    if sampler is None:
        return np.inf
    if isinstance(sampler, dimod.Structured):
        return len(sampler.nodelist)
    return float((sampler.properties or {}).get("maximum_number_of_variables", np.inf))


class BinaryNetworkClassifier(NetworkClassifier):
    """A feed-forward network of ±1 weights and sign activations (Sasdelli & Chin 2021), trained by annealing.

    Args:
        hidden: sizes of the hidden layers.
        method: ``native`` anneals the weights themselves on the true loss; ``published`` and ``lean`` build the QUBO,
            batch by batch, for ``sampler``; ``auto`` takes ``native`` unless a sampler is given, then ``lean``.
        inputs: ``real`` (8-bit whole numbers of the scaled features), ``thermometer`` (``levels`` bits per feature),
            ``binary`` (features have two values). QUBOs need ±1, so that ``real`` becomes ``thermometer`` there.
        levels: thermometer steps per feature.
        scaling: of ``real`` inputs: ``columns`` (every feature by its own spread), ``one`` (all share a unit, such as
            pixels: one gain, and a smaller file), ``auto`` (``one`` where that is to be seen).
        bias: hidden neurons have a whole-number threshold (±1 in the QUBO forms).
        outputs: one per class (one for two classes), or this many bits of an error-correcting output code.
        sweeps, reads: of native training; the best read's network is kept.
        loss: of native training: ``cross_entropy`` or ``errors``.
        schedule: of native training: ``anneal`` or ``exchange``.
        batch_size: samples per QUBO (8 if None), or per sweep of native training (all if None).
        rounds: batches of QUBO training.
        sampler: any dimod sampler for the QUBO forms; None takes :class:`annealnet.samplers.AnnealingSampler`.
        sampler_parameters: passed on to it, such as ``{"num_reads": 100}``.
        random_state: seed.

    Attributes:
        network_: the :class:`annealnet.binary.BinaryNetwork`.
        preparation_: how features become its inputs, and its answers labels.
        classes_, n_features_in_: as in scikit-learn.
        errors_: training samples answered wrongly.
        complete_: False when training was interrupted (the best network so far is kept).
        num_bytes_: of the file.

    Raises:
        ValueError: one class only, NaN, features that are not binary for ``inputs="binary"``, more bits than the sampler
            takes (the message says how many and what would do).

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> model = BinaryNetworkClassifier(hidden=(8,), sweeps=200, random_state=0).fit(X, y)
        >>> bool(model.score(X, y) > 0.9), model.num_bytes_ < 500
        (True, True)
    """

    def __init__(
        self,
        hidden: tuple[int, ...] = (64,),
        *,
        method: str = "auto",
        inputs: Literal["real", "thermometer", "binary"] = "real",
        levels: int = 8,
        scaling: Scaling = "auto",
        bias: bool = True,
        outputs: int | None = None,
        sweeps: int = 1000,
        reads: int = 2,
        loss: Literal["cross_entropy", "errors"] = "cross_entropy",
        schedule: Literal["anneal", "exchange"] = "anneal",
        batch_size: int | None = None,
        rounds: int = 20,
        sampler: dimod.Sampler | None = None,
        sampler_parameters: dict[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        self.hidden = hidden
        self.method = method
        self.inputs = inputs
        self.levels = levels
        self.scaling = scaling
        self.bias = bias
        self.outputs = outputs
        self.sweeps = sweeps
        self.reads = reads
        self.loss = loss
        self.schedule = schedule
        self.batch_size = batch_size
        self.rounds = rounds
        self.sampler = sampler
        self.sampler_parameters = sampler_parameters
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X: Any, y: Any) -> BinaryNetworkClassifier:
        """Trains on features ``(N, d)`` and labels ``(N,)``."""
        x, codes_of = self._checked(X, y)
        hidden, method = layer_sizes(self.hidden), self._method()
        for name in ("levels", "sweeps", "reads", "rounds"):
            whole_number(name, getattr(self, name), 1)
        for name in ("outputs", "batch_size"):
            if getattr(self, name) is not None:
                whole_number(name, getattr(self, name), 1)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        inputs = "thermometer" if method != "native" and self.inputs == "real" else self.inputs
        coding = coding_of(inputs, x, self.levels, self.scaling)
        self.preparation_ = Preparation(coding, Labels(self.classes_))
        codes = self._codes(seed)
        shape = Architecture((coding.width, *hidden, codes.shape[1]), bias=self.bias)
        encoded = coding.encode(x)
        if method == "native":
            self._fit_native(shape, codes, encoded, codes_of, seed)
        else:
            self._fit_energy(method, shape, codes, encoded, codes_of, seed)
        self.errors_ = self.network_.errors(encoded, codes_of)
        self._deploy(DeployedBinary(self.network_, coding.whole))
        return self

    def _method(self) -> str:
        if self.method == "auto":
            return "native" if self.sampler is None else "lean"
        if self.method != "native" and self.method not in FORMULATIONS:
            raise ValueError(f"method={self.method!r} is not known: there are auto, native, {', '.join(FORMULATIONS)}")
        if self.method == "native" and self.sampler is not None:
            raise ValueError("sampler is given, but method='native' needs none: take method='lean' or leave the sampler out")
        return self.method

    def _codes(self, seed: int) -> Codes:
        classes = len(self.classes_)
        if self.outputs is not None:
            return random_codes(classes, self.outputs, derived_seed(seed, Purpose.CODES))
        return single_output() if classes == 2 else one_per_class(classes)

    def _fit_native(self, shape: Architecture, codes: Codes, x: NDArray[np.int8], y: NDArray[np.int64], seed: int) -> None:
        training = NativeTraining(self.sweeps, self.reads, self.loss, self.schedule, batch_size=self.batch_size)
        found = training.train(shape, codes, x, y, seed)
        self.network_, self.complete_ = found.network, found.complete

    def _fit_energy(
        self, method: str, shape: Architecture, codes: Codes, x: NDArray[np.int8], y: NDArray[np.int64], seed: int
    ) -> None:
        from annealnet.samplers import AnnealingSampler

        formulation = FORMULATIONS[method]
        batch = min(self.batch_size or 8, len(x))
        bits = formulation.num_bits(shape, batch)
        most = min(_MOST_BITS, _most_variables(self.sampler))
        if bits > most:
            fits = max((k for k in range(1, batch) if formulation.num_bits(shape, k) <= most), default=0)
            mend = f"batch_size={fits} takes {formulation.num_bits(shape, fits)}" if fits else "a smaller network is needed"
            raise ValueError(
                f"method={method!r} needs {bits} bits for batches of {batch} samples, the sampler takes {most:.0f}: {mend}, "
                "or method='native', which needs no auxiliary bits"
            )
        rounds: list[Any] = []
        parameters = {"num_reads": 100, **(self.sampler_parameters or {})}
        self.network_ = vote_over_batches(
            formulation, self.sampler or AnnealingSampler(), shape, codes, x, y, seed,
            batch_size=batch, rounds=self.rounds, say=rounds.append, **parameters,
        )  # fmt: skip
        self.complete_ = len(rounds) == self.rounds
