"""What is trained: layers of ±1 weights, their answers, and their packed form."""
