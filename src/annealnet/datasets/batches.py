"""Arrays in memory as batches of tensors.

``annealnet.compress`` takes any re-iterable of ``(x, y)`` tensors, a ``torch.utils.data.DataLoader``
included. `ArrayBatches` is the plain one for arrays that fit in memory: no worker processes, no state,
the same batches every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from annealnet.whole_numbers import whole_attributes

if TYPE_CHECKING:
    import torch

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class ArrayBatches:
    """A re-iterable of ``(x, y)`` torch tensors, cut from arrays in their order.

    Args:
        x: samples, shape (N, ...), any numeric dtype. The tensors have the same dtype.
        y: labels, shape (N,), given as int64 tensors; or None, and every batch is ``(x, None)``.
        batch_size: samples per batch; the last batch may be smaller.

    Raises:
        ValueError: `x` is empty, `y` has another length, or `batch_size` is below 1.

    >>> import numpy as np
    >>> data = ArrayBatches(np.zeros((5, 1, 8, 8), np.float32), np.arange(5), batch_size=2)
    >>> len(data), [tuple(x.shape) for x, y in data]
    (3, [(2, 1, 8, 8), (2, 1, 8, 8), (1, 1, 8, 8)])
    >>> [y.tolist() for x, y in data.shuffled(seed=1)] == [y.tolist() for x, y in data.shuffled(seed=1)]
    True
    """

    x: Array
    y: NDArray[Any] | None
    batch_size: int

    def __post_init__(self) -> None:
        if len(self.x) == 0:
            raise ValueError("x is empty (0 samples): give at least one sample")
        if self.y is not None and self.y.shape != (len(self.x),):
            raise ValueError(
                f"y has shape {self.y.shape} for {len(self.x)} samples in x: "
                f"give one integer label per sample, shape ({len(self.x)},)"
            )
        whole_attributes(self, 1, "batch_size")

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self.x) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
        import torch

        for start in range(0, len(self.x), self.batch_size):
            part = slice(start, start + self.batch_size)
            x = torch.from_numpy(np.array(self.x[part], order="C"))
            yield x, None if self.y is None else torch.from_numpy(self.y[part].astype(np.int64))

    def shuffled(self, seed: int) -> ArrayBatches:
        """The same samples in another order: a new value."""
        order = np.random.default_rng(seed).permutation(len(self.x))
        return replace(self, x=self.x[order], y=None if self.y is None else self.y[order])


def batches(x: Array, y: NDArray[Any] | None, batch_size: int = 128) -> ArrayBatches:
    """Arrays as `ArrayBatches`; the arguments and errors are those of `ArrayBatches`.

    >>> import numpy as np
    >>> len(batches(np.zeros((300, 2), np.float32), None))
    3
    """
    return ArrayBatches(np.asarray(x), None if y is None else np.asarray(y), batch_size)


def normalise(mean: Sequence[float], std: Sequence[float]) -> Callable[[Array], NDArray[np.float32]]:
    """A function that maps images x to (x - mean) / std, channel by channel.

    Args:
        mean, std: one number per channel (or a single one for all), in the units of the images that will
            come (images read here are in [0, 1]).

    Returns:
        A function of float images, shape (N, C, H, W), giving float32 images of the same shape.

    Raises:
        ValueError: the lengths differ, a `std` is not positive, or (when called) the images have another
            number of channels.

    >>> import numpy as np
    >>> normalise(mean=[0.5], std=[0.25])(np.full((1, 1, 1, 2), 0.75, np.float32)).tolist()
    [[[[1.0, 1.0]]]]
    """
    centre = np.asarray(mean, dtype=np.float32)
    spread = np.asarray(std, dtype=np.float32)
    if centre.ndim != 1 or centre.shape != spread.shape:
        raise ValueError(f"mean {mean!r} and std {std!r} differ in length: give one number per channel in each")
    if not np.all(np.isfinite(centre)):
        raise ValueError(f"mean is {list(mean)!r}: give finite numbers")
    if not np.all((spread > 0) & np.isfinite(spread)):
        raise ValueError(f"std is {list(std)!r}: every entry must be positive and finite")

    def apply(x: Array) -> NDArray[np.float32]:
        if x.ndim != 4 or len(centre) not in (1, x.shape[1]):
            raise ValueError(
                f"x has shape {x.shape}, mean and std have {len(centre)} channels: "
                f"give images of shape (N, {len(centre)}, H, W)"
            )
        shifted = x.astype(np.float32) - centre[:, None, None]
        return np.asarray(shifted / spread[:, None, None], dtype=np.float32)

    return apply
