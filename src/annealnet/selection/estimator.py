"""The scikit-learn face of neuron selection."""

from __future__ import annotations

from typing import Any, Literal

import dimod
from sklearn.utils import check_random_state

from annealnet.estimators import NetworkClassifier, all_or_nothing
from annealnet.preparation import Labels, Preparation, ScaledCoding, Scaling
from annealnet.selection.deploy import DeployedSelection
from annealnet.selection.network.masked import MaskedNetwork
from annealnet.selection.network.random import RandomNetwork, WeightKind
from annealnet.selection.search.layers import Teacher
from annealnet.selection.search.selecting import SELECTIONS, Task
from annealnet.selection.search.solving import Effort
from annealnet.whole_numbers import whole_number

__all__ = ["NeuronSelectionClassifier"]


class NeuronSelectionClassifier(NetworkClassifier):
    """A random network of which parts are kept: no weight is trained, no gradient is taken.

    Args:
        width: neurons of each hidden layer (filters of the first one with ``image_shape``).
        depth: hidden layers.
        select: «weights» of the readout (and of hidden layers with a teacher), or «neurons» with all of their weights.
        scope: «global», one energy over all bits; «layerwise», one layer after the other; «neuronwise», every output's
            weights on their own (the same as global for a readout under squared loss); «adjacent», windows of
            ``neighbours`` + 1 neurons, solved exactly by dynamic programming where ``sampler`` is None.
        neighbours: K of adjacent selection.
        weights: «signed» (one magnitude, random signs) or «kaiming» (Gaussian).
        kept: share (float) or number (int) of ones per row of the mask, kept exactly; None lets the energy decide.
        ridge: in units of the Gram's mean diagonal.
        balance: price of unbalanced signs per output, in the same unit.
        order: of the Walsh expansion, for all neurons of several layers at once.
        teacher: of hidden weights under «layerwise»: «random» class codes, or a «trained» network of the same shape (that
            one does take gradients); None is «random» for weights under «layerwise»; else hidden layers stay whole.
        refine: sweeps of annealing on the squared loss itself, over the weights of both layers at once, from where the
            energies' answers stand (select «weights», one dense hidden layer, ``kept`` open): no QUBO, and no gradient.
        image_shape: (C, H, W) for a convolutional first layer.
        sampler: any dimod sampler; None for the native one.
        num_reads: answers asked of the sampler, ranked by training errors.
        num_sweeps: of the native sampler.
        random_state: seed of network and search.
        scaling: of the features: ``columns`` (each by its own spread), ``one`` (all share a unit, such as pixels), ``auto``
            (``one`` where that is to be seen).

    Attributes:
        network_: the :class:`MaskedNetwork`.
        energy_: that the sampler reached, a squared loss with regularisers; ``error_``: share of the training samples wrong.
        complete_: False when the search was interrupted (the best masks so far are kept).
        preparation_: of features and labels.
        classes_, n_features_in_: as scikit-learn has them.
        num_bytes_: of the file.

    Example:
        >>> from annealnet.datasets import digits
        >>> split = digits(seed=0)
        >>> flat = lambda x: x.reshape(len(x), -1)
        >>> model = NeuronSelectionClassifier(width=256, random_state=0).fit(flat(split.x_train), split.y_train)
        >>> model.score(flat(split.x_test), split.y_test) > 0.9, model.network_.mask_bits
        (True, 2560)
    """

    network_: MaskedNetwork
    energy_: float
    error_: float

    def __init__(
        self,
        width: int = 1024,
        *,
        depth: int = 1,
        select: Literal["neurons", "weights"] = "weights",
        scope: Literal["global", "layerwise", "neuronwise", "adjacent"] = "global",
        neighbours: int = 2,
        weights: WeightKind = "signed",
        kept: float | int | None = None,
        ridge: float = 0.01,
        balance: float = 0.0,
        order: int | None = None,
        teacher: Teacher | None = None,
        refine: int = 0,
        image_shape: tuple[int, int, int] | None = None,
        sampler: dimod.Sampler | None = None,
        num_reads: int = 4,
        num_sweeps: int = 300,
        random_state: Any = None,
        scaling: Scaling = "auto",
    ) -> None:
        self.width = width
        self.depth = depth
        self.select = select
        self.scope = scope
        self.neighbours = neighbours
        self.weights = weights
        self.kept = kept
        self.ridge = ridge
        self.balance = balance
        self.order = order
        self.teacher = teacher
        self.refine = refine
        self.image_shape = image_shape
        self.sampler = sampler
        self.num_reads = num_reads
        self.num_sweeps = num_sweeps
        self.random_state = random_state
        self.scaling = scaling

    @all_or_nothing
    def fit(self, X: Any, y: Any) -> NeuronSelectionClassifier:
        """Selects.

        Args:
            X: ``(samples, features)``.
            y: labels of 2 or more classes.

        Raises:
            ValueError: for data or settings that cannot be; names the one and the mend.
        """
        x, codes = self._checked(X, y)
        key = (self.select, self.scope)
        if key not in SELECTIONS:
            known = ", ".join(f"{a} {b}" for a, b in SELECTIONS)
            raise ValueError(f"select={self.select!r} with scope={self.scope!r} is not known: there are {known}")
        for name in ("width", "depth", "num_reads", "num_sweeps"):
            whole_number(name, getattr(self, name), 1)
        for name in ("neighbours", "refine"):
            whole_number(name, getattr(self, name), 0)
        if self.order is not None:
            whole_number("order", self.order, 1)
        if self.teacher not in (None, "random", "trained"):
            raise ValueError(f"teacher={self.teacher!r} is not known: there are random and trained")
        if self.refine and (self.select != "weights" or self.scope == "adjacent" or self.depth != 1):
            raise ValueError(f"refine={self.refine!r} is for select='weights', depth=1, and no adjacent scope: else leave 0")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.preparation_ = Preparation(ScaledCoding.fit(x, 1.0, self.scaling), Labels(self.classes_))
        network = RandomNetwork(
            seed, x.shape[1], (int(self.width),) * int(self.depth), len(self.classes_), self.weights, self.image_shape
        )
        task = Task(
            network, self.preparation_.inputs(x), codes,
            Effort(self.sampler, self.num_reads, self.num_sweeps, seed), self.kept, self.ridge, self.balance,
            self.neighbours, self.order, self.teacher, int(self.refine),
        )  # fmt: skip
        found = SELECTIONS[key](task)
        self.network_, self.energy_, self.error_ = found.small, found.energy, found.error
        self.complete_ = not task.stop.happened
        self._deploy(DeployedSelection(self.network_))
        return self
