"""What came in: trials, their configurations and methods, and tables of them."""
