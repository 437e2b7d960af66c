"""What a plan is compared with."""
