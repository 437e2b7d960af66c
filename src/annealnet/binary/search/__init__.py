"""Looking for weights: annealing the weights themselves, or batch by batch through a QUBO."""
