"""Everything found, in pictures."""
