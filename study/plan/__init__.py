"""What is missing: cells, their states, and what they will cost."""
