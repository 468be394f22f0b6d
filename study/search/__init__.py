"""What to try next: Optuna studies rebuilt from the records."""
