"""Training: epochs, windows of layers, optimisers, and what physicists look at along the way."""
