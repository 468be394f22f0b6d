"""One training step, as the papers write it: batch, inputs, loss, weights, optimiser."""
