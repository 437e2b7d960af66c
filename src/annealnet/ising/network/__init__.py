"""What is trained: layers of spins, and which of their couplings exist."""
