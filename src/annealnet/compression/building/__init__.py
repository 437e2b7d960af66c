"""From the bits of a plan to the network it stands for: surgery, refits, fine-tuning, checkpoints."""
