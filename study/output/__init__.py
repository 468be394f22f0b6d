"""What commands hand to scripts and agents: exit codes, JSON objects, JSON Schemas."""
