"""What to try next, by Optuna studies that are rebuilt from the records."""
