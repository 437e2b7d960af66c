"""From energies to masks: gains, layers, refinement on the loss itself."""
