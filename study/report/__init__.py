"""Passing the records to the analysis, and filing its report in MLflow."""
