"""What one batch's anneals say: phases, and the rules that compare them."""
