"""What stands beside annealed ±1 networks: gradients, and the proven optimum."""
