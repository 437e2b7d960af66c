"""What is left makes up for what went: each layer refitted on what the layers before it answer now."""
