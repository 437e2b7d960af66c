"""A trained network on ordinary hardware: ground states, mean fields or one pass of signs, and its parts for a file."""

from annealnet.ising.deploy.deployed import DeployedIsing
from annealnet.ising.deploy.module import GroundStateNetwork, MeanFieldNetwork, SignNetwork, check_deployable, deployed

__all__ = ["DeployedIsing", "GroundStateNetwork", "MeanFieldNetwork", "SignNetwork", "check_deployable", "deployed"]
