"""What stands beside annealer training: backpropagation of the same sign network."""
