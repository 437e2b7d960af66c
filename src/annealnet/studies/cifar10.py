"""CIFAR-10 and the ResNet-20 that was trained on it, as studies and benchmarks take them: one folder holds both."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from annealnet.architectures import resnet20
from annealnet.compression.network.weights import load_weights
from annealnet.datasets import Split, open_data

__all__ = ["cifar10_images", "trained_resnet20"]

#: Of the channels in [0, 1], as in the network's training: ImageNet's.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WEIGHTS = "resnet20.safetensors"


def cifar10_images(folder: Path) -> Split:
    """Training and test images, normalised as the network wants them.

    Args:
        folder: holds CIFAR-10 in any form that :func:`annealnet.datasets.open_data` reads.

    Raises:
        ValueError: when it does not.
    """
    return open_data(folder, mean=MEAN, std=STD)


def trained_resnet20(folder: Path) -> nn.Module:
    """The network in evaluation mode, with the weights in the folder's ``resnet20.safetensors``.

    Raises:
        ValueError: when they are not there, or of another network.
    """
    network = resnet20().eval()
    load_weights(network, folder / WEIGHTS)
    return network
