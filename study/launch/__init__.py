"""Launching a study: Ray trials, their workers, locks and interrupts."""
