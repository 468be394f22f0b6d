"""Everything found, in sentences."""
