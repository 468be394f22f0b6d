"""One training, start to finish: a weight side, an input side, a loss and one loop."""
