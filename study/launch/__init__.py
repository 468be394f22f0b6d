"""Doing it: Ray trials, their workers, locks and interrupts."""
