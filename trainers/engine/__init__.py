"""How a step is executed fast: fused, compiled or captured."""
