"""How sure: the bootstrap, intervals, monotone fits and claims."""
