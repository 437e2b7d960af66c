"""The scikit-learn face of networks trained on an annealer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from annealnet.estimators import NetworkClassifier, all_or_nothing
from annealnet.exporting import export_module_onnx
from annealnet.ising.deploy import check_deployable, deployed
from annealnet.ising.formulation.phases import Phases
from annealnet.ising.formulation.rules import DeepStateRule, TrainingRule
from annealnet.ising.network.spins import Floats, IsingNetwork, Limits
from annealnet.ising.search.optimisers import Adam, Optimiser
from annealnet.ising.search.training import EpochRecord, Training
from annealnet.samplers import LayeredSampler

__all__ = ["IsingNetworkClassifier"]

#: Root mean square of an input after centring and scaling.
_SPREAD = 0.55


class IsingNetworkClassifier(NetworkClassifier):
    """A layered Ising network trained by anneals; answers from its deployed, deterministic form, or from anneals.

    Args:
        hidden: spins of each hidden layer.
        spins_per_class: output spins of each class.
        hidden_couplings: whether the spins of every hidden layer couple to each other too (K starts at 0 and is learned);
            no pass of signs (``sweeps=0``) follows them.
        rule: of training; None takes :class:`DeepStateRule`.
        sampler: anneals the batches; None takes our native one. Any dimod sampler serves in
            :class:`~annealnet.samplers.DimodLayers`.
        epochs: over the samples.
        batch_size: samples per step.
        optimiser: its learning rate falls to zero over the epochs; None takes Adam. :class:`Descent` generalises better
            where many inputs are nearly always zero (MNIST with few samples).
        limits: (coupling, field) of the machine.
        sweeps: how the deployed network answers: None by the ground states of all classes where one hidden layer without
            couplings inside makes them exact, else by ten mean-field sweeps; a number by so many of these, 0 by one pass of
            signs.
        reads: anneals per sample of :meth:`predict_sampled`; the best answers.
        warm_start: whether ``fit`` goes on from the network it has.
        checkpoint: file that training continues from.
        progress: told every :class:`EpochRecord`.
        random_state: of everything.

    Attributes:
        network_: trained.
        history_: one record per epoch.

    Example:
        >>> from annealnet.datasets import digits
        >>> split = digits(seed=0)
        >>> x, test = split.x_train.reshape(-1, 64), split.x_test.reshape(-1, 64)
        >>> model = IsingNetworkClassifier(hidden=(64,), epochs=8, random_state=0).fit(x, split.y_train)
        >>> model.score(test, split.y_test) > 0.9, model.score_sampled(test, split.y_test) > 0.9
        (True, True)
    """

    network_: IsingNetwork
    history_: tuple[EpochRecord, ...]

    def __init__(
        self,
        hidden: Sequence[int] = (256,),
        *,
        spins_per_class: int = 4,
        rule: TrainingRule | None = None,
        sampler: LayeredSampler | None = None,
        epochs: int = 60,
        batch_size: int = 32,
        optimiser: Optimiser | None = None,
        limits: tuple[float, float] = (1.0, 4.0),
        sweeps: int | None = None,
        reads: int = 10,
        warm_start: bool = False,
        checkpoint: str | Path | None = None,
        progress: Callable[[EpochRecord], None] | None = None,
        random_state: int | np.random.RandomState | None = None,
        hidden_couplings: bool = False,
    ) -> None:
        self.hidden = hidden
        self.spins_per_class = spins_per_class
        self.rule = rule
        self.sampler = sampler
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimiser = optimiser
        self.limits = limits
        self.sweeps = sweeps
        self.reads = reads
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.progress = progress
        self.random_state = random_state
        self.hidden_couplings = hidden_couplings

    @all_or_nothing
    def fit(self, X: Any, y: Any) -> IsingNetworkClassifier:
        """Trains ``epochs`` epochs.

        Raises:
            ValueError: data that cannot be learned, settings out of range, a warm start with other classes, features or
                layers. Nothing has changed then.
        """
        before = getattr(self, "classes_", None) if self.warm_start else None
        x, codes = self._checked(X, y)
        seed = self._seed()
        training = replace(self._training(seed), checkpoint=self.checkpoint)
        if before is not None and hasattr(self, "network_"):
            network = self.network_
            asked, has = ((n.limits, [part.shape for part in n.parameters]) for n in (self._network(x, seed), network))
            if not np.array_equal(before, self.classes_) or asked != has:
                raise ValueError(
                    "warm_start=True, but classes, features, hidden, spins_per_class, hidden_couplings or limits are "
                    "not those of the network: set it to False"
                )
        else:
            network = self._network(x, seed)
        check_deployable(network, self.sweeps)
        state = training.run(network, x, codes)
        self._state, self.network_, self.history_ = state, state.network, state.history
        self._deploy()
        return self

    @all_or_nothing
    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> IsingNetworkClassifier:
        """One epoch over these samples at the full learning rate; ``classes`` at the first call, as in scikit-learn.

        Raises:
            ValueError: labels that are not among the classes.
        """
        first = not hasattr(self, "_state")
        x, labels = validate_data(self, X, y, dtype=np.float32, reset=first)
        if first:
            self.classes_ = np.unique(y if classes is None else classes)
            if len(self.classes_) < 2:
                raise ValueError(f"classes={self.classes_.tolist()}: a classifier needs at least 2")
        places = np.searchsorted(self.classes_, labels).clip(0, len(self.classes_) - 1)
        if (self.classes_[places] != labels).any():
            strange = np.asarray(labels)[self.classes_[places] != labels][0]
            raise ValueError(f"y holds {strange!r}, which is none of the classes {self.classes_.tolist()}")
        training = replace(self._training(self._seed()), decay=False)
        if first:
            network = self._network(x, self._seed())
            check_deployable(network, self.sweeps)
            self._state = training.start(network)
        check_deployable(self._state.network, self.sweeps)
        state = training.epoch(self._state, x, self._state.network.targets(places.astype(np.int64)))
        self._state, self.network_, self.history_ = replace(state, stopped=""), state.network, state.history
        self._deploy()
        return self

    def predict_sampled(self, X: Any, seed: int = 0) -> NDArray[Any]:
        """Labels from anneals: the class whose code the best of ``reads`` overlaps most."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float32, reset=False)
        phases = self._phases()
        found = phases.free(self.network_, np.asarray(x, np.float32), reads=self.reads, seed=seed)
        scores = self.network_.scores(found.best[:, -self.network_.sizes[-1] :].astype(np.float32))
        # spins tie often; the mean of all reads decides between classes that the best read cannot tell apart
        scores += 0.1 * self.network_.scores(found.states[..., -self.network_.sizes[-1] :].mean(1, dtype=np.float32))
        return np.asarray(self.classes_[scores.argmax(1)])

    def score_sampled(self, X: Any, y: Any, seed: int = 0) -> float:
        """Accuracy of :meth:`predict_sampled`."""
        return float((self.predict_sampled(X, seed) == np.asarray(y)).mean())

    def to_module(self, sweeps: int | None = None) -> torch.nn.Module:
        """The deployed network as a torch module: features ``(samples, n_features)`` → scores ``(samples, classes)``.

        Args:
            sweeps: as in :func:`~annealnet.ising.deployed`; None takes the estimator's own.
        """
        check_is_fitted(self)
        return deployed(self.network_, self.sweeps if sweeps is None else sweeps)

    def export_onnx(self, path: str | Path) -> Path:
        """Writes the deployed network as ONNX."""
        return export_module_onnx(self.to_module(), torch.zeros(2, self.n_features_in_), path)

    def _scores(self, x: Floats) -> Floats:
        with torch.no_grad():
            return np.asarray(self._module(torch.from_numpy(x)).numpy())

    def _deploy(self) -> None:
        self._module = deployed(self.network_, self.sweeps)

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        if self.random_state is None:
            return int(np.random.SeedSequence().generate_state(1)[0])
        return int(self.random_state.randint(2**31))

    def _phases(self) -> Phases:
        return Phases() if self.sampler is None else Phases(self.sampler)

    def _training(self, seed: int) -> Training:
        rule = DeepStateRule() if self.rule is None else self.rule
        optimiser = Adam() if self.optimiser is None else self.optimiser
        return Training(rule, self._phases(), optimiser, self.epochs, self.batch_size, seed=seed, say=self.progress)

    def _network(self, x: Floats, seed: int) -> IsingNetwork:
        network = IsingNetwork.create(
            (x.shape[1], *self.hidden), len(self.classes_), spins_per_class=self.spins_per_class, seed=seed,
            limits=Limits(*self.limits), inner=bool(self.hidden_couplings),
        )  # fmt: skip
        centre = x.mean(0, dtype=np.float64)
        spread = float(np.sqrt(np.mean((x - centre) ** 2)))
        scale = _SPREAD / spread if spread > 0 else 1.0
        return replace(network, centre=centre.astype(np.float32), scale=scale)
