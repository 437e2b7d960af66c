"""A selected network without what selected it: its answers, an ordinary PyTorch module, parts of a file."""

from annealnet.selection.deploy.deployed import DeployedSelection

__all__ = ["DeployedSelection"]
