"""What rounding a layer and removing channels costs the network's answers."""
