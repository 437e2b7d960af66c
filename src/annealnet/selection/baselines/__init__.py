"""What stands beside a selection: greedy search, random masks, trained scores."""
