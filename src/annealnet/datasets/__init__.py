"""Data to train, calibrate and test on: embedded digits, and readers for files that users have.

Every reader gives plain NumPy arrays: images as uint8 of shape (N, H, W) or (N, H, W, 3), tables as
float32 of shape (N, features), labels as int64 of shape (N,). `as_images` brings images into the form
networks take, float32 (N, C, H, W) in [0, 1]; `open_data` recognises a format by itself and does that too;
`batches` cuts arrays into what ``annealnet.compress`` takes. Nothing is downloaded.

>>> split = digits(seed=0)
>>> data = batches(split.x_train, split.y_train, batch_size=128)
>>> len(data), next(iter(data))[0].shape
(11, torch.Size([128, 1, 8, 8]))
"""

from annealnet.datasets.batches import ArrayBatches, batches, normalise
from annealnet.datasets.cifar10 import read_cifar10
from annealnet.datasets.embedded import digits
from annealnet.datasets.idx import read_idx
from annealnet.datasets.opening import as_images, open_data
from annealnet.datasets.splits import Split, split, split_shares, subset
from annealnet.datasets.tables import read_csv, read_npz

__all__ = [
    "ArrayBatches",
    "Split",
    "as_images",
    "batches",
    "digits",
    "normalise",
    "open_data",
    "read_cifar10",
    "read_csv",
    "read_idx",
    "read_npz",
    "split",
    "split_shares",
    "subset",
]
