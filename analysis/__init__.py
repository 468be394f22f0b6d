"""Results in, findings out: dominance, attainment, hypervolume, and the report."""
