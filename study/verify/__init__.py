"""Attacking and diagnosing what was trained."""
