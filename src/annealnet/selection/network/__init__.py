"""What is selected from: random networks whose weights come from a seed, and masks over them."""
