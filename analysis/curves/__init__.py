"""Curves fitted to fronts, where the data carry one."""
