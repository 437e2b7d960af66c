"""The scikit-learn face of networks trained on an annealer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from annealnet.estimators import NetworkClassifier, all_or_nothing, layer_sizes
from annealnet.ising.deploy import DeployedIsing, check_deployable
from annealnet.ising.formulation.phases import Phases
from annealnet.ising.formulation.rules import DeepStateRule, TrainingRule
from annealnet.ising.network.spins import INPUT_RMS, IsingNetwork, Limits
from annealnet.ising.search.optimisers import Adam, Optimiser
from annealnet.ising.search.training import EpochRecord, Training, TrainingState
from annealnet.preparation import Labels, Preparation, ScaledCoding, Scaling
from annealnet.samplers import LayeredSampler
from annealnet.samplers.seeds import checked_seed
from annealnet.whole_numbers import whole_number

__all__ = ["IsingNetworkClassifier"]


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
        checkpoint: folder that training continues from.
        progress: told every :class:`EpochRecord`.
        random_state: of everything.
        scaling: of the features: ``columns`` (each by its own spread), ``one`` (all share a unit, such as pixels), ``auto``
            (``one`` where that is to be seen).

    Attributes:
        network_: trained; it reads prepared inputs.
        preparation_: of features and labels.
        history_: one record per epoch.
        complete_: False when training was interrupted or diverged (what it had is kept).
        num_bytes_: of the file.

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
        scaling: Scaling = "auto",
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
        self.scaling = scaling

    @all_or_nothing
    def fit(self, X: Any, y: Any) -> IsingNetworkClassifier:
        """Trains ``epochs`` epochs.

        Raises:
            ValueError: data that cannot be learned, settings out of range, a warm start with other classes, features or
                layers. Nothing has changed then.
        """
        before = getattr(self, "preparation_", None) if self.warm_start else None
        x, codes = self._checked(X, y)
        seed = self._seed()
        training = replace(self._training(seed), checkpoint=self.checkpoint)
        if before is None:
            self.preparation_ = Preparation(ScaledCoding.fit(x, INPUT_RMS, self.scaling), Labels(self.classes_))
            network = self._network(seed)
        else:
            network = self.network_
            asked, has = ((n.limits, [part.shape for part in n.parameters]) for n in (self._network(seed), network))
            same = np.array_equal(before.labels.classes, self.classes_) and before.coding.features == x.shape[1]
            if not same or asked != has:
                raise ValueError(
                    "warm_start=True, but classes, features, hidden, spins_per_class, hidden_couplings or limits are "
                    "not those of the network: set it to False"
                )
        check_deployable(network, self.sweeps)
        self._keep(training.run(network, self.preparation_.inputs(x), codes))
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
        codes = Labels(self.classes_).encode(labels)
        if first:
            self.preparation_ = Preparation(ScaledCoding.fit(x, INPUT_RMS, self.scaling), Labels(self.classes_))
        training = replace(self._training(self._seed()), decay=False)
        if first:
            network = self._network(self._seed())
            check_deployable(network, self.sweeps)
            self._state = training.start(network)
        check_deployable(self._state.network, self.sweeps)
        targets = self._state.network.targets(codes)
        self._keep(training.epoch(self._state, self.preparation_.inputs(x), targets))
        return self

    def predict_sampled(self, X: Any, seed: int = 0) -> NDArray[Any]:
        """Labels from anneals: the class whose code the best of ``reads`` overlaps most."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float32, reset=False)
        phases = self._phases()
        found = phases.free(self.network_, self.preparation_.inputs(x), reads=self.reads, seed=seed)
        scores = self.network_.scores(found.best[:, -self.network_.sizes[-1] :].astype(np.float32))
        # spins tie often; the mean of all reads decides between classes that the best read cannot tell apart
        scores += 0.1 * self.network_.scores(found.states[..., -self.network_.sizes[-1] :].mean(1, dtype=np.float32))
        return self.preparation_.decode(scores)

    def score_sampled(self, X: Any, y: Any, seed: int = 0) -> float:
        """Accuracy of :meth:`predict_sampled`."""
        return float((self.predict_sampled(X, seed) == np.asarray(y)).mean())

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        if self.random_state is None:
            return checked_seed(None)
        return int(self.random_state.randint(2**31))

    def _phases(self) -> Phases:
        return Phases() if self.sampler is None else Phases(self.sampler)

    def _training(self, seed: int) -> Training:
        whole_number("reads", self.reads, 1)
        if self.sweeps is not None:
            whole_number("sweeps", self.sweeps, 0)
        rule = DeepStateRule() if self.rule is None else self.rule
        optimiser = Adam() if self.optimiser is None else self.optimiser
        return Training(rule, self._phases(), optimiser, self.epochs, self.batch_size, seed=seed, say=self.progress)

    def _network(self, seed: int) -> IsingNetwork:
        return IsingNetwork.create(
            (self.preparation_.coding.width, *layer_sizes(self.hidden, fewest=1)), len(self.classes_),
            spins_per_class=self.spins_per_class, seed=seed, limits=Limits(*self.limits), inner=bool(self.hidden_couplings),
        )  # fmt: skip

    def _keep(self, state: TrainingState) -> None:
        self._state, self.network_, self.history_ = replace(state, stopped=""), state.network, state.history
        self.complete_ = not state.stopped
        self._deploy(DeployedIsing(self.network_, self.sweeps))
