"""A trained network without what trained it: packed bits, a PyTorch module, parts of a file."""

from annealnet.binary.deploy.deployed import DeployedBinary, to_module

__all__ = ["DeployedBinary", "to_module"]
