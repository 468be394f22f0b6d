"""Accuracy against rho, epsilon, radius and epoch."""
