"""Masks as energies: the readout's squared loss, windows of neighbours, expansions to an order."""
