"""Declare, plan, launch and record studies: Ray Tune runs, Optuna searches, MLflow remembers."""
