"""The handle on a study that Python and notebooks use, and networks by their training."""
