"""Whether to believe the attacks: alarms, exclusion, stronger attacks, other norms."""
