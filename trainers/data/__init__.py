"""Data sets: read, split, and kept in the form that training gathers batches from."""
